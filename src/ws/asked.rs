//! The frames of clients as they are written: what `frames.rs` understands, told to the documentation.
//!
//! `frames.rs` reads field by field, so that it can name the one that is wrong; the shape of the whole is told here, and the
//! tests below hold the two together.
#![cfg_attr(not(test), allow(dead_code, reason = "what clients write is read here, never made"))]

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::types::Seq;

type Cursors = BTreeMap<String, Option<Cursor>>;

/// A frame of `GET /ws`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Asked {
    /// Follow chats. Give `chats`, or `all`.
    Subscribe {
        /// Any JSON; the answer repeats it.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Value)]
        req: Option<Value>,
        /// Which chats to follow, by id, and after which event; null: from now on.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(inline)]
        chats: Option<Cursors>,
        /// All chats of the user.
        #[serde(skip_serializing_if = "Option::is_none")]
        all: Option<bool>,
        /// With `all`: after which event to begin, by chat id. The chats that it leaves out are followed from now on.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(inline)]
        since: Option<Cursors>,
    },
    /// Follow chats no longer.
    Unsubscribe {
        /// Any JSON; the answer repeats it.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Value)]
        req: Option<Value>,
        chats: Vec<String>,
    },
    /// Say something. It need not be followed.
    Post {
        /// Any JSON; the answer repeats it.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Value)]
        req: Option<Value>,
        chat_id: String,
        /// 1 to `limits.message_chars` characters, any but NUL.
        content: String,
        /// A name for it: the same one sent again, on any socket, is the same message for ever. A UUID does well.
        #[serde(skip_serializing_if = "Option::is_none")]
        client_id: Option<String>,
    },
    /// Give one's own message another text.
    Edit {
        /// Any JSON; the answer repeats it.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Value)]
        req: Option<Value>,
        chat_id: String,
        message_id: String,
        /// The rules of a message.
        content: String,
        /// A name for the edit, of the same kind as a message's: the same one sent again is the same edit for ever.
        #[serde(skip_serializing_if = "Option::is_none")]
        client_id: Option<String>,
    },
    /// Delete a message for everybody, for good: one's own, or as owner or moderator of a group anybody's.
    Delete {
        /// Any JSON; the answer repeats it.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Value)]
        req: Option<Value>,
        chat_id: String,
        message_id: String,
        /// Any text; the answer repeats it.
        #[serde(skip_serializing_if = "Option::is_none")]
        client_id: Option<String>,
    },
    /// Everything up to `seq` was read. It never moves back.
    Read {
        /// Any JSON; where it is given, the answer is `ok`, and else there is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Value)]
        req: Option<Value>,
        chat_id: String,
        seq: Seq,
    },
    /// The user writes. It is told to those who follow the chat, where this socket follows it too.
    Typing {
        /// Any JSON; where it is given, the answer is `ok`, and else there is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Value)]
        req: Option<Value>,
        chat_id: String,
    },
    /// Another token of the same user: the socket lives on with it.
    Auth {
        /// Any JSON; the answer repeats it.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Value)]
        req: Option<Value>,
        token: String,
    },
    /// Is anybody there?
    Ping {
        /// Any JSON; the answer repeats it.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Value)]
        req: Option<Value>,
    },
}

/// After which event a reader begins: its number alone, or with the epoch of the log that it was taken from.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Cursor {
    Seq(Seq),
    Full {
        /// The last event that was seen.
        since: Seq,
        /// Of the log it was seen in. Left out: whichever log it is now.
        #[serde(skip_serializing_if = "Option::is_none")]
        epoch: Option<String>,
    },
}

