//! How a socket is opened, by whom, and how it is refused.

use serde_json::Value;

use crate::{
    harness::{Handshake, Person, Server, Socket, until},
    readers::{token_end, token_for, with_known_key},
};

async fn welcomed(mut socket: Socket, person: &Person) -> Socket {
    let welcome = socket.next().await;
    assert_eq!(welcome["type"], "welcome", "{welcome}");
    assert_eq!(welcome["username"], *person.username);
    socket
}

/// `http://` and the address the server is reached by.
fn own_origin(server: &Server) -> String {
    server.url("")
}

#[tokio::test]
async fn the_welcome_says_who_and_until_when_and_under_which_limits() {
    let server = Server::with(&[("sockets.ping_secs", "17"), ("limits.message_chars", "1234")]).await;
    let ann = server.person("ann").await;
    let (first, second) = (ann.socket().await, ann.socket().await);
    let welcome = &first.welcome;
    assert_eq!(welcome["user_id"], ann.me().await["user_id"]);
    assert_eq!(welcome["ping_seconds"], 17);
    assert_eq!(welcome["limits"]["message_chars"], 1234);
    assert_ne!(welcome["connection_id"], second.welcome["connection_id"]);
    let expires_at = welcome["expires_at"].as_str().expect("a time");
    let format = &time::format_description::well_known::Rfc3339;
    let expires_at = time::OffsetDateTime::parse(expires_at, format).expect("RFC 3339");
    assert_eq!(expires_at.unix_timestamp(), token_end(&ann.token));
}

#[tokio::test]
async fn a_token_in_the_authorization_header_opens_a_socket() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let socket = welcomed(server.reach.handshake("/ws").bearer(&ann.token).open().await, &ann).await;
    assert_eq!(socket.protocol, None, "a protocol that was not offered must not be chosen");
}

#[tokio::test]
async fn a_token_in_the_subprotocol_opens_a_socket_and_natter_v1_is_chosen() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let socket = welcomed(server.reach.handshake("/ws").bearer_protocol(&ann.token).open().await, &ann).await;
    assert_eq!(socket.protocol.as_deref(), Some("natter.v1"));
    let offered = server.reach.handshake("/ws").bearer(&ann.token).header("Sec-WebSocket-Protocol", "natter.v1");
    assert_eq!(offered.open().await.protocol.as_deref(), Some("natter.v1"));
}

#[tokio::test]
async fn a_token_in_the_query_opens_a_socket_from_any_origin() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let handshake = server.reach.handshake(&format!("/ws?token={}", ann.token));
    welcomed(handshake.origin("https://elsewhere.example").open().await, &ann).await;
}

