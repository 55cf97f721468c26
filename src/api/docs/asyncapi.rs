//! `/asyncapi.json`: AsyncAPI 3.0 of both sockets. Every frame of both sides by its type in the code, and why sockets are
//! closed.
//!
//! AsyncAPI has no place for close codes: `x-close-codes` of a channel tells them.

use serde_json::{Map, Value, json};

use super::{
    frames,
    schemas::{Schemas, capitalized},
    told::CHAT,
};
use crate::{
    protocol::{EventBody, Said},
    ws::{
        asked::{Asked, AskedOfOne},
        close::Close,
        refusal::CODES,
    },
};

const ABOUT: &str = "\
`/ws` follows any number of chats on one socket; `/ws/chat/{chat_id}` follows one, sends its messages and nothing else, and takes \
nothing but messages. Frames are JSON objects in text frames. A client passes over types and fields that it does not know, and so \
does the server for fields.

**A cursor** is the `seq` of the last event that was seen, with the `epoch` of its log. Subscribe with it, and every event after \
it comes, once and in order, and then live ones: nothing is lost between two connections. Where the answer says `lossless: false` \
the log is another one: load the history again.

**A post** with a `client_id` may be sent again on any socket for as long as there is no answer: it is one message.

Handshakes are refused as HTTP answers, which [OpenAPI](/openapi.json) tells, as it does everything else.";

/// Why a socket that follows one chat is closed and the other is not.
const OF_ONE: [Close; 2] = [Close::NotStored, Close::RemovedFromRoom];

/// What a client asks, and the frames that answer it (an `error` may, too).
const ANSWERS: [(&str, &str); 9] = [
    ("subscribe", "subscribed"),
    ("unsubscribe", "unsubscribed"),
    ("post", "posted"),
    ("edit", "edited"),
    ("delete", "deleted"),
    ("read", "ok"),
    ("typing", "ok"),
    ("auth", "authed"),
    ("ping", "pong"),
];

type Example = (&'static str, &'static str, Value);

pub fn document() -> Value {
    let mut schemas = Schemas::default();
    let mut messages = Map::new();
    let events =
        add(&mut messages, "event", variants::<EventBody>(&mut schemas, "Event"), &frames::of_logs(), &schemas);
    let said = add(&mut messages, "server", variants::<Said>(&mut schemas, "Frame"), &frames::of_servers(), &schemas);
    let asked =
        add(&mut messages, "client", variants::<Asked>(&mut schemas, "Request"), &frames::of_clients(), &schemas);
    let of_one = ("message".to_owned(), schemas.add::<AskedOfOne>());
    let example = ("message", "hello", frames::of_clients_of_one());
    let asked_of_one = add(&mut messages, "one", vec![of_one], &[example], &schemas);
    tell_codes(&mut schemas);

    let all = channel("/ws", "All chats of a user", [&asked[..], &said, &events].concat());
    let mut one = channel("/ws/chat/{chat_id}", "One chat", [&asked_of_one[..], &events[..1]].concat());
    one["parameters"] = json!({ "chat_id": { "description": "The chat's id.", "examples": [CHAT] } });
    one["bindings"]["ws"]["query"]["properties"]["since"] = json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX, "description": "First replays what came after this event." });
    one["bindings"]["ws"]["query"]["properties"]["epoch"] =
        json!({ "type": "string", "description": "Of the log that `since` is of." });
    one["x-close-codes"] = close_codes(|_| true);
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "natter",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": env!("CARGO_PKG_LICENSE") },
        },
        "defaultContentType": "application/json",
        "servers": { "plain": server("ws"), "tls": server("wss") },
        "channels": { "all": all, "one": one },
        "operations": operations(&said, &events),
        "components": { "schemas": schemas.into_value(), "messages": messages, "securitySchemes": security_schemes() },
    })
}

/// The variants of a type, as `MessageEvent`, `WelcomeFrame`, `PostRequest`.
fn variants<T: utoipa::ToSchema>(schemas: &mut Schemas, suffix: &str) -> Vec<(String, Value)> {
    schemas.variants::<T>(|kind| capitalized(kind) + suffix)
}

/// Adds a message for each type; gives their names.
fn add(
    messages: &mut Map<String, Value>,
    side: &str,
    variants: Vec<(String, Value)>,
    examples: &[Example],
    schemas: &Schemas,
) -> Vec<String> {
    let mut names = Vec::new();
    for (kind, payload) in variants {
        let name = format!("{side}.{kind}");
        let examples: Vec<Value> = examples
            .iter()
            .filter(|(of, ..)| *of == kind)
            .map(|(_, name, payload)| json!({ "name": name, "payload": payload }))
            .collect();
        let schema =
            payload["$ref"].as_str().and_then(|path| path.rsplit('/').next()).and_then(|name| schemas.get(name));
        let summary = schema.map(|schema| schema["description"].clone()).unwrap_or_default();
        let message = json!({ "name": kind, "summary": summary, "payload": payload, "examples": examples });
        messages.insert(name.clone(), message);
        names.push(name);
    }
    names
}

