//! People own their attention: whom they block, what they hide, and what strangers learn of them.

use serde_json::{Value, json};

use crate::harness::{Person, Server, Socket};

async fn block(who: &Person, whom: &Person) {
    who.post_json("/users/me/blocks", &json!({"username": &*whom.username})).await.ok();
}

async fn unblock(who: &Person, whom: &Person) {
    who.delete(&format!("/users/me/blocks/{}", whom.username)).await.ok();
}

async fn hide(who: &Person, room: &str) {
    who.post_json(&format!("/chat/{room}/hide"), &json!({})).await.ok();
}

fn ids(page: &Value) -> Vec<&str> {
    let chats = page["chats"].as_array().expect("chats");
    chats.iter().map(|chat| chat["chat_id"].as_str().expect("a chat_id")).collect()
}

/// Everything that is told of somebody beside the log, up to a message that ends with `end`.
async fn told_of(socket: &mut Socket, username: &str, end: &str) -> Vec<Value> {
    socket.find("the last message", |frame| frame["content"].as_str().is_some_and(|text| text.ends_with(end))).await;
    let frames = socket.drain().await;
    let about = |frame: &&Value| {
        let beside_the_log = ["typing", "read", "presence"].iter().any(|kind| frame["type"] == *kind);
        beside_the_log && (frame["username"] == username || frame["users"][username] == "online")
    };
    frames.iter().filter(about).cloned().collect()
}

#[tokio::test]
async fn blocks_are_listed_set_and_lifted_and_again_is_as_good_as_once() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let eve = server.person("eve").await;
    for whom in [&bob, &eve, &bob] {
        block(&ann, whom).await;
    }
    let first = ann.get("/users/me/blocks?limit=1").await.ok();
    let next = first["next"].as_str().expect("there is another page");
    let second = ann.get(&format!("/users/me/blocks?limit=1&after={next}")).await.ok();
    assert_eq!(
        (&first["users"], &second),
        (&json!([{"username": "bob"}]), &json!({"users": [{"username": "eve"}], "next": null}))
    );
    for _ in 0..2 {
        unblock(&ann, &bob).await;
    }
    assert_eq!(ann.get("/users/me/blocks").await.ok()["users"], json!([{"username": "eve"}]));
    assert_eq!(bob.get("/users/me/blocks").await.ok()["users"], json!([]), "nobody learns who blocks them");
    for (answer, status) in [
        (ann.post_json("/users/me/blocks", &json!({"username": "ann"})).await, 409),
        (ann.post_json("/users/me/blocks", &json!({"username": "nobody"})).await, 404),
        (ann.delete("/users/me/blocks/nobody").await, 404),
        (ann.delete("/users/me/blocks/ANN").await, 409),
    ] {
        answer.refused(status);
    }
}

#[tokio::test]
async fn a_user_blocks_no_more_people_than_the_setting_says() {
    let server = Server::with(&[("limits.blocks_per_user", "1")]).await;
    let (ann, bob) = server.two_people().await;
    let eve = server.person("eve").await;
    block(&ann, &bob).await;
    let refused = ann.post_json("/users/me/blocks", &json!({"username": "eve"})).await.refused(409);
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("limits.blocks_per_user")), "{refused}");
    unblock(&ann, &bob).await;
    block(&ann, &eve).await;
}

#[tokio::test]
async fn who_is_blocked_neither_opens_a_chat_nor_invites_nor_posts_in_the_one_there_is() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let eve = server.person("eve").await;
    let room = ann.private(&bob).await;
    let group = bob.group("tea", []).await;
    let mut socket = bob.follow(&room).await;
    block(&ann, &bob).await;
    block(&ann, &eve).await;
    for answer in [
        bob.post_json("/chat/new", &json!({"username": "ann"})).await,
        eve.post_json("/chat/new", &json!({"username": "ANN"})).await,
        bob.post_json("/chat/new", &json!({"name": "x", "usernames": ["eve", "ann"]})).await,
        bob.invite(&ann, &group).await,
        bob.try_post(&room, &json!({"message": "hear me"})).await,
    ] {
        assert_eq!(answer.refused(403)["code"], "not_taken");
    }
    let refused = socket.ask(json!({"type": "post", "chat_id": room, "content": "hear me", "client_id": "1"})).await;
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("not_taken")));
    assert_eq!(bob.log(&room).await.len(), 2, "nothing was said");
    ann.post(&room, "I may still write to you").await;
    assert_eq!(bob.history(&room, "").await["messages"][0]["content"], "I may still write to you");
    unblock(&ann, &bob).await;
    bob.post(&room, "thank you").await;
    bob.invite(&ann, &group).await.ok();
}

#[tokio::test]
async fn a_block_holds_after_a_restart() {
    let mut server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    block(&ann, &bob).await;
    server.restart().await;
    let (ann, bob) = (ann.at(&server), bob.at(&server));
    bob.try_post(&room, &json!({"message": "hear me"})).await.refused(403);
    unblock(&ann, &bob).await;
    bob.post(&room, "thank you").await;
}

