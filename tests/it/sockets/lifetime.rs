//! How long a socket lives: its token's end, pings, and the server's own end.

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::{
    harness::{Server, seqs, until},
    readers::{acks, assert_error, log_bytes, parse, token_end, token_for, with_known_key},
    wire,
};

#[tokio::test]
async fn a_socket_ends_with_its_token_by_4401() {
    let server = with_known_key().start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let short = ann.holding(&token_for(&ann, 2));
    let (mut all, mut one) = (short.follow(&room).await, short.one_room(&room, None).await);
    let mut long = bob.follow(&room).await;
    assert_eq!(all.closed().await.code, 4401);
    assert_eq!(one.closed().await.code, 4401);
    server.reach.handshake("/ws").bearer(&short.token).refused(401).await;
    long.drain().await;
}

#[tokio::test]
async fn a_new_token_on_the_socket_lets_it_live_past_the_first() {
    let server = with_known_key().start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let short = ann.holding(&token_for(&ann, 3));
    let (mut renewed, mut witness) = (short.follow(&room).await, short.socket().await);
    let answer = renewed.ask(json!({"type": "auth", "token": ann.token})).await;
    assert_eq!(answer["type"], "authed", "{answer}");
    let expires_at = answer["expires_at"].as_str().expect("a time");
    let parsed = time::OffsetDateTime::parse(expires_at, &time::format_description::well_known::Rfc3339);
    assert_eq!(parsed.expect("RFC 3339").unix_timestamp(), token_end(&ann.token));
    assert_eq!(witness.closed().await.code, 4401);
    bob.post(&room, "still here").await;
    assert_eq!(renewed.next_event().await["content"], "still here");
    renewed.drain().await;
}

#[tokio::test]
async fn a_new_token_that_ends_sooner_ends_the_socket_with_it() {
    let server = with_known_key().set("sockets.ping_secs", "3600").start().await;
    let ann = server.person("ann").await;
    let (mut socket, mut witness) = (ann.socket().await, ann.holding(&token_for(&ann, 2)).socket().await);
    // By then both have been looked at, and nobody is to look at the one before a ping is due.
    assert_eq!(witness.closed().await.code, 4401);
    let answer = socket.ask(json!({"type": "auth", "token": token_for(&ann, 3)})).await;
    assert_eq!(answer["type"], "authed", "{answer}");
    assert_eq!(socket.closed().await.code, 4401);
}

#[tokio::test]
async fn a_token_from_a_refresh_is_as_good() {
    let server = with_known_key().start().await;
    let ann = server.person("ann").await;
    let mut socket = ann.socket().await;
    let renewed = ann.refresh().await.ok();
    let answer = socket.ask(json!({"type": "auth", "token": renewed["access_token"]})).await;
    assert_eq!(answer["type"], "authed", "{answer}");
}

#[tokio::test]
async fn a_token_that_is_bad_or_somebody_elses_is_an_error_and_the_old_one_counts_on() {
    let server = with_known_key().start().await;
    let (ann, bob) = server.two_people().await;
    let short = ann.holding(&token_for(&ann, 3));
    let mut socket = short.socket().await;
    for token in [bob.token.as_str(), "nonsense", &token_for(&ann, -5)] {
        assert_error(&socket.ask(json!({"type": "auth", "token": token})).await);
    }
    assert_eq!(socket.closed().await.code, 4401);
}

