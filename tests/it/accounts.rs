//! Accounts: the profile, the lists of users, a new password, and what nobody is ever shown.

use serde_json::json;

use crate::harness::{PASSWORD, Person, Server};

#[tokio::test]
async fn sign_up_can_be_closed() {
    let server = Server::with(&[("auth.signup", "closed")]).await;
    server.reach.register("ann", PASSWORD).await.refused(403);
    let root = server.admin().await;
    assert_eq!(root.me().await["roles"][0]["role_name"], "admin");
}

#[tokio::test]
async fn two_people_who_register_one_name_at_once_make_one_user() {
    let server = Server::start().await;
    let tries = (0..20).map(|_| server.reach.register("ann", PASSWORD));
    let mut made = 0;
    for answer in futures_util::future::join_all(tries).await {
        match answer.status {
            200 => made += 1,
            _ => drop(answer.refused_saying(400, "User already exists")),
        }
    }
    assert_eq!(made, 1);
}

#[tokio::test]
async fn a_display_name_is_ones_own_to_change() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let changed = ann.patch("/users/me", &json!({"display_name": "Ann from Bern"})).await.ok();
    assert_eq!(changed["display_name"], "Ann from Bern");
    assert_eq!(changed, ann.me().await);
    assert_eq!(ann.patch("/users/me", &json!({})).await.ok(), changed);
}

#[tokio::test]
async fn a_display_name_that_is_empty_or_too_long_or_has_control_characters_is_a_422() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let before = ann.me().await;
    for name in [json!(""), json!("n".repeat(101)), json!("a\u{0}b"), json!(7)] {
        ann.patch("/users/me", &json!({"display_name": name})).await.refused_field("display_name");
    }
    assert_eq!(ann.me().await, before);
}

#[tokio::test]
async fn a_new_password_ends_every_other_login_and_the_old_password() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let elsewhere = server.sign_in("ann").await;
    let mut socket = elsewhere.socket().await;
    let body = json!({"password": {"current": PASSWORD, "new": "a better one 42"}});
    ann.patch("/users/me", &body).await.ok();

    ann.me().await;
    ann.refresh().await.ok();
    elsewhere.get("/users/me").await.refused(401);
    elsewhere.refresh().await.refused(401);
    assert_eq!(socket.closed().await.code, 4401);
    server.reach.sign_in("ann", PASSWORD).await.refused_saying(401, "Incorrect username or password");
    server.reach.sign_in("ann", "a better one 42").await.ok();
}

#[tokio::test]
async fn a_new_password_needs_the_current_one() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let body = json!({"password": {"current": "not her password", "new": "a better one 42"}});
    ann.patch("/users/me", &body).await.refused(403);
    server.reach.sign_in("ann", PASSWORD).await.ok();
}

#[tokio::test]
async fn a_new_password_keeps_the_rules_of_passwords() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    for new in ["short".to_owned(), "x".repeat(73), "with a \u{0} in it".to_owned()] {
        let answer = ann.patch("/users/me", &json!({"password": {"current": PASSWORD, "new": new}})).await;
        assert!(!answer.text().contains(&new), "{}", answer.text());
        answer.refused(422);
    }
    let answer = ann.patch("/users/me", &json!({"password": {"new": "a better one 42"}})).await;
    answer.refused(422);
    server.reach.sign_in("ann", PASSWORD).await.ok();
}

#[tokio::test]
async fn a_refused_change_changes_nothing_at_all() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let before = ann.me().await;
    let body = json!({"display_name": "New", "password": {"current": "wrong password", "new": "a better one 42"}});
    ann.patch("/users/me", &body).await.refused(403);
    assert_eq!(ann.me().await, before);
}

#[tokio::test]
async fn any_user_finds_others_by_the_start_of_their_name() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    for name in ["Bob", "anja", "bert"] {
        server.person(name).await;
    }
    let named = |names: &[&str]| json!(names.iter().map(|name| json!({"username": name})).collect::<Vec<_>>());
    assert_eq!(ann.get("/users/users").await.ok(), named(&["anja", "ann", "bert", "Bob"]));
    assert_eq!(ann.get("/users/users?q=AN").await.ok(), named(&["anja", "ann"]));
    assert_eq!(ann.get("/users/users?q=bo").await.ok(), named(&["Bob"]));
    assert_eq!(ann.get("/users/users?q=%25").await.ok(), json!([]));
    assert_eq!(ann.get("/users/users?q=_").await.ok(), json!([]));
}

#[tokio::test]
async fn disabled_users_are_left_out_of_the_names_and_shown_to_admins() {
    let server = Server::start().await;
    let (ann, root) = (server.person("ann").await, server.admin().await);
    server.person("gone").await;
    root.post_empty("/users/gone/disable").await.ok();
    let names = ann.get("/users/users").await;
    assert!(!names.text().contains("gone"), "{}", names.text());
    let list = root.get("/users/?q=gone").await.ok();
    assert_eq!(list["users"][0]["disabled"], true);
}

