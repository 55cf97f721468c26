//! Rooms: private ones made once, groups, and the list of one's own.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Person, Server, seqs};

fn users(chat: &Value) -> Vec<&str> {
    chat["users"].as_array().unwrap().iter().map(|user| user.as_str().unwrap()).collect()
}

fn ids(page: &Value) -> Vec<String> {
    page["chats"].as_array().unwrap().iter().map(|chat| chat["chat_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn two_people_who_create_their_room_at_once_get_one_room() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let tries = (0..50).map(|number| {
        let (who, other) = if number % 2 == 0 { (&ann, "bob") } else { (&bob, "ann") };
        async move { who.post_json("/chat/new", &json!({"username": other})).await }
    });
    let (mut made, mut rooms) = (0, BTreeSet::new());
    for answer in futures_util::future::join_all(tries).await {
        let room = match answer.status {
            200 => {
                made += 1;
                answer.ok()["chat_id"].clone()
            }
            _ => answer.refused(400)["detail"]["chat_id"].clone(),
        };
        rooms.insert(room.as_str().expect("a chat_id").to_owned());
    }
    assert_eq!((made, rooms.len()), (1, 1));
    assert_eq!(ids(&ann.my_chats("").await), ids(&bob.my_chats("").await));
    assert_eq!(ann.my_chats("").await["chats"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_private_room_is_found_again_after_a_restart() {
    let mut server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    server.restart().await;
    let refused = bob.post_json("/chat/new", &json!({"username": "ann"})).await.refused(400);
    assert_eq!(refused["detail"]["chat_id"], room.as_str());
}

#[tokio::test]
async fn a_private_rooms_log_begins_with_its_two_members() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let log = ann.log(&room).await;
    assert_eq!(seqs(&log), [1, 2]);
    let names: BTreeSet<&str> = log.iter().map(|event| event["username"].as_str().unwrap()).collect();
    assert_eq!(names, BTreeSet::from(["ann", "bob"]));
    for event in &log {
        let fields = [&event["type"], &event["change"], &event["role"], &event["by"], &event["chat_id"]];
        assert_eq!(fields, [&json!("member"), &json!("added"), &json!("member"), &json!("ann"), &json!(room)]);
    }
}

#[tokio::test]
async fn a_private_room_has_its_two_members_for_ever() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let eve = server.person("eve").await;
    let room = ann.private(&bob).await;
    let before = ann.log(&room).await;
    let answers = [
        ann.invite(&eve, &room).await,
        ann.remove(&bob, &room).await,
        ann.leave(&room).await,
        ann.set_role(&bob, &room, "reader").await,
        ann.rename(&room, "ours").await,
    ];
    for answer in answers {
        assert!([403, 409, 422].contains(&answer.status), "{} {}", answer.status, answer.text());
    }
    assert_eq!(ann.log(&room).await, before);
}

#[tokio::test]
async fn a_group_begins_with_its_name_its_owner_and_its_members() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let cat = server.person("cat").await;
    let room = ann.group("tea & biscuits", [&bob, &cat]).await;
    let log = bob.log(&room).await;
    assert_eq!(seqs(&log), [1, 2, 3, 4]);
    let first = [&log[0]["type"], &log[0]["name"], &log[0]["by"]];
    assert_eq!(first, [&json!("chat"), &json!("tea & biscuits"), &json!("ann")]);
    let mut joined: Vec<(&str, &str)> =
        log[1..].iter().map(|event| (event["username"].as_str().unwrap(), event["role"].as_str().unwrap())).collect();
    joined.sort_unstable();
    assert_eq!(joined, [("ann", "owner"), ("bob", "member"), ("cat", "member")]);
    let chat = cat.chat(&room).await;
    assert_eq!(
        (&chat["kind"], &chat["name"], &chat["role"]),
        (&json!("group"), &json!("tea & biscuits"), &json!("member"))
    );
    assert_eq!(ann.chat(&room).await["role"], "owner");
}

#[tokio::test]
async fn a_group_may_begin_with_its_owner_alone() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let room = ann.group("notes", []).await;
    ann.post(&room, "to self").await;
    assert_eq!(users(&ann.chat(&room).await), ["ann"]);
}

#[tokio::test]
async fn a_name_given_twice_is_one_member() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.group("tea", [&bob, &ann, &bob]).await;
    assert_eq!(ann.log(&room).await.len(), 3);
    assert_eq!(ann.chat(&room).await["role"], "owner");
}

#[tokio::test]
async fn a_group_with_somebody_who_is_not_there_is_not_made() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    ann.post_json("/chat/new", &json!({"name": "tea", "usernames": ["bob", "nobody"]})).await.refused(404);
    assert_eq!(bob.my_chats("").await["chats"], json!([]));
    assert_eq!(ann.my_chats("").await["chats"], json!([]));
}

