//! An example of every frame.

use serde_json::{Value, json};

use super::{
    changes::{delete, edit},
    chats::{member, message},
    told::{CHAT, EPOCH, MESSAGE, TIME},
};

const LATER: &str = "2026-11-22T16:20:47.000Z";

/// Frames of clients on `/ws`: type, what the example shows, and the frame.
pub fn of_clients() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        (
            "subscribe",
            "resume",
            json!({ "type": "subscribe", "chats": { CHAT: { "since": 3, "epoch": EPOCH } }, "req": 1 }),
        ),
        ("subscribe", "from now on", json!({ "type": "subscribe", "chats": { CHAT: null } })),
        (
            "subscribe",
            "all chats",
            json!({ "type": "subscribe", "all": true, "since": { CHAT: { "since": 3, "epoch": EPOCH } } }),
        ),
        ("unsubscribe", "one chat", json!({ "type": "unsubscribe", "chats": [CHAT] })),
        (
            "post",
            "hello",
            json!({ "type": "post", "chat_id": CHAT, "content": "Hello, Bob", "client_id": "hello-1", "req": 2 }),
        ),
        (
            "edit",
            "hello",
            json!({ "type": "edit", "chat_id": CHAT, "message_id": MESSAGE, "content": "Hello, Bob!", "client_id": "hello-1-edit" }),
        ),
        ("delete", "for good", json!({ "type": "delete", "chat_id": CHAT, "message_id": MESSAGE })),
        ("read", "the latest", json!({ "type": "read", "chat_id": CHAT, "seq": 3 })),
        ("typing", "one chat", json!({ "type": "typing", "chat_id": CHAT })),
        ("auth", "the next token", json!({ "type": "auth", "token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2ln" })),
        ("ping", "echoed", json!({ "type": "ping", "req": { "any": ["JSON"] } })),
    ]
}

/// The frame of clients on `/ws/chat/{chat_id}`.
pub fn of_clients_of_one() -> Value {
    json!({ "message": "Hello, Bob", "client_id": "hello-1" })
}

/// What a server says on `/ws` that is not an event.
pub fn of_servers() -> Vec<(&'static str, &'static str, Value)> {
    let refused = json!({ "code": "chat_not_found", "detail": "Chatroom not found" });
    vec![
        (
            "welcome",
            "first of all",
            json!({
                "type": "welcome",
                "user_id": "01a203f3-ed9b-7a44-9d2a-6b1f0f3f1c55",
                "username": "ann",
                "connection_id": "01a203f5-7f0e-7d11-8f0b-5a8e2f0d7c66",
                "expires_at": LATER,
                "ping_seconds": 30,
                "limits": {
                    "message_chars": 4000,
                    "client_id_chars": 128,
                    "frame_bytes": 65536,
                    "subscriptions": 1000,
                    "in_flight": 64,
                },
            }),
        ),
        (
            "subscribed",
            "without a loss",
            json!({
                "type": "subscribed",
                "req": 1,
                "chats": { CHAT: { "head": 5, "since": 3, "epoch": EPOCH, "lossless": true } },
            }),
        ),
        (
            "subscribed",
            "another log, and a chat that is not there",
            json!({
                "type": "subscribed",
                "chats": { CHAT: { "head": 5, "since": 5, "epoch": "77aa01d2c35f9e04", "lossless": false } },
                "errors": { "01a203f3-0000-7000-8000-000000000000": refused },
            }),
        ),
        ("unsubscribed", "done", json!({ "type": "unsubscribed" })),
        (
            "posted",
            "on disk",
            json!({
                "type": "posted",
                "req": 2,
                "chat_id": CHAT,
                "client_id": "hello-1",
                "message_id": MESSAGE,
                "seq": 3,
                "sent_at": TIME,
                "duplicate": false,
            }),
        ),
        (
            "edited",
            "on disk",
            json!({
                "type": "edited",
                "chat_id": CHAT,
                "message_id": MESSAGE,
                "seq": 4,
                "client_id": "hello-1-edit",
            }),
        ),
        ("deleted", "on disk", json!({ "type": "deleted", "chat_id": CHAT, "message_id": MESSAGE, "seq": 5 })),
        ("ok", "done", json!({ "type": "ok", "req": 3 })),
        ("authed", "until then", json!({ "type": "authed", "expires_at": LATER })),
        ("pong", "echoed", json!({ "type": "pong", "req": { "any": ["JSON"] } })),
        (
            "error",
            "not acceptable",
            json!({
                "type": "error",
                "req": 4,
                "code": "validation_error",
                "detail": "message: A message has at least one character.",
                "client_id": "hello-2",
            }),
        ),
        (
            "error",
            "later",
            json!({
                "type": "error",
                "req": null,
                "code": "rate_limited",
                "detail": "You post faster than limits.posts_per_sec allows; send it again a little later.",
                "client_id": "hello-3",
                "retry_after": 1,
            }),
        ),
        ("read", "up to there", json!({ "type": "read", "chat_id": CHAT, "username": "bob", "read_seq": 3 })),
        ("typing", "somebody", json!({ "type": "typing", "chat_id": CHAT, "username": "bob" })),
        (
            "presence",
            "a small chat",
            json!({ "type": "presence", "chat_id": CHAT, "online": 2, "users": { "bob": "online" } }),
        ),
        ("presence", "a large chat", json!({ "type": "presence", "chat_id": CHAT, "online": 1200 })),
        ("chats", "added", json!({ "type": "chats", "chat_id": CHAT, "change": "added" })),
        ("chats", "invited", json!({ "type": "chats", "chat_id": CHAT, "change": "invited" })),
        ("draining", "it stops", json!({ "type": "draining" })),
    ]
}

/// The events of a log.
pub fn of_logs() -> Vec<(&'static str, &'static str, Value)> {
    let left = json!({
        "type": "member",
        "chat_id": CHAT,
        "seq": 6,
        "sent_at": TIME,
        "by": "bob",
        "username": "bob",
        "change": "left",
    });
    let chat = json!({ "type": "chat", "chat_id": CHAT, "seq": 1, "sent_at": TIME, "by": "ann", "name": "Tea" });
    vec![
        ("message", "said", message()),
        ("edit", "another text", edit()),
        ("delete", "gone", delete()),
        ("member", "added", member()),
        ("member", "gone", left),
        ("chat", "named", chat),
    ]
}
