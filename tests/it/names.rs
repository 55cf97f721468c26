//! By which name and through which proxies a request comes, and what a proxy got wrong on the way.

use serde_json::json;

use crate::harness::{PASSWORD, Person, RawAnswer, Server};

const HANDSHAKE: &str = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n";

async fn ask(server: &Server, head: String) -> RawAnswer {
    let mut raw = server.reach.raw().await;
    raw.write(head + "\r\n").await;
    raw.answer().await
}

async fn me(server: &Server, ann: &Person, host: &str) -> RawAnswer {
    ask(server, format!("GET /users/me HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n", ann.token)).await
}

async fn socket(server: &Server, ann: &Person, host: &str) -> RawAnswer {
    let token = &ann.token;
    let head = format!("GET /ws HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{UPGRADE}{HANDSHAKE}");
    ask(server, head).await
}

#[tokio::test]
async fn no_page_reaches_a_server_on_loopback_under_a_name_of_its_own() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let port = server.reach.addr.port();
    for host in ["rebound.example".to_owned(), format!("rebound.example:{port}"), "127.0.0.1.rebound.example".into()] {
        let refused = me(&server, &ann, &host).await.refused(421);
        assert_eq!(refused["code"], "unknown_host");
        assert!(refused["detail"].as_str().unwrap().contains("server.hosts"), "{refused}");
        socket(&server, &ann, &host).await.refused(421);
        let page = ask(&server, format!("GET / HTTP/1.1\r\nHost: {host}\r\n")).await;
        page.refused(421);
        let asked = format!("GET http://{host}/ HTTP/1.1\r\nHost: localhost\r\n");
        ask(&server, asked).await.refused(421);
        let probe = ask(&server, format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n")).await;
        assert_eq!(probe.status, 200, "a monitor may know it by any name");
    }
    for host in
        ["localhost".to_owned(), format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}")]
    {
        assert_eq!(me(&server, &ann, &host).await.status, 200, "{host}");
        assert_eq!(socket(&server, &ann, &host).await.status, 101, "{host}");
    }
}

#[tokio::test]
async fn a_server_answers_to_the_names_that_are_listed_and_to_no_others() {
    let server = Server::with(&[("server.hosts", r#"["chat.example.org","*.wide.example"]"#)]).await;
    let ann = server.person("ann").await;
    for host in ["chat.example.org", "Chat.Example.org:443", "a.wide.example", "localhost"] {
        assert_eq!(me(&server, &ann, host).await.status, 200, "{host}");
    }
    for host in ["example.org", "chat.example.org.rebound.example", "wide.example", "x"] {
        me(&server, &ann, host).await.refused(421);
        socket(&server, &ann, host).await.refused(421);
    }
}

#[tokio::test]
async fn a_trusted_proxy_has_chosen_its_names_itself() {
    let server = Server::with(&[("server.trusted_proxies", r#"["127.0.0.0/8"]"#)]).await;
    let ann = server.person("ann").await;
    assert_eq!(me(&server, &ann, "chat.example.org").await.status, 200);
}

#[tokio::test]
async fn a_proxy_that_is_not_listed_is_told_of_once() {
    let server = Server::start().await;
    for _ in 0..3 {
        ask(&server, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 198.51.100.1\r\n".into()).await;
    }
    server.stop().await;
    let log = server.process().stderr();
    assert_eq!(log.matches("X-Forwarded-For").count(), 1, "{log}");
    assert!(log.contains("server.trusted_proxies"), "{log}");
}

#[tokio::test]
async fn what_a_trusted_proxy_says_unreadably_never_counts_as_the_proxy() {
    let server = Server::with(&[
        ("limits.rates", "on"),
        ("limits.requests_per_sec", "1"),
        ("limits.requests_burst", "2"),
        ("server.trusted_proxies", r#"["127.0.0.0/8"]"#),
    ])
    .await;
    let asked =
        async |forwarded: &str| ask(&server, format!("GET /nowhere HTTP/1.1\r\nHost: x\r\n{forwarded}")).await.status;
    let mut unreadable = Vec::new();
    for told in ["unknown", "_hidden", "\u{e9}", "198.51.100.1,", "300.1.2.3", ""] {
        unreadable.push(asked(&format!("X-Forwarded-For: {told}\r\n")).await);
    }
    assert_eq!(unreadable.iter().filter(|status| **status == 429).count(), 4, "they are one: {unreadable:?}");
    assert_eq!(asked("").await, 404, "the proxy itself has asked nothing yet");
    assert_eq!(asked("X-Forwarded-For: 198.51.100.1\r\n").await, 404);
}

#[tokio::test]
async fn a_handshake_that_a_proxy_has_mangled_is_told_what_came() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let told = async |version: &str, headers: String| {
        let token = &ann.token;
        let head = format!("GET /ws HTTP/{version}\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{headers}");
        let answer = ask(&server, head).await;
        assert!([400, 426].contains(&answer.status), "{}", answer.status);
        answer.refused(answer.status)["detail"].as_str().expect("a sentence").to_owned()
    };
    for connection in ["", "Connection: Upgrade\r\n", "Connection: close\r\n"] {
        let over_1_0 = told("1.0", format!("Upgrade: websocket\r\n{connection}{HANDSHAKE}")).await;
        assert!(over_1_0.contains("HTTP/1.0") && over_1_0.contains("HTTP/1.1"), "{over_1_0}");
    }
    let no_headers = told("1.0", HANDSHAKE.into()).await;
    assert!(no_headers.contains("HTTP/1.0"), "{no_headers}");
    for connection in ["", "Connection: close\r\n", "Connection: keep-alive\r\n"] {
        let no_connection = told("1.1", format!("Upgrade: websocket\r\n{connection}{HANDSHAKE}")).await;
        assert!(no_connection.contains("without Connection: upgrade"), "{no_connection}");
    }
    let no_upgrade = told("1.1", format!("Connection: Upgrade\r\n{HANDSHAKE}")).await;
    assert!(no_upgrade.contains("without Upgrade: websocket"), "{no_upgrade}");
    let no_key = told("1.1", format!("{UPGRADE}Sec-WebSocket-Version: 13\r\n")).await;
    assert!(no_key.contains("no Sec-WebSocket-Key"), "{no_key}");
    let other = told("1.1", format!("{UPGRADE}{}", HANDSHAKE.replace("13", "7"))).await;
    assert!(other.contains("Sec-WebSocket-Version must be 13"), "{other}");
}

#[tokio::test]
async fn whoever_has_sent_a_whole_request_and_says_no_more_is_answered() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let half = async |path: &str, headers: String, body: String| {
        let mut raw = server.reach.raw().await;
        let length = body.len();
        raw.write(format!("POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n{body}")).await;
        raw.finish_writing().await;
        let answer = raw.answer().await;
        assert!(raw.rest().await.is_empty(), "and then it is over");
        answer.status
    };
    let json_of = |token: &str| format!("Content-Type: application/json\r\nAuthorization: Bearer {token}\r\n");
    let body = json!({"message": "half", "client_id": "h1"}).to_string();
    assert_eq!(half(&format!("/chat/{room}"), json_of(&ann.token), body).await, 200);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    assert_eq!(half("/token", form.into(), format!("username=ann&password={PASSWORD}")).await, 200);
    assert_eq!(ann.history(&room, "").await["messages"].as_array().map(Vec::len), Some(1));
}
