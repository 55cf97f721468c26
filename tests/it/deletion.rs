//! Accounts that admins delete: what ends with them, what stays, and under which name.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{PASSWORD, Person, Server, Setup, until};

const NOBODY: &str = "deleted user";

async fn delete(root: &Person, username: &str, body: Value) -> crate::harness::Answer {
    root.request(Method::DELETE, &format!("/users/{username}"), Some(&body)).await
}

async fn keep(root: &Person, username: &str) {
    delete(root, username, json!({"messages": "keep"})).await.ok();
}

/// Who is in a room, and as what.
async fn roles(person: &Person, room: &str) -> Vec<(String, String)> {
    let page = person.members(room).await.ok();
    let text = |member: &Value, field: &str| member[field].as_str().expect("a text").to_owned();
    let members = page["members"].as_array().expect("members").iter();
    members.map(|member| (text(member, "username"), text(member, "role"))).collect()
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(name, role)| (name.to_string(), role.to_string())).collect()
}

#[tokio::test]
async fn what_a_deleted_account_said_stays_as_that_of_nobody_wherever_it_is_told() {
    let mut server = Server::start().await;
    let root = server.admin().await;
    let (ann, bob) = server.two_people().await;
    let (pair, group) = (ann.private(&bob).await, ann.group("tea", [&bob]).await);
    for room in [&pair, &group] {
        ann.post(room, "mine says \"sender\":\"bob\"").await;
        bob.post_once(room, "his", "c1").await;
    }
    let mut socket = bob.socket().await;
    keep(&root, "BOB").await;

    assert_eq!(socket.closed().await.code, 4401);
    bob.get("/users/me").await.refused(401);
    bob.refresh().await.refused(401);
    server.reach.sign_in("bob", PASSWORD).await.refused(401);
    for restarted in [false, true] {
        if restarted {
            server.restart().await;
        }
        for room in [&pair, &group] {
            let page = ann.history(room, "").await;
            let said: Vec<(&str, &str)> = page["messages"]
                .as_array()
                .expect("messages")
                .iter()
                .map(|message| (message["sender"].as_str().expect("who"), message["content"].as_str().expect("what")))
                .collect();
            assert_eq!(said, [("ann", "mine says \"sender\":\"bob\""), (NOBODY, "his")], "{restarted}");
            assert_eq!(ann.chat(room).await["last_message"]["sender"], NOBODY);
            let log = ann.log(room).await;
            let named = |event: &&Value| ["sender", "by", "username"].iter().any(|field| event[field] == "bob");
            assert_eq!(log.iter().find(named), None, "{restarted}");
            // Replayed from the ring or from the store: the same bytes.
            let mut replayed = ann.socket().await;
            replayed.send(json!({"type": "subscribe", "chats": {room: {"since": 0}}})).await;
            for event in &log {
                assert_eq!(replayed.next_event().await, *event);
            }
        }
        assert_eq!(ann.chat(&pair).await["users"], json!(["ann", NOBODY]));
        assert_eq!(roles(&ann, &pair).await, pairs(&[("ann", "member"), (NOBODY, "member")]));
        assert_eq!(roles(&ann, &group).await, pairs(&[("ann", "owner")]));
        ann.try_post(&pair, &json!({"message": "are you there?"})).await.refused(409);
        let left = ann.log(&group).await;
        let last = left.last().expect("an event");
        assert_eq!((&last["change"], &last["username"]), (&json!("left"), &json!(NOBODY)));
    }
    for path in ["/users/users?q=b", "/users/users?q=deleted"] {
        assert_eq!(ann.get(path).await.ok(), json!([]), "{path}");
    }
    let listed = root.get("/users/?limit=500").await.ok();
    let listed = listed["users"].as_array().expect("users").iter();
    assert_eq!(listed.map(|user| user["username"].as_str().expect("a name")).collect::<Vec<_>>(), ["ann", "root"]);
    ann.post_json("/chat/new", &json!({"username": "bob"})).await.refused(404);
    for change in ["disable", "enable", "logout"] {
        root.post_empty(&format!("/users/bob/{change}")).await.refused(404);
    }
}

#[tokio::test]
async fn a_name_is_kept_or_free_by_choice_and_again_is_as_good_as_once() {
    let server = Server::start().await;
    let root = server.admin().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    bob.post(&room, "his").await;
    for _ in 0..2 {
        keep(&root, "bob").await;
    }
    server.reach.register("Bob", PASSWORD).await.refused(400);
    server.reach.register("bоb", PASSWORD).await.refused(400);
    root.post_json("/users/create", &json!({"username": "bob", "password": PASSWORD})).await.refused(400);
    // What was kept can be given up later.
    delete(&root, "bob", json!({"messages": "keep", "name": "free"})).await.ok();
    delete(&root, "bob", json!({"messages": "keep", "name": "free"})).await.refused(404);
    let bob = server.person("bob").await;
    assert!(bob.my_chats("").await["chats"].as_array().expect("chats").is_empty(), "nothing of the other one is his");
    assert_eq!(ann.history(&room, "").await["messages"][0]["sender"], NOBODY);
    let other = ann.private(&bob).await;
    assert_ne!(other, room);
    assert_eq!(ann.chat(&other).await["users"], json!(["ann", "bob"]));
    // What nobody is called, nobody can be called.
    for name in [NOBODY, "Deleted User", "deletеd user"] {
        server.reach.register(name, PASSWORD).await.refused(400);
    }
}

