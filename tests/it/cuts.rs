//! Clients that leave while their request runs: what they asked is done and told, or not done at all.

pub mod change;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use self::change::{ALL, Change, Request, Scene};
use crate::harness::{PASSWORD, Raw, Server, Socket, in_time, until};

/// So often a client leaves later than before.
const LATER: usize = 8;

/// How a client leaves.
#[derive(Clone, Copy)]
pub enum Leaving {
    /// It closes the connection.
    Quietly,
    /// The connection is reset.
    Rudely,
}

/// Sends the bytes, leaves after so many round trips of another client, and returns when the server has let go of the
/// connection.
pub async fn cut(server: &Server, bytes: &[u8], round_trips: usize, leaving: Leaving) {
    let before = server.metric("natter_http_connections").await;
    let mut raw = Raw::connect(server.reach.addr).await;
    raw.write(bytes).await;
    for _ in 0..round_trips {
        server.reach.get("/healthz").await.ok();
    }
    if matches!(leaving, Leaving::Rudely) {
        raw.stream.set_zero_linger().expect("an open connection");
    }
    drop(raw);
    until("the server to let go", async || server.metric("natter_http_connections").await <= before).await;
}

/// Sends the whole request and leaves, again and again, until it was carried out all the same.
async fn cut_until_done(scene: &Scene, change: Change) {
    let bytes = change.request(scene).bytes();
    in_time(&format!("{change:?} to be done for a client that left"), async {
        for n in 0.. {
            let leaving = if n % 2 == 0 { Leaving::Quietly } else { Leaving::Rudely };
            // Later and later: at once, after 1, 2, 4… round trips, and again.
            let round_trips = (1 << (n / 2 % LATER)) >> 1;
            cut(&scene.server, &bytes, round_trips, leaving).await;
            if change.is_done(scene).await {
                return;
            }
        }
    })
    .await;
}

#[test]
fn every_route_that_changes_something_is_cut_here() {
    let routes = natter::http::routes::listing().map(|(method, path, _)| (method.to_string(), path));
    let changing: BTreeSet<_> = routes.filter(|(method, _)| method != "GET").collect();
    let cut = ALL.map(|change| change.route()).map(|(method, path)| (method.to_owned(), path));
    assert_eq!(BTreeSet::from(cut), changing);
}

#[tokio::test]
async fn what_was_stored_for_a_client_that_left_is_told_to_everybody() {
    for change in ALL {
        let mut scene = Scene::set(change).await;
        cut_until_done(&scene, change).await;
        change.is_told(&mut scene).await;
    }
}

#[tokio::test]
async fn a_request_that_is_cut_before_its_end_changes_nothing() {
    let scene = Scene::set(Change::Rename).await;
    let mut told = scene.ann.follow(&scene.room).await;
    told.drain().await;
    let (head, chats) = (scene.ann.head(&scene.room).await, scene.bob.my_chats("").await);
    for change in ALL {
        let before = change.is_done(&scene).await;
        let request = change.request(&scene);
        let (head, body) = (request.head(), request.body());
        let bytes = request.bytes();
        for end in [1, head.len() / 2, head.len() - 1, head.len(), head.len() + body.len() / 2, bytes.len() - 1] {
            if end >= bytes.len() {
                continue;
            }
            for leaving in [Leaving::Quietly, Leaving::Rudely] {
                cut(&scene.server, &bytes[..end], 0, leaving).await;
            }
        }
        assert_eq!(change.is_done(&scene).await, before, "{change:?}");
    }
    assert_eq!(scene.ann.head(&scene.room).await, head);
    assert_eq!(scene.bob.my_chats("").await, chats);
    scene.ann.post(&scene.room, "after all that").await;
    assert_eq!(told.next_event().await["content"], "after all that");
    assert_eq!(told.drain().await, [] as [Value; 0]);
}

#[tokio::test]
async fn a_retry_after_a_cut_leaves_everybody_with_the_room_live() {
    let scene = Scene::set(Change::NewPrivate).await;
    let mut socket = scene.bob.socket().await;
    socket.ask(json!({"type": "subscribe", "all": true})).await;
    for n in 0..20 {
        let eve = scene.server.person(&format!("eve{n}")).await;
        // Who she is is known, so that she is let in at once.
        eve.me().await;
        let request = Request::post(Some(&eve), "/chat/new", &json!({"username": "bob"}));
        let leaving = if n % 2 == 0 { Leaving::Quietly } else { Leaving::Rudely };
        cut(&scene.server, &request.bytes(), (1 << (n / 4)) >> 1, leaving).await;
        let answer = eve.post_json("/chat/new", &json!({"username": "bob"})).await;
        let room = match answer.status {
            200 => answer.ok()["chat_id"].clone(),
            _ => answer.refused(400)["detail"]["chat_id"].clone(),
        };
        let room = room.as_str().expect("a chat_id");
        added(&mut socket, room).await;
        socket.follow(room).await;
        eve.post(room, "hello").await;
        assert_eq!(socket.next_event().await["content"], "hello");
    }
}

/// Waits until this socket is told of the room.
async fn added(socket: &mut Socket, room: &str) {
    let wanted = |frame: &Value| frame["type"] == "chats" && frame["chat_id"] == room && frame["change"] == "added";
    socket.find("chats added", wanted).await;
}

#[tokio::test]
async fn a_read_mark_moved_by_a_socket_that_left_is_told() {
    let scene = Scene::set(Change::Read).await;
    let (mut anns, mut other) = (scene.ann.follow(&scene.pair).await, scene.bob.follow(&scene.pair).await);
    let mut seq = scene.head;
    in_time("marks that sockets moved which left", async {
        for _ in 0..10 {
            seq = scene.ann.post(&scene.pair, "read me").await.seq;
            let mut leaving = scene.bob.socket().await;
            leaving.send(json!({"type": "read", "chat_id": scene.pair, "seq": seq})).await;
            leaving.stream().set_zero_linger().expect("an open connection");
            drop(leaving);
        }
        // The last one was read for sure, whoever of them was heard.
        scene.bob.mark_read(&scene.pair, seq).await;
    })
    .await;
    for socket in [&mut anns, &mut other] {
        socket.find("the last mark", |frame| frame["type"] == "read" && frame["read_seq"] == seq).await;
    }
}

#[tokio::test]
async fn a_request_whose_client_left_is_done_and_counted_like_any_other() {
    // A password takes longer to hash than a client to leave. Whether it waits for the answer all the same cannot be known.
    let server = Server::with(&[("auth.bcrypt_cost", "12")]).await;
    let request = Request::post(None, "/users/register", &json!({"username": "ann", "password": PASSWORD}));
    cut(&server, &request.bytes(), 3, Leaving::Quietly).await;
    let series = r#"natter_http_requests_total{route="/users/register",method="POST",status="200"}"#;
    until("the request to be counted", async || server.metrics().await.get(series) == Some(&1.0)).await;
    server.sign_in("ann").await.me().await;
}
