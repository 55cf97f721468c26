//! Refresh tokens: rotated at each use, a reused one ends the login, and none is ever stored as it is.

use std::path::Path;

use serde_json::json;

use crate::harness::{PASSWORD, Person, Server};

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

#[tokio::test]
async fn of_many_uses_of_one_refresh_token_at_once_at_most_one_succeeds() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let answers = futures_util::future::join_all((0..10).map(|_| ann.refresh())).await;
    assert!(answers.iter().filter(|answer| answer.status == 200).count() <= 1);
    assert!(answers.iter().all(|answer| [200, 401].contains(&answer.status)));
    ann.get("/users/me").await.refused(401);
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
        for token in ["", "nonsense", &ann.token, &ann.refresh_token[1..]] {
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
