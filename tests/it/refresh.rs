//! Refresh tokens: rotated at each use, a reused one ends the login, and none is ever stored as it is.

use std::path::Path;

use serde_json::json;

use crate::harness::{PASSWORD, Person, Server, until};

fn renewed(server: &Server, answer: crate::harness::Answer) -> Person {
    Person::of_login(server.reach.clone(), "ann", answer.ok())
}

#[tokio::test]
async fn a_refresh_token_gives_a_new_login_token_and_a_new_refresh_token() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let answer = ann.refresh().await.ok();
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("bearer"), &json!(1800)));
    let renewed = Person::of_login(server.reach.clone(), "ann", answer);
    assert_ne!(renewed.refresh_token, ann.refresh_token);
    renewed.me().await;
    ann.me().await;
    self::renewed(&server, renewed.refresh().await).me().await;
}

#[tokio::test]
async fn a_reused_refresh_token_ends_its_whole_family() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let elsewhere = server.sign_in("ann").await;
    let second = renewed(&server, ann.refresh().await);
    let third = renewed(&server, second.refresh().await);
    let mut socket = third.socket().await;

    ann.refresh().await.refused(401);
    third.refresh().await.refused(401);
    for login in [&ann, &second, &third] {
        login.get("/users/me").await.refused_saying(401, "Invalid token");
    }
    assert_eq!(socket.closed().await.code, 4401);
    elsewhere.me().await;
}

/// Another attempt of a client that never got the answer.
#[tokio::test]
async fn a_refresh_whose_answer_was_lost_is_answered_again() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let lost = renewed(&server, ann.refresh().await);
    let mut socket = lost.socket().await;
    let second = renewed(&server, ann.refresh().await);
    assert_ne!(second.refresh_token, lost.refresh_token);
    // Every access token of the login is good; of the refresh tokens that nobody used, the one given last.
    for login in [&ann, &lost, &second] {
        login.me().await;
    }
    lost.refresh().await.refused_saying(401, "Invalid token");
    let third = renewed(&server, second.refresh().await);
    third.me().await;
    assert_eq!(socket.ask(json!({"type": "ping"})).await["type"], "pong");
    // Once the next one was used, the first is an old one, whenever it comes.
    ann.refresh().await.refused(401);
    assert_eq!(socket.closed().await.code, 4401);
    third.get("/users/me").await.refused_saying(401, "Invalid token");
}

#[tokio::test]
async fn after_the_grace_the_token_used_last_ends_its_login_when_it_comes_again() {
    let server = Server::with(&[("auth.refresh_grace_secs", "1")]).await;
    let ann = server.person("ann").await;
    let second = renewed(&server, ann.refresh().await);
    let mut socket = second.socket().await;
    until("the end of the grace", async || ann.refresh().await.status == 401).await;
    assert_eq!(socket.closed().await.code, 4401);
    second.refresh().await.refused(401);
    second.get("/users/me").await.refused(401);
}

/// Somebody who has a copy of a used token, and uses it within the grace, is found out as soon as the owner goes on after it.
#[tokio::test]
async fn a_thief_who_uses_the_grace_is_found_out_when_the_owner_goes_on() {
    let server = Server::with(&[("auth.refresh_grace_secs", "1")]).await;
    let ann = server.person("ann").await;
    let owner = renewed(&server, ann.refresh().await);
    let thief = renewed(&server, ann.refresh().await);
    thief.me().await;
    // An overtaken token is refused at first, and ends the login once no answers can cross any more.
    until("the end of the thief's login", async || {
        owner.refresh().await.refused(401);
        thief.get("/users/me").await.status == 401
    })
    .await;
    thief.refresh().await.refused(401);
}

#[tokio::test]
async fn of_many_uses_of_one_refresh_token_at_once_the_last_answer_counts() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let answers = futures_util::future::join_all((0..10).map(|_| ann.refresh())).await;
    let logins: Vec<Person> = answers.into_iter().map(|answer| renewed(&server, answer)).collect();
    let mut good = 0;
    for login in &logins {
        login.me().await;
        let answer = login.refresh().await;
        if answer.status == 200 {
            good += 1;
            break;
        }
        answer.refused(401);
    }
    assert_eq!(good, 1);
}

