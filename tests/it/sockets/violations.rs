//! The WebSocket protocol itself: what may be cut, mixed and sent early, and what ends a socket with which code.

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::{
    harness::{Server, Socket, in_time},
    readers::{assert_error, assert_unhurt},
    wire::{self, BINARY, CLOSE, CONTINUATION, PING, TEXT},
};

async fn write(socket: &mut Socket, bytes: &[u8]) {
    in_time("the server to read", socket.stream().write_all(bytes)).await.expect("an open connection");
}

async fn pong(socket: &mut Socket, req: &str) {
    socket.find(&format!("the pong {req}"), |frame| frame["type"] == "pong" && frame["req"] == req).await;
}

/// Sends the bytes on a socket of its own and gives the code it is closed with.
async fn code_after(server: &Server, bytes: &[u8]) -> u16 {
    let mut socket = server.sign_in("ann").await.socket().await;
    write(&mut socket, bytes).await;
    socket.closed().await.code
}

#[tokio::test]
async fn text_that_is_not_json_is_an_error_and_the_tenth_closes_with_1008() {
    let server = Server::start().await;
    let mut socket = server.person("ann").await.socket().await;
    for bad in ["", "{", "{]", "nonsense", "{\"type\":\"ping\"", "'a'", "{\"a\":}", "\u{feff}{}", "{}{}"] {
        socket.send_raw(bad).await;
        assert_error(&socket.wait_for("error").await);
    }
    socket.send_raw("the tenth").await;
    let closed = socket.closed().await;
    assert_eq!(closed.code, 1008);
    assert!(!closed.reason.is_empty());
    assert_unhurt(&server).await;
}

#[tokio::test]
async fn a_binary_frame_closes_with_1003() {
    let server = Server::start().await;
    let mut socket = server.person("ann").await.socket().await;
    socket.send_binary(br#"{"type":"ping"}"#).await;
    assert_eq!(socket.closed().await.code, 1003);
    let parts = [wire::fragment(BINARY, b"{"), wire::frame(CONTINUATION, b"}")].concat();
    assert_eq!(code_after(&server, &parts).await, 1003);
}

#[tokio::test]
async fn text_that_is_not_utf_8_closes_with_1007() {
    let server = Server::start().await;
    server.person("ann").await;
    for bad in [&b"\xff"[..], b"{\"type\":\"ping\",\"req\":\"\xc3\x28\"}", b"\"\xed\xa0\x80\"", b"\"\xf0\x9f\x99\""] {
        assert_eq!(code_after(&server, &wire::frame(TEXT, bad)).await, 1007, "{bad:?}");
    }
    let halves = [wire::fragment(TEXT, b"\"\xc3"), wire::frame(CONTINUATION, b"\x28\"")].concat();
    assert_eq!(code_after(&server, &halves).await, 1007);
}

#[tokio::test]
async fn a_message_of_exactly_the_limit_is_read_and_one_byte_more_closes_with_1009() {
    let server = Server::with(&[("sockets.frame_bytes", "2000"), ("limits.message_chars", "10")]).await;
    let mut socket = server.person("ann").await.socket().await;
    let ping = |len: usize| {
        let start = r#"{"type":"ping","req":"full","pad":""#;
        format!("{start}{}\"}}", "x".repeat(len - start.len() - 2))
    };
    socket.send_raw(&ping(2_000)).await;
    pong(&mut socket, "full").await;
    assert_eq!(code_after(&server, &wire::frame(TEXT, ping(2_001).as_bytes())).await, 1009);
    let (first, rest) = (wire::fragment(TEXT, &[b' '; 1_500]), wire::frame(CONTINUATION, &[b' '; 501]));
    assert_eq!(code_after(&server, &[first, rest].concat()).await, 1009);
    assert_eq!(code_after(&server, &wire::header(0x80 | TEXT, 1 << 40)).await, 1009, "before its bytes come");
}

#[tokio::test]
async fn frames_that_the_protocol_forbids_close_the_socket() {
    let server = Server::start().await;
    server.person("ann").await;
    for (what, bytes) in [
        ("unmasked", b"\x81\x02{}".to_vec()),
        ("a reserved bit", wire::bytes(0xc1, b"{}")),
        ("an unknown opcode", wire::frame(0x3, b"{}")),
        ("an unknown control frame", wire::frame(0xb, b"")),
        ("a continuation of nothing", wire::frame(CONTINUATION, b"{}")),
        ("a message in a message", [wire::fragment(TEXT, b"{"), wire::frame(TEXT, b"}")].concat()),
        ("a ping in parts", wire::fragment(PING, b"")),
        ("a long ping", wire::frame(PING, &[b'x'; 126])),
        ("a close of one byte", wire::frame(CLOSE, b"\x03")),
    ] {
        let code = code_after(&server, &bytes).await;
        assert!([1002, 1008].contains(&code), "{what}: {code}");
    }
    assert_unhurt(&server).await;
}

#[tokio::test]
async fn a_frame_may_be_cut_at_every_byte() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let (mut socket, mut other) = (ann.socket().await, ann.socket().await);
    let frame = wire::text(&json!({"type": "ping", "req": "cut", "pad": "é🙂".repeat(30)}));
    for at in 1..frame.len() {
        let (head, tail) = frame.split_at(at);
        write(&mut socket, head).await;
        // Meanwhile the server has had something else to do, and with it the time to read the first part alone.
        other.drain().await;
        write(&mut socket, tail).await;
        pong(&mut socket, "cut").await;
    }
}