#[tokio::test]
async fn those_of_whom_one_blocks_the_other_see_nothing_of_each_other() {
    let server = Server::with(&[("presence.batch_millis", "20"), ("presence.typing_millis", "0")]).await;
    let (ann, bob) = server.two_people().await;
    let eve = server.person("eve").await;
    let (private, group) = (ann.private(&bob).await, ann.group("tea", [&bob, &eve]).await);
    ann.post(&private, "hello").await;
    let seq = bob.post(&private, "hello").await.seq;
    block(&ann, &bob).await;
    let mut anns = ann.follow(&private).await;
    anns.follow(&group).await;
    let mut bobs = bob.follow(&private).await;
    bobs.follow(&group).await;
    let mut eves = eve.follow(&group).await;
    let mut others = bob.follow(&private).await;
    others.follow(&group).await;
    for socket in [&mut others, &mut anns] {
        for room in [&private, &group] {
            socket.ask(json!({"type": "typing", "chat_id": room})).await;
        }
    }
    bob.mark_read(&private, seq).await;
    ann.mark_read(&private, seq).await;
    eves.find("ann types", |frame| frame["type"] == "typing" && frame["username"] == "ann").await;
    let read = |members: Value, name: &str| {
        let all = members["members"].as_array().expect("members").clone();
        all.into_iter().find(|member| member["username"] == name).expect("a member")["read_seq"].clone()
    };
    assert_eq!(read(bob.members(&group).await.ok(), "ann"), 0);
    assert_eq!(read(ann.members(&private).await.ok(), "bob"), 0);
    assert_ne!(read(eve.members(&group).await.ok(), "ann"), 0);
    eve.post(&group, "the end").await;
    assert_eq!(told_of(&mut anns, "bob", "the end").await, [] as [Value; 0]);
    assert_eq!(told_of(&mut bobs, "ann", "the end").await, [] as [Value; 0]);
    assert!(!told_of(&mut eves, "bob", "the end").await.is_empty(), "others see them both");
}

#[tokio::test]
async fn a_block_that_is_set_while_both_are_there_ends_presence_at_once_and_lifting_it_brings_it_back() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let group = ann.group("tea", [&bob]).await;
    let (mut anns, mut bobs) = (ann.follow(&group).await, bob.follow(&group).await);
    let is = |name: &'static str, here: &'static str| move |frame: &Value| frame["users"][name] == here;
    anns.find("bob is there", is("bob", "online")).await;
    block(&ann, &bob).await;
    anns.find("bob is gone", is("bob", "offline")).await;
    bobs.find("ann is gone", is("ann", "offline")).await;
    unblock(&ann, &bob).await;
    anns.find("bob is there again", is("bob", "online")).await;
    bobs.find("ann is there again", is("ann", "online")).await;
}

#[tokio::test]
async fn a_stranger_who_opens_a_private_chat_learns_nothing_before_the_other_has_written() {
    let server = Server::with(&[("presence.batch_millis", "20")]).await;
    let (ann, mallory) = (server.person("ann").await, server.person("mallory").await);
    let mut anns = ann.socket().await;
    let room = mallory.private(&ann).await;
    let seq = mallory.post(&room, "hello").await.seq;
    let mut socket = mallory.follow(&room).await;
    let first = socket.wait_for("presence").await;
    assert_eq!((&first["online"], &first["users"]), (&json!(1), &json!({"mallory": "online"})));
    ann.mark_read(&room, seq).await;
    assert_eq!(mallory.members(&room).await.ok()["members"][1]["read_seq"], 0);
    anns.follow(&room).await;
    let seen = anns.find("who writes is seen", |frame| frame["users"]["mallory"] == "online").await;
    assert_eq!(seen["online"], 2);
    mallory.post(&room, "are you there").await;
    assert_eq!(told_of(&mut socket, "ann", "are you there").await, [] as [Value; 0]);
    let seq = ann.post(&room, "I am").await.seq;
    let now = socket.find("ann's presence", |frame| frame["users"]["ann"] == "online").await;
    assert_eq!(now["online"], 2);
    assert_eq!(mallory.members(&room).await.ok()["members"][1]["read_seq"], seq);
}

#[tokio::test]
async fn a_hidden_chat_comes_back_with_its_next_message_or_when_it_is_opened_again() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let eve = server.person("eve").await;
    let room = bob.private(&ann).await;
    bob.post(&room, "buy this").await;
    hide(&ann, &room).await;
    assert_eq!((ids(&ann.my_chats("").await), ids(&bob.my_chats("").await)), (vec![], vec![&*room]));
    assert_eq!(ann.history(&room, "").await["messages"].as_array().map(Vec::len), Some(1), "it is there");
    bob.post(&room, "and that").await;
    assert_eq!(ids(&ann.my_chats("").await), [&*room]);
    hide(&ann, &room).await;
    block(&ann, &bob).await;
    bob.try_post(&room, &json!({"message": "hear me"})).await.refused(403);
    assert!(ids(&ann.my_chats("").await).is_empty(), "what is not taken brings nothing back");
    ann.post_json("/chat/new", &json!({"username": "bob"})).await.refused(400);
    assert_eq!(ids(&ann.my_chats("").await), [&*room]);
    let group = ann.group("tea", [&bob]).await;
    for (who, room, status) in [(&ann, &group, 403), (&eve, &room, 404), (&eve, &group, 404)] {
        who.post_json(&format!("/chat/{room}/hide"), &json!({})).await.refused(status);
    }
}

#[tokio::test]
async fn rooms_that_others_make_somebody_join_fill_the_others_quota() {
    let server = Server::with(&[("limits.rooms_per_user", "3")]).await;
    let (ann, bob) = server.two_people().await;
    let (mallory, puppet) = (server.person("mallory").await, server.person("puppet").await);
    for n in 0..3 {
        mallory.group(&format!("buy {n}"), [&ann]).await;
        puppet.group(&format!("sell {n}"), [&ann]).await;
    }
    let refused = mallory.post_json("/chat/new", &json!({"name": "more", "usernames": ["ann"]})).await.refused(409);
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("limits.rooms_per_user")), "{refused}");
    bob.private(&ann).await;
    for n in 0..3 {
        ann.group(&format!("mine {n}"), []).await;
    }
    ann.post_json("/chat/new", &json!({"name": "four", "usernames": []})).await.refused(409);
    ann.post_json("/chat/new", &json!({"username": "puppet"})).await.refused(409);
}
