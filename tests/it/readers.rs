//! What the tests of sockets and logs share: logs read as bytes, readers that count, posts that may fail, and tokens whose
//! end is chosen.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::harness::{Person, Server, Setup, Socket, in_time};

/// The key of servers whose tokens a test signs itself.
const KEY: &str = "5f0c2b7d9e8a41c6b3d2e1f00918273645546372819a0bcdefb1c2d3e4f50617";

/// A server that signs with a key the tests know.
pub fn with_known_key() -> Setup {
    Setup::new().set("SECRET_KEY", KEY)
}

/// The person's own token, but for its end: `secs` from now, which may be negative. Needs [`with_known_key`].
pub fn token_for(person: &Person, secs: i64) -> String {
    let payload = person.token.split('.').nth(1).expect("a JWT");
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).expect("base64 in a JWT");
    let mut claims: Value = serde_json::from_slice(&payload).expect("claims");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs();
    claims["exp"] = json!(now.cast_signed() + secs);
    natter::auth::hmac::use_for_tokens();
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(KEY.as_bytes())).expect("a token")
}

/// When the token ends, in Unix seconds.
pub fn token_end(token: &str) -> i64 {
    let payload = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("a JWT")).expect("base64 in a JWT");
    serde_json::from_slice::<Value>(&payload).expect("claims")["exp"].as_i64().expect("an exp")
}

#[derive(Deserialize)]
struct Page {
    #[serde(alias = "messages")]
    events: Vec<Box<RawValue>>,
    next_after: Option<u64>,
}

async fn pages(person: &Person, path: &str) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), Some(0));
    while let Some(seq) = after {
        let answer = person.get(&format!("{path}?after={seq}&limit=500")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let page: Page = serde_json::from_slice(&answer.bytes).expect("a page of a log");
        all.extend(page.events.iter().map(|event| event.get().to_owned()));
        after = page.next_after;
    }
    all
}

/// The whole log from `/events`, each event as the bytes it has there.
pub async fn log_bytes(person: &Person, room: &str) -> Vec<String> {
    pages(person, &format!("/chat/{room}/events")).await
}

/// All messages from the history, each as the bytes it has there.
pub async fn message_bytes(person: &Person, room: &str) -> Vec<String> {
    pages(person, &format!("/chat/{room}")).await
}

pub fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"))
}

pub fn seq_of(text: &str) -> u64 {
    parse(text)["seq"].as_u64().unwrap_or_else(|| panic!("no seq in {text}"))
}

/// Panics unless these are the seqs `first`, `first + 1`, … without a gap or a repeat.
#[track_caller]
pub fn assert_dense(texts: &[String], first: u64) {
    for (expected, text) in (first..).zip(texts) {
        assert_eq!(seq_of(text), expected, "not dense: {text}");
    }
}

/// The events of the log as they come, up to and with `last`.
pub async fn events_to(socket: &mut Socket, last: u64) -> Vec<String> {
    let mut events = Vec::new();
    loop {
        let text = socket.next_event_text().await;
        let seq = seq_of(&text);
        events.push(text);
        if seq >= last {
            return events;
        }
    }
}

/// A frame that refuses what was asked: it has a code and a sentence.
#[track_caller]
pub fn assert_error(answer: &Value) {
    assert_eq!(answer["type"], "error", "{answer}");
    for field in ["code", "detail"] {
        assert!(answer[field].as_str().is_some_and(|text| !text.is_empty()), "no {field} in {answer}");
    }
}

/// The answer to `subscribe` that does not give `room`: an error, or an entry of `errors`.
#[track_caller]
pub fn assert_not_subscribed(answer: &Value, room: &str) {
    if answer["type"] == "error" {
        return assert_error(answer);
    }
    assert_eq!(answer["type"], "subscribed", "{answer}");
    assert!(answer["chats"][room].is_null(), "{room} was given: {answer}");
    let code = answer["errors"][room]["code"].as_str();
    assert!(code.is_some_and(|code| !code.is_empty()), "no reason for {room}: {answer}");
}

/// A post over HTTP to a server that may die or refuse: the acknowledgement, or `None`.
pub async fn try_post(person: &Person, room: &str, body: &Value) -> Option<Value> {
    let url = person.reach.url(&format!("/chat/{room}"));
    let request = person.reach.http.post(url).bearer_auth(&person.token).json(body).send();
    let answer = in_time("an answer or the end", request).await.ok()?;
    if answer.status() != 200 {
        return None;
    }
    serde_json::from_slice(&in_time("a body or the end", answer.bytes()).await.ok()?).ok()
}

/// How many sockets the server has closed with this code.
pub async fn closes(server: &Server, code: u16) -> f64 {
    let label = format!("code=\"{code}\"");
    let closes = |series: &str| series.starts_with("natter_closes") && series.contains(&label);
    server.metrics().await.iter().filter(|(series, _)| closes(series)).map(|(_, value)| value).sum()
}

/// Nothing in the server has panicked, and it still answers.
pub async fn assert_unhurt(server: &Server) {
    assert!(server.process().running());
    assert_eq!(server.metric("natter_handler_panics_total").await, 0.0);
    assert!(!server.log().contains("panicked at"), "{}", server.log());
    server.reach.get("/healthz").await.ok();
}

/// `posted` frames by their client_id.
pub fn acks(frames: &[Value]) -> BTreeMap<String, Value> {
    let posted = frames.iter().filter(|frame| frame["type"] == "posted");
    posted.map(|frame| (frame["client_id"].as_str().expect("a client_id").to_owned(), frame.clone())).collect()
}

/// Numbers that look random and are the same in every run (xorshift64*).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % end
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}
