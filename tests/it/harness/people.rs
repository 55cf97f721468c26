//! Somebody who is signed in, and everything they can ask for over HTTP.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Reach, Server, Socket};

/// Everybody's password.
pub const PASSWORD: &str = "correct horse battery";

/// One login of one user.
#[derive(Clone)]
pub struct Person {
    pub reach: Reach,
    pub username: Arc<str>,
    pub token: String,
    pub refresh_token: String,
}

/// The acknowledgement of a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    pub message_id: String,
    pub seq: u64,
    pub sent_at: String,
    pub duplicate: bool,
}

impl Posted {
    /// From the answer of `POST /chat/{id}` or a `posted` frame.
    #[track_caller]
    pub fn of(answer: &Value) -> Self {
        let text = |field: &str| answer[field].as_str().unwrap_or_else(|| panic!("no {field} in {answer}")).to_owned();
        Self {
            message_id: text("message_id"),
            seq: answer["seq"].as_u64().unwrap_or_else(|| panic!("no seq in {answer}")),
            sent_at: text("sent_at"),
            duplicate: answer["duplicate"].as_bool().unwrap_or_else(|| panic!("no duplicate in {answer}")),
        }
    }
}

impl Person {
    /// From the answer of `/token` or `/token/refresh`.
    pub fn of_login(reach: Reach, username: &str, login: Value) -> Self {
        let text = |field: &str| login[field].as_str().unwrap_or_else(|| panic!("no {field} in {login}")).to_owned();
        Self { reach, username: username.into(), token: text("access_token"), refresh_token: text("refresh_token") }
    }

