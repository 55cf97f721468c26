//! Work is charged, not requests: events and members written, what a frame names, rooms followed, pages listed.

use serde_json::{Value, json};

use crate::harness::{Answer, Person, Server};

/// Rates on, and each so wide that only the one a test sets is ever felt.
async fn server(settings: &[(&str, &str)]) -> Server {
    let wide = [
        ("limits.rates", "on"),
        ("limits.requests_burst", "10000"),
        ("limits.posts_burst", "10000"),
        ("limits.frames_burst", "10000"),
        ("limits.signups_burst", "10000"),
    ];
    Server::with(&[&wide[..], settings].concat()).await
}

#[track_caller]
fn must_wait(answer: Answer, setting: &str) {
    let refused = answer.refused(429);
    assert_eq!(refused["code"], "rate_limited", "{refused}");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains(setting)), "{refused}");
}

async fn new_group(who: &Person, usernames: Vec<&str>) -> Answer {
    who.post_json("/chat/new", &json!({"name": "tea", "usernames": usernames})).await
}

#[tokio::test]
async fn changes_of_a_room_are_charged_as_posts_are() {
    let server = server(&[("limits.posts_per_sec", "1"), ("limits.posts_burst", "9")]).await;
    let (ann, bob) = server.two_people().await;
    // A room, its owner and a member, a role, a name, one who goes, one who comes.
    let room = ann.group("tea", [&bob]).await;
    ann.set_role(&bob, &room, "reader").await.ok();
    ann.rename(&room, "cocoa").await.ok();
    ann.remove(&bob, &room).await.ok();
    ann.invite(&bob, &room).await.ok();
    let mut last = Vec::new();
    for n in 0..6 {
        last.push(ann.rename(&room, &format!("name {n}")).await);
    }
    must_wait(last.pop().expect("six"), "limits.posts_per_sec");
    must_wait(ann.set_role(&bob, &room, "member").await, "limits.posts_per_sec");
    must_wait(ann.try_post(&room, &json!({"message": "x"})).await, "limits.posts_per_sec");
    must_wait(ann.remove(&bob, &room).await, "limits.posts_per_sec");
    bob.leave(&room).await.ok();
}

#[tokio::test]
async fn a_group_is_charged_for_each_of_its_members_and_for_a_name_once() {
    let server = server(&[("limits.posts_per_sec", "1"), ("limits.posts_burst", "10")]).await;
    let (ann, bob) = server.two_people().await;
    let mut names = Vec::new();
    for n in 0..40 {
        names.push(server.person(&format!("p{n}")).await.username.to_string());
    }
    new_group(&ann, vec!["bob"; 500]).await.ok();
    ann.private(&bob).await;
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let room = new_group(&ann, all).await.ok()["chat_id"].as_str().expect("a chat_id").to_owned();
    assert_eq!(
        ann.get(&format!("/chat/{room}/members?limit=500")).await.ok()["members"].as_array().map(Vec::len),
        Some(41)
    );
    let refused = new_group(&ann, vec![]).await;
    let wait: u64 = refused.header("retry-after").expect("a time to wait").parse().expect("seconds");
    assert!((20..=45).contains(&wait), "42 events and members, of 10 at once and 1 a second: {wait}");
    must_wait(refused, "limits.posts_per_sec");
    bob.private(&server.sign_in("p1").await).await;
}

#[tokio::test]
async fn a_change_that_changes_nothing_writes_no_event() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.group("tea", [&bob]).await;
    let mut socket = bob.follow(&room).await;
    let head = ann.head(&room).await;
    for _ in 0..3 {
        ann.rename(&room, " tea ").await.ok();
        ann.set_role(&bob, &room, "member").await.ok();
    }
    assert_eq!(ann.head(&room).await, head);
    bob.rename(&room, "tea").await.refused(403);
    ann.rename(&room, "cocoa").await.ok();
    let event = socket.next_event().await;
    assert_eq!((&event["seq"], &event["name"]), (&json!(head + 1), &json!("cocoa")));
}

#[tokio::test]
async fn long_pages_are_charged_as_several_requests() {
    let settings =
        [("limits.requests_per_sec", "1"), ("limits.requests_burst", "40"), ("limits.things_per_request", "1")];
    let server = server(&settings).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    for n in 0..20 {
        bob.post(&room, &n.to_string()).await;
    }
    let page = |limit: u64| format!("/chat/{room}?limit={limit}");
    for _ in 0..2 {
        ann.get(&page(15)).await.ok();
    }
    ann.get(&page(20)).await.ok();
    must_wait(ann.get(&page(1)).await, "limits.requests_per_sec");
}

#[tokio::test]
async fn following_all_rooms_is_charged_by_their_number_and_one_at_a_time() {
    let settings =
        [("limits.requests_per_sec", "1"), ("limits.requests_burst", "60"), ("limits.things_per_request", "1")];
    let server = server(&settings).await;
    let (ann, bob) = server.two_people().await;
    for n in 0..20 {
        bob.group(&format!("room {n}"), [&ann]).await;
    }
    let mut sockets = Vec::new();
    for _ in 0..4 {
        sockets.push(ann.socket().await);
    }
    for socket in &mut sockets {
        socket.send(json!({"type": "subscribe", "all": true, "req": 1})).await;
    }
    let mut answers: Vec<Value> = Vec::new();
    for socket in &mut sockets {
        answers.push(socket.find("an answer", |frame| frame["req"] == 1).await);
    }
    let refused: Vec<&Value> = answers.iter().filter(|answer| answer["type"] == "error").collect();
    assert_eq!(refused.len(), 1, "{answers:?}");
    assert_eq!(refused[0]["code"], "rate_limited");
    assert!(refused[0]["retry_after"].as_u64().is_some_and(|secs| secs > 0), "{refused:?}");
    let followed = answers.iter().filter(|answer| answer["chats"].as_object().is_some_and(|all| all.len() == 20));
    assert_eq!(followed.count(), 3);
    assert_eq!(sockets[0].ask(json!({"type": "ping"})).await["type"], "pong", "the socket stays open");
}

#[tokio::test]
async fn ids_that_a_frame_names_are_charged_though_there_is_no_such_room() {
    let settings =
        [("limits.requests_per_sec", "1"), ("limits.requests_burst", "50"), ("limits.things_per_request", "1")];
    let server = server(&settings).await;
    let ann = server.person("ann").await;
    let mut socket = ann.socket().await;
    let many: serde_json::Map<String, Value> =
        (0..40).map(|n| (format!("01900000-0000-7000-8000-{n:012}"), Value::Null)).collect();
    let frame = json!({"type": "subscribe", "chats": many});
    let codes = [socket.ask(frame.clone()).await, socket.ask(frame.clone()).await, socket.ask(frame).await];
    let codes: Vec<&str> = codes.iter().map(|answer| answer["code"].as_str().unwrap_or_default()).collect();
    assert_eq!(codes, ["chat_not_found", "chat_not_found", "rate_limited"]);
}
