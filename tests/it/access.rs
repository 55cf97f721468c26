//! Access ends at once: whoever may not hear a room any more hears nothing that is said after the change was answered.

use serde_json::{Value, json};

use crate::{
    harness::{PASSWORD, Person, Server, Socket, until},
    readers::assert_not_subscribed,
};

/// Bob's sockets of both kinds in ann's room, and what silences them.
struct Scene {
    server: Server,
    ann: Person,
    bob: Person,
    root: Person,
    room: String,
}

impl Scene {
    async fn set() -> Self {
        let server = Server::start().await;
        let (ann, bob) = server.two_people().await;
        let root = server.admin().await;
        let room = ann.group("tea", [&bob]).await;
        Self { server, ann, bob, root, room }
    }

    async fn sockets(&self, person: &Person) -> [Socket; 2] {
        let mut sockets = [person.follow(&self.room).await, person.one_room(&self.room, None).await];
        self.ann.post(&self.room, "heard").await;
        for socket in &mut sockets {
            assert_eq!(socket.next_event().await["content"], "heard");
        }
        sockets
    }

    /// Says something that these sockets must not hear, and waits for their end.
    async fn assert_silenced(&self, sockets: impl IntoIterator<Item = Socket>) {
        self.ann.post(&self.room, "unheard").await;
        for mut socket in sockets {
            let (frames, closed) = socket.frames_until_closed().await;
            assert!(frames.iter().all(|frame| frame["content"] != "unheard"), "{frames:?}");
            assert_eq!(closed.code, 4401, "{closed:?}");
        }
    }

