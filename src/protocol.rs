//! What goes over the wire, encoded once.
//!
//! An event of a room is encoded as an [`EventBody`] when its seq is known, and the same bytes are stored, replayed, delivered
//! and given as history. [`Frame`] carries them with their WebSocket header in front, ready for any number of sockets.
//! [`Said`] is everything else the server says on a socket. It knows no rooms, no sockets and no HTTP.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::types::{MessageId, RoomId, RoomRole, Seq, Timestamp, UserId};

/// Room in front of the JSON for the longest header of a server's frame.
const HEADER_MAX: usize = 10;
/// A longer scratch buffer is given back.
const SCRATCH_BYTES: usize = 16 * 1024;
const FINAL_TEXT: u8 = 0x81;
const FINAL_CLOSE: u8 = 0x88;
const FINAL_PING: u8 = 0x89;

/// One unmasked text frame, header and JSON, shared by everyone who gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    bytes: Arc<[u8]>,
    json_at: u8,
}

impl Frame {
    /// Encodes a value that serializes without fail (structs and maps with text keys).
    pub fn json(value: &impl Serialize) -> Self {
        encoded(value, Self::copied)
    }

    /// Around JSON that is encoded already.
    pub fn of(json: &[u8]) -> Self {
        framed(|buffer| buffer.extend_from_slice(json), Self::copied)
    }

    fn copied(frame: &[u8], json_at: usize) -> Self {
        Self { bytes: frame.into(), json_at: json_at as u8 }
    }

    /// The whole frame, as it is written to a socket.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same without copying.
    pub fn shared(&self) -> Bytes {
        Bytes::from_owner(self.bytes.clone())
    }

    /// The JSON alone.
    pub fn json_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.json_at)..]
    }

    /// The JSON alone, without copying.
    pub fn body(&self) -> Bytes {
        self.shared().slice(usize::from(self.json_at)..)
    }
}

thread_local! {
    /// Where frames are encoded, before it is known how long they are.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The frame of a value that serializes without fail, and where its JSON begins, for as long as `take` looks at it.
pub fn encoded<T>(value: &impl Serialize, take: impl FnOnce(&[u8], usize) -> T) -> T {
    framed(|buffer| serde_json::to_writer(buffer, value).expect("the wire's types serialize"), take)
}

fn framed<T>(encode: impl FnOnce(&mut Vec<u8>), take: impl FnOnce(&[u8], usize) -> T) -> T {
    SCRATCH.with_borrow_mut(|buffer| {
        buffer.clear();
        buffer.resize(HEADER_MAX, 0);
        encode(buffer);
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
        let taken = take(&buffer[start..], HEADER_MAX - start);
        buffer.clear();
        buffer.shrink_to(SCRATCH_BYTES);
        taken
    })
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

/// An event of a chat's log, as it stands there for ever: the same bytes in history and on sockets. More types will come; a
/// client passes over those that it does not know.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventBody<'a> {
    /// Somebody said something.
    Message {
        chat_id: RoomId,
        /// Where it stands in the chat's log: 1, 2, 3, … without holes.
        seq: Seq,
        message_id: MessageId,
        /// The sender's username.
        sender: &'a str,
        sent_at: Timestamp,
        content: &'a str,
        /// The name that the sender's client gave it, where it gave one.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        client_id: Option<&'a str>,
        /// Its text is erased: `content` is empty.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        deleted: Option<bool>,
    },
    /// A message has another text.
    Edit {
        chat_id: RoomId,
        /// Where it stands in the chat's log: 1, 2, 3, … without holes.
        seq: Seq,
        sent_at: Timestamp,
        /// The username of who did it, who is the message's sender.
        by: &'a str,
        /// The message.
        message_id: MessageId,
        /// What it says from now on.
        content: &'a str,
        /// Its text is erased: `content` is empty.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        deleted: Option<bool>,
    },
    /// A message is gone. Its text, and those of its edits, are erased wherever the server keeps them.
    Delete {
        chat_id: RoomId,
        /// Where it stands in the chat's log: 1, 2, 3, … without holes.
        seq: Seq,
        sent_at: Timestamp,
        /// The username of who did it.
        by: &'a str,
        /// The message.
        message_id: MessageId,
    },
    /// Somebody came, went, or has another role.
    Member {
        chat_id: RoomId,
        /// Where it stands in the chat's log: 1, 2, 3, … without holes.
        seq: Seq,
        sent_at: Timestamp,
        /// The username of who did it.
        by: &'a str,
        /// The username of whom it is about.
        username: &'a str,
        change: MemberChange,
        /// The role from now on, where they are a member.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        role: Option<RoomRole>,
    },
    /// The chat has a name, or another one.
    Chat {
        chat_id: RoomId,
        /// Where it stands in the chat's log: 1, 2, 3, … without holes.
        seq: Seq,
        sent_at: Timestamp,
        /// The username of who did it.
        by: &'a str,
        name: &'a str,
    },
}

/// A message in its latest form: as it is said now, and what became of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChatMessage)]
pub struct FoldedMessage<'a> {
    #[serde(rename = "type")]
    #[schema(pattern = "^message$")]
    pub kind: &'a str,
    #[schema(value_type = RoomId)]
    pub chat_id: &'a RawValue,
    /// Where it stands in the chat's log.
    pub seq: Seq,
    #[schema(value_type = MessageId)]
    pub message_id: &'a RawValue,
    /// The sender's username.
    #[schema(value_type = String, required, nullable = false)]
    pub sender: Option<&'a RawValue>,
    pub sent_at: Timestamp,
    #[schema(value_type = String)]
    pub content: &'a RawValue,
    /// The name that the sender's client gave it, where it gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, nullable = false)]
    pub client_id: Option<&'a RawValue>,
    /// When it was given its text last, where it was edited.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub edited_at: Option<Timestamp>,
    /// It is deleted, and `content` is empty: with `?with=deleted` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub deleted: Option<bool>,
}

