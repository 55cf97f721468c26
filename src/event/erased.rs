//! What is left of a message or an edit whose text is erased: where it stood, who said it and when.
//!
//! The erased form takes the place of the body wherever that is kept: an event keeps its seq, its type and its ids.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Event, Kind, Target};
use crate::protocol::Frame;

/// The fields that stay, those of messages and those of edits, in the order in which they are written.
#[derive(Deserialize, Serialize)]
struct Left<'a> {
    #[serde(borrow, rename = "type")]
    kind: &'a RawValue,
    #[serde(borrow)]
    chat_id: &'a RawValue,
    #[serde(borrow)]
    seq: &'a RawValue,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    message_id: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    sender: Option<&'a RawValue>,
    #[serde(borrow)]
    sent_at: &'a RawValue,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    by: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    reply_to: Option<&'a RawValue>,
    #[serde(skip_deserializing)]
    content: &'a str,
    #[serde(skip_deserializing)]
    deleted: Gone,
}

/// `true`, always.
#[derive(Default)]
struct Gone;

impl Serialize for Gone {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bool(true)
    }
}

/// The erased form of a body. Of what is no event nothing is left.
pub fn frame(body: &[u8]) -> Frame {
    match serde_json::from_slice::<Left<'_>>(body) {
        Ok(left) => Frame::json(&left),
        Err(_) => Frame::of(b"{}"),
    }
}

impl Kind {
    /// The message of which everything is erased that was said before this event.
    pub fn erases(&self) -> Option<&Target> {
        match self {
            Kind::Deleted { of } | Kind::Edited { of, erases: true } => Some(of),
            _ => None,
        }
    }
}

/// How every erased form ends, and no other body: whatever somebody says is followed by a quotation mark.
const END: &[u8] = br#","content":"","deleted":true}"#;

impl Event {
    /// Its text is erased.
    pub fn is_erased(&self) -> bool {
        self.body().ends_with(END)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        event::{Place, Saying, Target},
        types::{MessageId, RoomId, Timestamp, UserId},
    };

    fn event(saying: Saying<'_>) -> Event {
        let (room, event_id, by) = (RoomId(uuid::Uuid::nil()), MessageId(uuid::Uuid::nil()), UserId::fresh());
        let place = Place { room, seq: 7, ordinal: 5, sent_at: Timestamp(0), event_id, by, by_name: "ann" };
        Event::new(place, saying)
    }

    #[test]
    fn of_a_message_who_and_when_is_left_and_nothing_of_what() {
        let id = Arc::from("c");
        let said = event(Saying::Message { content: "the secret", client_id: Some(&id) });
        let nil = uuid::Uuid::nil();
        let left = format!(
            r#"{{"type":"message","chat_id":"{nil}","seq":7,"message_id":"{nil}","sender":"ann","sent_at":"1970-01-01T00:00:00.000Z","client_id":"c","content":"","deleted":true}}"#
        );
        assert_eq!(frame(said.body()).json_bytes(), left.as_bytes());
        assert_eq!(frame(left.as_bytes()).json_bytes(), left.as_bytes(), "again");
        assert!(Event { frame: frame(said.body()), ..said.clone() }.is_erased() && !said.is_erased());
    }

    #[test]
    fn of_an_edit_too() {
        let of = Target { message: MessageId(uuid::Uuid::nil()), seq: 3, ordinal: 2 };
        let said = event(Saying::Edited { of, content: "deleted\":true", client_id: None, erases: false });
        let nil = uuid::Uuid::nil();
        let left = format!(
            r#"{{"type":"edit","chat_id":"{nil}","seq":7,"message_id":"{nil}","sent_at":"1970-01-01T00:00:00.000Z","by":"ann","content":"","deleted":true}}"#
        );
        assert_eq!(frame(said.body()).json_bytes(), left.as_bytes());
        assert!(!said.is_erased());
        assert_eq!(frame(b"no event, but a secret").json_bytes(), b"{}");
    }
}
