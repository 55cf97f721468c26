//! What goes over the wire, encoded once.
//!
//! An event of a room is encoded by [`event`] when its seq is known, and the same bytes are stored, replayed, delivered
//! and given as history. [`Frame`] carries them with their WebSocket header in front, ready for any number of sockets.
//! [`Said`] is everything else the server says on a socket. It knows no rooms, no sockets and no HTTP.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::types::{MessageId, RoomId, RoomRole, Seq, Timestamp, UserId};

/// Room in front of the JSON for the longest header of a server's frame.
const HEADER_MAX: usize = 10;
const FINAL_TEXT: u8 = 0x81;
const FINAL_CLOSE: u8 = 0x88;
const FINAL_PING: u8 = 0x89;

/// One unmasked text frame, header and JSON, shared by everyone who gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    bytes: Bytes,
    json_at: u8,
}

impl Frame {
    /// Encodes a value that serializes without fail (structs and maps with text keys).
    pub fn json(value: &impl Serialize) -> Self {
        let mut buffer = Vec::with_capacity(256);
        buffer.resize(HEADER_MAX, 0);
        serde_json::to_writer(&mut buffer, value).expect("the wire's types serialize");
        Self::finish(buffer)
    }

    /// Around JSON that is encoded already.
    pub fn of(json: &[u8]) -> Self {
        let mut buffer = Vec::with_capacity(HEADER_MAX + json.len());
        buffer.resize(HEADER_MAX, 0);
        buffer.extend_from_slice(json);
        Self::finish(buffer)
    }

    /// The whole frame, as it is written to a socket.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The JSON alone, without copying.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(usize::from(self.json_at)..)
    }

    /// `buffer` holds `HEADER_MAX` bytes of room, then the payload.
    fn finish(mut buffer: Vec<u8>) -> Self {
        let len = buffer.len() - HEADER_MAX;
        let start = if let Ok(short) = u8::try_from(len)
            && short < 126
        {
            buffer[HEADER_MAX - 1] = short;
            HEADER_MAX - 2
        } else if let Ok(medium) = u16::try_from(len) {
            buffer[HEADER_MAX - 3] = 126;
            buffer[HEADER_MAX - 2..HEADER_MAX].copy_from_slice(&medium.to_be_bytes());
            HEADER_MAX - 4
        } else {
            buffer[1] = 127;
            buffer[2..HEADER_MAX].copy_from_slice(&(len as u64).to_be_bytes());
            0
        };
        buffer[start] = FINAL_TEXT;
        Self { bytes: Bytes::from(buffer).slice(start..), json_at: (HEADER_MAX - start) as u8 }
    }
}

/// A close frame; `reason` is cut to what a control frame may carry.
pub fn close_frame(code: u16, reason: &str) -> Bytes {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut frame = vec![FINAL_CLOSE, (2 + end) as u8];
    frame.extend_from_slice(&code.to_be_bytes());
    frame.extend_from_slice(&reason.as_bytes()[..end]);
    frame.into()
}

pub fn ping_frame() -> Bytes {
    Bytes::from_static(&[FINAL_PING, 0])
}

/// An event of a room's log, as it stands there for ever.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event<'a> {
    Message {
        chat_id: RoomId,
        seq: Seq,
        message_id: MessageId,
        sender: &'a str,
        sent_at: Timestamp,
        content: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        client_id: Option<&'a str>,
    },
    Member {
        chat_id: RoomId,
        seq: Seq,
        sent_at: Timestamp,
        by: &'a str,
        username: &'a str,
        change: MemberChange,
        #[serde(skip_serializing_if = "Option::is_none")]
        role: Option<RoomRole>,
    },
    Chat {
        chat_id: RoomId,
        seq: Seq,
        sent_at: Timestamp,
        by: &'a str,
        name: &'a str,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberChange {
    Added,
    Removed,
    Left,
    Role,
}