    /// The same login with another token in its hand.
    pub fn holding(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// The same login by way of another node.
    pub fn at(&self, server: &Server) -> Self {
        Self { reach: server.reach.clone(), ..self.clone() }
    }

    pub async fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let signed = |request: reqwest::RequestBuilder| match body {
            Some(body) => request.bearer_auth(&self.token).json(body),
            None => request.bearer_auth(&self.token),
        };
        self.reach.request(method, path, signed).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, None).await
    }

    pub async fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.request(Method::POST, path, Some(body)).await
    }

    /// A POST without a body.
    pub async fn post_empty(&self, path: &str) -> Answer {
        self.request(Method::POST, path, None).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.request(Method::PATCH, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.request(Method::DELETE, path, None).await
    }

    pub async fn me(&self) -> Value {
        self.get("/users/me").await.ok()
    }

    /// A new login by the refresh token; this one's refresh token is used up.
    pub async fn refresh(&self) -> Answer {
        self.reach.post("/token/refresh", &json!({"refresh_token": self.refresh_token})).await
    }

    pub async fn revoke(&self) -> Answer {
        self.reach.post("/token/revoke", &json!({"refresh_token": self.refresh_token})).await
    }

    /// Makes the private room with `other` and gives its id.
    pub async fn private(&self, other: &Person) -> String {
        let made = self.post_json("/chat/new", &json!({"username": &*other.username})).await.ok();
        made["chat_id"].as_str().expect("a chat_id").to_owned()
    }

    /// Makes a group with these people as members and gives its id.
    pub async fn group<'a>(&self, name: &str, people: impl IntoIterator<Item = &'a Person>) -> String {
        let usernames: Vec<&str> = people.into_iter().map(|person| &*person.username).collect();
        let made = self.post_json("/chat/new", &json!({"name": name, "usernames": usernames})).await.ok();
        made["chat_id"].as_str().expect("a chat_id").to_owned()
    }

    pub async fn post(&self, room: &str, text: &str) -> Posted {
        Posted::of(&self.try_post(room, &json!({"message": text})).await.ok())
    }

    pub async fn post_once(&self, room: &str, text: &str, client_id: &str) -> Posted {
        Posted::of(&self.try_post(room, &json!({"message": text, "client_id": client_id})).await.ok())
    }

    /// Gives a message another text.
    pub async fn edit(&self, room: &str, message: &str, text: &str) -> Value {
        self.try_edit(room, message, &json!({"message": text})).await.ok()
    }

    pub async fn try_edit(&self, room: &str, message: &str, body: &Value) -> Answer {
        self.patch(&format!("/chat/{room}/messages/{message}"), body).await
    }

    pub async fn erase(&self, room: &str, message: &str) -> Value {
        self.try_erase(room, message).await.ok()
    }

    pub async fn try_erase(&self, room: &str, message: &str) -> Answer {
        self.delete(&format!("/chat/{room}/messages/{message}")).await
    }

    /// Deletes a message, whatever comes of it.
    pub async fn delete_unheard(&self, room: &str, message: &str) {
        let url = self.reach.url(&format!("/chat/{room}/messages/{message}"));
        drop(reqwest::Client::new().delete(url).bearer_auth(&self.token).send().await);
    }

    pub async fn try_post(&self, room: &str, body: &Value) -> Answer {
        self.post_json(&format!("/chat/{room}"), body).await
    }

    /// A page of messages; `query` is empty or `?after=3&limit=10`.
    pub async fn history(&self, room: &str, query: &str) -> Value {
        self.get(&format!("/chat/{room}{query}")).await.ok()
    }

    /// A page of events of every type.
    pub async fn events(&self, room: &str, query: &str) -> Value {
        self.get(&format!("/chat/{room}/events{query}")).await.ok()
    }

    /// The whole log from its start, page by page.
    pub async fn log(&self, room: &str) -> Vec<Value> {
        let mut log = Vec::new();
        let mut after = Some(0);
        while let Some(seq) = after {
            let page = self.events(room, &format!("?after={seq}&limit=500")).await;
            log.extend(page["events"].as_array().expect("events").iter().cloned());
            after = page["next_after"].as_u64();
        }
        log
    }

    /// The head's seq as the server tells it.
    pub async fn head(&self, room: &str) -> u64 {
        self.events(room, "?limit=1").await["head_seq"].as_u64().expect("a head_seq")
    }

    pub async fn mark_read(&self, room: &str, seq: u64) -> Value {
        self.post_json(&format!("/chat/{room}/read"), &json!({"seq": seq})).await.ok()
    }

    pub async fn my_chats(&self, query: &str) -> Value {
        self.get(&format!("/chat/my-chats{query}")).await.ok()
    }

    /// This room's entry in my-chats.
    pub async fn chat(&self, room: &str) -> Value {
        let page = self.my_chats("?limit=500").await;
        let chats = page["chats"].as_array().expect("chats");
        chats.iter().find(|chat| chat["chat_id"] == room).unwrap_or_else(|| panic!("{room} is not in {page}")).clone()
    }

    pub async fn members(&self, room: &str) -> Answer {
        self.get(&format!("/chat/{room}/members")).await
    }

    pub async fn invite(&self, other: &Person, room: &str) -> Answer {
        self.post_json(&format!("/chat/{room}/members"), &json!({"username": &*other.username})).await
    }

    pub async fn invite_as(&self, other: &Person, room: &str, role: &str) -> Answer {
        self.post_json(&format!("/chat/{room}/members"), &json!({"username": &*other.username, "role": role})).await
    }

    pub async fn set_role(&self, other: &Person, room: &str, role: &str) -> Answer {
        self.patch(&format!("/chat/{room}/members/{}", other.username), &json!({"role": role})).await
    }

    pub async fn remove(&self, other: &Person, room: &str) -> Answer {
        self.delete(&format!("/chat/{room}/members/{}", other.username)).await
    }

    pub async fn leave(&self, room: &str) -> Answer {
        self.remove(self, room).await
    }

    pub async fn rename(&self, room: &str, name: &str) -> Answer {
        self.patch(&format!("/chat/{room}"), &json!({"name": name})).await
    }

    /// `GET /ws`; its welcome is read and checked.
    pub async fn socket(&self) -> Socket {
        let mut socket = self.reach.handshake("/ws").bearer(&self.token).open().await;
        socket.read_welcome(&self.username).await;
        socket
    }

    /// The same with a receive buffer so small that not reading is soon felt by the server.
    pub async fn small_socket(&self, receive_bytes: usize) -> Socket {
        let mut socket = self.reach.handshake("/ws").bearer(&self.token).receive_buffer(receive_bytes).open().await;
        socket.read_welcome(&self.username).await;
        socket
    }

    /// A socket that has subscribed to `room` from now on.
    pub async fn follow(&self, room: &str) -> Socket {
        let mut socket = self.socket().await;
        socket.follow(room).await;
        socket
    }

    /// `GET /ws/chat/{room}`, live only or with everything after `since`.
    pub async fn one_room(&self, room: &str, since: Option<u64>) -> Socket {
        let query = since.map(|seq| format!("?since={seq}")).unwrap_or_default();
        self.reach.handshake(&format!("/ws/chat/{room}{query}")).bearer(&self.token).open().await
    }
}
