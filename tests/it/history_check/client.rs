//! A device of somebody's, doing what the plan says: it signs in where it must, speaks over HTTP and its socket, and never
//! minds what becomes of it. What happened is in the record.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    api::{Api, Key},
    history::{Answer, Ask, Edge},
    plan::{Action, ClientPlan, Plan, Side, What},
    socket::{Known, Socket},
};

pub struct Client {
    number: usize,
    plan: Arc<Plan>,
    api: Arc<Api>,
    /// The plan's rooms by their ids.
    rooms: Arc<Vec<String>>,
    who: Arc<str>,
    key: Option<Key>,
    pub socket: Option<Socket>,
    pub known: Arc<Known>,
    posts: Vec<Post>,
}

/// A post as it was sent first.
#[derive(Clone)]
struct Post {
    room: String,
    content: String,
    client_id: Option<String>,
}

impl Client {
    pub fn new(number: usize, plan: &Arc<Plan>, api: &Arc<Api>, rooms: &Arc<Vec<String>>) -> Self {
        let who = plan.clients[number].person.map_or("root".into(), |person| plan.username(person));
        Self {
            number,
            plan: plan.clone(),
            api: api.clone(),
            rooms: rooms.clone(),
            who: who.into(),
            key: None,
            socket: None,
            known: Arc::default(),
            posts: Vec::new(),
        }
    }

    fn plan(&self) -> &ClientPlan {
        &self.plan.clients[self.number]
    }

    /// Does everything that is planned. What has become much too late, because answers did not come, is left out.
    pub async fn run(mut self) -> Self {
        let last = (self.plan.size.seconds + 1) * 1_000_000;
        for action in self.plan().actions.clone() {
            if !self.api.recorder.comes(action.at_millis).await || self.api.recorder.now() > last {
                break;
            }
            self.act(&action).await;
        }
        self
    }

    /// Signed in, on a socket that follows its rooms: what somebody does whose app is open.
    pub async fn settle(&mut self, node: usize) {
        self.ask(node, Ask::Chats).await;
        if !self.socket.as_ref().is_some_and(Socket::is_open) {
            self.reconnect(node, true, true).await;
        }
    }

    async fn act(&mut self, Action { node, room, what, .. }: &Action) {
        let (node, room) = (*node, self.rooms[*room].clone());
        let reconnects = matches!(what, What::Reconnect { .. });
        if !reconnects && !self.socket.as_ref().is_some_and(Socket::is_open) {
            self.reconnect(node, true, true).await;
        }
        let user = |user: usize| self.plan.username(user);
        match what {
            What::Post { chars, once } => {
                let post = self.new_post(&room, *chars, *once);
                self.post(node, post).await;
            }
            What::Burst { count, chars, once } => {
                for _ in 0..*count {
                    let post = self.new_post(&room, *chars, *once);
                    self.send_post(&post).await;
                }
            }
            What::Again { back, over_socket } => match self.earlier(*back) {
                Some(post) if *over_socket => self.send_post(&post).await,
                Some(post) => self.post(node, post).await,
                None => {}
            },
            What::Reuse { back } => {
                if let Some(earlier) = self.earlier(*back) {
                    let content = format!("{} in other words, {}", earlier.content, self.posts.len());
                    self.post(node, Post { content, ..earlier }).await;
                }
            }
            What::Page { events, side, percent, limit } => {
                let edge = self.edge(&room, *side, *percent);
                self.ask(node, Ask::Page { room, events: *events, edge, limit: *limit }).await;
            }
            What::Chats => self.ask(node, Ask::Chats).await,
            What::Mark { percent, over_socket } => {
                let seq = self.seq_at(&room, *percent);
                if *over_socket {
                    self.send(json!({"type": "read", "chat_id": room, "seq": seq})).await;
                } else {
                    self.ask(node, Ask::Mark { room, seq }).await;
                }
            }
            What::Reconnect { politely, all } => self.reconnect(node, *politely, *all).await,
            What::Unsubscribe => {
                self.send(json!({"type": "unsubscribe", "chats": [room]})).await;
                if let Some(socket) = &self.socket {
                    socket.forget(&room);
                }
            }
            What::Resubscribe => {
                let since = self.since(&room);
                self.send(json!({"type": "subscribe", "chats": {room: since}})).await;
            }
            What::Pause { millis } => {
                if let Some(socket) = &self.socket {
                    socket.pause(Duration::from_millis(*millis));
                }
            }
            What::Invite { user: other, role } => {
                let ask = Ask::Invite { room, user: user(*other), role: (*role).to_owned() };
                self.ask(node, ask).await;
            }
            What::SetRole { user: other, role } => {
                let ask = Ask::SetRole { room, user: user(*other), role: (*role).to_owned() };
                self.ask(node, ask).await;
            }
            What::Remove { user: other } => {
                let ask = Ask::Remove { room, user: user(*other) };
                self.ask(node, ask).await;
            }
            What::Leave => self.ask(node, Ask::Remove { room, user: self.who.to_string() }).await,
            What::SignOut => {
                self.ask(node, Ask::SignOut).await;
                self.key = None;
            }
            What::Disable { user: other } => self.ask(node, Ask::Disable { user: user(*other) }).await,
            What::Enable { user: other } => self.ask(node, Ask::Enable { user: user(*other) }).await,
            What::EndLogins { user: other } => self.ask(node, Ask::EndLogins { user: user(*other) }).await,
        }
    }

