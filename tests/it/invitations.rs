//! Who left a group comes back only by accepting, and where the operator wants it, strangers must be asked first.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Person, Server};

async fn join(who: &Person, room: &str) -> Answer {
    who.post_json(&format!("/chat/{room}/join"), &json!({})).await
}

async fn decline(who: &Person, room: &str) -> Answer {
    who.post_json(&format!("/chat/{room}/decline"), &json!({})).await
}

/// The change, whom it is about and by whom, of the last event of a log.
async fn last_change(who: &Person, room: &str) -> [String; 3] {
    let log = who.log(room).await;
    let last = log.last().expect("an event");
    ["change", "username", "by"].map(|field| last[field].as_str().unwrap_or_default().to_owned())
}

/// What the list of somebody's chats says of one.
async fn listed(who: &Person, room: &str) -> Option<Value> {
    let page = who.my_chats("?limit=500").await;
    page["chats"].as_array().expect("chats").iter().find(|chat| chat["chat_id"] == room).cloned()
}

async fn directory(who: &Person, query: &str) -> Vec<String> {
    let names = who.get(&format!("/users/users{query}")).await.ok();
    names.as_array().expect("names").iter().map(|one| one["username"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn who_left_a_group_is_invited_hears_nothing_of_it_and_is_in_it_once_they_accept() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.group("tea", [&bob]).await;
    bob.leave(&room).await.ok();
    let mut socket = bob.socket().await;
    ann.invite_as(&bob, &room, "reader").await.ok();
    assert_eq!(last_change(&ann, &room).await, ["invited", "bob", "ann"]);
    let told = socket.find("the invitation", |frame| frame["type"] == "chats").await;
    assert_eq!(told, json!({"type": "chats", "chat_id": room, "change": "invited"}));
    ann.post(&room, "a secret").await;
    let shown = listed(&bob, &room).await.expect("it is listed");
    let said = ["state", "by", "name", "role", "kind", "users", "head_seq", "unread", "last_message"];
    let want = json!(["invited", "ann", "tea", "reader", "group", [], 0, 0, null]);
    assert_eq!(json!(said.map(|field| shown[field].clone())), want);
    bob.get(&format!("/chat/{room}")).await.refused(403);
    for path in ["/events", "/members"] {
        bob.get(&format!("/chat/{room}{path}")).await.refused(404);
    }
    bob.try_post(&room, &json!({"message": "x"})).await.refused(403);
    let refused = socket.ask(json!({"type": "subscribe", "chats": {&*room: null}})).await;
    assert_eq!(refused["code"], "chat_not_found");
    bob.reach.handshake(&format!("/ws/chat/{room}")).bearer(&bob.token).refused(404).await;
    let members = ann.members(&room).await.ok()["members"].clone();
    assert_eq!(members.as_array().map(Vec::len), Some(1), "{members}");
    assert!(socket.drain().await.iter().all(|frame| frame["type"] != "message"));

    let head = ann.head(&room).await;
    ann.invite_as(&bob, &room, "reader").await.ok();
    assert_eq!(ann.head(&room).await, head, "asked once is asked");
    join(&bob, &room).await.ok();
    join(&bob, &room).await.ok();
    assert_eq!(last_change(&ann, &room).await, ["added", "bob", "bob"]);
    let shown = listed(&bob, &room).await.expect("it is listed");
    assert_eq!(
        (&shown["state"], &shown["role"], &shown["users"]),
        (&Value::Null, &json!("reader"), &json!(["ann", "bob"]))
    );
    ann.set_role(&bob, &room, "member").await.ok();
    bob.post(&room, "here I am").await;
}

#[tokio::test]
async fn who_declines_is_asked_again_and_who_was_removed_need_not_be() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let eve = server.person("eve").await;
    let room = ann.group("tea", [&bob, &eve]).await;
    ann.remove(&eve, &room).await.ok();
    ann.invite(&eve, &room).await.ok();
    assert_eq!(last_change(&ann, &room).await, ["added", "eve", "ann"]);
    for _ in 0..3 {
        if bob.members(&room).await.status == 200 {
            bob.leave(&room).await.ok();
        }
        ann.invite(&bob, &room).await.ok();
        bob.members(&room).await.refused(404);
        decline(&bob, &room).await.ok();
        assert_eq!(last_change(&ann, &room).await, ["declined", "bob", "bob"]);
        assert_eq!(listed(&bob, &room).await, None);
        decline(&bob, &room).await.refused(404);
        join(&bob, &room).await.refused(404);
    }
    ann.invite(&bob, &room).await.ok();
    ann.remove(&bob, &room).await.ok();
    assert_eq!(last_change(&ann, &room).await, ["removed", "bob", "ann"]);
    join(&bob, &room).await.refused(404);
    assert_eq!(listed(&bob, &room).await, None);
    for nobody in [&eve, &server.person("zoe").await] {
        let there = "01900000-0000-7000-8000-000000000000";
        decline(nobody, &room).await.refused(404);
        join(nobody, there).await.refused(404);
    }
}

#[tokio::test]
async fn a_leave_is_not_outrun_by_invitations_that_are_under_way() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    for _ in 0..5 {
        let room = ann.group("tea", [&bob]).await;
        let invite = json!({"username": "bob"});
        let path = format!("/chat/{room}/members");
        let flood = (0..20).map(|_| ann.post_json(&path, &invite));
        let (left, _) = tokio::join!(bob.leave(&room), futures_util::future::join_all(flood));
        left.ok();
        bob.members(&room).await.refused(404);
    }
}

