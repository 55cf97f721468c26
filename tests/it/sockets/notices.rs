//! What comes unasked beside the log: `chats`, `read`, `typing` and `presence`.

use serde_json::{Value, json};

use crate::harness::{Server, Socket};

async fn chats(socket: &mut Socket, room: &str, change: &str) {
    let frame =
        socket.find(&format!("chats {change}"), |frame| frame["type"] == "chats" && frame["chat_id"] == room).await;
    assert_eq!(frame, json!({"type": "chats", "chat_id": room, "change": change}));
}

/// The next presence frame of the room in which `username` appears.
async fn presence(socket: &mut Socket, room: &str, username: &str) -> Value {
    let about =
        |frame: &Value| frame["type"] == "presence" && frame["chat_id"] == room && frame["users"][username].is_string();
    socket.find(&format!("the presence of {username}"), about).await
}

fn of_type<'a>(frames: &'a [Value], kind: &str) -> Vec<&'a Value> {
    frames.iter().filter(|frame| frame["type"] == kind).collect()
}

#[tokio::test]
async fn everybody_in_a_new_room_is_told_of_it() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let (mut anns, mut bobs) = (ann.socket().await, bob.socket().await);
    let private = ann.private(&bob).await;
    let group = bob.group("tea", [&ann]).await;
    for socket in [&mut anns, &mut bobs] {
        chats(socket, &private, "added").await;
        chats(socket, &group, "added").await;
    }
}

#[tokio::test]
async fn who_is_invited_or_removed_or_leaves_is_told_on_every_socket_and_others_are_not() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.group("tea", []).await;
    let (mut first, mut second, mut anns) = (bob.socket().await, bob.socket().await, ann.socket().await);
    ann.invite(&bob, &room).await.ok();
    for socket in [&mut first, &mut second] {
        chats(socket, &room, "added").await;
    }
    ann.remove(&bob, &room).await.ok();
    for socket in [&mut first, &mut second] {
        chats(socket, &room, "removed").await;
    }
    ann.invite(&bob, &room).await.ok();
    bob.leave(&room).await.ok();
    for socket in [&mut first, &mut second] {
        chats(socket, &room, "added").await;
        chats(socket, &room, "removed").await;
    }
    ann.invite(&bob, &room).await.ok();
    bob.post_json(&format!("/chat/{room}/join"), &json!({})).await.ok();
    for socket in [&mut first, &mut second] {
        chats(socket, &room, "invited").await;
        chats(socket, &room, "added").await;
    }
    assert!(of_type(&anns.drain().await, "chats").is_empty());
}

#[tokio::test]
async fn a_room_one_was_told_of_can_be_followed_at_once() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let mut socket = bob.socket().await;
    let room = ann.group("tea", [&bob]).await;
    chats(&mut socket, &room, "added").await;
    socket.follow(&room).await;
    ann.post(&room, "welcome").await;
    assert_eq!(socket.next_event().await["content"], "welcome");
}

#[tokio::test]
async fn a_read_mark_is_told_to_ones_own_sockets_and_in_a_private_room_to_the_other() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    bob.post(&room, "write to me").await;
    let seq = ann.post(&room, "read me").await.seq;
    let (mut anns, mut first, mut second) = (ann.follow(&room).await, bob.follow(&room).await, bob.follow(&room).await);
    assert_eq!(first.ask(json!({"type": "read", "chat_id": room, "seq": seq})).await["type"], "ok");
    let by_bob = |frame: &Value| frame["type"] == "read" && frame["username"] == "bob";
    for socket in [&mut anns, &mut second] {
        let read = socket.find("bob's read mark", by_bob).await;
        assert_eq!(read, json!({"type": "read", "chat_id": room, "username": "bob", "read_seq": seq}));
    }
}

#[tokio::test]
async fn a_read_mark_in_a_group_is_told_to_ones_own_sockets_alone() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.group("tea", [&bob]).await;
    let seq = ann.post(&room, "read me").await.seq;
    let (mut anns, mut bobs) = (ann.follow(&room).await, bob.follow(&room).await);
    bob.mark_read(&room, seq).await;
    assert_eq!(bobs.wait_for("read").await["read_seq"], seq);
    ann.post(&room, "after").await;
    anns.next_event().await;
    let reads = anns.drain().await;
    assert!(of_type(&reads, "read").iter().all(|read| read["username"] == "ann"), "{reads:?}");
}

#[tokio::test]
async fn typing_is_told_to_the_others_and_not_to_oneself() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.group("tea", [&bob]).await;
    let (mut typist, mut own, mut other) = (ann.follow(&room).await, ann.follow(&room).await, bob.follow(&room).await);
    typist.send(json!({"type": "typing", "chat_id": room})).await;
    assert_eq!(other.wait_for("typing").await, json!({"type": "typing", "chat_id": room, "username": "ann"}));
    for socket in [&mut typist, &mut own] {
        assert!(of_type(&socket.drain().await, "typing").is_empty());
    }
}