    async fn key(&mut self, node: usize) -> Option<Key> {
        if self.socket.as_ref().is_some_and(Socket::login_is_over) {
            self.key = None;
            self.socket = None;
        }
        if self.key.is_none() {
            self.key = self.api.sign_in(node, &self.who).await;
        }
        self.key.clone()
    }

    pub async fn ask(&mut self, node: usize, ask: Ask) {
        let Some(key) = self.key(node).await else { return };
        if let Answer::Refused { status: 401, .. } = self.api.ask(node, &key, ask).await {
            self.key = None;
        }
    }

    /// Without a socket there is nothing to send.
    async fn send(&mut self, frame: Value) {
        if let Some(socket) = self.socket.as_mut().filter(|socket| socket.is_open()) {
            socket.send(frame).await;
        }
    }

    async fn reconnect(&mut self, node: usize, politely: bool, all: bool) {
        if let Some(socket) = self.socket.take() {
            socket.close(politely).await;
        }
        let Some(key) = self.key(node).await else { return };
        let small = self.plan().small_buffer;
        self.socket = Socket::open(&self.api, node, &key, &self.known, small).await;
        let rooms: Vec<String> =
            self.plan.rooms_of(self.plan().person).into_iter().map(|room| self.rooms[room].clone()).collect();
        let since: serde_json::Map<String, Value> =
            rooms.into_iter().map(|room| (room.clone(), self.since(&room))).collect();
        let subscribe = match all {
            true => json!({"type": "subscribe", "all": true, "since": since}),
            false => json!({"type": "subscribe", "chats": since}),
        };
        self.send(subscribe).await;
    }

    /// Where this device is in a room, as a resuming client says it.
    fn since(&self, room: &str) -> Value {
        let cursors = self.known.cursors.lock();
        cursors.get(room).map_or(Value::Null, |cursor| json!({"since": cursor.seq, "epoch": cursor.epoch}))
    }

    fn seq_at(&self, room: &str, percent: u64) -> u64 {
        let seen = self.known.cursors.lock().get(room).map_or(0, |cursor| cursor.seq);
        seen * percent / 100
    }

    fn edge(&self, room: &str, side: Side, percent: u64) -> Edge {
        match side {
            Side::Latest => Edge::Latest,
            Side::Before => Edge::Before(self.seq_at(room, percent).max(1)),
            Side::After => Edge::After(self.seq_at(room, percent)),
        }
    }

    /// No two posts of a run say the same.
    fn new_post(&mut self, room: &str, chars: usize, once: bool) -> Post {
        let name = format!("c{}-{}", self.number, self.posts.len());
        let content = format!("{name} {}", "x".repeat(chars));
        let post = Post { room: room.to_owned(), content, client_id: once.then_some(name) };
        self.posts.push(post.clone());
        post
    }

    /// An earlier post that may be repeated.
    fn earlier(&self, back: usize) -> Option<Post> {
        self.posts.iter().rev().filter(|post| post.client_id.is_some()).nth(back).cloned()
    }

    async fn post(&mut self, node: usize, Post { room, content, client_id }: Post) {
        self.ask(node, Ask::Post { room, content, client_id }).await;
    }

    async fn send_post(&mut self, post: &Post) {
        let mut frame = json!({"type": "post", "chat_id": post.room, "content": post.content});
        if let Some(client_id) = &post.client_id {
            frame["client_id"] = json!(client_id);
        }
        self.send(frame).await;
    }

    /// The last word in a room.
    pub async fn last_word(&mut self, node: usize, room: &str) {
        let post = self.new_post(room, 5, true);
        self.post(node, post).await;
    }
}