#[tokio::test]
async fn an_invitation_and_a_leave_hold_after_a_restart() {
    let mut server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let (asked, left) = (ann.group("tea", [&bob]).await, ann.group("cocoa", [&bob]).await);
    for room in [&asked, &left] {
        bob.leave(room).await.ok();
    }
    ann.invite(&bob, &asked).await.ok();
    server.restart().await;
    let (ann, bob) = (ann.at(&server), bob.at(&server));
    ann.invite(&bob, &left).await.ok();
    bob.members(&left).await.refused(404);
    join(&bob, &asked).await.ok();
    bob.post(&asked, "back").await;
}

#[tokio::test]
async fn invitations_are_among_the_chats_page_by_page_latest_first() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let mut rooms = Vec::new();
    for n in 0..6 {
        let room = ann.group(&format!("room {n}"), [&bob]).await;
        if n % 2 == 0 {
            bob.leave(&room).await.ok();
            ann.invite(&bob, &room).await.ok();
        }
        rooms.insert(0, room);
    }
    let (mut found, mut next) = (Vec::new(), Some(String::new()));
    while let Some(query) = next {
        let page = bob.my_chats(&format!("?limit=2{query}")).await;
        let chats = page["chats"].as_array().expect("chats").clone();
        found.extend(chats.iter().map(|chat| chat["chat_id"].as_str().expect("an id").to_owned()));
        next = page["next"].as_str().map(|next| format!("&after={next}"));
    }
    assert_eq!(found, rooms);
}

#[tokio::test]
async fn where_strangers_must_ask_only_those_who_know_the_inviter_are_in_at_once() {
    let server = Server::with(&[("auth.invites", "ask")]).await;
    let (ann, bob) = server.two_people().await;
    let mallory = server.person("mallory").await;
    let room = mallory.group("buy", [&ann]).await;
    assert_eq!(listed(&ann, &room).await.expect("an invitation")["state"], "invited");
    ann.members(&room).await.refused(404);
    mallory.private(&ann).await;
    mallory.invite(&bob, &room).await.ok();
    let again = mallory.group("buy more", [&ann]).await;
    ann.members(&again).await.refused(404);
    let private = ann.private(&bob).await;
    bob.post(&private, "hello").await;
    let known = ann.group("tea", [&bob]).await;
    bob.members(&known).await.ok();
    let unknown = bob.group("cocoa", [&ann]).await;
    ann.members(&unknown).await.ok();
    join(&ann, &room).await.ok();
    ann.members(&room).await.ok();
}

#[tokio::test]
async fn the_quota_is_asked_of_who_accepts_and_invitations_take_a_members_place() {
    let server = Server::with(&[("limits.rooms_per_user", "1"), ("limits.room_members", "2")]).await;
    let (ann, bob) = server.two_people().await;
    let eve = server.person("eve").await;
    let room = ann.group("tea", [&bob]).await;
    bob.leave(&room).await.ok();
    ann.invite(&bob, &room).await.ok();
    ann.invite(&eve, &room).await.refused(409);
    bob.group("mine", []).await;
    join(&bob, &room).await.refused(409);
    decline(&bob, &room).await.ok();
    ann.invite(&eve, &room).await.ok();
}

#[tokio::test]
async fn whom_the_directory_lists_is_the_operators_choice_and_admins_see_all() {
    for (setting, alone, with_bob) in [
        ("open", vec!["ann", "bob", "eve", "root"], vec!["ann", "bob", "eve", "root"]),
        ("rooms", vec!["ann"], vec!["ann", "bob"]),
        ("closed", vec![], vec![]),
    ] {
        let server = Server::with(&[("auth.directory", setting)]).await;
        let (ann, bob) = server.two_people().await;
        server.person("eve").await;
        let admin = server.admin().await;
        assert_eq!(directory(&ann, "").await, alone, "{setting}");
        ann.group("tea", [&bob]).await;
        assert_eq!(directory(&ann, "").await, with_bob, "{setting}");
        let prefixed: Vec<&str> = with_bob.iter().filter(|name| name.starts_with('b')).copied().collect();
        assert_eq!(directory(&ann, "?q=B").await, prefixed, "{setting}");
        assert!(directory(&admin, "").await.len() >= 4, "{setting}");
        assert_eq!(ann.request(Method::GET, "/users/", None).await.status, 403);
    }
}
