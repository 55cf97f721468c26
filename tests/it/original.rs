//! Clients of the FastAPI chat server that natter succeeds: their exact requests, and the answers they rely on.
//!
//! Every row marked **S** in the contract is here. natter may add fields, so tests ask for the fields that must be there.

use reqwest::{Method, multipart::Form};
use serde_json::{Value, json};

use crate::harness::{PASSWORD, Person, Server};

#[track_caller]
fn assert_has(value: &Value, fields: &[&str]) {
    let object = value.as_object().unwrap_or_else(|| panic!("not an object: {value}"));
    for field in fields {
        assert!(object.contains_key(*field), "no {field} in {value}");
    }
}

fn is_time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() == 24 && &text[10..11] == "T" && text.ends_with('Z'))
}

#[tokio::test]
async fn a_session_of_the_originals_client_works_from_register_to_broadcast() {
    let server = Server::start().await;
    let reach = &server.reach;
    for name in ["alice", "bob"] {
        let made = reach.register(name, PASSWORD).await.ok();
        assert_eq!(made, json!({"message": "User created successfully"}));
    }
    let login = reach.sign_in("alice", PASSWORD).await.ok();
    let alice = Person::of_login(reach.clone(), "alice", login);
    let bob = server.sign_in("bob").await;
    assert_eq!(alice.get("/users/users").await.ok(), json!([{"username": "alice"}, {"username": "bob"}]));

    let room = alice.private(&bob).await;
    let chats = bob.my_chats("").await;
    assert_eq!(chats["chats"][0]["chat_id"], room.as_str());

    let mut alice_socket = alice.one_room(&room, None).await;
    let mut bob_socket = bob.one_room(&room, None).await;
    alice_socket.send(json!({"message": "hello over the socket"})).await;
    for socket in [&mut alice_socket, &mut bob_socket] {
        let heard = socket.next().await;
        assert_eq!((&heard["type"], &heard["sender"]), (&json!("message"), &json!("alice")));
        assert_eq!(heard["content"], "hello over the socket");
    }
    bob.post(&room, "hello over REST").await;
    assert_eq!(alice_socket.next().await["content"], "hello over REST");

    let page = alice.history(&room, "").await;
    let said: Vec<&Value> = page["messages"].as_array().unwrap().iter().map(|message| &message["content"]).collect();
    assert_eq!(said, ["hello over the socket", "hello over REST"]);
}

#[tokio::test]
async fn registering_answers_in_the_originals_words() {
    let server = Server::start().await;
    let made = server.reach.register("alice", PASSWORD).await.ok();
    assert_eq!(made["message"], "User created successfully");
    server.reach.register("alice", PASSWORD).await.refused_saying(400, "User already exists");
}

#[tokio::test]
async fn a_token_is_got_with_an_urlencoded_form() {
    let server = Server::start().await;
    server.person("alice").await;
    let plain = [("username", "alice"), ("password", PASSWORD)];
    let full = [
        ("grant_type", "password"),
        ("username", "alice"),
        ("password", PASSWORD),
        ("scope", ""),
        ("client_id", ""),
        ("client_secret", ""),
    ];
    for form in [&plain[..], &full[..]] {
        let login = server.reach.request(Method::POST, "/token", |request| request.form(form)).await.ok();
        assert_has(&login, &["access_token", "token_type", "expires_in", "refresh_token"]);
        assert_eq!(login["token_type"], "bearer");
        assert_eq!(login["expires_in"], 30 * 60);
    }
}

#[tokio::test]
async fn a_token_is_got_with_a_multipart_form() {
    let server = Server::start().await;
    server.person("alice").await;
    let form = Form::new().text("username", "alice").text("password", PASSWORD).text("grant_type", "password");
    let login = server.reach.request(Method::POST, "/token", |request| request.multipart(form)).await.ok();
    let alice = Person::of_login(server.reach.clone(), "alice", login);
    assert_eq!(alice.me().await["username"], "alice");
}