#[tokio::test]
async fn a_cookie_opens_a_socket_from_the_servers_own_origin_and_from_listed_ones() {
    let server = Server::with(&[("server.allowed_origins", r#"["https://chat.example.org"]"#)]).await;
    let ann = server.person("ann").await;
    for origin in [own_origin(&server).as_str(), "https://chat.example.org"] {
        let handshake = server.reach.handshake("/ws").cookie(&ann.token).origin(origin);
        welcomed(handshake.open().await, &ann).await;
    }
}

#[tokio::test]
async fn a_cookie_opens_no_socket_from_a_foreign_origin() {
    let server = Server::with(&[("server.allowed_origins", r#"["https://chat.example.org"]"#)]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let port = server.reach.addr.port();
    let foreign = [
        "https://elsewhere.example".to_owned(),
        "http://chat.example.org".to_owned(),
        "https://chat.example.org.elsewhere.example".to_owned(),
        "https://chat.example.org:8443".to_owned(),
        format!("http://localhost.elsewhere.example:{port}"),
        format!("http://127.0.0.1:{}", port ^ 1),
        "null".to_owned(),
    ];
    for path in ["/ws", &format!("/ws/chat/{room}")] {
        for origin in &foreign {
            server.reach.handshake(path).cookie(&ann.token).origin(origin).refused(403).await;
        }
    }
}

#[tokio::test]
async fn of_several_tokens_the_first_in_the_contracts_order_counts() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let origin = own_origin(&server);
    let (a, b) = (&ann.token, &bob.token);
    let by_header = server.reach.handshake(&format!("/ws?token={b}")).bearer(a).bearer_protocol(b).cookie(b);
    welcomed(by_header.origin(&origin).open().await, &ann).await;
    let by_protocol = server.reach.handshake(&format!("/ws?token={b}")).bearer_protocol(a).cookie(b);
    welcomed(by_protocol.origin(&origin).open().await, &ann).await;
    let by_query = server.reach.handshake(&format!("/ws?token={a}")).cookie(b);
    welcomed(by_query.origin(&origin).open().await, &ann).await;
}

#[tokio::test]
async fn a_bad_token_is_not_made_good_by_another_after_it() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let (good, origin) = (&ann.token, own_origin(&server));
    let query = format!("/ws?token={good}");
    server.reach.handshake(&query).bearer("a.b.c").bearer_protocol(good).refused(401).await;
    server.reach.handshake(&query).bearer_protocol("a.b.c").refused(401).await;
    server.reach.handshake("/ws?token=a.b.c").cookie(good).origin(&origin).refused(401).await;
}

#[tokio::test]
async fn a_handshake_without_a_valid_token_is_an_http_401_in_the_usual_words() {
    let server = with_known_key().start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    for path in ["/ws", &format!("/ws/chat/{room}")] {
        let refused = async |handshake: Handshake, detail: &str| {
            assert_eq!(handshake.refused(401).await["detail"], detail);
        };
        let handshake = || server.reach.handshake(path);
        refused(handshake(), "Not authenticated").await;
        refused(handshake().bearer("nonsense"), "Invalid token").await;
        refused(handshake().bearer_protocol("nonsense"), "Invalid token").await;
        refused(handshake().bearer(&token_for(&ann, -1)), "Token expired").await;
    }
}

#[tokio::test]
async fn a_room_that_is_not_there_or_not_ones_own_is_an_http_404() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let eve = server.person("eve").await;
    let room = ann.private(&bob).await;
    for id in [room.as_str(), "0198c0de-0000-7000-8000-000000000000", "no-id-at-all"] {
        let body = server.reach.handshake(&format!("/ws/chat/{id}")).bearer(&eve.token).refused(404).await;
        assert_eq!(body["detail"], "Chatroom not found");
    }
}

#[tokio::test]
async fn a_user_has_no_more_sockets_than_the_setting_allows() {
    let server = Server::with(&[("sockets.connections_per_user", "2")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let (first, _second) = (ann.socket().await, ann.one_room(&room, None).await);
    server.reach.handshake("/ws").bearer(&ann.token).refused(429).await;
    server.reach.handshake(&format!("/ws/chat/{room}")).bearer(&ann.token).refused(429).await;
    bob.socket().await;
    first.close().await;
    until("a place for ann", async || server.reach.handshake("/ws").bearer(&ann.token).attempt().await.is_ok()).await;
    let hit = |series: &str| series.starts_with("natter_bound_hits") && series.contains("sockets.connections_per_user");
    assert!(server.metrics().await.iter().any(|(series, hits)| hit(series) && *hits > 0.0));
}

#[tokio::test]
async fn the_server_has_no_more_sockets_than_the_setting_allows() {
    let server = Server::with(&[("sockets.connections", "2")]).await;
    let (ann, bob) = server.two_people().await;
    let (first, _second) = (ann.socket().await, bob.socket().await);
    server.reach.handshake("/ws").bearer(&ann.token).refused(503).await;
    ann.me().await;
    first.close().await;
    until("a place", async || server.reach.handshake("/ws").bearer(&ann.token).attempt().await.is_ok()).await;
}

#[tokio::test]
async fn what_asks_for_no_websocket_is_told_so() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let handshake = || server.reach.handshake("/ws").bearer(&ann.token);
    let told = async |handshake: Handshake| {
        let refusal = handshake.attempt().await.err().expect("no socket");
        assert!([400, 426].contains(&refusal.status), "{}", refusal.status);
        refusal.refused(refusal.status);
        refusal
    };
    told(handshake().without("Upgrade").without("Connection")).await;
    told(handshake().header("Upgrade", "h2c")).await;
    told(handshake().without("Sec-WebSocket-Key")).await;
    told(handshake().without("Sec-WebSocket-Version")).await;
    let wrong = told(handshake().header("Sec-WebSocket-Version", "8")).await;
    assert_eq!(wrong.header("sec-websocket-version"), Some("13"), "RFC 6455, 4.4");
    let answer = ann.get("/ws").await;
    assert!([400, 426].contains(&answer.status), "{}", answer.status);
    ann.post_json("/ws", &Value::Null).await.refused(405);
}

#[tokio::test]
async fn headers_are_read_as_lists_of_words_in_any_case() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let handshake = server.reach.handshake("/ws").bearer(&ann.token);
    let socket = handshake.header("Connection", "keep-alive, UPGRADE").header("Upgrade", "WebSocket").open().await;
    welcomed(socket, &ann).await;
}
