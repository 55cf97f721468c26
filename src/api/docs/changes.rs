//! What is told about one message: as it stands, changing it, what it said before.

use serde_json::json;

use super::{
    chats::{MESSAGES, folded},
    consent::NOT_TAKEN,
    faults::LONG,
    schemas::Schemas,
    told::{CHAT, Fault, MESSAGE, TIME, Told, fault, json_body, ok},
    users::{after, limit},
};
use crate::{
    api::changes::{DeleteDone, EditDone, Edits, MessageEdit},
    protocol::FoldedMessage,
};

pub const NO_SUCH_MESSAGE: Fault = fault(404, "message_not_found", "There is no such message in this chat.");
pub const DELETED: Fault = fault(409, "deleted", "This message has been deleted.");
const OVERTAKEN: Fault = fault(429, "overtaken", "Others are changing this message; try again in a moment.");

pub fn told() -> Vec<Told> {
    vec![
        Told {
            method: "GET",
            path: "/chat/{chat_id}/messages/{message_id}",
            id: "message",
            summary: "Read one message",
            about: "In its latest form; a deleted one in the form that is left of it.",
            tag: MESSAGES,
            parameters: vec![],
            body: None,
            answers: ok("The message.", Schemas::add::<FoldedMessage>, folded()),
            faults: vec![NO_SUCH_MESSAGE],
        },
        Told {
            method: "PATCH",
            path: "/chat/{chat_id}/messages/{message_id}",
            id: "edit_message",
            summary: "Edit a message",
            about: "Its sender may, for `rooms.edit_secs` (for ever, unless the operator chose otherwise). The answer comes once the \
                    edit is on disk; with a `client_id` it may be sent again until there is one. The same text again changes nothing.",
            tag: MESSAGES,
            parameters: vec![],
            body: json_body(
                Schemas::add::<MessageEdit>,
                vec![("hello", json!({ "message": "Hello, Bob!", "client_id": "hello-1-edit" }))],
            ),
            answers: ok(
                "It is on disk.",
                Schemas::add::<EditDone>,
                json!({ "message": "Message edited", "seq": 4, "edited_at": TIME, "duplicate": false }),
            ),
            faults: vec![
                NOT_TAKEN,
                fault(403, "forbidden", "Only its sender edits a message."),
                NO_SUCH_MESSAGE,
                DELETED,
                fault(
                    409,
                    "too_many_edits",
                    "This message has been edited as often as it may be (limits.edits); say it in a new one.",
                ),
                fault(409, "conflict", "This client_id has been used for another message; give each message its own."),
                OVERTAKEN,
            ],
        },
        Told {
            method: "DELETE",
            path: "/chat/{chat_id}/messages/{message_id}",
            id: "delete_message",
            summary: "Delete a message",
            about: "For everybody, for good: what it said, also before it was edited, is erased wherever the server keeps it. Its sender \
                    may, and in a group an owner or moderator. Again: nothing changes.",
            tag: MESSAGES,
            parameters: vec![],
            body: None,
            answers: ok(
                "It is on disk.",
                Schemas::add::<DeleteDone>,
                json!({ "message": "Message deleted", "seq": 5 }),
            ),
            faults: vec![
                fault(403, "forbidden", "Only its sender deletes a message, or an owner or moderator of the group."),
                NO_SUCH_MESSAGE,
                OVERTAKEN,
            ],
        },
        Told {
            method: "GET",
            path: "/chat/{chat_id}/messages/{message_id}/edits",
            id: "edits",
            summary: "Read what a message said before",
            about: "Oldest first, from its first text to the one that it has now. `rooms.edit_history` says who may: members, \
                    moderators, or nobody, as earlier texts are erased.",
            tag: MESSAGES,
            parameters: vec![after("AAAAAAAAAAM"), limit()],
            body: None,
            answers: ok(
                "A page.",
                Schemas::add::<Edits>,
                json!({
                    "edits": [{ "content": "Hello, Bob", "at": TIME }, { "content": "Hello, Bob!", "at": TIME }],
                    "next": null,
                }),
            ),
            faults: vec![
                LONG,
                fault(
                    403,
                    "forbidden",
                    "Only owners and moderators see what a message said before (rooms.edit_history).",
                ),
                NO_SUCH_MESSAGE,
                DELETED,
            ],
        },
    ]
}

/// An event that gives a message another text.
pub fn edit() -> serde_json::Value {
    json!({
        "type": "edit",
        "chat_id": CHAT,
        "seq": 4,
        "sent_at": TIME,
        "by": "ann",
        "message_id": MESSAGE,
        "content": "Hello, Bob!",
    })
}

/// An event that deletes one.
pub fn delete() -> serde_json::Value {
    json!({ "type": "delete", "chat_id": CHAT, "seq": 5, "sent_at": TIME, "by": "ann", "message_id": MESSAGE })
}