#[tokio::test]
async fn without_a_grace_one_use_of_a_refresh_token_counts_and_the_second_ends_the_login() {
    let server = Server::with(&[("auth.refresh_grace_secs", "0")]).await;
    let ann = server.person("ann").await;
    let answers = futures_util::future::join_all((0..10).map(|_| ann.refresh())).await;
    assert!(answers.iter().filter(|answer| answer.status == 200).count() <= 1);
    assert!(answers.iter().all(|answer| [200, 401].contains(&answer.status)));
    ann.get("/users/me").await.refused(401);
}

#[tokio::test]
async fn an_old_refresh_token_signs_its_login_out_as_the_current_one_does() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let second = renewed(&server, ann.refresh().await);
    let third = renewed(&server, second.refresh().await);
    ann.revoke().await.ok();
    third.get("/users/me").await.refused(401);
    third.refresh().await.refused(401);
}

#[tokio::test]
async fn revoking_a_refresh_token_ends_its_login_and_its_sockets_alone() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let elsewhere = server.sign_in("ann").await;
    let (mut socket, mut other) = (ann.socket().await, elsewhere.socket().await);
    let answer = ann.revoke().await.ok();
    assert!(answer["message"].is_string(), "{answer}");
    ann.get("/users/me").await.refused(401);
    ann.refresh().await.refused(401);
    assert_eq!(socket.closed().await.code, 4401);
    elsewhere.me().await;
    other.drain().await;
}

#[tokio::test]
async fn a_refresh_token_that_is_none_is_a_401_and_a_missing_one_a_422() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    for path in ["/token/refresh", "/token/revoke"] {
        // One that was misspelt is no old one, which would end the login.
        let misspelt = ann.refresh_token.chars().rev().collect::<String>();
        let misspelt = [&ann.refresh_token[..60], &misspelt[..30]].concat();
        for token in ["", "nonsense", &ann.token, &ann.refresh_token[1..], &misspelt, &ann.refresh_token[..80]] {
            server.reach.post(path, &json!({"refresh_token": token})).await.refused(401);
        }
        server.reach.post(path, &json!({})).await.refused_field("refresh_token");
        server.reach.post(path, &json!({"refresh_token": 7})).await.refused_field("refresh_token");
    }
    ann.refresh().await.ok();
}

#[tokio::test]
async fn a_refresh_token_is_no_access_token() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    ann.holding(&ann.refresh_token).get("/users/me").await.refused_saying(401, "Invalid token");
}

#[tokio::test]
async fn rotation_holds_across_a_restart() {
    let mut server = Server::start().await;
    let ann = server.person("ann").await;
    let second = renewed(&server, ann.refresh().await);
    server.kill().await;
    server.restart().await;
    let third = renewed(&server, second.refresh().await);
    server.kill().await;
    server.restart().await;
    let again = renewed(&server, second.refresh().await);
    again.me().await;
    ann.refresh().await.refused(401);
    third.get("/users/me").await.refused(401);
}

#[tokio::test]
async fn neither_tokens_nor_passwords_are_in_the_database() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let second = renewed(&server, ann.refresh().await);
    let stored = everything_in(&server.data());
    assert!(contains(&stored, b"$2b$04$"), "the search looks where bcrypt hashes are");
    for secret in [&ann.refresh_token, &second.refresh_token, &ann.token, &second.token, PASSWORD] {
        assert!(!contains(&stored, secret.as_bytes()), "a secret is stored as it is");
    }
}

/// The bytes of the database's files (the signing key's file is none of them).
fn everything_in(folder: &Path) -> Vec<u8> {
    let files = std::fs::read_dir(folder).expect("the data folder").map(|entry| entry.expect("an entry").path());
    let of_database = files.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(".db")));
    of_database.flat_map(|path| std::fs::read(path).expect("a readable file")).collect()
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
