//! The route table against the contract's list: every row is there, for whom it says, and nothing else is.

use std::collections::BTreeSet;

use reqwest::Method;

use crate::harness::Server;

/// The rows of the contract: method, path, and whether a token is needed.
const CONTRACT: [(&str, &str, bool); 56] = [
    ("POST", "/token", false),
    ("POST", "/token/refresh", false),
    ("POST", "/token/revoke", false),
    ("POST", "/users/register", false),
    ("GET", "/users/me", true),
    ("PATCH", "/users/me", true),
    ("GET", "/users/me/blocks", true),
    ("POST", "/users/me/blocks", true),
    ("DELETE", "/users/me/blocks/{username}", true),
    ("GET", "/users/me/logins", true),
    ("DELETE", "/users/me/logins", true),
    ("DELETE", "/users/me/logins/{sid}", true),
    ("GET", "/users/", true),
    ("GET", "/users/users", true),
    ("POST", "/users/create", true),
    ("POST", "/users/{username}/reset-password", true),
    ("DELETE", "/users/{username}", true),
    ("GET", "/audit", true),
    ("GET", "/search", true),
    ("POST", "/users/add-role", true),
    ("POST", "/users/remove-role", true),
    ("POST", "/users/{username}/disable", true),
    ("POST", "/users/{username}/enable", true),
    ("POST", "/users/{username}/logout", true),
    ("POST", "/chat/new", true),
    ("GET", "/chat/my-chats", true),
    ("GET", "/chat/{chat_id}", true),
    ("POST", "/chat/{chat_id}", true),
    ("PATCH", "/chat/{chat_id}", true),
    ("GET", "/chat/{chat_id}/events", true),
    ("POST", "/chat/{chat_id}/read", true),
    ("GET", "/chat/{chat_id}/messages/{message_id}", true),
    ("PATCH", "/chat/{chat_id}/messages/{message_id}", true),
    ("DELETE", "/chat/{chat_id}/messages/{message_id}", true),
    ("GET", "/chat/{chat_id}/messages/{message_id}/edits", true),
    ("POST", "/chat/{chat_id}/join", true),
    ("POST", "/chat/{chat_id}/decline", true),
    ("POST", "/chat/{chat_id}/hide", true),
    ("GET", "/chat/{chat_id}/members", true),
    ("POST", "/chat/{chat_id}/members", true),
    ("PATCH", "/chat/{chat_id}/members/{username}", true),
    ("DELETE", "/chat/{chat_id}/members/{username}", true),
    ("GET", "/ws", true),
    ("GET", "/ws/chat/{chat_id}", true),
    ("GET", "/healthz", false),
    ("GET", "/readyz", false),
    ("GET", "/metrics", false),
    ("GET", "/", false),
    ("GET", "/natter.js", false),
    ("GET", "/assets/{hash}/{file}", false),
    ("GET", "/favicon.ico", false),
    ("GET", "/openapi.json", false),
    ("GET", "/asyncapi.json", false),
    ("GET", "/docs", false),
    ("GET", "/docs/{file}", false),
    ("GET", "/redoc", false),
];

#[test]
fn the_table_has_the_rows_of_the_contract_and_no_others() {
    let table: BTreeSet<(String, String, bool)> = natter::http::routes::listing()
        .map(|(method, path, who)| (method.to_string(), path.to_owned(), who != "anyone"))
        .collect();
    let contract: BTreeSet<_> =
        CONTRACT.map(|(method, path, token)| (method.to_owned(), path.to_owned(), token)).into();
    assert_eq!(table, contract);
}

#[tokio::test]
async fn every_row_of_the_contract_is_served_and_asks_for_a_token_where_it_must() {
    let server = Server::start().await;
    for (method, path, token) in CONTRACT {
        let path = path.replace("/assets/{hash}/{file}", &format!("{}/app.js", natter::api::ui::assets().0));
        let path = path.replace("{username}", "ann").replace("{chat_id}", "01900000-0000-7000-8000-000000000000");
        let path = path.replace("{file}", "swagger-ui.css");
        let options = server.reach.request(Method::OPTIONS, &path, |request| request).await;
        let allowed: Vec<&str> = options.header("allow").unwrap_or_default().split(", ").collect();
        assert!(allowed.contains(&method), "{method} {path} is not in {allowed:?}");
        let answer = server.reach.request(method.parse().expect("a method"), &path, |request| request).await;
        match token {
            true => drop(answer.refused_saying(401, "Not authenticated")),
            false => assert!(![401, 403, 404, 405, 500].contains(&answer.status), "{method} {path}: {}", answer.status),
        }
    }
}