#[tokio::test]
async fn both_kinds_of_ping_are_answered() {
    let server = Server::start().await;
    let mut socket = server.person("ann").await.socket().await;
    socket.send_message(Message::Ping(Bytes::from_static(b"hello"))).await;
    assert_eq!(socket.ask(json!({"type": "ping"})).await["type"], "pong");
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_closed_with_4408_and_one_that_does_stays() {
    let server = Server::with(&[("sockets.ping_secs", "1"), ("sockets.pong_secs", "1")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut deaf = wire::open(&ann, "/ws").await;
    let mut deaf_in_a_room = wire::open(&ann, &format!("/ws/chat/{room}")).await;
    let mut alive = bob.socket().await;
    let three_pings = async {
        for _ in 0..3 {
            alive.ping().await;
        }
        alive.drain().await;
    };
    let (deaf, deaf_in_a_room, ()) = tokio::join!(deaf.rest(), deaf_in_a_room.rest(), three_pings);
    for bytes in [deaf, deaf_in_a_room] {
        let frames = wire::frames(&bytes);
        assert!(frames.iter().any(|(opcode, _)| *opcode == wire::PING), "closed without having been asked: {frames:?}");
        let (opcode, payload) = frames.last().expect("a close");
        assert_eq!((*opcode, wire::close_code(payload)), (wire::CLOSE, 4408));
    }
    alive.drain().await;
}

#[tokio::test]
async fn a_server_that_stops_says_draining_and_closes_with_1012() {
    let server = Server::with(&[("server.drain_secs", "5")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let (mut all, mut one) = (ann.follow(&room).await, bob.one_room(&room, None).await);
    server.process().signal("TERM");
    let ((frames, closed), (messages, closed_one)) = tokio::join!(all.frames_until_closed(), one.frames_until_closed());
    assert_eq!((closed.code, closed_one.code), (1012, 1012));
    assert!(frames.iter().any(|frame| frame["type"] == "draining"), "{frames:?}");
    assert!(messages.is_empty(), "nothing but messages goes to a socket of one room: {messages:?}");
    assert_eq!(server.process().ended().await.code(), Some(0));
}

#[tokio::test]
async fn what_was_acknowledged_before_the_drain_is_there_after_it() {
    let mut server = Server::with(&[("server.drain_secs", "5")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let (mut writer, mut reader) = (ann.socket().await, bob.follow(&room).await);
    for n in 0..200 {
        writer.send(json!({"type": "post", "chat_id": room, "content": "x", "client_id": format!("c{n}")})).await;
    }
    reader.next_event().await;
    server.process().signal("TERM");
    let ((frames, closed), _) = tokio::join!(writer.frames_until_closed(), reader.frames_until_closed());
    assert_eq!(closed.code, 1012);
    assert_eq!(server.process().ended().await.code(), Some(0));
    server.restart().await;
    let log: Vec<_> = log_bytes(&ann, &room).await.iter().map(|text| parse(text)).collect();
    assert_eq!(seqs(&log), (1..=log.len() as u64).collect::<Vec<_>>());
    for (client_id, ack) in acks(&frames) {
        let event = &log[ack["seq"].as_u64().expect("a seq") as usize - 1];
        assert_eq!((&event["client_id"], &event["message_id"]), (&json!(client_id), &ack["message_id"]));
    }
}

#[tokio::test]
async fn a_socket_that_left_a_room_earlier_leaves_nothing_behind() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let (tea, cake) = (ann.group("tea", [&bob]).await, ann.group("cake", [&bob]).await);
    let mut socket = bob.follow(&tea).await;
    socket.follow(&cake).await;
    socket.send(json!({"type": "unsubscribe", "chats": [tea]})).await;
    socket.wait_for("unsubscribed").await;
    socket.close().await;
    for gauge in ["natter_connections", "natter_subscriptions"] {
        until("the socket to be gone", async || server.metric(gauge).await == 0.0).await;
    }
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn what_waits_for_room_to_answer_is_read_once_there_is() {
    let server = Server::with(&[("sockets.outbox_bytes", "20000")]).await;
    let mut socket = server.person("ann").await.socket().await;
    let req = "x".repeat(15_000);
    for n in 0..10 {
        socket.send(json!({"type": "ping", "req": [n, req]})).await;
    }
    for n in 0..10 {
        assert_eq!(socket.wait_for("pong").await["req"][0], n);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_more_than_may_be_in_flight_is_read_on_as_answers_leave() {
    const POSTS: usize = 3_000;
    let server = Server::with(&[("sockets.in_flight", "4"), ("limits.rates", "off")]).await;
    let ann = server.person("ann").await;
    let mut rooms = Vec::new();
    for n in 0..8 {
        rooms.push(ann.group(&format!("room {n}"), []).await);
    }
    let mut socket = ann.socket().await;
    let post =
        |n: usize| json!({"type": "post", "chat_id": rooms[n % 8], "content": "x", "client_id": format!("c{n}")});
    for first in (0..POSTS).step_by(60) {
        wire::send_at_once(&mut socket, (first..first + 60).map(post)).await;
        for _ in 0..60 {
            socket.wait_for("posted").await;
        }
    }
}

#[tokio::test]
async fn a_ping_that_comes_together_with_a_text_is_answered_too() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let mut raw = wire::open(&ann, "/ws").await;
    let ping = wire::frame(9, b"hello");
    raw.write([wire::text(&json!({"type": "ping", "req": "text"})), ping].concat()).await;
    let bytes = raw.through(b"\x8a\x05hello").await;
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains(r#"{"type":"pong","req":"text"}"#), "the text has its answer: {text}");
}

#[tokio::test]
async fn nothing_follows_on_the_close_frame() {
    let server = Server::with(&[("sockets.close_secs", "1")]).await;
    let (ann, bob) = server.two_people().await;
    // One who never answers the close, and so stays connected for a while.
    let mut raw = wire::open(&bob, "/ws").await;
    bob.revoke().await.ok();
    raw.through(b"\x88\x0d\x11\x31login ended").await;
    ann.group("news for bob", [&bob]).await;
    assert_eq!(raw.rest().await.escape_ascii().to_string(), "");
}

/// Nobody is pinged, so that nothing but the end itself tells the server of it.
#[tokio::test]
async fn who_says_something_with_the_handshake_and_hangs_up_leaves_nothing_behind() {
    const CLIENTS: usize = 50;
    let server = Server::with(&[
        ("sockets.ping_secs", "3600"),
        ("sockets.connections_per_user", "50"),
        ("limits.rates", "off"),
        ("presence.ttl_secs", "1"),
    ])
    .await;
    let (ann, bob) = server.two_people().await;
    let room = ann.group("tea", [&bob]).await;
    for path in ["/ws".to_owned(), format!("/ws/chat/{room}")] {
        for stays in [true, false] {
            let text = if path == "/ws" { json!({"type": "ping"}) } else { json!({"message": "hello"}) };
            let bytes = [wire::handshake(&bob.reach, &path, &bob.token).into_bytes(), wire::text(&text)].concat();
            let clients = (0..CLIENTS).map(async |_| {
                let mut raw = bob.reach.raw().await;
                raw.write(&bytes).await;
                raw.stream.shutdown().await.expect("a connection");
                if stays {
                    raw.rest().await;
                }
            });
            futures_util::future::join_all(clients).await;
            for gauge in ["natter_connections", "natter_users_online"] {
                until("them to be gone", async || server.metric(gauge).await == 0.0).await;
            }
        }
    }
    // All of bob's places are free again.
    let mut sockets = Vec::new();
    for _ in 0..CLIENTS {
        sockets.push(bob.socket().await);
    }
    sockets[0].drain().await;
}