/// A frame of `GET /ws/chat/{chat_id}`: a message to post.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct AskedOfOne {
    /// 1 to `limits.message_chars` characters, any but NUL.
    pub message: String,
    /// A name for it: the same one sent again is the same message for ever. A UUID does well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_map, option::of, prelude::*};

    use super::*;
    use crate::ws::frames::{Command, Since, parse, parse_one_room};

    fn cursor() -> impl Strategy<Value = Option<Cursor>> {
        let full = (any::<Seq>(), of("[0-9a-f]{16}")).prop_map(|(since, epoch)| Cursor::Full { since, epoch });
        of(prop_oneof![any::<Seq>().prop_map(Cursor::Seq), full])
    }

    fn cursors() -> impl Strategy<Value = Cursors> {
        btree_map("[0-9a-f-]{1,36}", cursor(), 0..4)
    }

    fn text() -> impl Strategy<Value = String> {
        "\\PC{0,30}"
    }

    fn asked() -> impl Strategy<Value = Asked> {
        let req = || of(prop_oneof![any::<u32>().prop_map(Value::from), text().prop_map(Value::from)]);
        let some = (req(), cursors());
        prop_oneof![
            some.prop_map(|(req, chats)| Asked::Subscribe { req, chats: Some(chats), all: None, since: None }),
            (req(), of(cursors())).prop_map(|(req, since)| Asked::Subscribe {
                req,
                chats: None,
                all: Some(true),
                since
            }),
            (req(), prop::collection::vec(text(), 0..4)).prop_map(|(req, chats)| Asked::Unsubscribe { req, chats }),
            (req(), text(), text(), of(text())).prop_map(|(req, chat_id, content, client_id)| Asked::Post {
                req,
                chat_id,
                content,
                client_id
            }),
            (req(), text(), text(), text(), of(text())).prop_map(|(req, chat_id, message_id, content, client_id)| {
                Asked::Edit { req, chat_id, message_id, content, client_id }
            }),
            (req(), text(), text(), of(text())).prop_map(|(req, chat_id, message_id, client_id)| Asked::Delete {
                req,
                chat_id,
                message_id,
                client_id
            }),
            (req(), text(), any::<Seq>()).prop_map(|(req, chat_id, seq)| Asked::Read { req, chat_id, seq }),
            (req(), text()).prop_map(|(req, chat_id)| Asked::Typing { req, chat_id }),
            (req(), text()).prop_map(|(req, token)| Asked::Auth { req, token }),
            req().prop_map(|req| Asked::Ping { req }),
        ]
    }

    fn since(cursors: Option<Cursors>) -> BTreeMap<String, Option<Since>> {
        let since = |cursor| match cursor {
            Cursor::Seq(seq) => Since { seq, epoch: None },
            Cursor::Full { since, epoch } => Since { seq: since, epoch },
        };
        cursors.unwrap_or_default().into_iter().map(|(id, cursor)| (id, cursor.map(since))).collect()
    }

    fn meant(asked: Asked) -> (Option<Value>, Command) {
        match asked {
            Asked::Subscribe { req, chats, all, since: after } => {
                let all = all.unwrap_or(false);
                (req, Command::Subscribe { chats: since(if all { after } else { chats }), all })
            }
            Asked::Unsubscribe { req, chats } => (req, Command::Unsubscribe { chats }),
            Asked::Post { req, chat_id, content, client_id } => (req, Command::Post { chat_id, content, client_id }),
            Asked::Edit { req, chat_id, message_id, content, client_id } => {
                (req, Command::Edit { chat_id, message_id, content, client_id })
            }
            Asked::Delete { req, chat_id, message_id, client_id } => {
                (req, Command::Delete { chat_id, message_id, client_id })
            }
            Asked::Read { req, chat_id, seq } => (req, Command::Read { chat_id, seq }),
            Asked::Typing { req, chat_id } => (req, Command::Typing { chat_id }),
            Asked::Auth { req, token } => (req, Command::Auth { token }),
            Asked::Ping { req } => (req, Command::Ping),
        }
    }

    proptest! {
        #[test]
        fn every_frame_that_is_told_is_understood_as_it_is_meant(asked in asked()) {
            let text = serde_json::to_string(&asked).unwrap();
            let (req, command) = parse(&text);
            let req = req.map(|raw| serde_json::from_str::<Value>(raw.get()).unwrap());
            prop_assert_eq!((req, command.unwrap()), meant(asked));
        }

        #[test]
        fn so_is_every_frame_for_one_room(message in text(), client_id in of(text())) {
            let asked = AskedOfOne { message: message.clone(), client_id: client_id.clone() };
            let text = serde_json::to_string(&asked).unwrap();
            prop_assert_eq!(parse_one_room(&text).unwrap(), (message, client_id));
        }
    }
}