#[tokio::test]
async fn access_tokens_live_as_long_as_the_originals_setting_says() {
    let server = Server::with(&[("ACCESS_TOKEN_EXPIRE_MINUTES", "7")]).await;
    server.person("alice").await;
    assert_eq!(server.reach.sign_in("alice", PASSWORD).await.ok()["expires_in"], 7 * 60);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_are_refused_in_the_same_words() {
    let server = Server::start().await;
    server.person("alice").await;
    for (username, password) in [("alice", "not her password"), ("nobody", PASSWORD)] {
        let refused = server.reach.sign_in(username, password).await;
        refused.refused_saying(401, "Incorrect username or password");
    }
}

#[tokio::test]
async fn a_form_without_its_fields_gets_a_422_that_names_them() {
    let server = Server::start().await;
    let form = [("username", "alice")];
    let body =
        server.reach.request(Method::POST, "/token", |request| request.form(&form)).await.refused_field("password");
    assert_eq!(body["detail"][0]["loc"], json!(["body", "password"]));
    let form = [("password", "a secret nobody may echo")];
    let answer = server.reach.request(Method::POST, "/token", |request| request.form(&form)).await;
    assert!(!answer.text().contains("a secret nobody"), "{}", answer.text());
    assert_eq!(answer.refused_field("username")["detail"][0]["loc"], json!(["body", "username"]));
}

#[tokio::test]
async fn another_grant_type_than_password_is_a_422() {
    let server = Server::start().await;
    server.person("alice").await;
    let form = [("grant_type", "client_credentials"), ("username", "alice"), ("password", PASSWORD)];
    server.reach.request(Method::POST, "/token", |request| request.form(&form)).await.refused_field("grant_type");
}

#[tokio::test]
async fn a_body_without_its_fields_gets_a_422_that_names_them_and_never_echoes_a_password() {
    let server = Server::start().await;
    let cases = [
        (json!({"password": "swordfish 1234"}), "username"),
        (json!({"username": "alice"}), "password"),
        (json!({"username": 7, "password": "swordfish 1234"}), "username"),
        (json!({"username": null, "password": "swordfish 1234"}), "username"),
        (json!({"username": "alice", "password": ["swordfish 1234"]}), "password"),
    ];
    for (body, field) in cases {
        let answer = server.reach.post("/users/register", &body).await;
        assert!(!answer.text().contains("swordfish"), "{}", answer.text());
        assert_eq!(answer.refused_field(field)["detail"][0]["loc"], json!(["body", field]), "{body}");
    }
}

#[tokio::test]
async fn without_a_token_every_row_that_needs_one_says_not_authenticated() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let rows = [
        (Method::GET, "/users/me".to_owned()),
        (Method::GET, "/users/".to_owned()),
        (Method::GET, "/users/users".to_owned()),
        (Method::POST, "/users/add-role".to_owned()),
        (Method::POST, "/users/remove-role".to_owned()),
        (Method::POST, "/chat/new".to_owned()),
        (Method::GET, "/chat/my-chats".to_owned()),
        (Method::GET, format!("/chat/{room}")),
        (Method::POST, format!("/chat/{room}")),
    ];
    for (method, path) in rows {
        let answer = server.reach.request(method, &path, |request| request).await;
        answer.refused_saying(401, "Not authenticated");
    }
    server.reach.handshake(&format!("/ws/chat/{room}")).refused(401).await;
}

#[tokio::test]
async fn a_token_that_is_none_is_refused_as_invalid() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    ann.holding("nonsense").get("/users/me").await.refused_saying(401, "Invalid token");
}