/// What a client may echo: any JSON, given back as it came.
pub type Req<'a> = Option<&'a RawValue>;

/// Everything a server says on a socket that is not an event.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Said<'a> {
    Welcome {
        user_id: UserId,
        username: &'a str,
        connection_id: &'a str,
        expires_at: Timestamp,
        ping_seconds: u64,
        limits: Limits,
    },
    Subscribed {
        #[serde(skip_serializing_if = "Option::is_none")]
        req: Req<'a>,
        chats: BTreeMap<RoomId, Subscribed<'a>>,
        /// Rooms of the same frame that could not be subscribed to.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        errors: BTreeMap<&'a str, Refused>,
    },
    Unsubscribed {
        #[serde(skip_serializing_if = "Option::is_none")]
        req: Req<'a>,
    },
    Posted {
        #[serde(skip_serializing_if = "Option::is_none")]
        req: Req<'a>,
        chat_id: RoomId,
        client_id: Option<&'a str>,
        message_id: MessageId,
        seq: Seq,
        sent_at: Timestamp,
        duplicate: bool,
    },
    Ok {
        req: Req<'a>,
    },
    Authed {
        #[serde(skip_serializing_if = "Option::is_none")]
        req: Req<'a>,
        expires_at: Timestamp,
    },
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        req: Req<'a>,
    },
    Error {
        req: Req<'a>,
        code: &'a str,
        detail: &'a str,
        /// The post this is about, where it is about one.
        #[serde(skip_serializing_if = "Option::is_none")]
        client_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
    Read {
        chat_id: RoomId,
        username: &'a str,
        read_seq: Seq,
    },
    Typing {
        chat_id: RoomId,
        username: &'a str,
    },
    Presence {
        chat_id: RoomId,
        /// How many members are online.
        online: usize,
        /// Who came or went; left out in large rooms.
        #[serde(skip_serializing_if = "Option::is_none")]
        users: Option<BTreeMap<&'a str, Here>>,
    },
    Chats {
        chat_id: RoomId,
        change: ChatsChange,
    },
    Draining,
}

#[derive(Debug, Serialize)]
pub struct Limits {
    pub message_chars: usize,
    pub client_id_chars: usize,
    pub frame_bytes: usize,
    pub subscriptions: usize,
    pub in_flight: usize,
}

#[derive(Debug, Serialize)]
pub struct Subscribed<'a> {
    pub head: Seq,
    pub since: Seq,
    pub epoch: &'a str,
    pub lossless: bool,
}

#[derive(Debug, Serialize)]
pub struct Refused {
    pub code: &'static str,
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Here {
    Online,
    Offline,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatsChange {
    Added,
    Removed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_the_shortest_header_that_fits() {
        for (len, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let json = vec![b'x'; len];
            let frame = Frame::of(&json);
            assert_eq!(frame.bytes().len(), header + len);
            assert_eq!(frame.bytes()[0], FINAL_TEXT);
            assert_eq!(frame.body(), json);
        }
    }

    #[test]
    fn a_close_reason_is_cut_between_characters() {
        let frame = close_frame(1008, &"ä".repeat(100));
        assert_eq!(frame.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }

    #[test]
    fn a_message_leaves_out_what_it_has_not() {
        let event = Event::Message {
            chat_id: RoomId(uuid::Uuid::nil()),
            seq: 3,
            message_id: MessageId(uuid::Uuid::nil()),
            sender: "ann",
            sent_at: Timestamp(0),
            content: "hi",
            client_id: None,
        };
        let body = Frame::json(&event).body();
        let nil = "00000000-0000-0000-0000-000000000000";
        let want = format!(
            r#"{{"type":"message","chat_id":"{nil}","seq":3,"message_id":"{nil}","sender":"ann","sent_at":"1970-01-01T00:00:00.000Z","content":"hi"}}"#
        );
        assert_eq!(body, want);
    }
}
