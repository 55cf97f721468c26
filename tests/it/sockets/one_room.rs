//! `GET /ws/chat/{chat_id}`: the original's socket. Nothing but messages goes out, and everything wrong is an HTTP answer
//! or a close.

use serde_json::{Value, json};

use crate::{
    harness::{Person, Server, Socket},
    readers::{message_bytes, parse},
};

async fn room_with_posts(server: &Server) -> (Person, Person, String) {
    let (ann, bob) = server.two_people().await;
    let room = ann.group("tea", [&bob]).await;
    for post in 0..5 {
        ann.post(&room, &format!("post {post}")).await;
    }
    (ann, bob, room)
}

/// The text frames up to the message with this content.
async fn frames_to(socket: &mut Socket, content: &str) -> Vec<String> {
    let mut frames = Vec::new();
    loop {
        frames.push(socket.next_text().await);
        if parse(frames.last().expect("just pushed"))["content"] == content {
            return frames;
        }
    }
}

#[tokio::test]
async fn only_messages_go_out_and_the_first_frame_is_one() {
    let server = Server::with(&[("presence.batch_millis", "20")]).await;
    let (ann, bob, room) = room_with_posts(&server).await;
    let eve = server.person("eve").await;
    let mut socket = bob.one_room(&room, None).await;
    ann.invite(&eve, &room).await.ok();
    ann.rename(&room, "coffee").await.ok();
    let mut eves = eve.follow(&room).await;
    assert_eq!(eves.ask(json!({"type": "typing", "chat_id": room})).await["type"], "ok");
    eves.post(&room, "hello", "c").await;
    bob.mark_read(&room, 3).await;
    ann.group("another", [&bob]).await;
    ann.set_role(&eve, &room, "moderator").await.ok();
    ann.post(&room, "the last").await;
    let frames = frames_to(&mut socket, "the last").await;
    let messages = message_bytes(&ann, &room).await;
    assert_eq!(frames, messages[messages.len() - 2..]);
}

#[tokio::test]
async fn since_replays_the_messages_after_it() {
    let server = Server::start().await;
    let (ann, bob, room) = room_with_posts(&server).await;
    let messages = message_bytes(&ann, &room).await;
    let head = ann.head(&room).await;
    for since in 0..=head {
        let mut socket = bob.one_room(&room, Some(since)).await;
        let last = format!("after {since}");
        ann.post(&room, &last).await;
        let later = message_bytes(&ann, &room).await;
        let after: Vec<String> = later.into_iter().filter(|text| parse(text)["seq"].as_u64() > Some(since)).collect();
        assert_eq!(frames_to(&mut socket, &last).await, after);
    }
    assert_eq!(message_bytes(&ann, &room).await[..messages.len()], messages);
}

#[tokio::test]
async fn since_that_is_no_seq_is_an_http_422() {
    let server = Server::start().await;
    let (_, bob, room) = room_with_posts(&server).await;
    for since in ["x", "-1", "1.5", "99999999999999999999999"] {
        let handshake = server.reach.handshake(&format!("/ws/chat/{room}?since={since}")).bearer(&bob.token);
        handshake.refused(422).await;
    }
}

#[tokio::test]
async fn since_ahead_of_the_log_is_an_http_409() {
    let server = Server::start().await;
    let (ann, bob, room) = room_with_posts(&server).await;
    let head = ann.head(&room).await;
    let handshake = server.reach.handshake(&format!("/ws/chat/{room}?since={}", head + 1)).bearer(&bob.token);
    handshake.refused(409).await;
}

#[tokio::test]
async fn a_text_frame_posts_and_comes_back_as_the_message() {
    let server = Server::start().await;
    let (ann, bob, room) = room_with_posts(&server).await;
    let (mut bobs, mut anns) = (bob.one_room(&room, None).await, ann.one_room(&room, None).await);
    bobs.send(json!({"message": "plain"})).await;
    bobs.send(json!({"message": "named", "client_id": "c1", "odd": [1]})).await;
    bobs.send(json!({"message": "named", "client_id": "c1"})).await;
    bobs.send(json!({"message": "the last"})).await;
    let frames = frames_to(&mut bobs, "the last").await;
    assert_eq!(frames, frames_to(&mut anns, "the last").await);
    let said: Vec<Value> = frames.iter().map(|text| parse(text)).collect();
    let contents: Vec<&Value> = said.iter().map(|message| &message["content"]).collect();
    assert_eq!(contents, ["plain", "named", "the last"]);
    assert!(said.iter().all(|message| message["type"] == "message" && message["sender"] == "bob"));
    assert_eq!((&said[0]["client_id"], &said[1]["client_id"]), (&Value::Null, &json!("c1")));
}

