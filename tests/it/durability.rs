//! What was acknowledged stays, whatever becomes of the process or the disk.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, task::JoinSet};

use crate::{
    harness::{Person, Server, Socket, in_time},
    readers::{Dice, acks, assert_dense, assert_error, log_bytes, message_bytes, parse},
    wire,
};

/// What a message with this client_id says: long enough that half of it would be noticed.
fn content_of(client_id: &str) -> String {
    format!("{client_id} {}", client_id.repeat(40))
}

/// Sends posts `{name}-0`, `{name}-1`, … without waiting for answers, until the connection ends; gives what was answered.
async fn storm(mut socket: Socket, room: String, name: String, posts: usize) -> Vec<Value> {
    for n in 0..posts {
        let client_id = format!("{name}-{n}");
        let post = json!({"type": "post", "chat_id": room, "content": content_of(&client_id), "client_id": client_id});
        if in_time("the server to read or end", socket.stream().write_all(&wire::text(&post))).await.is_err() {
            break;
        }
    }
    socket.frames_until_closed().await.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_a_write_storm_loses_nothing_that_was_acknowledged_again_and_again_on_the_same_data() {
    const POSTS: usize = 600;
    const ROUNDS: usize = 10;
    // With others it is carried out again in tests/kills.
    let seed = std::env::var("NATTER_TEST_KILLS_SEED").map_or(9, |seed| seed.parse().expect("a number"));
    let mut server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut dice = Dice::new(seed);
    let mut acknowledged = BTreeMap::<String, Value>::new();
    let mut seen = Vec::<String>::new();
    for round in 0..ROUNDS {
        let mut reader = bob.follow(&room).await;
        let writers = [ann.socket().await, bob.socket().await, ann.socket().await, bob.socket().await];
        let mut writing = JoinSet::new();
        for (number, writer) in writers.into_iter().enumerate() {
            writing.spawn(storm(writer, room.clone(), format!("r{round}w{number}"), POSTS));
        }
        for _ in 0..1 + dice.below(400) {
            seen.push(reader.next_event_text().await);
        }
        server.kill().await;
        for frames in writing.join_all().await {
            acknowledged.extend(acks(&frames));
        }
        // Half of the recoveries are killed in their midst; the tables of one round fill while it writes, those of the next do
        // not.
        if dice.below(2) == 0 {
            server.start_and_kill_within(Duration::from_millis(dice.below(40))).await;
        }
        server.cli(&["verify"]).await.ok();
        let unsettled = ["67108864", "30000", "300000"][round % 3];
        server.restart_with("store.unsettled_bytes", unsettled).await;

        let log = log_bytes(&ann, &room).await;
        assert_dense(&log, 1);
        let events: Vec<Value> = log.iter().map(|text| parse(text)).collect();
        let mut by_client_id = BTreeMap::new();
        for message in events.iter().filter(|event| event["type"] == "message") {
            let client_id = message["client_id"].as_str().expect("a client_id");
            assert_eq!(message["content"], content_of(client_id), "a message that is not whole");
            assert!(by_client_id.insert(client_id, message).is_none(), "{client_id} is there twice");
        }
        for (client_id, ack) in &acknowledged {
            let Some(message) = by_client_id.get(client_id.as_str()) else {
                panic!("{client_id} was acknowledged: {ack}")
            };
            for field in ["seq", "message_id", "sent_at"] {
                assert_eq!(message[field], ack[field], "{client_id}");
            }
        }
        for text in &seen {
            let seq = parse(text)["seq"].as_u64().expect("a seq");
            assert_eq!(&log[seq as usize - 1], text, "somebody saw it before the kill");
        }
    }
    assert!(!acknowledged.is_empty());
    assert!(acknowledged.len() < ROUNDS * 4 * POSTS, "every post was answered: the kills came after the storms");
}

#[tokio::test]
async fn a_restart_changes_nothing_that_can_be_asked() {
    let mut server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let eve = server.person("eve").await;
    let (private, group) = (ann.private(&bob).await, ann.group("tea", [&bob]).await);
    ann.invite_as(&eve, &group, "reader").await.ok();
    for n in 0..30 {
        bob.post(&private, &format!("private {n}")).await;
        ann.post_once(&group, &format!("group {n}"), &format!("c{n}")).await;
    }
    ann.rename(&group, "coffee").await.ok();
    let seq = ann.head(&private).await - 5;
    ann.mark_read(&private, seq).await;
    let state = async || {
        let mut state = Vec::new();
        for person in [&ann, &bob, &eve] {
            state.push(person.me().await);
            state.push(person.my_chats("").await);
        }
        for room in [&private, &group] {
            state.push(ann.history(room, "").await);
            state.push(ann.events(room, "?after=0").await);
            state.push(ann.members(room).await.ok());
        }
        state
    };
    let before = state().await;
    for sudden in [false, true] {
        if sudden {
            server.kill().await;
        }
        server.restart().await;
        assert_eq!(state().await, before);
    }
    assert_eq!(before[6]["epoch"], before[7]["epoch"]);
}

#[tokio::test]
async fn a_cursor_from_before_a_restart_is_good_after_it() {
    let mut server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut socket = bob.socket().await;
    let given = socket.follow(&room).await;
    let (since, epoch) = (given["head"].as_u64().expect("a head"), given["epoch"].as_str().expect("an epoch"));
    ann.post(&room, "missed").await;
    server.kill().await;
    server.restart().await;
    let mut again = bob.socket().await;
    let resumed = again.resume(&room, since, epoch).await;
    assert_eq!((&resumed["lossless"], &resumed["epoch"]), (&json!(true), &json!(epoch)));
    assert_eq!(again.next_event().await["content"], "missed");
    let posted = ann.post(&room, "and on").await;
    assert_eq!(posted.seq, since + 2);
    assert_eq!(again.next_event().await["content"], "and on");
}

/// Posts over HTTP until one is not taken; gives the number of those that were, and checks the refusal.
async fn fill_up(person: &Person, room: &str) -> usize {
    for taken in 0..10_000 {
        let client_id = format!("fill-{taken}");
        let body = json!({"message": "x".repeat(4_000), "client_id": client_id});
        let answer = person.try_post(room, &body).await;
        if answer.status != 200 {
            answer.refused(503);
            return taken;
        }
    }
    panic!("40 MB went into a store of one");
}

async fn post_over(socket: &mut Socket, room: &str, client_id: &str) -> Value {
    let frame = json!({"type": "post", "chat_id": room, "content": "x".repeat(4_000), "client_id": client_id});
    socket.ask(frame).await
}

#[tokio::test]
async fn a_full_disk_refuses_posts_keeps_sockets_and_loses_nothing() {
    let mut server = Server::with(&[("store.max_bytes", "1000000"), ("rooms.post_secs", "3")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let start = ann.head(&room).await;
    let (mut writer, mut reader) = (ann.socket().await, bob.follow(&room).await);
    let taken = fill_up(&ann, &room).await;
    assert!(taken > 10, "{taken} posts fitted");
    assert_error(&post_over(&mut writer, &room, "too much").await);
    ann.try_post(&room, &json!({"message": "x".repeat(4_000)})).await.refused(503);

    assert_eq!(reader.next_events(taken).await.len(), taken);
    assert!(reader.drain().await.iter().all(|frame| frame["type"] != "message"));
    writer.drain().await;
    let log = log_bytes(&bob, &room).await;
    assert_dense(&log, 1);
    assert_eq!(log.len() as u64, start + taken as u64);
    server.reach.get("/healthz").await.ok();

    server.restart_with("store.max_bytes", "0").await;
    assert_eq!(log_bytes(&bob, &room).await, log);
    let mut writer = ann.socket().await;
    let retried = post_over(&mut writer, &room, "too much").await;
    assert_eq!((&retried["type"], &retried["duplicate"]), (&json!("posted"), &json!(false)));
    assert_eq!(retried["seq"], log.len() as u64 + 1);
    assert_eq!(message_bytes(&ann, &room).await.len(), taken + 1);
}
