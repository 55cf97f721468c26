//! Who the load comes from: users that this tool signs up, or those it is given; and the rooms they share.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use hyper::Method;
use serde_json::{Value, json};

use crate::http::{Body, Client};
use crate::progress::Phase;
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
    sockets: usize,
}

/// What it takes to sign in.
#[derive(Clone)]
pub struct Account {
    pub username: String,
    pub password: String,
}

impl People {
    /// As many users as `sockets` need at `--per-user` each; of given accounts no more than there are.
    pub async fn gather(target: &Target, common: &Common, sockets: usize) -> Result<Self> {
        let run = fresh_run();
        let count = sockets.div_ceil(common.per_user).max(1);
        let all = if let Some(token) = &common.token {
            let mut client = Client::connect(target.addr).await?;
            let me = client.json(Method::GET, "/users/me", Some(token), Body::None).await?;
            vec![Person { username: string(&me, "username")?, token: token.clone() }]
        } else {
            let accounts = match given(common)? {
                Some(mut accounts) => {
                    accounts.truncate(count);
                    accounts
                }
                None => sign_up(target, &run, count).await?,
            };
            sign_in_all(target, accounts).await?
        };
        Ok(Self { all, run, sockets })
    }

    pub fn first(&self) -> &Person {
        &self.all[0]
    }

    /// The first one without the others.
    pub fn alone(&self) -> Self {
        Self { all: vec![self.first().clone()], run: self.run.clone(), sockets: 1 }
    }

    /// Whose the `nth` socket is.
    pub fn of(&self, nth: usize) -> &Person {
        &self.all[nth % self.all.len()]
    }

    /// A group of everyone, made by the first.
    pub async fn room(&self, target: &Target) -> Result<String> {
        Ok(self.rooms_of_all(target, 1).await?.remove(0))
    }

    /// Rooms of everyone.
    pub async fn rooms_of_all(&self, target: &Target, count: usize) -> Result<Vec<String>> {
        self.new_rooms(target, count, |_| (0..self.all.len()).collect()).await
    }

    /// Rooms that the sockets take in turns: whose the n-th is, is in room n modulo `count`. The first user is in all.
    pub async fn rooms(&self, target: &Target, count: usize) -> Result<Vec<String>> {
        let members = |room| (room..self.sockets).step_by(count).map(|nth| nth % self.all.len()).collect();
        self.new_rooms(target, count, members).await
    }

    async fn new_rooms(
        &self,
        target: &Target,
        count: usize,
        members: impl Fn(usize) -> BTreeSet<usize>,
    ) -> Result<Vec<String>> {
        let (clients, phase) = (connections(target, count).await?, Phase::new("rooms", count));
        stream::iter(0..count)
            .map(|nth| {
                let (clients, phase, members) = (&clients, &phase, members(nth));
                async move {
                    // The first one makes it, and is in it by that.
                    let usernames = members.iter().filter(|&&nth| nth > 0).map(|&nth| self.all[nth].username.as_str());
                    let body = json!({ "name": format!("load {nth}"), "usernames": usernames.collect::<Vec<_>>() });
                    let mut client = take(clients);
                    let answer =
                        client.json(Method::POST, "/chat/new", Some(&self.first().token), Body::Json(body)).await?;
                    clients.borrow_mut().push(client);
                    phase.one_more();
                    string(&answer, "chat_id")
                }
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }
}

/// Sets the names and client ids of a run apart from those of every other.
pub fn fresh_run() -> String {
    format!("{:x}", SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis()))
}

/// The seq of a room's last event, as its history tells it.
pub async fn head_seq(target: &Target, person: &Person, chat_id: &str) -> Result<u64> {
    let mut client = Client::connect(target.addr).await?;
    // The page after the last event there can be: empty, so that no store has to look for its end. Of the log itself: its head is
    // the node's, where that of the messages is what the store has folded.
    let path = format!("/chat/{chat_id}/events?after={}&limit=1", i64::MAX);
    let answer = client.json(Method::GET, &path, Some(&person.token), Body::None).await?;
    answer["head_seq"].as_u64().ok_or_else(|| format!("GET {path} was answered without head_seq: {answer}").into())
}

/// At most `count` accounts that `used` does not have, so that signing in again and again ends none of its logins.
pub async fn spare_accounts(target: &Target, common: &Common, used: &People, count: usize) -> Result<Vec<Account>> {
    if common.token.is_none() && common.user.is_none() && common.accounts.is_none() {
        return sign_up(target, &fresh_run(), count).await;
    }
    let mut spare = given(common)?.unwrap_or_default();
    spare.retain(|account| used.all.iter().all(|person| person.username != account.username));
    spare.truncate(count);
    match spare.is_empty() {
        true => Err("this scenario signs in again and again, which ends an account's earlier logins: \
                     --accounts has to hold more of them than the sockets need (--per-user lets sockets share one)"
            .into()),
        false => Ok(spare),
    }
}

/// What `--user` or `--accounts` say.
fn given(common: &Common) -> Result<Option<Vec<Account>>> {
    if let (Some(username), Some(password)) = (&common.user, &common.password) {
        return Ok(Some(vec![Account { username: username.clone(), password: password.clone() }]));
    }
    common.accounts.as_deref().map(read_accounts).transpose()
}

fn read_accounts(file: &Path) -> Result<Vec<Account>> {
    let shown = file.display();
    let text = fs::read_to_string(file).map_err(|error| format!("--accounts {shown}: {error}"))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let accounts = lines.map(|(nth, line)| {
        let (username, password) =
            line.split_once(':').ok_or_else(|| format!("--accounts {shown}: line {} is not name:password", nth + 1))?;
        Ok(Account { username: username.trim().into(), password: password.into() })
    });
    let accounts: Vec<Account> = accounts.collect::<Result<_>>()?;
    if accounts.is_empty() { Err(format!("--accounts {shown}: no account in it").into()) } else { Ok(accounts) }
}

async fn sign_up(target: &Target, run: &str, count: usize) -> Result<Vec<Account>> {
    let (clients, phase) = (connections(target, count).await?, Phase::new("accounts", count));
    stream::iter(0..count)
        .map(|nth| {
            let account = Account { username: format!("load-{run}-{nth}"), password: PASSWORD.into() };
            let (clients, phase) = (&clients, &phase);
            async move {
                let mut client = take(clients);
                let body = json!({ "username": account.username, "password": account.password });
                client.json(Method::POST, "/users/register", None, Body::Json(body)).await?;
                clients.borrow_mut().push(client);
                phase.one_more();
                Result::Ok(account)
            }
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
        .map_err(|error| format!("{error}\n(where sign-up is closed, give --accounts, --user or --token)").into())
}

/// Users that are there already.
pub async fn sign_in_all(target: &Target, accounts: Vec<Account>) -> Result<Vec<Person>> {
    let (clients, phase) = (connections(target, accounts.len()).await?, Phase::new("sign-ins", accounts.len()));
    stream::iter(accounts)
        .map(|account| {
            let (clients, phase) = (&clients, &phase);
            async move {
                let mut client = take(clients);
                let token = sign_in(&mut client, &account).await?;
                clients.borrow_mut().push(client);
                phase.one_more();
                Ok(Person { username: account.username, token })
            }
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// A new login; its access token.
pub async fn sign_in(client: &mut Client, account: &Account) -> Result<String> {
    let form =
        Body::Form(&[("username", &account.username), ("password", &account.password), ("grant_type", "password")]);
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