#[tokio::test]
async fn typing_without_end_is_passed_on_once_in_a_while() {
    let server = Server::with(&[("presence.typing_millis", "60000")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.group("tea", [&bob]).await;
    let (mut typist, mut other) = (ann.follow(&room).await, bob.follow(&room).await);
    for _ in 0..20 {
        assert_eq!(typist.ask(json!({"type": "typing", "chat_id": room})).await["type"], "ok");
    }
    typist.post(&room, "done", "c").await;
    other.wait_for("message").await;
    assert_eq!(of_type(&other.drain().await, "typing").len(), 1);
}

#[tokio::test]
async fn typing_is_passed_on_as_often_whatever_the_number_of_sockets_and_however_often_they_subscribe() {
    let server = Server::with(&[("presence.typing_millis", "60000")]).await;
    let (ann, bob) = server.two_people().await;
    let (room, second) = (ann.group("tea", [&bob]).await, ann.group("cocoa", [&bob]).await);
    let mut other = bob.follow(&room).await;
    other.follow(&second).await;
    for _ in 0..5 {
        let mut typist = ann.follow(&room).await;
        for _ in 0..3 {
            typist.follow(&room).await;
            assert_eq!(typist.ask(json!({"type": "typing", "chat_id": room})).await["type"], "ok");
        }
    }
    let mut elsewhere = ann.follow(&second).await;
    elsewhere.ask(json!({"type": "typing", "chat_id": second})).await;
    ann.post(&second, "done").await;
    other.find("the message", |frame| frame["content"] == "done").await;
    let frames = other.drain().await;
    let in_room = |id: &str| of_type(&frames, "typing").iter().filter(|frame| frame["chat_id"] == id).count();
    assert_eq!((in_room(&room), in_room(&second)), (1, 1), "{frames:?}");
}

#[tokio::test]
async fn whoever_begins_to_follow_a_room_is_told_who_is_online_there() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let eve = server.person("eve").await;
    let room = ann.group("tea", [&bob, &eve]).await;
    let _anns = ann.socket().await;
    let mut socket = bob.follow(&room).await;
    let snapshot = presence(&mut socket, &room, "ann").await;
    assert_eq!(snapshot["users"]["ann"], "online");
    assert_eq!(snapshot["users"]["eve"], Value::Null);
    assert_eq!(snapshot["online"], 2);
}

#[tokio::test]
async fn coming_and_going_is_told_to_those_who_share_a_room() {
    let server = Server::with(&[("presence.ttl_secs", "1"), ("presence.batch_millis", "50")]).await;
    let (ann, bob) = server.two_people().await;
    let eve = server.person("eve").await;
    let (room, elsewhere) = (ann.private(&bob).await, ann.private(&eve).await);
    bob.post(&room, "hello").await;
    let mut socket = ann.follow(&room).await;
    socket.follow(&elsewhere).await;
    presence(&mut socket, &room, "ann").await;
    let bobs = bob.socket().await;
    let came = presence(&mut socket, &room, "bob").await;
    assert_eq!((&came["users"]["bob"], &came["online"]), (&json!("online"), &json!(2)));
    bobs.close().await;
    let went = presence(&mut socket, &room, "bob").await;
    assert_eq!((&went["users"]["bob"], &went["online"]), (&json!("offline"), &json!(1)));
    let all = socket.drain().await;
    assert!(
        all.iter().all(|frame| frame["chat_id"] != elsewhere.as_str() || frame["users"]["bob"].is_null()),
        "{all:?}"
    );
}

#[tokio::test]
async fn a_short_absence_is_told_to_nobody() {
    let server = Server::with(&[("presence.ttl_secs", "60"), ("presence.batch_millis", "20")]).await;
    let (ann, bob) = server.two_people().await;
    let eve = server.person("eve").await;
    let room = ann.group("tea", [&bob, &eve]).await;
    let mut socket = ann.follow(&room).await;
    let bobs = bob.socket().await;
    assert_eq!(presence(&mut socket, &room, "bob").await["users"]["bob"], "online");
    bobs.close().await;
    let _again = bob.socket().await;
    let _eves = eve.socket().await;
    presence(&mut socket, &room, "eve").await;
    let rest = socket.drain().await;
    assert!(rest.iter().all(|frame| frame["users"]["bob"] != "offline"), "{rest:?}");
}

#[tokio::test]
async fn a_room_above_the_threshold_is_told_how_many_and_not_who() {
    let server = Server::with(&[("presence.names_up_to", "2"), ("presence.batch_millis", "50")]).await;
    let (ann, bob) = server.two_people().await;
    let eve = server.person("eve").await;
    let room = ann.group("tea", [&bob, &eve]).await;
    let mut socket = ann.follow(&room).await;
    let _bobs = bob.socket().await;
    let counted = |frame: &Value| frame["type"] == "presence" && frame["online"] == 2;
    let frame = socket.find("a count of two", counted).await;
    assert_eq!(frame, json!({"type": "presence", "chat_id": room, "online": 2}));
}

#[tokio::test]
async fn where_presence_is_off_nothing_is_told_of_it() {
    let server = Server::with(&[("presence.enabled", "false")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut socket = ann.follow(&room).await;
    let _bobs = bob.follow(&room).await;
    bob.post(&room, "hello").await;
    socket.wait_for("message").await;
    assert!(of_type(&socket.drain().await, "presence").is_empty());
}