#[tokio::test]
async fn me_shows_the_user_with_role_ids_and_names() {
    let server = Server::start().await;
    let me = server.person("alice").await.me().await;
    assert_has(&me, &["_id", "user_id", "username", "display_name", "roles", "created_at"]);
    assert_eq!(me["_id"], me["user_id"]);
    assert_eq!(me["username"], "alice");
    assert!(is_time(&me["created_at"]), "{me}");
    assert_has(&me["roles"][0], &["role_id", "role_name"]);
    assert_eq!(me["roles"][0]["role_name"], "basic_user");
    assert_eq!(me["roles"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn the_list_of_users_is_for_admins() {
    let server = Server::start().await;
    let alice = server.person("alice").await;
    alice.get("/users/").await.refused_saying(403, "Insufficient permissions");
    let list = server.admin().await.get("/users/").await.ok();
    assert_has(&list, &["users", "next"]);
    assert_eq!(list["users"].as_array().map(Vec::len), Some(2));
    assert_has(&list["users"][0], &["user_id", "username", "display_name", "roles", "created_at", "disabled"]);
    assert_eq!(list["users"][0]["username"], "alice");
}

#[tokio::test]
async fn roles_are_added_and_removed_in_the_originals_words() {
    let server = Server::start().await;
    let (alice, root) = (server.person("alice").await, server.admin().await);
    let body = json!({"username": "alice", "role_name": "admin"});
    alice.post_json("/users/add-role", &body).await.refused_saying(403, "Insufficient permissions");
    let added = root.post_json("/users/add-role", &body).await.ok();
    assert_eq!(added["message"], "Role added successfully");
    let removed = root.post_json("/users/remove-role", &body).await.ok();
    assert_eq!(removed["message"], "Role removed successfully");
}

#[tokio::test]
async fn a_private_room_is_made_once_and_the_second_time_named() {
    let server = Server::start().await;
    let (alice, bob) = (server.person("alice").await, server.person("bob").await);
    let made = alice.post_json("/chat/new", &json!({"username": "bob"})).await.ok();
    assert_eq!(made["message"], "Chatroom created successfully");
    let room = made["chat_id"].clone();
    assert!(room.is_string(), "{made}");
    for (who, other) in [(&alice, "bob"), (&bob, "alice")] {
        let refused = who.post_json("/chat/new", &json!({"username": other})).await.refused(400);
        assert_eq!(refused["detail"], json!({"message": "Chatroom already exists", "chat_id": room}));
    }
    alice.post_json("/chat/new", &json!({"username": "nobody"})).await.refused(404);
    alice.post_json("/chat/new", &json!({"username": 1})).await.refused(422);
}

#[tokio::test]
async fn my_chats_show_each_room_with_its_people() {
    let server = Server::start().await;
    let (alice, bob) = (server.person("alice").await, server.person("bob").await);
    assert_eq!(alice.my_chats("").await, json!({"chats": [], "next": null}));
    let room = alice.private(&bob).await;
    let page = alice.my_chats("").await;
    let chat = &page["chats"][0];
    let fields = ["chat_id", "users", "kind", "name", "role", "head_seq", "read_seq", "unread", "last_message"];
    assert_has(chat, &fields);
    assert_eq!((&chat["chat_id"], &chat["kind"]), (&json!(room), &json!("private")));
    let mut users: Vec<&str> = chat["users"].as_array().unwrap().iter().map(|user| user.as_str().unwrap()).collect();
    users.sort_unstable();
    assert_eq!(users, ["alice", "bob"]);
}

#[tokio::test]
async fn a_message_is_sent_and_read_back_with_the_originals_fields() {
    let server = Server::start().await;
    let (alice, bob) = (server.person("alice").await, server.person("bob").await);
    let room = alice.private(&bob).await;
    let sent = alice.try_post(&room, &json!({"message": "hi"})).await.ok();
    assert_eq!(sent["message"], "Message sent successfully");
    assert_has(&sent, &["chat_id", "message_id", "seq", "sent_at", "duplicate"]);
    assert_eq!((&sent["chat_id"], &sent["duplicate"]), (&json!(room), &json!(false)));
    assert!(is_time(&sent["sent_at"]), "{sent}");

    let page = bob.history(&room, "").await;
    assert_has(&page, &["messages", "head_seq", "epoch", "next_before", "next_after"]);
    let expected = json!([{
        "type": "message", "chat_id": room, "seq": sent["seq"], "message_id": sent["message_id"],
        "sender": "alice", "sent_at": sent["sent_at"], "content": "hi",
    }]);
    assert_eq!(page["messages"], expected);
}

#[tokio::test]
async fn a_room_that_is_not_there_and_a_room_of_others_are_told_apart_as_the_original_does() {
    let server = Server::start().await;
    let (alice, bob) = (server.person("alice").await, server.person("bob").await);
    let eve = server.person("eve").await;
    let room = alice.private(&bob).await;
    let nowhere = "/chat/01900000-0000-7000-8000-000000000000";
    eve.get(&format!("/chat/{room}")).await.refused_saying(403, "Insufficient permissions");
    eve.try_post(&room, &json!({"message": "x"})).await.refused_saying(403, "Insufficient permissions");
    eve.get(nowhere).await.refused_saying(404, "Chatroom not found");
    eve.post_json(nowhere, &json!({"message": "x"})).await.refused_saying(404, "Chatroom not found");
    eve.get("/chat/not-an-id").await.refused_saying(404, "Chatroom not found");
    eve.reach.handshake(&format!("/ws/chat/{room}")).bearer(&eve.token).refused(404).await;
}

#[tokio::test]
async fn a_room_socket_sends_messages_and_nothing_else() {
    let server = Server::start().await;
    let (alice, bob) = (server.person("alice").await, server.person("bob").await);
    let carol = server.person("carol").await;
    let room = alice.group("tea", [&bob]).await;
    let mut socket = bob.one_room(&room, Some(0)).await;
    alice.invite(&carol, &room).await.ok();
    alice.rename(&room, "coffee").await.ok();
    alice.post(&room, "first").await;
    socket.send(json!({"message": "second", "client_id": "c1"})).await;
    let (first, second) = (socket.next().await, socket.next().await);
    assert_eq!((&first["type"], &first["content"]), (&json!("message"), &json!("first")));
    assert_eq!((&second["content"], &second["client_id"]), (&json!("second"), &json!("c1")));
}

#[tokio::test]
async fn a_room_socket_with_since_first_replays_what_follows() {
    let server = Server::start().await;
    let (alice, bob) = (server.person("alice").await, server.person("bob").await);
    let room = alice.private(&bob).await;
    let first = alice.post(&room, "first").await;
    alice.post(&room, "second").await;
    let mut socket = bob.one_room(&room, Some(first.seq)).await;
    assert_eq!(socket.next().await["content"], "second");
    alice.post(&room, "third").await;
    assert_eq!(socket.next().await["content"], "third");
}

#[tokio::test]
async fn the_other_trailing_slash_form_answers_307_to_the_one_there_is() {
    let server = Server::start().await;
    let root = server.admin().await;
    let rows = [
        (Method::GET, "/users", "/users/"),
        (Method::GET, "/users?limit=1", "/users/?limit=1"),
        (Method::GET, "/users/me/", "/users/me"),
        (Method::GET, "/chat/my-chats/", "/chat/my-chats"),
        (Method::POST, "/token/", "/token"),
        (Method::POST, "/users/register/", "/users/register"),
    ];
    for (method, asked, there) in rows {
        let answer = root.request(method, asked, None).await;
        assert_eq!(answer.status, 307, "{asked}");
        assert!(answer.header("location").is_some_and(|to| to.ends_with(there)), "{asked}: {:?}", answer.headers);
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused_in_the_originals_words() {
    let server = Server::start().await;
    server.reach.get("/nowhere").await.refused_saying(404, "Not Found");
    let answer = server.reach.request(Method::DELETE, "/users/register", |request| request).await;
    answer.refused_saying(405, "Method Not Allowed");
}