    /// These go on, and hear what is said.
    async fn assert_heard(&self, sockets: impl IntoIterator<Item = Socket>) {
        self.ann.post(&self.room, "go on").await;
        for mut socket in sockets {
            loop {
                if socket.next_event().await["content"] == "go on" {
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn logging_somebody_out_silences_every_socket_they_have() {
    let scene = Scene::set().await;
    let phone = scene.server.sign_in("bob").await;
    let sockets = [scene.sockets(&scene.bob).await, scene.sockets(&phone).await];
    scene.root.post_empty("/users/bob/logout").await.ok();
    scene.assert_silenced(sockets.into_iter().flatten()).await;
    for token in [&scene.bob.token, &phone.token] {
        scene.server.reach.handshake("/ws").bearer(token).refused(401).await;
    }
    let again = scene.server.sign_in("bob").await;
    scene.assert_heard(scene.sockets(&again).await).await;
}

#[tokio::test]
async fn disabling_somebody_silences_them_and_keeps_them_out() {
    let scene = Scene::set().await;
    let sockets = scene.sockets(&scene.bob).await;
    scene.root.post_empty("/users/bob/disable").await.ok();
    scene.assert_silenced(sockets).await;
    scene.server.reach.handshake("/ws").bearer(&scene.bob.token).refused(401).await;
    scene.server.reach.sign_in("bob", PASSWORD).await.refused(401);
}

#[tokio::test]
async fn revoking_a_login_silences_its_sockets_and_no_others() {
    let scene = Scene::set().await;
    let phone = scene.server.sign_in("bob").await;
    let (gone, kept) = (scene.sockets(&scene.bob).await, scene.sockets(&phone).await);
    scene.bob.revoke().await.ok();
    scene.assert_silenced(gone).await;
    scene.assert_heard(kept).await;
}

#[tokio::test]
async fn a_new_password_silences_every_other_login() {
    let scene = Scene::set().await;
    let phone = scene.server.sign_in("bob").await;
    let (kept, gone) = (scene.sockets(&scene.bob).await, scene.sockets(&phone).await);
    let change = json!({"password": {"current": PASSWORD, "new": "another long password"}});
    scene.bob.patch("/users/me", &change).await.ok();
    scene.assert_silenced(gone).await;
    scene.assert_heard(kept).await;
}

#[tokio::test]
async fn an_old_refresh_token_used_again_silences_the_whole_login() {
    let scene = Scene::set().await;
    let renewed = scene.bob.refresh().await.ok();
    let renewed = Person::of_login(scene.server.reach.clone(), "bob", renewed);
    let sockets = [scene.sockets(&scene.bob).await, scene.sockets(&renewed).await];
    renewed.refresh().await.ok();
    scene.bob.refresh().await.refused(401);
    scene.assert_silenced(sockets.into_iter().flatten()).await;
    renewed.get("/users/me").await.refused(401);
}

#[tokio::test]
async fn an_operators_command_silences_like_the_api_does() {
    let scene = Scene::set().await;
    let sockets = scene.sockets(&scene.bob).await;
    scene.server.cli(&["admin", "disable", "bob"]).await.ok();
    scene.assert_silenced(sockets).await;
}

#[tokio::test]
async fn a_socket_renewed_in_band_is_silenced_with_its_login_too() {
    let scene = Scene::set().await;
    let mut socket = scene.bob.follow(&scene.room).await;
    let renewed = scene.bob.refresh().await.ok();
    let answer = socket.ask(json!({"type": "auth", "token": renewed["access_token"]})).await;
    assert_eq!(answer["type"], "authed", "{answer}");
    scene.root.post_empty("/users/bob/logout").await.ok();
    scene.assert_silenced([socket]).await;
}

#[tokio::test]
async fn a_token_of_an_ended_login_renews_no_socket() {
    let scene = Scene::set().await;
    let phone = scene.server.sign_in("bob").await;
    let mut socket = scene.bob.follow(&scene.room).await;
    phone.revoke().await.ok();
    let answer = socket.ask(json!({"type": "auth", "token": phone.token})).await;
    assert_eq!(answer["type"], "error", "{answer}");
    scene.assert_heard([socket]).await;
}

#[tokio::test]
async fn a_removed_member_stops_receiving_and_their_other_rooms_go_on() {
    let scene = Scene::set().await;
    let coffee = scene.ann.group("coffee", [&scene.bob]).await;
    let mut socket = scene.bob.follow(&scene.room).await;
    socket.follow(&coffee).await;
    scene.ann.remove(&scene.bob, &scene.room).await.ok();
    scene.ann.post(&scene.room, "unheard").await;
    scene.ann.post(&coffee, "heard").await;
    let notice = socket.find("chats removed", |frame| frame["change"] == "removed" && frame["type"] == "chats").await;
    assert_eq!(notice["chat_id"], scene.room.as_str());
    socket.find("the other room", |frame| frame["content"] == "heard").await;
    let rest = socket.drain().await;
    assert!(rest.iter().all(|frame| frame["content"] != "unheard"), "{rest:?}");
    assert_eq!(scene.server.metric("natter_subscriptions").await, 1.0);
}

#[tokio::test]
async fn a_removed_member_cannot_follow_post_read_or_type_any_more() {
    let scene = Scene::set().await;
    let room = scene.room.as_str();
    let mut socket = scene.bob.follow(room).await;
    scene.ann.remove(&scene.bob, room).await.ok();
    let head = scene.ann.head(room).await;
    for cursor in [Value::Null, json!({"since": 0})] {
        let answer = socket.ask(json!({"type": "subscribe", "chats": {room: cursor}})).await;
        assert_not_subscribed(&answer, room);
    }
    for frame in [
        json!({"type": "post", "chat_id": room, "content": "let me in", "client_id": "c"}),
        json!({"type": "read", "chat_id": room, "seq": 1}),
        json!({"type": "typing", "chat_id": room}),
    ] {
        let answer = socket.ask(frame.clone()).await;
        assert_eq!(answer["type"], "error", "{frame}: {answer}");
    }
    assert_eq!(scene.ann.head(room).await, head);
    let answer = socket.ask(json!({"type": "subscribe", "all": true})).await;
    assert!(answer["chats"][room].is_null(), "{answer}");

    scene.ann.invite(&scene.bob, room).await.ok();
    socket.follow(room).await;
    scene.ann.post(room, "welcome back").await;
    assert_eq!(socket.next_event().await["content"], "welcome back");
}

#[tokio::test]
async fn a_member_removed_in_the_middle_of_a_replay_gets_nothing_of_what_follows() {
    let scene = Scene::set().await;
    let room = scene.room.as_str();
    // More than the kernel keeps for a socket that is not read.
    let mut writer = scene.ann.socket().await;
    let text = "x".repeat(3_900);
    for part in 0..80 {
        for n in 0..25 {
            let client_id = format!("{part} {n}");
            writer.send(json!({"type": "post", "chat_id": room, "content": text, "client_id": client_id})).await;
        }
        for _ in 0..25 {
            writer.wait_for("posted").await;
        }
    }
    let head = scene.ann.head(room).await;
    let mut socket = scene.bob.small_socket(4_096).await;
    socket.send(json!({"type": "subscribe", "chats": {room: {"since": 0}}})).await;
    let mut heard = vec![socket.next_event().await];
    scene.ann.remove(&scene.bob, room).await.ok();
    let written = scene.server.metric("natter_delivered_bytes_total").await;
    scene.ann.post(room, "unheard").await;
    heard.extend(socket.drain().await);
    let more = scene.server.metric("natter_delivered_bytes_total").await - written;
    assert!(more < 5_000.0, "{more} bytes are more than the end of a frame and a word of why");
    assert!(heard.iter().all(|frame| frame["content"] != "unheard"));
    let events = heard.iter().filter(|frame| !frame["seq"].is_null()).count() as u64;
    assert!((1..head).contains(&events), "{events} events of {head}: it was in the middle");
}

#[tokio::test]
async fn a_login_that_ends_while_its_socket_does_not_read_is_written_nothing_more() {
    // More than the kernel keeps for a socket that is not read.
    const POSTS: usize = 400;
    let scene = Scene::set().await;
    let mut socket = scene.bob.small_socket(4_096).await;
    socket.follow(&scene.room).await;
    let text = "x".repeat(3_900);
    for n in 0..POSTS {
        scene.ann.post(&scene.room, &format!("{n} {text}")).await;
    }
    scene.root.post_empty("/users/bob/logout").await.ok();
    until("the socket to be closed", async || scene.server.metric("natter_connections").await == 0.0).await;
    let written = scene.server.metric("natter_delivered_bytes_total").await;
    let (frames, closed) = socket.frames_until_closed().await;
    assert_eq!(closed.code, 1006, "there was no room for a word of why");
    assert!(frames.len() < POSTS, "it was never behind");
    assert_eq!(scene.server.metric("natter_delivered_bytes_total").await, written);
}

#[tokio::test]
async fn a_member_made_reader_hears_on_and_posts_no_more() {
    let scene = Scene::set().await;
    let mut socket = scene.bob.follow(&scene.room).await;
    socket.post(&scene.room, "while I may", "c1").await;
    scene.ann.set_role(&scene.bob, &scene.room, "reader").await.ok();
    let post = json!({"type": "post", "chat_id": scene.room, "content": "and now?", "client_id": "c2"});
    assert_eq!(socket.ask(post).await["type"], "error");
    scene.assert_heard([socket]).await;
}
