//! `subscribe` and `unsubscribe`: from where a room is followed, and what stands in the answer.

use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, task::JoinSet};

use crate::{
    harness::{Person, Server, Socket, in_time, seqs},
    readers::{assert_dense, assert_error, assert_not_subscribed, events_to, log_bytes, parse},
    wire,
};

async fn epoch(person: &Person, room: &str) -> String {
    person.history(room, "").await["epoch"].as_str().expect("an epoch").to_owned()
}

async fn room_with_posts(ann: &Person, bob: &Person, posts: usize) -> (String, u64) {
    let room = ann.group("tea", [bob]).await;
    for post in 0..posts {
        ann.post(&room, &format!("post {post}")).await;
    }
    let head = ann.head(&room).await;
    (room, head)
}

/// What the server promises after `subscribed`: the next event is the one after `since`, and it goes on without a gap.
async fn goes_on_after(socket: &mut Socket, ann: &Person, room: &str, given: &Value) {
    let since = given["since"].as_u64().expect("a since");
    let last = ann.post(room, "and on").await.seq;
    let events = events_to(socket, last).await;
    assert_dense(&events, since + 1);
    assert_eq!(events, log_bytes(ann, room).await[since as usize..]);
}

#[tokio::test]
async fn subscribing_with_null_follows_from_now_on() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let (room, head) = room_with_posts(&ann, &bob, 3).await;
    let mut socket = bob.socket().await;
    let given = socket.follow(&room).await;
    let expected = json!({"head": head, "since": head, "epoch": epoch(&ann, &room).await, "lossless": true});
    assert_eq!(given, expected);
    goes_on_after(&mut socket, &ann, &room, &given).await;
}

#[tokio::test]
async fn subscribing_with_since_gives_everything_after_it_and_then_what_comes() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let (room, head) = room_with_posts(&ann, &bob, 5).await;
    let epoch = epoch(&ann, &room).await;
    for since in [0, 1, 3, head] {
        let mut socket = bob.socket().await;
        let given = socket.resume(&room, since, &epoch).await;
        let now = ann.head(&room).await;
        assert_eq!(given, json!({"head": now, "since": since, "epoch": epoch, "lossless": true}));
        goes_on_after(&mut socket, &ann, &room, &given).await;
    }
}

#[tokio::test]
async fn a_cursor_of_another_epoch_is_not_lossless() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let (room, head) = room_with_posts(&ann, &bob, 3).await;
    let mut socket = bob.socket().await;
    let given = socket.resume(&room, 2, "another life").await;
    assert_eq!((&given["lossless"], &given["head"]), (&json!(false), &json!(head)));
    assert_eq!(given["epoch"], epoch(&ann, &room).await);
    goes_on_after(&mut socket, &ann, &room, &given).await;
}

#[tokio::test]
async fn a_cursor_beyond_the_head_is_not_lossless() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let (room, head) = room_with_posts(&ann, &bob, 3).await;
    let epoch = epoch(&ann, &room).await;
    for beyond in [head + 1, head + 1_000, u64::from(u32::MAX) * 8] {
        let mut socket = bob.socket().await;
        let given = socket.resume(&room, beyond, &epoch).await;
        assert_eq!((&given["lossless"], &given["head"]), (&json!(false), &json!(ann.head(&room).await)));
        goes_on_after(&mut socket, &ann, &room, &given).await;
    }
}

#[tokio::test]
async fn all_follows_every_room_of_the_user_and_only_those() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let eve = server.person("eve").await;
    let (room, head) = room_with_posts(&ann, &bob, 2).await;
    let (other, foreign) = (ann.private(&bob).await, ann.private(&eve).await);
    let mut socket = bob.socket().await;
    let cursor = json!({"since": 1, "epoch": epoch(&ann, &room).await});
    let answer = socket.ask(json!({"type": "subscribe", "all": true, "since": {&room: cursor}})).await;
    assert_eq!(answer["type"], "subscribed", "{answer}");
    let chats = answer["chats"].as_object().expect("chats");
    assert_eq!(chats.len(), 2, "{answer}");
    assert!(!chats.contains_key(&foreign));
    assert_eq!((&chats[&room]["since"], &chats[&room]["lossless"]), (&json!(1), &json!(true)));
    assert_eq!(chats[&other]["since"], ann.head(&other).await);
    let replayed = events_to(&mut socket, head).await;
    assert_dense(&replayed, 2);
    ann.post(&foreign, "not for bob").await;
    ann.post(&other, "for bob").await;
    assert_eq!(socket.next_event().await["content"], "for bob");
}

