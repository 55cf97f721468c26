//! The room's log: one dense order for everyone, the same bytes everywhere, each message once, and no gap between what is
//! replayed and what is live.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    harness::{Person, Posted, Server, seqs},
    readers::{Dice, acks, assert_dense, events_to, log_bytes, message_bytes, parse, seq_of, try_post},
};

/// `count` people, `name0`, `name1`, ….
async fn people(server: &Server, name: &str, count: usize) -> Vec<Person> {
    let mut people = Vec::new();
    for number in 0..count {
        people.push(server.person(&format!("{name}{number}")).await);
    }
    people
}

/// Posts `count` messages over a socket, all sent before an answer is read; gives the answers by client_id.
async fn pipeline(person: &Person, room: &str, count: usize) -> BTreeMap<String, Value> {
    let mut socket = person.socket().await;
    for n in 0..count {
        let (content, client_id) = (format!("{} {n}", person.username), format!("c{n}"));
        socket.send(json!({"type": "post", "chat_id": room, "content": content, "client_id": client_id})).await;
    }
    let mut answers = Vec::new();
    while answers.len() < count {
        answers.push(socket.expect("posted").await);
    }
    acks(&answers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_writers_and_five_readers_see_one_dense_order_equal_to_history_byte_for_byte() {
    const POSTS: u64 = 300;
    let server = Server::start().await;
    let (writers, readers) = (people(&server, "writer", 8).await, people(&server, "reader", 5).await);
    let room = writers[0].group("storm", writers[1..].iter().chain(&readers)).await;
    let start = writers[0].head(&room).await;
    let end = start + POSTS * writers.len() as u64;

    let mut reading = JoinSet::new();
    for reader in &readers {
        let mut socket = reader.follow(&room).await;
        reading.spawn(async move { events_to(&mut socket, end).await });
    }
    let mut one_room = readers[0].one_room(&room, None).await;
    reading.spawn(async move {
        let mut messages = Vec::<String>::new();
        while messages.last().is_none_or(|text| seq_of(text) < end) {
            messages.push(one_room.next_text().await);
        }
        messages
    });
    let mut writing = JoinSet::new();
    for (number, writer) in writers.iter().cloned().enumerate() {
        let room = room.clone();
        writing.spawn(async move {
            match number % 2 {
                0 => drop(pipeline(&writer, &room, POSTS as usize).await),
                _ => {
                    for n in 0..POSTS {
                        writer.post(&room, &format!("{} {n}", writer.username)).await;
                    }
                }
            }
        });
    }
    writing.join_all().await;
    let log = log_bytes(&writers[0], &room).await;
    assert_dense(&log, 1);
    let news = &log[start as usize..];
    assert_eq!(news.len() as u64, end - start);
    assert_eq!(message_bytes(&readers[0], &room).await, news, "messages in the history and in the log");
    for seen in reading.join_all().await {
        assert!(seen == news, "a reader saw something else than the log");
    }
    for writer in &writers {
        let own = news.iter().map(|text| parse(text)).filter(|message| message["sender"] == *writer.username);
        let said: Vec<String> = own.map(|message| message["content"].as_str().expect("content").to_owned()).collect();
        let expected: Vec<String> = (0..POSTS).map(|n| format!("{} {n}", writer.username)).collect();
        assert_eq!(said, expected, "one sender's posts keep their order");
    }
}

#[tokio::test]
async fn two_hundred_posts_sent_at_once_on_one_socket_keep_their_order_and_are_all_acknowledged() {
    let server = Server::with(&[("sockets.in_flight", "16")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut reader = bob.follow(&room).await;
    let start = ann.head(&room).await;
    let answers = pipeline(&ann, &room, 200).await;
    assert_eq!(answers.len(), 200);
    for (event, n) in events_to(&mut reader, start + 200).await.iter().map(|text| parse(text)).zip(0..) {
        assert_eq!(event["content"], format!("ann {n}"));
        assert_eq!(event["seq"], start + 1 + n);
        let ack = &answers[&format!("c{n}")];
        assert_eq!((&ack["seq"], &ack["message_id"]), (&event["seq"], &event["message_id"]));
    }
}

const ONCE: &str = "said once";

/// `count` posts of one message at once, every second one over a socket; gives the acknowledgements of those that got one.
/// `at_first_ack` runs when the first has come.
async fn retries(person: &Person, room: &str, count: usize, at_first_ack: impl AsyncFnOnce()) -> Vec<Posted> {
    let mut posting = JoinSet::new();
    for number in 0..count {
        let (person, room) = (person.clone(), room.to_owned());
        if number % 2 == 0 {
            let body = json!({"message": ONCE, "client_id": "the one"});
            posting.spawn(async move { try_post(&person, &room, &body).await });
        } else {
            let mut socket = person.socket().await;
            socket.send(json!({"type": "post", "chat_id": room, "content": ONCE, "client_id": "the one"})).await;
            posting.spawn(async move {
                while let Ok(text) = socket.try_next().await {
                    let answer = parse(&text);
                    if answer["type"] == "posted" {
                        return Some(answer);
                    }
                }
                None
            });
        }
    }
    let (mut acks, mut at_first_ack) = (Vec::new(), Some(at_first_ack));
    while let Some(done) = posting.join_next().await {
        acks.extend(done.expect("a retry that did not panic").iter().map(Posted::of));
        if let Some(act) = at_first_ack.take_if(|_| !acks.is_empty()) {
            act().await;
        }
    }
    acks
}

/// Everyone was told the same message, at most one of them that it is new, and it stands in the log once.
async fn assert_one_message(person: &Person, room: &str, acks: &[Posted]) {
    let messages = message_bytes(person, room).await;
    let once: Vec<Value> =
        messages.iter().map(|text| parse(text)).filter(|message| message["content"] == ONCE).collect();
    assert_eq!(once.len(), 1);
    let the_one = &once[0];
    for ack in acks {
        assert_eq!((&json!(ack.message_id), &json!(ack.seq)), (&the_one["message_id"], &the_one["seq"]));
        assert_eq!(json!(ack.sent_at), the_one["sent_at"]);
    }
    assert!(acks.iter().filter(|ack| !ack.duplicate).count() <= 1);
}

#[tokio::test]
async fn fifty_retries_of_one_client_id_at_once_make_one_message() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let acks = retries(&ann, &room, 50, async || ()).await;
    assert_eq!(acks.len(), 50);
    assert_eq!(acks.iter().filter(|ack| !ack.duplicate).count(), 1);
    assert_one_message(&ann, &room, &acks).await;
}

#[tokio::test]
async fn a_client_id_is_one_message_across_a_kill_and_a_restart_too() {
    let mut server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut acks = retries(&ann, &room, 50, async || server.kill().await).await;
    assert!(!acks.is_empty());
    server.restart().await;
    let again = retries(&ann, &room, 50, async || ()).await;
    assert_eq!(again.len(), 50);
    assert!(again.iter().all(|ack| ack.duplicate), "the message was acknowledged before the kill");
    acks.extend(again);
    assert_one_message(&ann, &room, &acks).await;
}

#[tokio::test]
async fn the_same_client_id_of_another_sender_or_in_another_room_is_another_message() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let (room, other) = (ann.private(&bob).await, ann.group("tea", [&bob]).await);
    let acks = [
        ann.post_once(&room, "x", "c").await,
        bob.post_once(&room, "x", "c").await,
        ann.post_once(&other, "x", "c").await,
    ];
    let ids: BTreeSet<&str> = acks.iter().map(|ack| ack.message_id.as_str()).collect();
    assert_eq!(ids.len(), 3);
    assert!(acks.iter().all(|ack| !ack.duplicate));
}

/// One writer posts `posts` messages while `joining` comes and goes.
async fn while_posting(writer: &Person, room: &str, posts: usize, joining: impl Future<Output = ()>) {
    let posting = async {
        for n in 0..posts {
            writer.post(room, &format!("post {n}")).await;
        }
    };
    tokio::join!(posting, joining);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_no_gap_between_replay_and_live_while_somebody_writes() {
    let server = Server::with(&[("rooms.ring_events", "64"), ("sockets.replay_events", "20")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let epoch = ann.history(&room, "").await["epoch"].as_str().expect("an epoch").to_owned();
    let mut writing = JoinSet::new();
    for writer in [&ann, &bob, &ann, &bob] {
        let (writer, room) = (writer.clone(), room.clone());
        writing.spawn(async move {
            loop {
                writer.post(&room, "and on").await;
            }
        });
    }
    let mut dice = Dice::new(41);
    for _ in 0..60 {
        let head = bob.head(&room).await;
        let since = dice.below(head + 1);
        let mut socket = bob.socket().await;
        let given = socket.resume(&room, since, &epoch).await;
        assert_eq!((&given["since"], &given["lossless"]), (&json!(since), &json!(true)));
        assert_dense(&events_to(&mut socket, head + 40).await, since + 1);
    }
    writing.shutdown().await;
    assert_replayed(&server).await;
}

/// Something was read from the store for a reader who was behind the ring.
async fn assert_replayed(server: &Server) {
    assert!(server.metric("natter_replayed_events_total").await > 0.0, "everything came from the ring");
}

#[tokio::test]
async fn a_reader_far_behind_the_ring_gets_the_log_from_the_store_byte_for_byte() {
    let server = Server::with(&[("rooms.ring_events", "16"), ("sockets.replay_events", "7")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    pipeline(&ann, &room, 500).await;
    let log = log_bytes(&ann, &room).await;
    let head = log.len() as u64;
    let epoch = ann.history(&room, "").await["epoch"].as_str().expect("an epoch").to_owned();
    for since in [0, 1, 250, head - 17, head - 16, head - 15, head - 1] {
        let mut socket = bob.socket().await;
        assert_eq!(socket.resume(&room, since, &epoch).await["lossless"], true);
        assert_eq!(events_to(&mut socket, head).await, log[since as usize..], "since {since}");
    }
    let mut one_room = bob.one_room(&room, Some(0)).await;
    for message in message_bytes(&ann, &room).await {
        assert_eq!(one_room.next_text().await, message);
    }
    assert_replayed(&server).await;
}

#[tokio::test]
async fn a_reader_behind_the_ring_meets_a_writer_without_a_gap() {
    let server = Server::with(&[("rooms.ring_events", "16"), ("sockets.replay_events", "10")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    pipeline(&ann, &room, 300).await;
    let epoch = ann.history(&room, "").await["epoch"].as_str().expect("an epoch").to_owned();
    let end = ann.head(&room).await + 200;
    let reading = async {
        for since in [0, 100, 290] {
            let mut socket = bob.socket().await;
            socket.resume(&room, since, &epoch).await;
            assert_dense(&events_to(&mut socket, end).await, since + 1);
        }
    };
    while_posting(&ann, &room, 200, reading).await;
    assert_replayed(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_readers_who_disconnect_five_hundred_times_see_every_seq_exactly_once() {
    const READERS: usize = 20;
    const VISITS: usize = 25;
    let server = Server::with(&[("rooms.ring_events", "32")]).await;
    let (ann, bob) = server.two_people().await;
    let readers = people(&server, "reader", READERS).await;
    let room = ann.group("station", readers.iter().chain([&bob])).await;
    let epoch = ann.history(&room, "").await["epoch"].as_str().expect("an epoch").to_owned();
    let mut visiting = JoinSet::new();
    for (number, reader) in readers.into_iter().enumerate() {
        let (room, epoch) = (room.clone(), epoch.clone());
        let mut dice = Dice::new(number as u64 + 1);
        visiting.spawn(async move {
            let mut seen: Vec<String> = Vec::new();
            for visit in 0..VISITS {
                let mut socket = reader.socket().await;
                socket.resume(&room, seen.len() as u64, &epoch).await;
                let target = seen.len() as u64 + 1 + dice.below(12);
                seen.extend(events_to(&mut socket, target).await);
                match visit % 3 {
                    0 => drop(socket.close().await),
                    // Without a word: the connection just ends, with frames unread.
                    _ => drop(socket),
                }
            }
            seen
        });
    }
    let writing = async {
        for n in 0.. {
            bob.post(&room, &format!("train {n}")).await;
        }
    };
    let seen = tokio::select! {
        seen = visiting.join_all() => seen,
        () = writing => unreachable!("it writes for ever"),
    };
    let log = log_bytes(&ann, &room).await;
    for seen in seen {
        assert_dense(&seen, 1);
        assert!(seen == log[..seen.len()], "a reader saw something else than the log");
    }
}

#[tokio::test]
async fn events_of_every_type_pass_the_same_way() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let eve = server.person("eve").await;
    let room = ann.group("tea", [&bob]).await;
    let mut live = bob.follow(&room).await;
    let start = ann.head(&room).await;
    ann.post(&room, "a message").await;
    ann.invite_as(&eve, &room, "reader").await.ok();
    ann.set_role(&eve, &room, "moderator").await.ok();
    ann.rename(&room, "coffee").await.ok();
    ann.remove(&eve, &room).await.ok();
    ann.invite(&eve, &room).await.ok();
    eve.leave(&room).await.ok();
    let log = log_bytes(&ann, &room).await;
    assert_dense(&log, 1);
    let head = log.len() as u64;
    assert_eq!(events_to(&mut live, head).await, log[start as usize..], "live");
    let epoch = ann.history(&room, "").await["epoch"].as_str().expect("an epoch").to_owned();
    let mut replayed = bob.socket().await;
    replayed.resume(&room, 0, &epoch).await;
    assert_eq!(events_to(&mut replayed, head).await, log, "replayed");

    let events: Vec<Value> = log.iter().map(|text| parse(text)).collect();
    for event in &events {
        assert_eq!(event["chat_id"], room.as_str());
        let sent_at = event["sent_at"].as_str().expect("a sent_at");
        assert!(sent_at.len() == 24 && sent_at.ends_with('Z'), "{sent_at}");
    }
    let told: Vec<[&Value; 4]> = events[start as usize..]
        .iter()
        .map(|event| ["type", "change", "username", "role"].map(|field| &event[field]))
        .collect();
    let (none, member, eve) = (Value::Null, json!("member"), json!("eve"));
    assert_eq!(told[0], [&json!("message"), &none, &none, &none]);
    assert_eq!(told[1], [&member, &json!("added"), &eve, &json!("reader")]);
    assert_eq!(told[2], [&member, &json!("role"), &eve, &json!("moderator")]);
    assert_eq!(told[3], [&json!("chat"), &none, &none, &none]);
    assert_eq!(told[4][..3], [&member, &json!("removed"), &eve]);
    assert_eq!(told[5], [&member, &json!("added"), &eve, &member]);
    assert_eq!(told[6][..3], [&member, &json!("left"), &eve]);
    assert_eq!(events[start as usize + 3]["name"], "coffee");
    assert_eq!(seqs(&events), (1..=head).collect::<Vec<_>>());
}

#[tokio::test]
async fn rooms_do_not_mix_and_each_counts_for_itself() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let mut rooms = Vec::new();
    for number in 0..20 {
        rooms.push(ann.group(&format!("room {number}"), [&bob]).await);
    }
    let mut socket = bob.socket().await;
    assert_eq!(socket.ask(json!({"type": "subscribe", "all": true})).await["type"], "subscribed");
    let mut posting = JoinSet::new();
    for room in rooms.clone() {
        let ann = ann.clone();
        posting.spawn(async move {
            for n in 0..20 {
                ann.post(&room, &format!("{n}")).await;
            }
        });
    }
    let mut by_room = BTreeMap::<String, Vec<Value>>::new();
    for _ in 0..20 * 20 {
        let event = socket.next_event().await;
        by_room.entry(event["chat_id"].as_str().expect("a room").to_owned()).or_default().push(event);
    }
    posting.join_all().await;
    for room in &rooms {
        let expected: Vec<u64> = (4..24).collect();
        assert_eq!(seqs(&by_room[room]), expected, "after the chat event and two members");
    }
}
