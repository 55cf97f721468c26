//! Logs: useful, and without a secret in them, at every level.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{PASSWORD, Server, Setup};

const BODY: &str = "what ann said is nobody's business";
const WRONG: &str = "a password mistyped by one";
const NEW: &str = "a new password for ann";

/// Everything that has a secret in it, by every way there is; gives the tokens that were in use.
async fn live(server: &Server) -> Vec<String> {
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut socket = ann.follow(&room).await;
    ann.post(&room, BODY).await;
    socket.post(&room, BODY, "c1").await;
    let mut one_room = bob.one_room(&room, Some(0)).await;
    one_room.send(json!({"message": BODY})).await;
    one_room.next().await;
    socket.ask(json!({"type": "auth", "token": ann.token})).await;
    socket.ask(json!({"type": "nonsense", "content": BODY})).await;
    socket.send_raw(&format!("no JSON: {BODY}")).await;
    for handshake in [
        server.reach.handshake(&format!("/ws?token={}", ann.token)),
        server.reach.handshake("/ws").bearer_protocol(&ann.token),
        server.reach.handshake("/ws").cookie(&ann.token).origin(&server.url("")),
    ] {
        handshake.open().await.next().await;
    }
    server.reach.handshake(&format!("/ws?token={}x", ann.token)).refused(401).await;
    ann.history(&room, "").await;
    server.reach.sign_in("ann", WRONG).await.refused(401);
    server.reach.register("ann", PASSWORD).await.refused(400);
    let renewed = ann.refresh().await.ok();
    let broken = |request: reqwest::RequestBuilder| {
        request.header("content-type", "application/json").body(format!("{{\"password\":\"{PASSWORD}\",oops"))
    };
    server.reach.request(Method::POST, "/users/register", broken).await.refused(422);
    ann.holding("forged.token.here").get("/users/me").await.refused(401);
    let change = json!({"password": {"current": PASSWORD, "new": NEW}});
    ann.patch("/users/me", &change).await.ok();
    server.cli_reading(&["admin", "create", "--username", "root", "--password-stdin"], PASSWORD).await.ok();
    server.cli_reading(&["admin", "reset-password", "bob", "--password-stdin"], NEW).await.ok();
    let text = |field: &str| renewed[field].as_str().expect("a token").to_owned();
    vec![ann.token, ann.refresh_token, bob.token, bob.refresh_token, text("access_token"), text("refresh_token")]
}

#[tokio::test]
async fn no_token_password_or_message_is_ever_logged() {
    let server = Server::with(&[("log.level", "trace")]).await;
    let tokens = live(&server).await;
    server.stop().await;
    let log = server.log() + &server.process().stdout();
    assert!(log.lines().count() > 10, "at trace level something is logged:\n{log}");
    let secrets = [PASSWORD, WRONG, NEW, BODY, "forged.token.here", "$2b$"];
    for secret in secrets.into_iter().chain(tokens.iter().map(String::as_str)) {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "a secret is logged: {}", line.unwrap_or_default());
    }
}

#[tokio::test]
async fn logs_are_lines_of_json_where_that_is_set() {
    let server = Server::with(&[("log.format", "json"), ("log.level", "debug")]).await;
    let tokens = live(&server).await;
    server.stop().await;
    let log = server.log();
    assert!(!log.is_empty());
    for line in log.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        assert!(entry["level"].is_string() && entry["timestamp"].is_string(), "{line}");
    }
    assert!(tokens.iter().all(|token| !log.contains(token)));
}

#[tokio::test]
async fn a_request_can_be_found_by_its_id() {
    let server = Server::with(&[("log.level", "debug")]).await;
    let with_id = |request: reqwest::RequestBuilder| request.header("x-request-id", "find-me-42");
    server.reach.request(Method::GET, "/users/me", with_id).await.refused(401);
    server.process().logged("find-me-42").await;
}

#[tokio::test]
async fn a_client_cannot_write_lines_of_its_own_into_the_log() {
    let server = Server::with(&[("log.level", "trace")]).await;
    server.reach.register("ann", PASSWORD).await.ok();
    server.reach.sign_in("x\nFORGED line one", PASSWORD).await;
    server.reach.sign_in("x\r\nFORGED line two\u{1b}[31m", PASSWORD).await;
    server.reach.get("/nowhere/%0AFORGED%20line%20three").await.refused(404);
    server.stop().await;
    let forged = server.log().lines().any(|line| line.starts_with("FORGED"));
    assert!(!forged && !server.log().contains("\u{1b}[31m"), "{}", server.log());
}

