//! Who the load comes from: users that this tool signs up, or the one it is given; and the rooms they share.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use hyper::Method;
use serde_json::{Value, json};

use crate::http::{Body, Client};
use crate::server::Target;
use crate::{Common, Result};

/// Sign-ups and sign-ins at once: enough to keep the server busy, few enough not to be refused.
const AT_ONCE: usize = 8;
pub const PASSWORD: &str = "load-tool-password";

#[derive(Clone)]
pub struct Person {
    pub username: String,
    pub token: String,
}

pub struct People {
    pub all: Vec<Person>,
    /// Distinguishes this run's names and client ids from those of every other run.
    pub run: String,
}

impl People {
    /// As many users as `sockets` need at `--per-user` each; with `--user`, that one.
    pub async fn gather(target: &Target, common: &Common, sockets: usize) -> Result<Self> {
        let run = fresh_run();
        if let (Some(user), Some(password)) = (&common.user, &common.password) {
            let token = sign_in(&mut Client::connect(target.addr).await?, user, password).await?;
            return Ok(Self { all: vec![Person { username: user.clone(), token }], run });
        }
        let count = sockets.div_ceil(common.per_user).max(1);
        let clients = connections(target, count).await?;
        let all = stream::iter(0..count)
            .map(|nth| {
                let (username, clients) = (format!("load-{run}-{nth}"), &clients);
                async move {
                    let mut client = take(clients);
                    let account = json!({ "username": username, "password": PASSWORD });
                    client.json(Method::POST, "/users/register", None, Body::Json(account)).await?;
                    let token = sign_in(&mut client, &username, PASSWORD).await?;
                    clients.borrow_mut().push(client);
                    Result::Ok(Person { username, token })
                }
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await
            .map_err(|error| {
                format!("{error}\n(a server given by --url wants limits.rates = \"off\" and open sign-up, or --user)")
            })?;
        Ok(Self { all, run })
    }

    pub fn first(&self) -> &Person {
        &self.all[0]
    }

    /// Whose the `nth` socket is.
    pub fn of(&self, nth: usize) -> &Person {
        &self.all[nth % self.all.len()]
    }

    /// A group of everyone, made by the first.
    pub async fn room(&self, target: &Target) -> Result<String> {
        let mut client = Client::connect(target.addr).await?;
        self.new_room(&mut client, "load", &self.all[1..]).await
    }

    /// Rooms of everyone.
    pub async fn rooms(&self, target: &Target, count: usize) -> Result<Vec<String>> {
        let clients = connections(target, count).await?;
        stream::iter(0..count)
            .map(|nth| {
                let clients = &clients;
                async move {
                    let mut client = take(clients);
                    let room = self.new_room(&mut client, &format!("load {nth}"), &self.all[1..]).await?;
                    clients.borrow_mut().push(client);
                    Ok(room)
                }
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn new_room(&self, client: &mut Client, name: &str, others: &[Person]) -> Result<String> {
        let usernames: Vec<&str> = others.iter().map(|person| person.username.as_str()).collect();
        let body = Body::Json(json!({ "name": name, "usernames": usernames }));
        let answer = client.json(Method::POST, "/chat/new", Some(&self.first().token), body).await?;
        string(&answer, "chat_id")
    }
}

/// Sets the names and client ids of a run apart from those of every other.
pub fn fresh_run() -> String {
    format!("{:x}", SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis()))
}

/// The seq of a room's last event, as its history tells it.
pub async fn head_seq(target: &Target, person: &Person, chat_id: &str) -> Result<u64> {
    let mut client = Client::connect(target.addr).await?;
    // The page after the last event there can be: empty, so that no store has to look for its end.
    let path = format!("/chat/{chat_id}?after={}&limit=1", i64::MAX);
    let answer = client.json(Method::GET, &path, Some(&person.token), Body::None).await?;
    answer["head_seq"].as_u64().ok_or_else(|| format!("GET {path} was answered without head_seq: {answer}").into())
}

/// Users that are there already, with this tool's password.
pub async fn sign_in_all(target: &Target, usernames: Vec<String>) -> Result<Vec<Person>> {
    let clients = connections(target, usernames.len()).await?;
    stream::iter(usernames)
        .map(|username| {
            let clients = &clients;
            async move {
                let mut client = take(clients);
                let token = sign_in(&mut client, &username, PASSWORD).await?;
                clients.borrow_mut().push(client);
                Ok(Person { username, token })
            }
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

async fn sign_in(client: &mut Client, username: &str, password: &str) -> Result<String> {
    let form = Body::Form(&[("username", username), ("password", password), ("grant_type", "password")]);
    let answer = client.json(Method::POST, "/token", None, form).await?;
    string(&answer, "access_token")
}

async fn connections(target: &Target, work: usize) -> Result<RefCell<Vec<Client>>> {
    let mut clients = Vec::new();
    for _ in 0..work.min(AT_ONCE) {
        clients.push(Client::connect(target.addr).await?);
    }
    Ok(RefCell::new(clients))
}

fn take(clients: &RefCell<Vec<Client>>) -> Client {
    clients.borrow_mut().pop().expect("there are as many connections as requests at once")
}

fn string(answer: &Value, key: &str) -> Result<String> {
    let text = answer[key].as_str().ok_or_else(|| format!("the server's answer has no {key}: {answer}"))?;
    Ok(text.into())
}
