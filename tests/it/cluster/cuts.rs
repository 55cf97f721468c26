//! A client whose request is cut goes to another node and asks again: everybody is told, wherever they are.

use std::time::Duration;

use serde_json::json;

use super::{hears, notice};
use crate::{
    cuts::{Leaving, change::Request, cut},
    harness::Cluster,
};

#[tokio::test]
async fn a_retry_after_a_cut_on_the_same_and_on_another_node_leaves_everybody_with_the_room_live() {
    let cluster = Cluster::setup(2).store_proxies().start().await;
    let bob = cluster[0].person("bob").await;
    let mut sockets = Vec::new();
    for node in cluster.nodes() {
        let mut socket = bob.at(node).socket().await;
        socket.ask(json!({"type": "subscribe", "all": true})).await;
        sockets.push(socket);
    }
    // So slow that the client has left while the room is being stored.
    for node in cluster.nodes() {
        node.store().delay(Duration::from_millis(10));
    }
    for (n, again) in [0, 1, 0, 1].into_iter().enumerate() {
        let eve = cluster[0].person(&format!("eve{n}")).await;
        // Who she is is known, so that she is let in at once.
        eve.me().await;
        let request = Request::post(Some(&eve), "/chat/new", &json!({"username": "bob"}));
        let leaving = if n < 2 { Leaving::Quietly } else { Leaving::Rudely };
        cut(&cluster[0], &request.bytes(), 1 << n, leaving).await;
        let eve = eve.at(&cluster[again]);
        let answer = eve.post_json("/chat/new", &json!({"username": "bob"})).await;
        let room = match answer.status {
            200 => answer.ok()["chat_id"].clone(),
            _ => answer.refused(400)["detail"]["chat_id"].clone(),
        };
        let room = room.as_str().expect("a chat_id");
        for socket in &mut sockets {
            notice(socket, room, "added").await;
            socket.follow(room).await;
        }
        eve.post(room, "hello").await;
        for socket in &mut sockets {
            hears(socket, "hello").await;
        }
    }
}