/// The codes of refusals, which the types know as texts.
fn tell_codes(schemas: &mut Schemas) {
    let about: Vec<String> = CODES.iter().map(|(code, about)| format!("- `{code}`: {about}")).collect();
    let code = json!({ "type": "string", "enum": CODES.map(|(code, _)| code), "description": about.join("\n") });
    for name in ["ErrorFrame", "Refused"] {
        if let Some(schema) = schemas.get_mut(name) {
            schema["properties"]["code"] = code.clone();
        }
    }
}

fn channel(address: &str, title: &str, names: Vec<String>) -> Value {
    let messages: Map<String, Value> = names
        .into_iter()
        .map(|name| {
            let reference = json!({ "$ref": format!("#/components/messages/{name}") });
            (name, reference)
        })
        .collect();
    let token = json!({ "type": "string", "description": "The access token, where no header can be set. Prefer the subprotocol." });
    let protocol =
        json!({ "type": "string", "description": "`natter.v1, bearer.<access token>`", "examples": ["natter.v1"] });
    json!({
        "address": address,
        "title": title,
        "messages": messages,
        "bindings": {
            "ws": {
                "method": "GET",
                "query": { "type": "object", "properties": { "token": token } },
                "headers": { "type": "object", "properties": { "Sec-WebSocket-Protocol": protocol } },
                "bindingVersion": "0.1.0",
            },
        },
        "x-close-codes": close_codes(|close| !OF_ONE.contains(&close)),
    })
}

fn close_codes(applies: impl Fn(Close) -> bool) -> Value {
    let told = Close::ALL.into_iter().filter(|close| applies(*close)).map(|close| {
        json!({
            "code": close.code(),
            "reason": close.reason(),
            "meaning": close.meaning(),
            "then": close.then().advice(),
            "reconnect": close.then().reconnects(),
        })
    });
    told.collect()
}

/// What this server receives, with what it answers; and what it sends by itself.
fn operations(said: &[String], events: &[String]) -> Value {
    let message = |channel: &str, name: &str| json!({ "$ref": format!("#/channels/{channel}/messages/{name}") });
    let channel = |name: &str| json!({ "$ref": format!("#/channels/{name}") });
    let mut operations = Map::new();
    for (asked, answer) in ANSWERS {
        let replies = [format!("server.{answer}"), "server.error".to_owned()];
        let told = json!({
            "action": "receive",
            "channel": channel("all"),
            "messages": [message("all", &format!("client.{asked}"))],
            "reply": { "channel": channel("all"), "messages": replies.map(|name| message("all", &name)) },
        });
        operations.insert(asked.to_owned(), told);
    }
    let unasked = said.iter().filter(|name| !ANSWERS.iter().any(|(_, answer)| **name == format!("server.{answer}")));
    let unasked: Vec<Value> = unasked.chain(events).map(|name| message("all", name)).collect();
    operations.insert(
        "tell".into(),
        json!({
            "action": "send",
            "channel": channel("all"),
            "summary": "What comes unasked: the events of the chats that are followed, and notices.",
            "messages": unasked,
        }),
    );
    operations.insert(
        "postToOne".into(),
        json!({
            "action": "receive",
            "channel": channel("one"),
            "summary": "A message to post. Nothing answers it but the message itself; what is not acceptable is counted.",
            "messages": [message("one", "one.message")],
        }),
    );
    operations.insert(
        "tellOne".into(),
        json!({
            "action": "send",
            "channel": channel("one"),
            "summary": "The chat's messages, and nothing else.",
            "messages": [message("one", "event.message")],
        }),
    );
    json!(operations)
}

fn server(protocol: &str) -> Value {
    let host = json!({ "default": "127.0.0.1:8000", "description": "Where this server is." });
    let security = ["bearer", "subprotocol", "query", "cookie"]
        .map(|name| json!({ "$ref": format!("#/components/securitySchemes/{name}") }));
    json!({ "host": "{host}", "protocol": protocol, "variables": { "host": host }, "security": security })
}

fn security_schemes() -> Value {
    let key = |place, name, about| json!({ "type": "httpApiKey", "in": place, "name": name, "description": about });
    json!({
        "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "The access token." },
        "subprotocol": key("header", "Sec-WebSocket-Protocol", "`natter.v1, bearer.<access token>`, for browsers."),
        "query": key("query", "token", "The access token. Proxies may log it: prefer the others."),
        "cookie": key("cookie", "token", "The access token, for pages of this server's own origin or of `server.allowed_origins`."),
    })
}
