//! One of the team: a client with a socket, who says what it is told to, reads what others write, and answers a visitor.

use std::{collections::HashSet, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, mpsc},
    time::sleep,
};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use super::{
    client::{Client, Socket},
    script::{REPLIES, TEAM},
};

/// Until a connection that ended, or could not be made, is tried again.
const AGAIN: Duration = Duration::from_secs(3);
/// What somebody has in mind to send; the rest is forgotten, so that one who is offline keeps nobody waiting.
const WAITING: usize = 64;

/// A person that lives for as long as its task.
#[derive(Clone)]
pub struct Person {
    frames: mpsc::Sender<Value>,
}

struct Life {
    name: &'static str,
    password: String,
    server: SocketAddr,
    frames: mpsc::Receiver<Value>,
    person: Person,
    private: HashSet<String>,
    /// How many were given, and the one that is being thought about.
    replies: usize,
    replying: Arc<Semaphore>,
}

impl Person {
    /// Comes online with the login that it has, and signs in again whenever that has ended.
    pub fn begin(name: &'static str, password: String, server: SocketAddr, client: Client) -> Self {
        let (sender, frames) = mpsc::channel(WAITING);
        let person = Self { frames: sender };
        let mut life = Life {
            name,
            password,
            server,
            frames,
            person: person.clone(),
            private: HashSet::new(),
            replies: name.len(),
            replying: Arc::new(Semaphore::new(1)),
        };
        tokio::spawn(async move { life.live(client).await });
        person
    }

    /// Types for as long as somebody would, and posts.
    pub async fn say(&self, chat_id: &str, text: &str) {
        self.send(json!({ "type": "typing", "chat_id": chat_id }));
        sleep(time_to_type(text)).await;
        let client_id = Uuid::now_v7().to_string();
        self.send(json!({ "type": "post", "chat_id": chat_id, "content": text, "client_id": client_id }));
    }

    async fn read(&self, chat_id: &str, seq: u64) {
        sleep(Duration::from_millis(rand::random_range(400..2_000))).await;
        self.send(json!({ "type": "read", "chat_id": chat_id, "seq": seq }));
    }

    fn send(&self, frame: Value) {
        if let Err(error) = self.frames.try_send(frame) {
            tracing::debug!(%error, "somebody of the demo is offline, and forgets what they wanted to say");
        }
    }
}

/// A few keys a second, and nobody waits for a novel.
fn time_to_type(text: &str) -> Duration {
    let millis = 600 + 30 * text.chars().count() as u64;
    Duration::from_millis(millis.min(4_000))
}

impl Life {
    async fn live(&mut self, client: Client) {
        let mut login = Some(client);
        loop {
            if let Err(why) = self.one_connection(login.take()).await {
                tracing::warn!(person = self.name, why, "somebody of the demo is offline for a moment");
            }
            sleep(AGAIN).await;
        }
    }

    /// Until the socket ends: at the latest when its token does.
    async fn one_connection(&mut self, login: Option<Client>) -> Result<(), String> {
        let client = match login {
            Some(client) => client,
            None => {
                let client = Client::sign_in(self.server, self.name, &self.password).await?;
                // What was on their mind while they were away is old news.
                while self.frames.try_recv().is_ok() {}
                client
            }
        };
        let mut socket = client.socket().await?;
        self.learn_rooms(&client).await?;
        send(&mut socket, json!({ "type": "subscribe", "all": true })).await?;
        loop {
            tokio::select! {
                frame = self.frames.recv() => match frame {
                    Some(frame) => send(&mut socket, frame).await?,
                    None => return Ok(()),
                },
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        let frame = serde_json::from_str(&text).map_err(|error| error.to_string())?;
                        self.heard(&client, &mut socket, frame).await?;
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Ok(()),
                },
            }
        }
    }

    async fn learn_rooms(&mut self, client: &Client) -> Result<(), String> {
        let answer = client.get("/chat/my-chats?limit=500").await?;
        let chats = answer["chats"].as_array().into_iter().flatten();
        let private = chats.filter(|chat| chat["kind"] == "private");
        self.private = private.filter_map(|chat| chat["chat_id"].as_str().map(String::from)).collect();
        Ok(())
    }

    async fn heard(&mut self, client: &Client, socket: &mut Socket, frame: Value) -> Result<(), String> {
        let chat_id = frame["chat_id"].as_str().unwrap_or_default();
        match frame["type"].as_str() {
            Some("chats") if frame["change"] == "added" => {
                self.learn_rooms(client).await?;
                send(socket, json!({ "type": "subscribe", "chats": { chat_id: { "since": 0 } } })).await
            }
            Some("message") if frame["sender"] != self.name => {
                self.read_and_answer(chat_id, &frame);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Reads as somebody who looks up after a moment. In a private room a visitor is answered; in a group, one who names us.
    fn read_and_answer(&mut self, chat_id: &str, frame: &Value) {
        let from_team = TEAM.iter().any(|name| frame["sender"] == *name);
        let named = || frame["content"].as_str().is_some_and(|text| text.to_lowercase().contains(self.name));
        let asked = !from_team && (self.private.contains(chat_id) || named());
        let turn = asked.then(|| self.replying.clone().try_acquire_owned().ok()).flatten();
        self.replies += usize::from(turn.is_some());
        let reply = REPLIES[self.replies % REPLIES.len()];
        let (person, chat_id, seq) =
            (self.person.clone(), chat_id.to_owned(), frame["seq"].as_u64().unwrap_or_default());
        tokio::spawn(async move {
            person.read(&chat_id, seq).await;
            if turn.is_some() {
                person.say(&chat_id, reply).await;
            }
            drop(turn);
        });
    }
}

async fn send(socket: &mut Socket, frame: Value) -> Result<(), String> {
    socket.send(Message::text(frame.to_string())).await.map_err(|error| error.to_string())
}
