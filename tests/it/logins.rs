//! One's own logins: seeing where one is signed in, and ending that.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{PASSWORD, Person, Server};

async fn logins(person: &Person) -> Vec<Value> {
    person.get("/users/me/logins").await.ok()["logins"].as_array().expect("logins").clone()
}

/// Where this login stands in its owner's list.
async fn own(person: &Person) -> Value {
    logins(person).await.into_iter().find(|login| login["current"] == true).expect("the login that asks")
}

fn sid(login: &Value) -> &str {
    login["sid"].as_str().expect("a sid")
}

async fn sign_in_as(server: &Server, agent: &str) -> Person {
    let form = [("username", "ann"), ("password", PASSWORD)];
    let signed = |request: reqwest::RequestBuilder| request.header("user-agent", agent).form(&form);
    let login = server.reach.request(Method::POST, "/token", signed).await.ok();
    Person::of_login(server.reach.clone(), "ann", login)
}

#[tokio::test]
async fn people_see_where_they_are_signed_in_and_which_login_asks() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    server.person("bob").await;
    let phone = sign_in_as(&server, "A phone/1.0").await;
    let (of_ann, of_phone) = (logins(&ann).await, logins(&phone).await);
    assert_eq!((of_ann.len(), of_phone.len()), (2, 2), "nobody else's are there");
    assert_eq!(sid(&of_ann[0]), sid(&of_phone[0]));
    assert_eq!((&of_phone[0]["agent"], &of_phone[0]["current"]), (&json!("A phone/1.0"), &json!(true)));
    assert_eq!((&of_ann[0]["current"], &of_ann[1]["current"]), (&json!(false), &json!(true)));
    for login in &of_ann {
        assert_eq!((&login["address"], &login["created_at"]), (&json!("127.0.0.1"), &login["seen_at"]));
    }
}

#[tokio::test]
async fn a_renewed_login_is_the_one_seen_last_and_says_by_what() {
    let server = Server::start().await;
    server.person("ann").await;
    let old = sign_in_as(&server, "old").await;
    let before = own(&old).await;
    sign_in_as(&server, "newer").await;
    let body = json!({"refresh_token": old.refresh_token});
    let renew = |request: reqwest::RequestBuilder| request.header("user-agent", "renewed").json(&body);
    server.reach.request(Method::POST, "/token/refresh", renew).await.ok();
    let listed = logins(&old).await;
    assert_eq!((sid(&listed[0]), &listed[0]["agent"]), (sid(&before), &json!("renewed")));
    assert_eq!(listed[0]["created_at"], before["created_at"]);
    assert!(listed[0]["seen_at"].as_str() >= before["seen_at"].as_str(), "{listed:?}");
}

#[tokio::test]
async fn what_a_client_says_it_is_is_cut_and_its_control_characters_are_dropped() {
    let server = Server::with(&[("auth.agent_chars", "10")]).await;
    server.person("ann").await;
    let long = sign_in_as(&server, "a\tbrowser of great length").await;
    assert_eq!(own(&long).await["agent"], "abrowser o");
    let silent = |request: reqwest::RequestBuilder| request.form(&[("username", "ann"), ("password", PASSWORD)]);
    let login = server.reach.request(Method::POST, "/token", silent).await.ok();
    let silent = Person::of_login(server.reach.clone(), "ann", login);
    assert_eq!(own(&silent).await["agent"], Value::Null);
}

#[tokio::test]
async fn an_ended_login_is_silent_and_the_others_go_on() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let (phone, desk) = (server.sign_in("ann").await, server.sign_in("ann").await);
    let (mut lost, mut kept) = (phone.socket().await, desk.socket().await);
    let phone_sid = sid(&own(&phone).await).to_owned();
    ann.delete(&format!("/users/me/logins/{phone_sid}")).await.ok();
    assert_eq!(lost.closed().await.code, 4401);
    phone.get("/users/me").await.refused(401);
    phone.refresh().await.refused(401);
    desk.me().await;
    assert_eq!(kept.ask(json!({"type": "ping"})).await["type"], "pong");
    assert_eq!(logins(&ann).await.len(), 2);
    let again = ann.delete(&format!("/users/me/logins/{phone_sid}")).await.refused(404);
    assert_eq!(again["code"], "login_not_found");
}

#[tokio::test]
async fn somebody_elses_login_is_not_there() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let theirs = sid(&own(&bob).await).to_owned();
    for path in [theirs.as_str(), "01900000-0000-7000-8000-000000000000", "no-id", "%00"] {
        assert_eq!(ann.delete(&format!("/users/me/logins/{path}")).await.refused(404)["code"], "login_not_found");
    }
    bob.me().await;
}

#[tokio::test]
async fn all_other_logins_end_at_once_and_the_one_that_asks_keeps_its_tokens_and_sockets() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let (phone, desk, bob) = (server.sign_in("ann").await, server.sign_in("ann").await, server.person("bob").await);
    let (mut lost, mut kept) = (phone.socket().await, ann.socket().await);
    ann.delete("/users/me/logins").await.ok();
    assert_eq!(lost.closed().await.code, 4401);
    for gone in [&phone, &desk] {
        gone.get("/users/me").await.refused(401);
        gone.refresh().await.refused(401);
    }
    assert_eq!(kept.ask(json!({"type": "ping"})).await["type"], "pong");
    assert_eq!(logins(&ann).await.len(), 1);
    ann.refresh().await.ok();
    ann.delete("/users/me/logins").await.ok();
    bob.me().await;
    server.sign_in("ann").await.me().await;
}

#[tokio::test]
async fn one_may_end_the_login_that_asks() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let own_sid = sid(&own(&ann).await).to_owned();
    ann.delete(&format!("/users/me/logins/{own_sid}")).await.ok();
    ann.get("/users/me").await.refused(401);
}
