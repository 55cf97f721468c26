//! Readers that have stopped reading: nobody else notices, memory stays bounded, and they catch up or are sent away.

use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    harness::{Person, Server, Socket, seqs, until},
    readers::{assert_dense, closes, events_to, log_bytes, seq_of},
};

/// Receive buffer of those who stop reading: small, so that the server feels it soon.
const STALLED_BUFFER: usize = 64 * 1024;
/// As long as a message may be, in characters of three bytes.
const LARGE_BYTES: u64 = 3 * 4_000;

fn large(n: usize) -> String {
    let number = format!("{n} ");
    let rest = 4_000 - number.len();
    number + &"語".repeat(rest)
}

async fn post_large(writer: &Person, room: &str, posts: usize) {
    for n in 0..posts {
        writer.post(room, &large(n)).await;
    }
}

async fn stalled(person: &Person, room: &str) -> Socket {
    let mut socket = person.small_socket(STALLED_BUFFER).await;
    socket.follow(room).await;
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_readers_who_stop_change_nothing_for_others_or_for_memory_and_catch_up_when_they_read_again() {
    const STALLED: u64 = 50;
    const POSTS: usize = 1_200;
    /// Owed to the stalled is more than eight times as much.
    const MAY_GROW_KB: u64 = 80 * 1024;
    const { assert!(STALLED * POSTS as u64 * LARGE_BYTES > 8 * MAY_GROW_KB * 1024) };
    let server = Server::with(&[("sockets.behind_secs", "3600"), ("sockets.ping_secs", "3600")]).await;
    let (ann, bob) = server.two_people().await;
    let eve = server.person("eve").await;
    let room = ann.group("tea", [&bob, &eve]).await;
    let end = ann.head(&room).await + POSTS as u64;
    let mut slow = Vec::new();
    for _ in 0..STALLED {
        slow.push(stalled(&eve, &room).await);
    }
    let mut reading = JoinSet::new();
    for _ in 0..3 {
        let mut socket = bob.follow(&room).await;
        reading.spawn(async move { events_to(&mut socket, end).await });
    }
    let before = server.rss_kb();
    post_large(&ann, &room, POSTS).await;
    let log = log_bytes(&ann, &room).await;
    for seen in reading.join_all().await {
        assert!(seen == log[log.len() - POSTS..], "a live reader saw something else than the log");
    }
    let grown = server.rss_kb().saturating_sub(before);
    assert!(grown < MAY_GROW_KB, "{grown} KB more, for readers who do not read");

    assert_eq!(closes(&server, 1013).await, 0.0);
    for mut socket in slow.drain(..3) {
        assert!(events_to(&mut socket, end).await == log[log.len() - POSTS..], "not what the log says");
    }
}

#[tokio::test]
async fn a_reader_too_far_behind_for_too_long_is_closed_with_1013_and_resumes_without_a_gap() {
    const POSTS: usize = 800;
    let server = Server::with(&[
        ("sockets.behind_bytes", "65536"),
        ("sockets.behind_secs", "1"),
        ("sockets.close_secs", "9"),
        ("sockets.ping_secs", "3600"),
    ])
    .await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut slow = stalled(&bob, &room).await;
    let first = ann.head(&room).await + 1;
    let mut live = bob.follow(&room).await;
    let end = first + POSTS as u64 - 1;
    let writing = tokio::spawn({
        let (ann, room) = (ann.clone(), room.clone());
        async move { post_large(&ann, &room, POSTS).await }
    });
    let seen = events_to(&mut live, end).await;
    writing.await.expect("the writer did not panic");
    assert_dense(&seen, first);

    until("the stalled reader to be given up", async || closes(&server, 1013).await == 1.0).await;
    let (frames, closed) = slow.frames_until_closed().await;
    // 1006 where the connection was cut because the close frame could not be sent either.
    assert!([1013, 1006].contains(&closed.code), "{closed:?}");
    let events: Vec<_> = frames.into_iter().filter(|frame| frame["type"] == "message").collect();
    let got = seqs(&events);
    assert_eq!(got, (first..first + got.len() as u64).collect::<Vec<_>>());
    assert!(got.len() < POSTS, "it was never behind");

    let last = first + got.len() as u64 - 1;
    let mut again = bob.socket().await;
    let epoch = ann.history(&room, "").await["epoch"].as_str().expect("an epoch").to_owned();
    assert_eq!(again.resume(&room, last, &epoch).await["lossless"], true);
    let rest = events_to(&mut again, end).await;
    assert_dense(&rest, last + 1);
    assert_eq!(rest, log_bytes(&ann, &room).await[last as usize..]);
    live.drain().await;
}

#[tokio::test]
async fn a_long_past_may_be_read_slowly_where_a_reader_who_was_level_would_be_closed() {
    /// Each time more than fits into the buffers of a connection.
    const POSTS: usize = 100;
    let server = Server::with(&[
        ("limits.message_chars", "100000"),
        ("limits.body_bytes", "2000000"),
        ("sockets.frame_bytes", "2000000"),
        ("rooms.ring_events", "8"),
        ("sockets.replay_events", "4"),
        ("sockets.behind_secs", "1"),
        ("sockets.ping_secs", "3600"),
    ])
    .await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let epoch = ann.history(&room, "").await["epoch"].as_str().expect("an epoch").to_owned();
    let post_much = async || {
        for _ in 0..POSTS {
            ann.post(&room, &"x".repeat(100_000)).await;
        }
    };
    post_much().await;
    let mut newcomer = bob.small_socket(STALLED_BUFFER).await;
    newcomer.resume(&room, 0, &epoch).await;
    // Behind later than the newcomer, so that when it is closed, the newcomer would have been.
    let mut was_level = stalled(&bob, &room).await;
    post_much().await;
    until("the reader who was level to be given up", async || closes(&server, 1013).await > 0.0).await;
    let replayed = server.metric("natter_replayed_events_total").await;
    assert!(replayed < POSTS as f64, "the newcomer was never behind: {replayed} events went out");

    let head = ann.head(&room).await;
    let events = events_to(&mut newcomer, head).await;
    assert_eq!(events.len() as u64, head);
    assert_dense(&events, 1);
    newcomer.drain().await;
    let closed = was_level.closed().await;
    assert!([1013, 1006].contains(&closed.code), "{closed:?}");
    assert_eq!(closes(&server, 1013).await, 1.0);
}

#[tokio::test]
async fn a_reader_who_pauses_and_goes_on_is_kept_and_misses_nothing() {
    let server = Server::with(&[("sockets.behind_secs", "3600"), ("rooms.ring_events", "8")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut socket = stalled(&bob, &room).await;
    let mut next = ann.head(&room).await + 1;
    for _ in 0..3 {
        post_large(&ann, &room, 300).await;
        let events = events_to(&mut socket, next + 299).await;
        assert_dense(&events, next);
        next += 300;
    }
    socket.drain().await;
}

#[tokio::test]
async fn a_stalled_reader_of_one_room_does_not_hold_up_its_own_posts_elsewhere() {
    let server = Server::with(&[("sockets.behind_secs", "3600")]).await;
    let (ann, bob) = server.two_people().await;
    let (room, other) = (ann.private(&bob).await, ann.group("tea", [&bob]).await);
    let _slow = stalled(&bob, &room).await;
    post_large(&ann, &room, 600).await;
    let mut second = bob.follow(&other).await;
    let posted = second.post(&other, "from the same user", "c").await;
    assert_eq!(seq_of(&second.next_event_text().await), posted.seq);
    assert_eq!(second.ask(json!({"type": "ping"})).await["type"], "pong");
}