#[tokio::test]
async fn all_without_since_follows_from_now_on_and_somebody_without_rooms_may_ask() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let (room, head) = room_with_posts(&ann, &bob, 2).await;
    let mut socket = bob.socket().await;
    let answer = socket.ask(json!({"type": "subscribe", "all": true})).await;
    assert_eq!(answer["chats"][&room]["since"], head, "{answer}");
    let mut alone = server.person("eve").await.socket().await;
    let answer = alone.ask(json!({"type": "subscribe", "all": true})).await;
    assert_eq!((&answer["type"], &answer["chats"]), (&json!("subscribed"), &json!({})));
}

#[tokio::test]
async fn rooms_that_are_not_there_and_rooms_of_others_are_refused_alike() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let eve = server.person("eve").await;
    let foreign = ann.private(&bob).await;
    let unknown = "0198c0de-0000-7000-8000-000000000000";
    let mut socket = eve.socket().await;
    let mut answers = Vec::new();
    for room in [foreign.as_str(), unknown] {
        let mut answer = socket.ask(json!({"type": "subscribe", "chats": {room: null}})).await;
        assert_not_subscribed(&answer, room);
        answer["req"] = Value::Null;
        answers.push(answer.to_string().replace(room, "<room>"));
    }
    assert_eq!(answers[0], answers[1], "the answer tells whether a room is there");
    let answer = socket.ask(json!({"type": "subscribe", "chats": {"no-id-at-all": null}})).await;
    assert_not_subscribed(&answer, "no-id-at-all");
    ann.post(&foreign, "not for eve").await;
    assert!(socket.drain().await.iter().all(|frame| frame["type"] != "message"));
}

#[tokio::test]
async fn more_rooms_than_a_socket_may_follow_are_refused_and_the_others_go_on() {
    let server = Server::with(&[("sockets.subscriptions", "2")]).await;
    let (ann, bob) = server.two_people().await;
    let mut rooms = Vec::new();
    for name in ["one", "two", "three"] {
        rooms.push(ann.group(name, [&bob]).await);
    }
    let mut socket = bob.socket().await;
    socket.follow(&rooms[0]).await;
    socket.follow(&rooms[1]).await;
    let answer = socket.ask(json!({"type": "subscribe", "chats": {&rooms[2]: null}})).await;
    assert_not_subscribed(&answer, &rooms[2]);
    for room in &rooms {
        ann.post(room, room).await;
    }
    let heard: Vec<Value> = socket.next_events(2).await;
    assert_eq!((&heard[0]["content"], &heard[1]["content"]), (&json!(rooms[0]), &json!(rooms[1])));
    let answer = socket.ask(json!({"type": "unsubscribe", "chats": [&rooms[0]]})).await;
    assert_eq!(answer["type"], "unsubscribed", "{answer}");
    socket.follow(&rooms[2]).await;
}

#[tokio::test]
async fn following_a_room_twice_gives_each_event_once() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let (room, head) = room_with_posts(&ann, &bob, 1).await;
    let mut socket = bob.follow(&room).await;
    socket.follow(&room).await;
    ann.post(&room, "once").await;
    ann.post(&room, "and once").await;
    assert_eq!(seqs(&socket.next_events(2).await), [head + 1, head + 2]);
    assert!(socket.drain().await.iter().all(|frame| frame["type"] != "message"));
    assert_eq!(server.metric("natter_subscriptions").await, 1.0);
}

#[tokio::test]
async fn unsubscribing_ends_a_rooms_events_and_of_what_was_not_followed_it_is_nothing() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let (tea, _) = room_with_posts(&ann, &bob, 1).await;
    let coffee = ann.group("coffee", [&bob]).await;
    let mut socket = bob.follow(&tea).await;
    socket.follow(&coffee).await;
    let chats = json!([&tea, "0198c0de-0000-7000-8000-000000000000"]);
    let answer = socket.ask(json!({"type": "unsubscribe", "chats": chats})).await;
    assert_eq!(answer["type"], "unsubscribed", "{answer}");
    ann.post(&tea, "unheard").await;
    ann.post(&coffee, "heard").await;
    assert_eq!(socket.next_event().await["content"], "heard");
    assert!(socket.drain().await.iter().all(|frame| frame["type"] != "message"));
    let again = socket.follow(&tea).await;
    goes_on_after(&mut socket, &ann, &tea, &again).await;
}