#[tokio::test]
async fn groups_are_left_and_handed_on_to_who_has_been_there_longest() {
    let server = Server::start().await;
    let root = server.admin().await;
    let (ann, bob) = server.two_people().await;
    let (cid, dee) = (server.person("cid").await, server.person("dee").await);
    let made = bob.group("made", [&ann, &cid]).await;
    let moderated = bob.group("moderated", [&ann, &cid]).await;
    bob.set_role(&cid, &moderated, "moderator").await.ok();
    let shared = ann.group("shared", [&bob, &cid]).await;
    ann.set_role(&bob, &shared, "owner").await.ok();
    let alone = bob.group("alone", []).await;
    // An invitation that he has not answered.
    let asked = dee.group("asked", [&bob]).await;
    bob.leave(&asked).await.ok();
    dee.invite(&bob, &asked).await.ok();
    let mut socket = ann.follow(&made).await;
    keep(&root, "bob").await;
    assert_eq!(roles(&ann, &made).await, pairs(&[("ann", "owner"), ("cid", "member")]));
    assert_eq!(roles(&ann, &moderated).await, pairs(&[("ann", "member"), ("cid", "owner")]));
    assert_eq!(roles(&ann, &shared).await, pairs(&[("ann", "owner"), ("cid", "member")]));
    let log = dee.log(&asked).await;
    assert_eq!(log.last().expect("an event")["change"], "declined");
    // Who is there sees by which name they left.
    let event = socket.find("the role", |event| event["change"] == "role").await;
    assert_eq!((&event["username"], &event["role"]), (&json!("ann"), &json!("owner")));
    let event = socket.find("the end", |event| event["change"] == "left").await;
    assert_eq!(event["username"], "bob");
    root.get(&format!("/chat/{alone}/members")).await.refused(404);
}

#[tokio::test]
async fn blocks_end_with_an_account() {
    let server = Server::start().await;
    let root = server.admin().await;
    let (ann, bob) = server.two_people().await;
    ann.post_json("/users/me/blocks", &json!({"username": "bob"})).await.ok();
    bob.post_json("/users/me/blocks", &json!({"username": "ann"})).await.ok();
    keep(&root, "bob").await;
    assert_eq!(ann.get("/users/me/blocks").await.ok()["users"], json!([]));
}

#[tokio::test]
async fn only_admins_delete_and_the_last_one_stays() {
    let server = Server::start().await;
    let root = server.admin().await;
    let (ann, bob) = server.two_people().await;
    delete(&ann, "bob", json!({"messages": "keep"})).await.refused(403);
    delete(&root, "root", json!({"messages": "keep"})).await.refused(409);
    delete(&root, "nobody", json!({"messages": "keep"})).await.refused(404);
    for body in [json!({}), json!({"messages": "burn"}), json!({"messages": "keep", "name": "sell"})] {
        delete(&root, "bob", body).await.refused(422);
    }
    root.delete("/users/bob").await.refused(422);
    bob.me().await;
    root.post_json("/users/add-role", &json!({"username": "ann", "role_name": "admin"})).await.ok();
    keep(&root, "root").await;
    root.get("/users/me").await.refused(401);
    delete(&ann, "ann", json!({"messages": "keep"})).await.refused(409);
    let audit = ann.get("/audit?what=deleted").await.ok();
    let entries = audit["entries"].as_array().expect("entries");
    assert_eq!(entries.len(), 1, "{audit}");
    assert_eq!((&entries[0]["who"], &entries[0]["whom"]), (&json!("root"), &json!("root")));
}

#[tokio::test]
async fn a_deletion_that_was_cut_off_is_finished_by_the_next_start() {
    let mut server = Server::start().await;
    let root = server.admin().await;
    let (ann, bob) = server.two_people().await;
    let pair = ann.private(&bob).await;
    bob.post(&pair, "his").await;
    let mut groups = Vec::new();
    for n in 0..100 {
        groups.push(bob.group(&n.to_string(), [&ann]).await);
    }
    let asking = tokio::spawn({
        let root = root.clone();
        async move {
            let request = root.reach.http.delete(root.reach.url("/users/bob"));
            request.bearer_auth(&root.token).json(&json!({"messages": "keep"})).send().await
        }
    });
    until("the deletion begins", async || bob.get("/users/me").await.status == 401).await;
    server.kill().await;
    drop(asking.await);
    server.restart().await;
    until("it is finished", async || ann.history(&pair, "").await["messages"][0]["sender"] == NOBODY).await;
    for group in &groups {
        assert_eq!(roles(&ann, group).await, pairs(&[("ann", "owner")]));
    }
    keep(&root, "bob").await;
}

