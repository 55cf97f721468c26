//! What comes unasked beside the log crosses nodes: read marks, typing, presence.

use serde_json::{Value, json};

use crate::harness::{Cluster, ClusterSetup, Person, Socket};

/// Nodes that tell presence soon, and miss a node soon.
fn brisk(nodes: usize) -> ClusterSetup {
    Cluster::setup(nodes).set("presence.ttl_secs", "1").set("presence.batch_millis", "50").set("cluster.node_secs", "2")
}

/// Ann on the first node and bob on the second, with a room where both have written, and so let themselves be seen.
async fn ann_and_bob(cluster: &Cluster) -> (Person, Person, String) {
    let (ann, bob) = (cluster[0].person("ann").await, cluster[1].person("bob").await);
    let room = ann.private(&bob).await;
    for person in [&ann, &bob] {
        person.post(&room, "here I am").await;
    }
    (ann, bob, room)
}

/// The next presence of the room that says this of `username`.
async fn presence(socket: &mut Socket, room: &str, username: &str, state: &str) -> Value {
    let about =
        |frame: &Value| frame["type"] == "presence" && frame["chat_id"] == room && frame["users"][username] == state;
    socket.find(&format!("{username} to be {state}"), about).await
}

#[tokio::test]
async fn typing_on_one_node_is_told_on_another() {
    let cluster = Cluster::start(2).await;
    let (ann, bob, room) = ann_and_bob(&cluster).await;
    let (mut anns, mut bobs) = (ann.follow(&room).await, bob.follow(&room).await);
    assert_eq!(anns.ask(json!({"type": "typing", "chat_id": room})).await["type"], "ok");
    assert_eq!(bobs.wait_for("typing").await, json!({"type": "typing", "chat_id": room, "username": "ann"}));
    bobs.post(&room, "I see", "c").await;
    anns.wait_for("message").await;
    assert!(anns.drain().await.iter().all(|frame| frame["type"] != "typing"), "not to oneself");
}

#[tokio::test]
async fn a_read_mark_is_told_to_ones_own_sockets_and_to_the_other_person_on_every_node() {
    let cluster = Cluster::start(3).await;
    let (ann, bob, room) = ann_and_bob(&cluster).await;
    let seq = ann.post(&room, "read me").await.seq;
    let mut anns = ann.follow(&room).await;
    let mut bobs = [bob.follow(&room).await, bob.at(&cluster[2]).follow(&room).await];
    bob.mark_read(&room, seq).await;
    let told = json!({"type": "read", "chat_id": room, "username": "bob", "read_seq": seq});
    for socket in bobs.iter_mut().chain([&mut anns]) {
        let by_bob = |frame: &Value| frame["type"] == "read" && frame["username"] == "bob";
        assert_eq!(socket.find("bob's read mark", by_bob).await, told);
    }
    for node in cluster.nodes() {
        assert_eq!(bob.at(node).chat(&room).await["unread"], 0);
    }
}

#[tokio::test]
async fn coming_and_going_on_one_node_is_told_on_another() {
    let cluster = brisk(2).start().await;
    let (ann, bob, room) = ann_and_bob(&cluster).await;
    let mut anns = ann.follow(&room).await;
    let bobs = bob.socket().await;
    assert_eq!(presence(&mut anns, &room, "bob", "online").await["online"], 2);
    // Whoever begins to follow is told who is online anywhere.
    let mut more = ann.follow(&room).await;
    assert_eq!(presence(&mut more, &room, "bob", "online").await["online"], 2);
    bobs.close().await;
    assert_eq!(presence(&mut anns, &room, "bob", "offline").await["online"], 1);
}

#[tokio::test]
async fn whoever_is_online_on_two_nodes_is_online_until_both_are_left() {
    let cluster = brisk(3).start().await;
    let (ann, bob, room) = ann_and_bob(&cluster).await;
    let mut anns = ann.follow(&room).await;
    let (first, second) = (bob.socket().await, bob.at(&cluster[2]).socket().await);
    presence(&mut anns, &room, "bob", "online").await;
    first.close().await;
    // Eve's coming is told after bob's going would have been.
    let eve = cluster[1].person("eve").await;
    let with_eve = ann.private(&eve).await;
    eve.post(&with_eve, "here I am").await;
    anns.follow(&with_eve).await;
    let eves = eve.socket().await;
    presence(&mut anns, &with_eve, "eve", "online").await;
    eves.close().await;
    presence(&mut anns, &with_eve, "eve", "offline").await;
    let frames = anns.drain().await;
    assert!(frames.iter().all(|frame| frame["users"]["bob"] != "offline"), "{frames:?}");
    second.close().await;
    presence(&mut anns, &room, "bob", "offline").await;
}

#[tokio::test]
async fn who_was_online_on_a_killed_node_is_offline_soon_and_online_again_elsewhere() {
    let cluster = brisk(3).start().await;
    let (ann, bob, room) = ann_and_bob(&cluster).await;
    let mut anns = ann.follow(&room).await;
    let _bobs = bob.socket().await;
    presence(&mut anns, &room, "bob", "online").await;
    cluster[1].kill().await;
    assert_eq!(presence(&mut anns, &room, "bob", "offline").await["online"], 1);
    let _again = bob.at(&cluster[2]).socket().await;
    assert_eq!(presence(&mut anns, &room, "bob", "online").await["online"], 2);
}

#[tokio::test]
async fn who_is_online_is_known_again_after_the_bus_was_away() {
    let mut cluster = brisk(2).start().await;
    let (ann, bob, room) = ann_and_bob(&cluster).await;
    let bobs = bob.socket().await;
    cluster.bus_down().await;
    for node in cluster.nodes() {
        node.is_off_the_bus().await;
    }
    bobs.close().await;
    let eve = cluster[1].person("eve").await;
    let group = ann.group("tea", [&bob, &eve]).await;
    let _eves = eve.socket().await;
    cluster.bus_up().await;
    cluster.together().await;
    let mut anns = ann.socket().await;
    anns.follow(&group).await;
    presence(&mut anns, &group, "eve", "online").await;
    anns.follow(&room).await;
    let _again = bob.socket().await;
    presence(&mut anns, &room, "bob", "online").await;
}