/// `added` by somebody or joined by themselves, `removed` by somebody else, `left` by themselves, or given another `role`; asked
/// to join by an invitation (`invited`), which they may decline (`declined`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemberChange {
    Added,
    Removed,
    Left,
    Role,
    Invited,
    Declined,
}

/// What a client may echo: any JSON, given back as it came.
pub type Req<'a> = Option<&'a RawValue>;

/// Everything a server says on a socket that is not an event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Said<'a> {
    /// The first frame of every socket.
    Welcome {
        user_id: UserId,
        username: &'a str,
        /// This socket, in the server's log.
        connection_id: &'a str,
        /// When the token ends: send `auth` with another one before, or the socket is closed with 4401.
        expires_at: Timestamp,
        /// How long the server hears nothing before it pings.
        ping_seconds: u64,
        limits: Limits,
    },
    /// The answer to `subscribe`. Every event after `since` follows, then live ones.
    Subscribed {
        /// The `req` of the frame this answers.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Value)]
        req: Req<'a>,
        /// What is followed now, by chat id.
        chats: BTreeMap<RoomId, Subscribed<'a>>,
        /// Chats of the same frame that could not be subscribed to, by the id as it was given.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        errors: BTreeMap<&'a str, Refused>,
    },
    /// The answer to `unsubscribe`.
    Unsubscribed {
        /// The `req` of the frame this answers.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Value)]
        req: Req<'a>,
    },
    /// The answer to `post`, once the message is on disk.
    Posted {
        /// The `req` of the frame this answers.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Value)]
        req: Req<'a>,
        chat_id: RoomId,
        /// The name that the post gave it.
        #[schema(required)]
        client_id: Option<&'a str>,
        message_id: MessageId,
        seq: Seq,
        sent_at: Timestamp,
        /// The message was there already: this is its first acknowledgement again.
        duplicate: bool,
        /// And it has been deleted since.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        deleted: Option<bool>,
    },
    /// The answer to `edit`, once it is on disk.
    Edited {
        /// The `req` of the frame this answers.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Value)]
        req: Req<'a>,
        chat_id: RoomId,
        message_id: MessageId,
        /// Null where the message has this text already.
        #[schema(required)]
        seq: Option<Seq>,
        /// The name that the edit gave itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        client_id: Option<&'a str>,
    },
    /// The answer to `delete`, once it is on disk.
    Deleted {
        /// The `req` of the frame this answers.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Value)]
        req: Req<'a>,
        chat_id: RoomId,
        message_id: MessageId,
        /// Null where it was deleted before.
        #[schema(required)]
        seq: Option<Seq>,
        /// The name that the frame gave itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        client_id: Option<&'a str>,
    },
    /// The answer to `read` and `typing`, where they had a `req`.
    Ok {
        /// The `req` of the frame this answers.
        #[schema(value_type = Value, required)]
        req: Req<'a>,
    },
    /// The answer to `auth`.
    Authed {
        /// The `req` of the frame this answers.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Value)]
        req: Req<'a>,
        /// When the new token ends.
        expires_at: Timestamp,
    },
    /// The answer to `ping`.
    Pong {
        /// The `req` of the frame this answers.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Value)]
        req: Req<'a>,
    },
    /// A frame was not carried out; the socket stays open.
    Error {
        /// The `req` of the frame this answers; null where it had none, or could not be read.
        #[schema(value_type = Value, required)]
        req: Req<'a>,
        /// For programs.
        code: &'a str,
        /// For people: what the client can do.
        detail: &'a str,
        /// The post this is about, where it is about one.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        client_id: Option<&'a str>,
        /// Seconds, where the same frame may be accepted later.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        retry_after: Option<u64>,
    },
    /// How far somebody has read: this user on another socket, or the other person of a private chat.
    Read { chat_id: RoomId, username: &'a str, read_seq: Seq },
    /// Somebody writes.
    Typing { chat_id: RoomId, username: &'a str },
    /// Who of a chat is online, changed.
    Presence {
        chat_id: RoomId,
        /// How many members are online.
        online: usize,
        /// Who came or went; left out in large rooms.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        users: Option<BTreeMap<&'a str, Here>>,
    },
    /// This user was added to a chat or removed from it: subscribe to it, or drop it.
    Chats { chat_id: RoomId, change: ChatsChange },
    /// The server stops: it will close with 1012, and another one can be connected to.
    Draining,
}

/// What this server accepts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SocketLimits)]
pub struct Limits {
    /// Characters of a message.
    pub message_chars: usize,
    /// Characters of a `client_id`.
    pub client_id_chars: usize,
    /// Bytes of a frame.
    pub frame_bytes: usize,
    /// Chats that one socket follows.
    pub subscriptions: usize,
    /// Posts without an answer; what a client sends beyond them waits.
    pub in_flight: usize,
}

/// Where following a chat begins.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Subscription)]
pub struct Subscribed<'a> {
    /// The last event of the log at that moment.
    pub head: Seq,
    /// The events after this one follow.
    pub since: Seq,
    /// The name of the log's life. A log that was replaced has another one.
    pub epoch: &'a str,
    /// `false`: the cursor is not of this log; load the history again.
    pub lossless: bool,
}

/// Why a chat could not be subscribed to.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refused {
    /// For programs.
    pub code: &'static str,
    /// For people: what the client can do.
    pub detail: String,
}

/// Whether somebody has a socket open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Here {
    Online,
    Offline,
}

/// What became of this user and a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChatsChange {
    Added,
    Removed,
    /// Asked to join: nothing of the chat comes before `POST /chat/{chat_id}/join`.
    Invited,
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
        let event = EventBody::Message {
            chat_id: RoomId(uuid::Uuid::nil()),
            seq: 3,
            message_id: MessageId(uuid::Uuid::nil()),
            sender: "ann",
            sent_at: Timestamp(0),
            content: "hi",
            client_id: None,
            deleted: None,
        };
        let body = Frame::json(&event).body();
        let nil = "00000000-0000-0000-0000-000000000000";
        let want = format!(
            r#"{{"type":"message","chat_id":"{nil}","seq":3,"message_id":"{nil}","sender":"ann","sent_at":"1970-01-01T00:00:00.000Z","content":"hi"}}"#
        );
        assert_eq!(body, want);
    }
}