#[tokio::test]
async fn a_subscription_that_makes_no_sense_is_an_error_and_changes_nothing() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let (room, head) = room_with_posts(&ann, &bob, 1).await;
    let mut socket = bob.follow(&room).await;
    for senseless in [
        json!({"type": "subscribe"}),
        json!({"type": "subscribe", "chats": "tea"}),
        json!({"type": "subscribe", "chats": [&room]}),
        json!({"type": "subscribe", "chats": {&room: {"since": -1}}}),
        json!({"type": "subscribe", "chats": {&room: {"since": "1"}}}),
        json!({"type": "subscribe", "chats": {&room: {"since": 1.5}}}),
        json!({"type": "unsubscribe"}),
        json!({"type": "unsubscribe", "chats": {&room: null}}),
    ] {
        let answer = socket.ask(senseless.clone()).await;
        let in_errors = answer["errors"][&room]["code"].is_string();
        assert!(in_errors || answer["type"] == "error", "{senseless}: {answer}");
        if !in_errors {
            assert_error(&answer);
        }
    }
    ann.post(&room, "still here").await;
    assert_eq!(socket.next_event().await["seq"], head + 1);
}

/// Readers who follow a room's long past from its start again and again, for as long as this is kept. Where one at a time
/// may read from the store, everybody else's replay waits for theirs; and they read much at once, most of it for nothing.
async fn crowd_at_the_store(ann: &Person, bob: &Person) -> JoinSet<()> {
    let room = ann.group("long", [bob]).await;
    for _ in 0..200 {
        ann.post(&room, &"語".repeat(4_000)).await;
    }
    let mut reading = JoinSet::new();
    for _ in 0..8 {
        let mut raw = wire::open(bob, "/ws").await;
        let again = wire::text(&json!({"type": "subscribe", "chats": {&room: {"since": 0}}}));
        reading.spawn(async move {
            let mut most_of_it = vec![0; 2_000_000];
            loop {
                raw.write(&again).await;
                in_time("a long past", raw.stream.read_exact(&mut most_of_it)).await.expect("an open socket");
            }
        });
    }
    reading
}

/// A replay that is under way knows the subscription by its place alone, and the new one has the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_a_room_anew_during_a_replay_gives_neither_gap_nor_repeat() {
    let settings = [("sockets.replays", "1"), ("store.readers", "1"), ("rooms.ring_events", "8")];
    let server = Server::with(&[&settings[..], &[("sockets.replay_events", "100")]].concat()).await;
    let (ann, bob) = server.two_people().await;
    let (room, head) = room_with_posts(&ann, &bob, 120).await;
    let epoch = epoch(&ann, &room).await;
    let _crowd = crowd_at_the_store(&ann, &bob).await;
    let mut during_a_replay = 0;
    for round in 0..30 {
        let (old, new) = [(20, 20), (20, 60), (60, 20)][round % 3];
        let mut chats = json!({&room: {"since": new, "epoch": epoch}});
        // Rooms that nobody has are looked for in the store: for so long the room has begun, and its answer is not out.
        for unknown in 0..200 * (round % 2) {
            chats[format!("ffffffff-0000-7000-8000-{unknown:012}")] = Value::Null;
        }
        let mut socket = bob.socket().await;
        socket.resume(&room, old, &epoch).await;
        socket.send(json!({"type": "subscribe", "chats": chats, "req": "anew"})).await;
        let (mut before, mut answer) = (Vec::new(), Value::Null);
        while answer["req"] != "anew" {
            let text = socket.next_text().await;
            answer = parse(&text);
            if answer["type"] == "message" {
                before.push(text);
            }
        }
        assert_eq!((&answer["type"], &answer["chats"][&room]["since"]), (&json!("subscribed"), &json!(new)));
        assert_dense(&before, old + 1);
        during_a_replay += usize::from(before.is_empty());
        assert_dense(&events_to(&mut socket, head).await, new + 1);
        assert!(socket.drain().await.iter().all(|frame| frame["type"] != "message"));
    }
    assert!(during_a_replay > 0, "every replay was over before the room was followed anew");
}