#[tokio::test]
async fn a_frame_may_come_byte_by_byte() {
    let server = Server::start().await;
    let mut socket = server.person("ann").await.socket().await;
    socket.stream().set_nodelay(true).expect("an open connection");
    for byte in wire::text(&json!({"type": "ping", "req": "slow", "pad": "x".repeat(200)})) {
        write(&mut socket, &[byte]).await;
    }
    pong(&mut socket, "slow").await;
}

#[tokio::test]
async fn many_frames_may_come_in_one_write_and_are_answered_in_order() {
    let server = Server::start().await;
    let mut socket = server.person("ann").await.socket().await;
    let frames: Vec<u8> = (0..1_000).flat_map(|n| wire::text(&json!({"type": "ping", "req": n}))).collect();
    write(&mut socket, &frames).await;
    for n in 0..1_000 {
        assert_eq!(socket.expect("pong").await["req"], n);
    }
}

#[tokio::test]
async fn a_message_may_come_in_fragments_with_control_frames_between_them() {
    let server = Server::start().await;
    let mut socket = server.person("ann").await.socket().await;
    let text = json!({"type": "ping", "req": "parts é🙂"}).to_string();
    for at in 0..=text.len() {
        let (head, tail) = text.as_bytes().split_at(at);
        let parts = [
            wire::fragment(TEXT, head),
            wire::frame(PING, b"between"),
            wire::fragment(CONTINUATION, b""),
            wire::frame(CONTINUATION, tail),
        ];
        write(&mut socket, &parts.concat()).await;
        pong(&mut socket, "parts é🙂").await;
    }
}

#[tokio::test]
async fn a_ping_of_the_protocol_is_answered_with_its_payload() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let mut raw = wire::open(&ann, "/ws").await;
    raw.write(wire::frame(PING, b"how are you")).await;
    raw.write(wire::frame(CLOSE, &1000_u16.to_be_bytes())).await;
    let frames = wire::frames(&raw.rest().await);
    assert!(frames.contains(&(0xa, b"how are you".to_vec())), "{frames:?}");
    let (opcode, payload) = frames.last().expect("a close");
    assert_eq!((*opcode, wire::close_code(payload)), (CLOSE, 1000));
}

#[tokio::test]
async fn a_close_is_answered_with_its_code() {
    let server = Server::start().await;
    let mut socket = server.person("ann").await.socket().await;
    let close = CloseFrame { code: CloseCode::Normal, reason: "bye".into() };
    socket.send_message(Message::Close(Some(close))).await;
    assert_eq!(socket.closed().await.code, 1000);
    let plain = server.sign_in("ann").await.socket().await.close().await;
    assert!([1000, 1005].contains(&plain.code), "{plain:?}");
}

#[tokio::test]
async fn more_frames_than_the_rate_allows_close_with_4429() {
    let server =
        Server::with(&[("limits.rates", "on"), ("limits.frames_per_sec", "1"), ("limits.frames_burst", "5")]).await;
    let (ann, bob) = server.two_people().await;
    let mut calm = bob.socket().await;
    let mut socket = ann.socket().await;
    let frames: Vec<u8> = (0..20).flat_map(|n| wire::text(&json!({"type": "ping", "req": n}))).collect();
    write(&mut socket, &frames).await;
    let (frames, closed) = socket.frames_until_closed().await;
    assert_eq!(closed.code, 4429);
    let answered = frames.iter().filter(|frame| frame["type"] == "pong").count();
    assert!(answered < 20, "{answered}");
    calm.drain().await;
}

#[tokio::test]
async fn a_frame_that_nests_too_deep_is_an_error_and_the_socket_lives() {
    let server = Server::with(&[("limits.json_depth", "8")]).await;
    let mut socket = server.person("ann").await.socket().await;
    socket.send_raw(&format!(r#"{{"type":"ping","req":{}1{}}}"#, "[".repeat(9), "]".repeat(9))).await;
    assert_error(&socket.expect("error").await);
    assert_eq!(socket.ask(json!({"type": "ping"})).await["type"], "pong");
}