#[tokio::test]
async fn a_room_that_is_neither_private_nor_a_group_is_a_422() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let bodies = [
        json!({}),
        json!([]),
        json!({"username": ["bob"]}),
        json!({"name": "", "usernames": []}),
        json!({"name": "n".repeat(101), "usernames": []}),
        json!({"name": "a\u{0}b", "usernames": []}),
        json!({"name": "tea", "usernames": "bob"}),
        json!({"name": "tea", "usernames": [7]}),
        json!({"name": 7, "usernames": []}),
    ];
    for body in bodies {
        let answer = ann.post_json("/chat/new", &body).await;
        assert_eq!(answer.status, 422, "{body}: {}", answer.text());
        answer.refused(422);
    }
}

#[tokio::test]
async fn my_chats_are_in_order_of_their_latest_activity() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let clock = server.person("clock").await;
    let first = ann.group("first", [&bob]).await;
    let second = ann.group("second", [&bob]).await;
    let third = ann.group("third", [&bob]).await;
    tick(&clock).await;
    ann.post(&first, "up").await;
    tick(&clock).await;
    bob.post(&second, "higher").await;
    let expected = [&second, &first, &third].map(String::clone);
    assert_eq!(ids(&ann.my_chats("").await), expected);
    assert_eq!(ids(&bob.my_chats("").await), expected);
}

/// Passes until the server's clock shows a later millisecond: activity is ordered by it.
async fn tick(clock: &Person) {
    let room = clock.group("clock", []).await;
    let first = clock.post(&room, "tick").await.sent_at;
    while clock.post(&room, "tock").await.sent_at == first {}
}

#[tokio::test]
async fn my_chats_are_paged_without_gap_or_repeat() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let mut made = BTreeSet::new();
    for number in 0..10 {
        made.insert(ann.group(&format!("room {number}"), []).await);
    }
    let (mut seen, mut query) = (Vec::new(), "?limit=3".to_owned());
    loop {
        let page = ann.my_chats(&query).await;
        assert!(ids(&page).len() <= 3);
        seen.extend(ids(&page));
        let Some(next) = page["next"].as_str() else { break };
        let next: String = next.bytes().map(|byte| format!("%{byte:02X}")).collect();
        query = format!("?limit=3&after={next}");
    }
    assert_eq!(seen.len(), 10);
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), made);
}

#[tokio::test]
async fn a_cursor_or_limit_that_is_none_is_a_422() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    for query in ["limit=x", "limit=-1", "after=x", "before=x", "after=-1", "after=99999999999999999999"] {
        ann.get(&format!("/chat/{room}?{query}")).await.refused(422);
        ann.get(&format!("/chat/{room}/events?{query}")).await.refused(422);
    }
    for query in ["limit=x", "limit=-1", "after=no-cursor"] {
        ann.get(&format!("/chat/my-chats?{query}")).await.refused(422);
    }
}

#[tokio::test]
async fn the_last_message_is_shown_as_it_is_in_the_log() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.group("tea", [&bob]).await;
    assert_eq!(ann.chat(&room).await["last_message"], Value::Null);
    ann.post(&room, "the latest").await;
    ann.rename(&room, "coffee").await.ok();
    let chat = bob.chat(&room).await;
    assert_eq!(chat["last_message"], bob.history(&room, "").await["messages"][0]);
    assert_eq!(chat["head_seq"], bob.head(&room).await);
    assert_eq!(chat["name"], "coffee");
}

#[tokio::test]
async fn a_room_with_many_members_shows_some_of_their_names() {
    let server = Server::with(&[("limits.listed_members", "3")]).await;
    let ann = server.person("ann").await;
    let mut others = Vec::new();
    for number in 0..5 {
        others.push(server.person(&format!("user{number}")).await);
    }
    let room = ann.group("many", &others).await;
    assert_eq!(users(&ann.chat(&room).await).len(), 3);
}

#[tokio::test]
async fn a_room_one_has_left_is_no_more_in_ones_list() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.group("tea", [&bob]).await;
    bob.leave(&room).await.ok();
    assert_eq!(bob.my_chats("").await["chats"], json!([]));
    assert_eq!(ids(&ann.my_chats("").await), [room]);
}

#[tokio::test]
async fn rooms_and_members_have_the_bounds_of_the_settings() {
    let server = Server::with(&[("limits.room_members", "2"), ("limits.rooms_per_user", "3")]).await;
    let (ann, bob) = server.two_people().await;
    let cat = server.person("cat").await;
    let room = ann.group("tea", [&bob]).await;
    let refused = ann.invite(&cat, &room).await;
    assert!([403, 409, 422, 429].contains(&refused.status), "{}", refused.text());
    assert_eq!(ann.members(&room).await.ok()["members"].as_array().map(Vec::len), Some(2));
    ann.group("two", []).await;
    ann.group("three", []).await;
    let refused = ann.post_json("/chat/new", &json!({"name": "four", "usernames": []})).await;
    assert!([403, 409, 422, 429].contains(&refused.status), "{}", refused.text());
}