#[tokio::test]
async fn a_log_that_cannot_be_written_harms_nobody() {
    let server = Setup::new().set("log.level", "trace").start_after("exec 2>/dev/full").await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut socket = bob.follow(&room).await;
    ann.post(&room, "hello").await;
    assert_eq!(socket.next_event().await["content"], "hello");
    server.cli(&["admin", "list"]).await.ok();
    assert!(server.stop().await.success());
}

/// The lines about the request of this id.
fn lines_about(server: &Server, id: &str) -> Vec<Value> {
    let log = server.log();
    let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    entries.filter(|entry| entry["request_id"] == id).collect()
}

#[tokio::test]
async fn a_refusal_is_found_by_its_id_as_far_as_the_settings_say() {
    for (wanted, refused, served) in [("errors", 1, 0), ("all", 1, 1), ("off", 0, 0)] {
        let settings = [("log.format", "json"), ("log.requests", wanted)];
        let server = Server::with(&settings[..if wanted == "errors" { 1 } else { 2 }]).await;
        let ann = server.person("ann").await;
        let refusal = ann.get("/chat/01a203f3-ee11-703e-85a5-ea5bab8e7b13").await.refused(404);
        let id = refusal["request_id"].as_str().expect("an id");
        let with_id = |request: reqwest::RequestBuilder| request.header("x-request-id", "served-1");
        server.reach.request(Method::GET, "/healthz", with_id).await.ok();
        // What came before it is written, too.
        server.stop().await;
        let lines = lines_about(&server, id);
        assert_eq!(lines.len(), refused, "{wanted}: {}", server.log());
        for line in lines {
            assert_eq!(
                (&line["status"], &line["code"], &line["level"]),
                (&json!(404), &json!("chat_not_found"), &json!("INFO"))
            );
            assert_eq!((&line["route"], &line["address"]), (&json!("/chat/{chat_id}"), &json!("127.0.0.1")));
        }
        assert_eq!(lines_about(&server, "served-1").len(), served, "{wanted}: {}", server.log());
    }
}

#[tokio::test]
async fn slow_requests_have_a_line_whatever_is_set_and_refusals_have_so_many_in_a_second() {
    let settings =
        [("log.format", "json"), ("log.requests", "off"), ("log.slow_millis", "1"), ("auth.bcrypt_cost", "10")];
    let server = Server::with(&settings).await;
    server.person("ann").await;
    server.stop().await;
    assert!(
        server.log().contains("a request was slow") && server.log().contains("/users/register"),
        "{}",
        server.log()
    );

    let server = Server::with(&[("log.requests_per_sec", "2")]).await;
    for _ in 0..40 {
        server.reach.get("/nowhere").await.refused(404);
    }
    crate::harness::until("a line that tells of the others", async || {
        server.reach.get("/nowhere").await.refused(404);
        server.log().contains("held_back")
    })
    .await;
    server.stop().await;
    let lines = server.log().lines().filter(|line| line.contains("a request was refused")).count();
    assert!((2..20).contains(&lines), "{lines} lines");
}

#[tokio::test]
async fn a_start_that_is_refused_says_so_as_json_where_that_is_set() {
    let json = || Setup::new().set("log.format", "json");
    for setup in [
        json().set("limits.nothing_like_it", "1"),
        json().set("SECRET_KEY", "short"),
        json().set("store.url", "sqlite:/proc/nowhere/natter.db"),
        Setup::new().write("config.toml", "[log]\nformat = 'json'\n[smtp]\nrelay = 'x'\n"),
        Setup::new().args(&["--set", "log.format=json", "--set", "server.bind=nowhere"]),
    ] {
        let told = setup.run().await.failed();
        let lines: Vec<Value> = told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert!(!lines.is_empty() && lines.len() == told.lines().count(), "{told}");
        assert!(lines.iter().any(|line| line["level"] == "ERROR" && line["message"].is_string()), "{told}");
    }
}