#[tokio::test]
async fn an_admin_pages_through_all_users_without_gap_or_repeat() {
    let server = Server::start().await;
    let root = server.admin().await;
    let mut expected = vec!["root".to_owned()];
    for number in 0..7 {
        let name = format!("user{number}");
        server.reach.register(&name, PASSWORD).await.ok();
        expected.push(name);
    }
    let (mut seen, mut query) = (Vec::new(), "?limit=3".to_owned());
    loop {
        let page = root.get(&format!("/users/{query}")).await.ok();
        let users = page["users"].as_array().unwrap();
        assert!(users.len() <= 3);
        seen.extend(users.iter().map(|user| user["username"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=3&after={}", urlencoded(next));
    }
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn no_answer_ever_holds_a_password_or_its_hash() {
    let server = Server::start().await;
    let root = server.admin().await;
    let ann = server.person("ann").await;
    let room = root.private(&ann).await;
    let answers = [
        ann.get("/users/me").await,
        ann.get("/users/users").await,
        root.get("/users/").await,
        ann.patch("/users/me", &json!({"display_name": "A"})).await,
        root.post_json("/users/add-role", &json!({"username": "ann", "role_name": "basic_user"})).await,
        ann.get("/chat/my-chats").await,
        ann.get(&format!("/chat/{room}/members")).await,
        server.reach.register("ann", PASSWORD).await,
        server.reach.sign_in("ann", "wrong password").await,
        server.reach.sign_in("ann", PASSWORD).await,
    ];
    for answer in answers {
        let text = answer.text();
        assert!(!text.contains("$2") && !text.contains("hash") && !text.contains(PASSWORD), "{text}");
    }
}

#[tokio::test]
async fn a_user_sees_of_others_their_names_alone() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let id = bob.me().await["user_id"].as_str().unwrap().to_owned();
    let answers = [ann.get("/users/users").await, ann.get("/chat/my-chats").await, ann.members(&room).await];
    for answer in answers {
        for secret in ["roles", "role_name", "disabled", "token_epoch"] {
            assert!(!answer.text().contains(&format!("\"{secret}\"")), "{secret} in {}", answer.text());
        }
    }
    let names = ann.get("/users/users").await;
    assert!(!names.text().contains(&id), "{}", names.text());
}

#[tokio::test]
async fn accounts_and_logins_outlive_a_restart() {
    let mut server = Server::start().await;
    let ann = server.person("ann").await;
    let before = ann.me().await;
    server.restart().await;
    assert_eq!(ann.me().await, before);
    let renewed = Person::of_login(server.reach.clone(), "ann", ann.refresh().await.ok());
    assert_eq!(renewed.me().await, before);
}

fn urlencoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn an_admin_makes_accounts_where_sign_up_is_closed() {
    let server = Server::with(&[("auth.signup", "closed")]).await;
    let root = server.admin().await;
    let body = |username: &str, password: &str| json!({"username": username, "password": password});
    root.post_json("/users/create", &body("zoe", PASSWORD)).await.ok();
    let zoe = server.sign_in("zoe").await;
    assert_eq!(zoe.me().await["roles"].as_array().map(Vec::len), Some(1));
    root.post_json("/users/create", &body("ZOE", PASSWORD)).await.refused_saying(400, "User already exists");
    root.post_json("/users/create", &body("yan", "short")).await.refused_field("password");
    root.post_json("/users/create", &body("a\u{202e}b", PASSWORD)).await.refused_field("username");
    zoe.post_json("/users/create", &body("yan", PASSWORD)).await.refused(403);
}

#[tokio::test]
async fn a_password_that_an_admin_resets_ends_every_login_and_lets_the_new_one_in() {
    let server = Server::start().await;
    let (root, ann) = (server.admin().await, server.person("ann").await);
    let mut socket = ann.socket().await;
    let body = json!({"password": "a better one 42"});
    ann.post_json("/users/root/reset-password", &body).await.refused(403);
    root.post_json("/users/nobody/reset-password", &body).await.refused(404);
    root.post_json("/users/ann/reset-password", &json!({"password": "short"})).await.refused_field("password");
    ann.me().await;
    root.post_json("/users/ann/reset-password", &body).await.ok();
    assert_eq!(socket.closed().await.code, 4401);
    ann.get("/users/me").await.refused(401);
    ann.refresh().await.refused(401);
    server.reach.sign_in("ann", PASSWORD).await.refused(401);
    server.reach.sign_in("ann", "a better one 42").await.ok();
}
