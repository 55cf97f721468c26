//! Garbage, half-done things and crowds: whatever one connection does, no room is disturbed and nothing stays behind.

use serde_json::json;
use tokio::{io::AsyncWriteExt, task::JoinSet};

use crate::{
    harness::{Person, Raw, Server, Socket, until},
    readers::{Dice, assert_unhurt},
    wire,
};

/// A room with a listener, to see after each disturbance that all is well.
struct Calm {
    server: Server,
    ann: Person,
    room: String,
    listener: Socket,
    said: usize,
}

impl Calm {
    async fn with(settings: &[(&str, &str)]) -> Self {
        let server = Server::with(settings).await;
        let (ann, bob) = server.two_people().await;
        let room = ann.private(&bob).await;
        let listener = bob.follow(&room).await;
        Self { server, ann, room, listener, said: 0 }
    }

    async fn holds(&mut self) {
        self.said += 1;
        let text = format!("all is well {}", self.said);
        self.ann.post(&self.room, &text).await;
        assert_eq!(self.listener.next_event().await["content"], text);
    }

    async fn raw(&self) -> Raw {
        self.server.reach.raw().await
    }

    async fn ends(&mut self) {
        self.holds().await;
        assert_unhurt(&self.server).await;
    }
}

/// The first bytes of a TLS 1.2 ClientHello.
const TLS_HELLO: &[u8] =
    b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\xcb\x34\xec\xb1\xe7\x81\x63\xba\x1c\x38\xc6\xda\xcb\
    \x19\x6a\x6d\xff\xa2\x1a\x8d\x99\x12\xec\x18\xa2\xef\x62\x83\x02\x4d\xec\xe7\x00\x00\x06\x13\x01\x13\x02\x13\x03";

#[tokio::test]
async fn bytes_that_are_no_http_end_their_own_connection_and_nothing_else() {
    let mut calm = Calm::with(&[]).await;
    let mut dice = Dice::new(2026);
    let mut garbage: Vec<Vec<u8>> = vec![
        TLS_HELLO.to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET /ws HTTP/9.9\r\n\r\n".to_vec(),
        b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58".to_vec(),
        b"\r\n\r\n\r\n\r\n".to_vec(),
        vec![0; 4_096],
        vec![b'A'; 100_000],
    ];
    garbage.extend((0..40).map(|round| dice.bytes(1 + round * 37)));
    for bytes in garbage {
        let mut raw = calm.raw().await;
        // The server may have hung up before it has heard everything.
        let _heard_all = raw.try_write(&bytes).await.is_ok();
        let _open = raw.stream.shutdown().await.is_ok();
        raw.rest().await;
    }
    calm.ends().await;
}

#[tokio::test]
async fn headers_without_end_are_refused() {
    let mut calm = Calm::with(&[]).await;
    for header in [format!("X-Long: {}\r\n", "x".repeat(200_000)), "X-Many: x\r\n".repeat(2_000)] {
        let mut raw = calm.raw().await;
        let request = format!("GET /ws HTTP/1.1\r\nHost: x\r\n{header}\r\n");
        let _heard_all = raw.try_write(&request).await.is_ok();
        let answer = raw.rest().await;
        // A refusal may be lost with the reset that follows unread bytes.
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    }
    // Of these everything is read, and the refusal arrives.
    for header in [format!("X-Long: {}\r\n", "x".repeat(40_000)), "X-Many: x\r\n".repeat(150)] {
        let mut raw = calm.raw().await;
        raw.write(format!("GET /ws HTTP/1.1\r\nHost: x\r\n{header}\r\n")).await;
        assert_eq!(raw.answer().await.status, 431);
    }
    calm.ends().await;
}

#[tokio::test]
async fn a_handshake_cut_at_every_byte_leaves_nothing_behind() {
    let mut calm = Calm::with(&[]).await;
    let handshake = wire::handshake(&calm.ann.reach, "/ws", &calm.ann.token);
    for at in 0..handshake.len() {
        let mut raw = calm.raw().await;
        raw.write(&handshake[..at]).await;
    }
    calm.holds().await;
    let server = &calm.server;
    until("the half handshakes to be gone", async || server.metric("natter_connections").await == 1.0).await;
    calm.ends().await;
}

#[tokio::test]
async fn handshakes_that_dawdle_are_cut_off_and_hold_up_nobody() {
    let mut calm = Calm::with(&[("limits.header_secs", "1")]).await;
    let handshake = wire::handshake(&calm.ann.reach, "/ws", &calm.ann.token);
    let mut slow = Vec::new();
    for at in 1..30 {
        let mut raw = calm.raw().await;
        raw.write(&handshake[..at]).await;
        slow.push(raw);
    }
    calm.holds().await;
    for mut raw in slow {
        assert_eq!(raw.rest().await, b"", "there is no request yet that could be answered");
    }
    let cut_off = r#"natter_bound_hits_total{setting="limits.header_secs"}"#;
    assert!(calm.server.metric(cut_off).await >= 29.0);
    calm.ends().await;
}