#[tokio::test]
async fn an_operator_deletes_with_the_server_running_and_without() {
    for running in [true, false] {
        let mut server = Server::start().await;
        let (ann, bob) = server.two_people().await;
        let room = ann.group("tea", [&bob]).await;
        bob.post(&room, "his").await;
        if !running {
            server.stop().await;
        }
        let told = server.cli(&["admin", "delete", "bob", "--free-name"]).await.ok();
        assert!(told.contains("bob is deleted"), "{told}");
        server.cli(&["admin", "delete", "nobody"]).await.failed();
        if !running {
            server.restart().await;
        }
        let name_is_gone = async || ann.history(&room, "").await["messages"][0]["sender"] == NOBODY;
        until("the server knows", name_is_gone).await;
        assert_eq!(roles(&ann, &room).await, pairs(&[("ann", "owner")]));
        server.person("bob").await;
    }
}

#[tokio::test]
async fn exports_hold_no_deleted_name_and_bring_it_back_nowhere() {
    let server = Server::start().await;
    let root = server.admin().await;
    let (ann, bob) = server.two_people().await;
    let cid = server.person("cid").await;
    let (room, pair) = (ann.group("tea", [&bob, &cid]).await, ann.private(&cid).await);
    bob.post(&room, "his").await;
    cid.post(&pair, "hers").await;
    delete(&root, "bob", json!({"messages": "keep", "name": "free"})).await.ok();
    keep(&root, "cid").await;
    let told = server.cli(&["export", "all.zst"]).await.ok();
    let digest = |told: &str| told[told.find("sha256:").expect("a digest")..].lines().next().map(str::to_owned);
    let file = server.dir().join("all.zst");
    let bytes = zstd::decode_all(std::fs::File::open(&file).expect("the export")).expect("a zstd stream");
    let lines = String::from_utf8(bytes).expect("text");
    assert!(!lines.contains("bob"), "{lines}");
    assert!(server.cli(&["verify"]).await.ok().starts_with("all sound"));

    let there = Setup::new();
    let import = there.command_with(&["import", &file.display().to_string()]);
    let came = crate::harness::Process::spawn(import);
    came.ended().await;
    let there = there.start().await;
    assert_eq!(digest(&there.cli(&["verify"]).await.ok()), digest(&told));
    let ann = there.sign_in("ann").await;
    assert_eq!(ann.history(&room, "").await["messages"][0]["sender"], NOBODY);
    assert_eq!(ann.chat(&pair).await["users"], json!(["ann", NOBODY]));
    there.person("bob").await;
    there.reach.register("cid", PASSWORD).await.refused(400);
}

#[tokio::test]
async fn what_an_account_said_is_erased_with_it_also_where_it_had_left_and_after_a_kill() {
    let mut server = Server::start().await;
    let root = server.admin().await;
    let (ann, bob) = server.two_people().await;
    let (pair, group, left) =
        (ann.private(&bob).await, ann.group("tea", [&bob]).await, ann.group("left", [&bob]).await);
    for room in [&pair, &group, &left] {
        for n in 0..40 {
            bob.post(room, &format!("his secret {n}")).await;
        }
        ann.post(room, "hers").await;
    }
    bob.leave(&left).await.ok();
    let told = delete(&root, "bob", json!({"messages": "erase"})).await.ok();
    assert!(told["message"].as_str().is_some_and(|told| told.contains("being erased")), "{told}");
    server.kill().await;
    server.restart().await;
    let is_gone = async || root.get("/users/?q=bob").await.ok()["users"] == json!([]);
    until("the deletion ends", is_gone).await;
    for room in [&pair, &group, &left] {
        let page = ann.history(room, "?limit=500").await;
        let said = page["messages"].as_array().expect("messages");
        assert_eq!(said.len(), 1, "{page}");
        assert_eq!((&said[0]["content"], &said[0]["sender"]), (&json!("hers"), &json!("ann")));
        let log = serde_json::to_string(&ann.log(room).await).expect("JSON");
        assert!(!log.contains("secret") && !log.contains("\"bob\""), "{log}");
        assert_eq!(ann.chat(room).await["last_message"]["content"], "hers");
    }
    // Again is as good as once, and what was kept can be erased later.
    delete(&root, "bob", json!({"messages": "erase"})).await.ok();
    let cid = server.person("cid").await;
    let other = ann.private(&cid).await;
    cid.post(&other, "a later secret").await;
    keep(&root, "cid").await;
    delete(&root, "cid", json!({"messages": "erase"})).await.ok();
    let nothing = async || ann.history(&other, "").await["messages"] == json!([]);
    until("it is erased", nothing).await;
}
