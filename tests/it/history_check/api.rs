//! HTTP to nodes that may be gone: every way a request can end is an [`Answer`], and every request is recorded.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{
    history::{Answer, Ask, Call, Edge, Login, Record},
    recorder::Recorder,
};
use crate::harness::{PASSWORD, contract};

/// Longer than a node takes to give up anything by itself.
const PATIENCE: Duration = Duration::from_secs(25);

pub struct Api {
    pub recorder: Arc<Recorder>,
    pub addrs: Vec<SocketAddr>,
    http: reqwest::Client,
}

/// A login in somebody's hand.
#[derive(Clone)]
pub struct Key {
    pub login: Login,
    pub who: Arc<str>,
    pub token: String,
    refresh_token: String,
}

impl Api {
    pub fn new(recorder: Arc<Recorder>, addrs: Vec<SocketAddr>) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
        Self { recorder, addrs, http: http.expect("a client without TLS needs nothing") }
    }

    pub async fn sign_in(&self, node: usize, who: &Arc<str>) -> Option<Key> {
        let login = self.recorder.id();
        let form = [("username", &**who), ("password", PASSWORD)];
        let request = self.request(Method::POST, node, "/token").form(&form);
        let answer = self.call(node, login, who, Ask::SignIn, request).await;
        let body: Value = serde_json::from_str(answer.done()?).ok()?;
        let text = |field: &str| Some(body[field].as_str()?.to_owned());
        Some(Key { login, who: who.clone(), token: text("access_token")?, refresh_token: text("refresh_token")? })
    }

    /// Anything but signing in, by somebody who has.
    pub async fn ask(&self, node: usize, key: &Key, ask: Ask) -> Answer {
        let (method, path, body) = wire(&ask, key);
        let mut request = self.request(method, node, &path).bearer_auth(&key.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.call(node, key.login, &key.who, ask, request).await
    }

    /// A request that is not part of the history; `None` where it is not served.
    pub async fn look(&self, node: usize, key: &Key, path: &str) -> Option<String> {
        let request = self.request(Method::GET, node, path).bearer_auth(&key.token);
        match answer_of(request).await {
            Answer::Done { body } => Some(body),
            Answer::Refused { .. } | Answer::Lost { .. } => None,
        }
    }

    fn request(&self, method: Method, node: usize, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.addrs[node]))
    }

    async fn call(&self, node: usize, login: Login, who: &str, ask: Ask, request: RequestBuilder) -> Answer {
        let from = self.recorder.now();
        let answer = answer_of(request).await;
        let (to, who) = (self.recorder.now(), who.to_owned());
        self.recorder.add(Record::Call(Call { login, who, node, from, to, ask, answer: answer.clone() }));
        answer
    }
}

fn wire(ask: &Ask, key: &Key) -> (Method, String, Option<Value>) {
    let user = |user: &str, what: &str| (Method::POST, format!("/users/{user}/{what}"), None);
    match ask {
        Ask::SignIn => unreachable!("signing in needs no login"),
        Ask::SignOut => (Method::POST, "/token/revoke".into(), Some(json!({"refresh_token": key.refresh_token}))),
        Ask::Post { room, content, client_id } => {
            let mut body = json!({"message": content});
            if let Some(client_id) = client_id {
                body["client_id"] = json!(client_id);
            }
            (Method::POST, format!("/chat/{room}"), Some(body))
        }
        Ask::Page { room, events, edge, limit } => {
            let kind = if *events { "/events" } else { "" };
            let edge = match edge {
                Edge::Latest => String::new(),
                Edge::Before(seq) => format!("&before={seq}"),
                Edge::After(seq) => format!("&after={seq}"),
            };
            (Method::GET, format!("/chat/{room}{kind}?limit={limit}{edge}"), None)
        }
        Ask::Mark { room, seq } => (Method::POST, format!("/chat/{room}/read"), Some(json!({"seq": seq}))),
        Ask::Chats => (Method::GET, "/chat/my-chats?limit=500".into(), None),
        Ask::Invite { room, user, role } => {
            (Method::POST, format!("/chat/{room}/members"), Some(json!({"username": user, "role": role})))
        }
        Ask::SetRole { room, user, role } => {
            (Method::PATCH, format!("/chat/{room}/members/{user}"), Some(json!({"role": role})))
        }
        Ask::Remove { room, user } => (Method::DELETE, format!("/chat/{room}/members/{user}"), None),
        Ask::Disable { user: name } => user(name, "disable"),
        Ask::Enable { user: name } => user(name, "enable"),
        Ask::EndLogins { user: name } => user(name, "logout"),
    }
}

async fn answer_of(request: RequestBuilder) -> Answer {
    let lost = |error: reqwest::Error| Answer::Lost { waited: error.is_timeout(), why: format!("{error:?}") };
    let (client, request) = request.build_split();
    let request = request.expect("a request that can be sent");
    let (method, url) = (request.method().clone(), request.url().clone());
    let response = match client.execute(request).await {
        Ok(response) => response,
        Err(error) => return lost(error),
    };
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = match response.text().await {
        Ok(body) => body,
        Err(error) => return lost(error),
    };
    let header = |name: &str| headers.get(name).and_then(|value| Some(value.to_str().ok()?.to_owned()));
    let path = url.query().map_or(url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    contract::check_answer(&method, &path, status, header, body.as_bytes());
    if status == 200 {
        return Answer::Done { body };
    }
    let code = serde_json::from_str::<Value>(&body).ok().and_then(|body| Some(body["code"].as_str()?.to_owned()));
    Answer::Refused { status, code: code.unwrap_or_default() }
}