#[tokio::test]
async fn a_handshake_byte_by_byte_is_a_handshake() {
    let mut calm = Calm::with(&[]).await;
    let mut raw = calm.raw().await;
    for byte in wire::handshake(&calm.ann.reach, "/ws", &calm.ann.token).bytes() {
        raw.write([byte]).await;
    }
    assert_eq!(raw.answer().await.status, 101);
    calm.ends().await;
}

#[tokio::test]
async fn frames_that_come_with_the_handshake_are_not_lost() {
    let mut calm = Calm::with(&[]).await;
    let mut raw = calm.raw().await;
    let mut bytes = wire::handshake(&calm.ann.reach, "/ws", &calm.ann.token).into_bytes();
    bytes.extend(wire::text(&json!({"type": "ping", "req": "early"})));
    bytes.extend(wire::frame(wire::CLOSE, &1000_u16.to_be_bytes()));
    raw.write(bytes).await;
    assert_eq!(raw.answer().await.status, 101);
    let frames = wire::frames(&raw.rest().await);
    let pong = br#"{"type":"pong","req":"early"}"#.to_vec();
    assert!(frames.contains(&(wire::TEXT, pong)), "{frames:?}");
    calm.ends().await;
}

#[tokio::test]
async fn a_client_gone_in_the_middle_of_a_frame_leaves_no_message_and_no_socket() {
    let mut calm = Calm::with(&[]).await;
    let post = json!({"type": "post", "chat_id": calm.room, "content": "half", "client_id": "c"});
    let frame = wire::text(&post);
    for at in (1..frame.len()).step_by(11) {
        let mut raw = wire::open(&calm.ann, "/ws").await;
        raw.write(&frame[..at]).await;
    }
    let server = &calm.server;
    until("the half sockets to be gone", async || server.metric("natter_connections").await == 1.0).await;
    let log = calm.ann.log(&calm.room).await;
    assert!(log.iter().all(|event| event["content"] != "half"));
    calm.ends().await;
}

#[tokio::test]
async fn random_bytes_on_an_open_socket_end_it_alone() {
    let mut calm = Calm::with(&[]).await;
    let mut dice = Dice::new(7);
    for round in 0..40 {
        let path = if round % 2 == 0 { "/ws".to_owned() } else { format!("/ws/chat/{}", calm.room) };
        let mut raw = wire::open(&calm.ann, &path).await;
        let bytes = dice.bytes(1 + round * 53);
        let _heard_all = raw.try_write(&bytes).await.is_ok();
        let _open = raw.stream.shutdown().await.is_ok();
        raw.rest().await;
    }
    calm.ends().await;
}

/// One visit: connect, follow, leave; every second time without a word.
async fn visit(person: Person, room: String, number: usize) {
    let mut socket = match number % 3 {
        0 => person.one_room(&room, Some(0)).await,
        _ => person.follow(&room).await,
    };
    if number.is_multiple_of(2) {
        socket.close().await;
    } else {
        socket.stream().set_zero_linger().expect("an open connection");
    }
}

async fn visits(person: &Person, room: &str, count: usize) {
    let mut visiting = JoinSet::new();
    for number in 0..count {
        if visiting.len() >= 32 {
            visiting.join_next().await.expect("there are some").expect("a visit that did not panic");
        }
        visiting.spawn(visit(person.clone(), room.to_owned(), number));
    }
    visiting.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_comings_and_goings_leave_no_connection_no_subscription_and_no_memory() {
    const MAY_GROW_KB: u64 = 8 * 1024;
    let server = Server::with(&[("presence.ttl_secs", "1")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    ann.post(&room, "hello").await;
    let all_gone = async || {
        for gauge in ["natter_connections", "natter_subscriptions"] {
            until(gauge, async || server.metric(gauge).await == 0.0).await;
        }
    };
    visits(&bob, &room, 500).await;
    all_gone().await;
    let before = server.rss_kb();
    visits(&bob, &room, 2_000).await;
    all_gone().await;
    let grown = server.rss_kb().saturating_sub(before);
    assert!(grown < MAY_GROW_KB, "{grown} KB stayed behind");
    until("nobody to be online", async || server.metric("natter_users_online").await == 0.0).await;
    assert_unhurt(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_all_at_once_works_for_everyone() {
    let server = Server::with(&[("sockets.connections_per_user", "500")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut coming = JoinSet::new();
    for _ in 0..300 {
        let (bob, room) = (bob.clone(), room.clone());
        coming.spawn(async move { bob.follow(&room).await });
    }
    let sockets = coming.join_all().await;
    ann.post(&room, "everyone?").await;
    for mut socket in sockets {
        assert_eq!(socket.next_event().await["content"], "everyone?");
    }
}
