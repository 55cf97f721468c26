//! History: the same log from both ends, page by page, byte for byte.

use serde_json::{Value, json};

use crate::harness::{Person, Server, seqs};

/// A group of two with `count` messages and a rename after every tenth.
async fn long_room(ann: &Person, bob: &Person, count: usize) -> String {
    let room = ann.group("long", [bob]).await;
    for number in 1..=count {
        ann.post(&room, &format!("message {number}")).await;
        if number % 10 == 0 {
            ann.rename(&room, &format!("long {number}")).await.ok();
        }
    }
    room
}

/// Walks with `next_before` from the end, or with `next_after` from the start, and gives all in ascending order.
async fn walk(person: &Person, path: &str, list: &str, back: bool, limit: usize) -> Vec<Value> {
    let mut all = Vec::new();
    let mut query = if back { String::new() } else { "&after=0".to_owned() };
    loop {
        let page = person.get(&format!("{path}?limit={limit}{query}")).await.ok();
        let part = page[list].as_array().unwrap_or_else(|| panic!("no {list} in {page}")).clone();
        assert!(part.len() <= limit);
        assert!(seqs(&part).is_sorted_by(|a, b| a < b), "ascending: {page}");
        let next = if back { &page["next_before"] } else { &page["next_after"] };
        match back {
            true => all = [part, all].concat(),
            false => all.extend(part),
        }
        match next.as_u64() {
            Some(seq) => query = format!("&{}={seq}", if back { "before" } else { "after" }),
            None => return all,
        }
    }
}

fn contents(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["content"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn history_is_the_same_from_both_ends_without_gap_or_repeat() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = long_room(&ann, &bob, 230).await;
    let path = format!("/chat/{room}");
    let expected: Vec<String> = (1..=230).map(|number| format!("message {number}")).collect();
    for limit in [37, 230, 500] {
        let (forward, back) =
            (walk(&bob, &path, "messages", false, limit).await, walk(&bob, &path, "messages", true, limit).await);
        assert_eq!(contents(&forward), expected, "limit {limit}");
        assert_eq!(back, forward, "limit {limit}");
    }
}

#[tokio::test]
async fn pages_of_one_walk_the_whole_room() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = long_room(&ann, &bob, 25).await;
    let path = format!("/chat/{room}");
    let forward = walk(&bob, &path, "messages", false, 1).await;
    assert_eq!(forward.len(), 25);
    assert_eq!(walk(&bob, &path, "messages", true, 1).await, forward);
}

#[tokio::test]
async fn events_are_dense_from_both_ends() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = long_room(&ann, &bob, 100).await;
    let path = format!("/chat/{room}/events");
    let forward = walk(&bob, &path, "events", false, 17).await;
    assert_eq!(seqs(&forward), (1..=113).collect::<Vec<u64>>(), "name, two members, 100 messages, 10 renames");
    assert_eq!(walk(&bob, &path, "events", true, 17).await, forward);
}

#[tokio::test]
async fn without_a_cursor_the_latest_fifty_come() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = long_room(&ann, &bob, 60).await;
    let page = bob.history(&room, "").await;
    let messages = page["messages"].as_array().unwrap();
    let expected: Vec<String> = (11..=60).map(|number| format!("message {number}")).collect();
    assert_eq!(contents(messages), expected);
    assert_eq!(page["next_after"], Value::Null);
    assert_eq!(page["head_seq"], bob.head(&room).await);
    let older = bob.history(&room, &format!("?before={}", page["next_before"])).await;
    assert_eq!(contents(older["messages"].as_array().unwrap()).last(), Some(&"message 10"));
}

#[tokio::test]
async fn no_page_has_more_than_500() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut socket = ann.socket().await;
    for number in 0..510 {
        socket.post(&room, "x", &number.to_string()).await;
    }
    for list in ["messages", "events"] {
        let path = if list == "events" { "/events" } else { "" };
        let answer = ann.get(&format!("/chat/{room}{path}?limit=100000")).await;
        match answer.status {
            422 => drop(answer.refused(422)),
            _ => assert_eq!(answer.ok()[list].as_array().map(Vec::len), Some(500)),
        }
    }
}

#[tokio::test]
async fn a_cursor_at_or_past_the_end_gives_an_empty_page() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = long_room(&ann, &bob, 5).await;
    let head = ann.head(&room).await;
    for after in [head, head + 1_000_000_000] {
        let page = ann.history(&room, &format!("?after={after}")).await;
        assert_eq!((&page["messages"], &page["next_after"]), (&json!([]), &Value::Null));
        assert_eq!(page["head_seq"], head);
    }
    for before in [0, 1] {
        let page = ann.history(&room, &format!("?before={before}")).await;
        assert_eq!((&page["messages"], &page["next_before"]), (&json!([]), &Value::Null));
    }
}

