//! Consent on one node holds on the others: blocks, hidden rooms and invitations are of the store that all nodes share.

use serde_json::{Value, json};

use crate::harness::{Cluster, Person, until};

async fn listed(who: &Person, room: &str) -> Option<Value> {
    let page = who.my_chats("").await;
    page["chats"].as_array().expect("chats").iter().find(|chat| chat["chat_id"] == room).cloned()
}

#[tokio::test]
async fn who_is_blocked_on_one_node_is_refused_on_another_and_taken_again_once_the_block_is_lifted() {
    let cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster[0].person("ann").await, cluster[1].person("bob").await);
    let room = ann.private(&bob).await;
    bob.post(&room, "before").await;
    ann.post_json("/users/me/blocks", &json!({"username": "bob"})).await.ok();
    let hear_me = json!({"message": "hear me"});
    until("the block to hold there", async || bob.try_post(&room, &hear_me).await.status == 403).await;
    assert_eq!(bob.try_post(&room, &hear_me).await.refused(403)["code"], "not_taken");
    ann.at(&cluster[1]).delete("/users/me/blocks/bob").await.ok();
    let thanks = json!({"message": "thank you", "client_id": "thanks"});
    until("the block to be lifted", async || bob.try_post(&room, &thanks).await.status == 200).await;
    let history = ann.history(&room, "").await;
    let last = history["messages"].as_array().and_then(|messages| messages.last()).expect("messages");
    assert_eq!(last["content"], "thank you");
}

#[tokio::test]
async fn who_is_invited_on_one_node_is_told_on_another_and_hears_both_once_they_accept() {
    let cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster[0].person("ann").await, cluster[1].person("bob").await);
    let room = ann.group("tea", [&bob]).await;
    bob.leave(&room).await.ok();
    let mut socket = bob.socket().await;
    ann.invite(&bob, &room).await.ok();
    let told = socket.find("the invitation", |frame| frame["type"] == "chats" && frame["change"] == "invited").await;
    assert_eq!(told["chat_id"], json!(room));
    assert_eq!(listed(&bob, &room).await.expect("it is listed")["state"], "invited");
    bob.try_post(&room, &json!({"message": "too early"})).await.refused(403);
    bob.post_json(&format!("/chat/{room}/join"), &json!({})).await.ok();
    let mut follows = bob.follow(&room).await;
    ann.post(&room, "welcome").await;
    assert_eq!(follows.wait_for("message").await["content"], "welcome");
    bob.post(&room, "here I am").await;
}

#[tokio::test]
async fn a_room_hidden_on_one_node_is_gone_on_another_until_somebody_writes() {
    let cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster[0].person("ann").await, cluster[1].person("bob").await);
    let room = ann.private(&bob).await;
    ann.post(&room, "before").await;
    bob.post_json(&format!("/chat/{room}/hide"), &json!({})).await.ok();
    for node in cluster.nodes() {
        assert_eq!(listed(&bob.at(node), &room).await, None);
    }
    ann.post(&room, "once more").await;
    for node in cluster.nodes() {
        let bob = bob.at(node);
        until("it to be back", async || listed(&bob, &room).await.is_some()).await;
        assert_eq!(listed(&bob, &room).await.expect("it is back")["last_message"]["content"], "once more");
    }
}