#[tokio::test]
async fn bad_frames_are_answered_with_nothing_and_at_last_with_1008() {
    let server = Server::with(&[("sockets.bad_frames", "6")]).await;
    let (_, bob, room) = room_with_posts(&server).await;
    let mut socket = bob.one_room(&room, None).await;
    let long = json!({"message": "x".repeat(4_001)}).to_string();
    for bad in ["nonsense", "{}", r#"{"message":5}"#, r#"{"message":""}"#, &long] {
        socket.send_raw(bad).await;
    }
    socket.send(json!({"message": "still here"})).await;
    assert_eq!(socket.next().await["content"], "still here", "nothing before it");
    socket.send_raw("[]").await;
    let (frames, closed) = socket.frames_until_closed().await;
    assert!(frames.is_empty(), "{frames:?}");
    assert_eq!(closed.code, 1008);
    assert!(!closed.reason.is_empty());
}

#[tokio::test]
async fn whoever_is_removed_from_the_room_is_closed_with_4403() {
    let server = Server::start().await;
    let (ann, bob, room) = room_with_posts(&server).await;
    let (mut live, mut replaying) = (bob.one_room(&room, None).await, bob.one_room(&room, Some(0)).await);
    ann.remove(&bob, &room).await.ok();
    ann.post(&room, "unseen").await;
    for socket in [&mut live, &mut replaying] {
        let (frames, closed) = socket.frames_until_closed().await;
        assert_eq!(closed.code, 4403);
        assert!(frames.iter().all(|frame| frame["type"] == "message" && frame["content"] != "unseen"), "{frames:?}");
    }
    server.reach.handshake(&format!("/ws/chat/{room}")).bearer(&bob.token).refused(404).await;
}

#[tokio::test]
async fn whoever_leaves_is_closed_with_4403_too() {
    let server = Server::start().await;
    let (_, bob, room) = room_with_posts(&server).await;
    let mut socket = bob.one_room(&room, None).await;
    bob.leave(&room).await.ok();
    assert_eq!(socket.closed().await.code, 4403);
}

#[tokio::test]
async fn a_reader_of_the_room_hears_it_and_cannot_post() {
    let server = Server::with(&[("sockets.bad_frames", "2")]).await;
    let (ann, _, room) = room_with_posts(&server).await;
    let eve = server.person("eve").await;
    ann.invite_as(&eve, &room, "reader").await.ok();
    let mut socket = eve.one_room(&room, None).await;
    ann.post(&room, "hear, hear").await;
    assert_eq!(socket.next().await["content"], "hear, hear");
    for _ in 0..2 {
        socket.send(json!({"message": "may I?"})).await;
    }
    assert_eq!(socket.closed().await.code, 1008);
    let messages = message_bytes(&ann, &room).await;
    assert!(messages.iter().all(|text| parse(text)["sender"] != "eve"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_posted_right_after_the_handshake_is_heard() {
    // Every look at a login is a look into the store, and a socket begins with one: the posts come before it is over.
    let server = Server::with(&[("auth.cache_secs", "0"), ("store.readers", "1")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.group("tea", [&bob]).await;
    for round in 0..10 {
        let hearing = (0..16).map(|n| {
            let (ann, bob, room) = (ann.clone(), bob.clone(), room.clone());
            tokio::spawn(async move {
                let mut says = ann.socket().await;
                let mut socket = bob.one_room(&room, None).await;
                let text = format!("{round} {n}");
                says.post(&room, &text, &text).await;
                while socket.next_event().await["content"] != text {}
            })
        });
        for heard in futures_util::future::join_all(hearing).await {
            heard.expect("everybody hears what was said after they had come");
        }
    }
}