#[tokio::test]
async fn history_events_replay_and_live_give_the_same_bytes() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.group("bytes \"quoted\" é 🫖", [&bob]).await;
    let epoch = ann.history(&room, "").await["epoch"].as_str().unwrap().to_owned();
    let mut live = bob.follow(&room).await;
    let texts = ["plain", "é 🫖 \u{2028} \u{7f} \u{1}", "\"\\/\n\t<>&"];
    for (number, text) in texts.iter().enumerate() {
        ann.post_once(&room, text, &format!("c{number}")).await;
    }
    ann.rename(&room, "renamed").await.ok();
    let mut replay = ann.socket().await;
    replay.resume(&room, 3, &epoch).await;
    let mut one_room = bob.one_room(&room, Some(0)).await;
    let history = ann.get(&format!("/chat/{room}")).await;
    let events = ann.get(&format!("/chat/{room}/events")).await;
    for number in 0..=texts.len() {
        let frame = live.next_event_text().await;
        assert_eq!(replay.next_event_text().await, frame);
        assert!(events.text().contains(&frame), "{frame} in {}", events.text());
        if number < texts.len() {
            assert_eq!(one_room.next_text().await, frame);
            assert!(history.text().contains(&frame), "{frame} in {}", history.text());
        }
    }
}

#[tokio::test]
async fn the_epoch_is_one_everywhere_and_outlives_a_restart() {
    let mut server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let epoch = ann.history(&room, "").await["epoch"].clone();
    assert!(epoch.is_string(), "{epoch}");
    assert_eq!(bob.events(&room, "").await["epoch"], epoch);
    assert_eq!(bob.socket().await.follow(&room).await["epoch"], epoch);
    server.restart().await;
    assert_eq!(ann.history(&room, "").await["epoch"], epoch);
}

#[tokio::test]
async fn a_room_that_left_memory_reads_and_goes_on_as_before() {
    let server = Server::with(&[("rooms.live", "2"), ("rooms.idle_secs", "1"), ("rooms.ring_events", "4")]).await;
    let (ann, bob) = server.two_people().await;
    let room = long_room(&ann, &bob, 12).await;
    for number in 0..4 {
        let other = ann.group(&format!("other {number}"), []).await;
        ann.post(&other, "x").await;
    }
    let head = bob.head(&room).await;
    assert_eq!(ann.post(&room, "and on").await.seq, head + 1);
    let all = walk(&bob, &format!("/chat/{room}/events"), "events", false, 5).await;
    assert_eq!(seqs(&all), (1..=head + 1).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_page_ends_early_rather_than_be_too_long() {
    let server = Server::with(&[("limits.page_bytes", "3000")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    for _ in 0..12 {
        ann.post(&room, &"x".repeat(900)).await;
    }
    let huge = ann.post(&room, &"x".repeat(3_500)).await;
    let page = bob.history(&room, "").await;
    assert_eq!(seqs(page["messages"].as_array().unwrap()), [huge.seq], "at least one, however long");
    let path = format!("/chat/{room}");
    for back in [true, false] {
        let all = walk(&bob, &path, "messages", back, 50).await;
        assert_eq!(seqs(&all), (3..=15).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_and_its_head_are_of_one_moment() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.group("busy", [&bob]).await;
    let writing = tokio::spawn({
        let (mut socket, room) = (ann.socket().await, room.clone());
        async move {
            for number in 0..60 {
                // Ten at once, so that reading a page never falls between two commits by chance alone.
                for part in 0..10 {
                    let client_id = format!("{number} {part}");
                    socket.send(json!({"type": "post", "chat_id": room, "content": "…", "client_id": client_id})).await;
                }
                for _ in 0..10 {
                    socket.wait_for("posted").await;
                }
            }
        }
    });
    let mut looks = 0;
    while !writing.is_finished() {
        for (path, list) in [(format!("/chat/{room}?limit=5"), "messages"), (format!("/chat/{room}/events"), "events")]
        {
            let page = bob.get(&path).await.ok();
            let last = seqs(page[list].as_array().expect("a list")).last().copied();
            // Nothing but messages follows the three events that a group begins with.
            assert!(last.is_none_or(|last| last == page["head_seq"]), "{page}");
            looks += 1;
        }
    }
    writing.await.expect("everything was taken");
    assert!(looks > 10, "it was looked at while somebody wrote");
}
