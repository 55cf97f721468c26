//! The lines of an export file, version 2. A file is one zstd stream of NDJSON:
//!
//! ```text
//! {"natter_export":2,"id":…,"natter":…,"from":…}      the header
//! {"room":{…}}                                        for each room, ascending by id:
//! {"event":{…}}                                         its log, from seq 1
//! {"member":{…}}                                        its members, ascending by user, and how far they have read
//! {"room_end":{…}}                                      counts, and what only this life of the room has
//! {"user":{…}}                                        every user, ascending by folded name
//! {"end":{…}}                                         counts, the content digest, the last checksum
//! ```
//!
//! `{"check":{"line":N,"sha256":…}}` stands after at most [`CHECK_LINES`] lines: the SHA-256 of everything before it.
//! The *content digest* is the SHA-256 of the `room`, `event`, `member` and `user` lines alone, in their order: equal
//! for equal content, whichever store it is in and whichever file it came through.
//!
//! A reader refuses what it does not know: a later version adds fields or lines only with a new number.

use std::{borrow::Cow, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Counts, hex};
use crate::{
    event::{Event, Kind, fold::ReadMark},
    protocol::Frame,
    store::{Deletion, RoomRecord, UserRecord},
    types::{MessageId, Ordinal, Role, RoomId, RoomKind, RoomRole, Seq, Timestamp, UserId},
};

/// Version 2 has invitations, edits and deletions of messages, and deleted accounts, which version 1 does not know; else they are the
/// same.
pub const VERSION: u64 = 2;

/// Damage is narrowed down to so many lines.
pub(super) const CHECK_LINES: u64 = 1_000;

/// No line is longer; whatever claims to be is damaged.
pub(super) const MOST_LINE_BYTES: usize = 64 * 1024 * 1024;

/// Read before anything else, so that a newer file is named as such.
#[derive(Debug, Deserialize)]
pub(super) struct Version {
    pub natter_export: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub natter_export: u64,
    pub id: Uuid,
    /// The version of the natter that wrote it.
    pub natter: String,
    /// Where it came from and when, for people.
    pub from: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line<'a> {
    Room(RoomLine),
    Event(EventLine<'a>),
    Member(MemberLine),
    RoomEnd(RoomEnd),
    User(UserLine<'a>),
    Check(Check),
    End(End),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoomLine {
    pub id: RoomId,
    pub kind: RoomKind,
    /// The two people of a private room, the smaller id first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pair: Option<[UserId; 2]>,
    /// Times are milliseconds since 1970, UTC.
    pub created_at: i64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventLine<'a> {
    pub seq: Seq,
    pub ordinal: Ordinal,
    pub sender: UserId,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client_id: Option<Cow<'a, str>>,
    pub id: MessageId,
    pub sent_at: i64,
    /// Left out for a message.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub effect: Option<Cow<'a, Kind>>,
    /// The event's JSON as a text, so that it comes back byte for byte.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub body: Option<Cow<'a, str>>,
    /// In place of `body` where that is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub body_base64: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MemberLine {
    pub user: UserId,
    pub role: RoomRole,
    pub read_seq: Seq,
    pub read_ordinal: Ordinal,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoomEnd {
    pub events: Seq,
    pub messages: Ordinal,
    pub members: u64,
    /// For people: the log says it too.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// Of the life that was exported; an import begins another.
    pub epoch: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserLine<'a> {
    pub id: UserId,
    pub username: Cow<'a, str>,
    pub folded: Cow<'a, str>,
    pub display_name: Cow<'a, str>,
    pub password_hash: Cow<'a, str>,
    pub roles: Vec<Role>,
    pub created_at: i64,
    pub disabled: bool,
    pub token_epoch: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deletion: Option<Deletion>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    /// The number of this line, from 1.
    pub line: u64,
    pub sha256: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    pub line: u64,
    pub counts: Counts,
    /// The content digest.
    pub digest: String,
    /// Of everything before this line.
    pub sha256: String,
}

impl RoomLine {
    pub(super) fn of(room: &RoomRecord, pair: Option<[UserId; 2]>) -> Self {
        Self { id: room.room_id, kind: room.kind, pair, created_at: room.created_at.0 }
    }
}

impl MemberLine {
    pub(super) fn mark(&self) -> ReadMark {
        ReadMark { seq: self.read_seq, ordinal: self.read_ordinal }
    }
}

impl<'a> EventLine<'a> {
    pub(super) fn of(event: &'a Event) -> Self {
        let (body, body_base64) = match std::str::from_utf8(event.body()) {
            Ok(text) => (Some(text.into()), None),
            Err(_) => (None, Some(STANDARD.encode(event.body()))),
        };
        Self {
            seq: event.seq,
            ordinal: event.ordinal,
            sender: event.sender,
            client_id: event.client_id.as_deref().map(Cow::from),
            id: event.event_id,
            sent_at: event.sent_at.0,
            effect: (!event.is_message()).then_some(Cow::Borrowed(&event.kind)),
            body,
            body_base64,
        }
    }

    /// The event again, or what is wrong with the line.
    pub(super) fn event(self) -> Result<Event, &'static str> {
        let body = match (self.body, self.body_base64) {
            (Some(text), None) => text.into_owned().into_bytes(),
            (None, Some(code)) => STANDARD.decode(code).map_err(|_| "its body is no base64")?,
            _ => return Err("it must have one body"),
        };
        Ok(Event {
            seq: self.seq,
            ordinal: self.ordinal,
            sender: self.sender,
            client_id: self.client_id.as_deref().map(Arc::from),
            event_id: self.id,
            sent_at: Timestamp(self.sent_at),
            kind: self.effect.map_or(Kind::Message, Cow::into_owned).named_in(&body),
            frame: Frame::of(&body),
        })
    }
}

impl<'a> UserLine<'a> {
    pub(super) fn of(user: &'a UserRecord) -> Self {
        Self {
            id: user.user_id,
            username: (&user.username).into(),
            folded: (&user.folded).into(),
            display_name: (&user.display_name).into(),
            password_hash: (&user.password_hash).into(),
            roles: user.roles.clone(),
            created_at: user.created_at.0,
            disabled: user.disabled,
            token_epoch: user.token_epoch,
            deletion: user.deletion,
        }
    }

    pub(super) fn user(self) -> UserRecord {
        UserRecord {
            user_id: self.id,
            username: self.username.into_owned(),
            folded: self.folded.into_owned(),
            display_name: self.display_name.into_owned(),
            password_hash: self.password_hash.into_owned(),
            roles: self.roles,
            created_at: Timestamp(self.created_at),
            disabled: self.disabled,
            token_epoch: self.token_epoch,
            deletion: self.deletion,
        }
    }
}

/// Encodes lines, and hashes those that are content.
#[derive(Default)]
pub(super) struct Encoder {
    content: Sha256,
}

impl Encoder {
    /// Appends the line and its newline to `buffer`.
    pub(super) fn line(&mut self, line: &Line<'_>, buffer: &mut Vec<u8>) {
        let start = buffer.len();
        serde_json::to_writer(&mut *buffer, line).expect("lines are plain values");
        buffer.push(b'\n');
        self.seen(line, &buffer[start..]);
    }

    /// The same for a line that has been read, `text` with its newline.
    pub(super) fn seen(&mut self, line: &Line<'_>, text: &[u8]) {
        if matches!(line, Line::Room(_) | Line::Event(_) | Line::Member(_) | Line::User(_)) {
            self.content.update(text);
        }
    }

    pub(super) fn digest(&self) -> String {
        hex(&self.content.clone().finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Target;

    fn event(body: &'static [u8], kind: Kind) -> Event {
        Event {
            seq: 3,
            ordinal: 2,
            sender: UserId::fresh(),
            client_id: Some("a \u{2028} \"b\"".into()),
            event_id: MessageId::fresh(),
            sent_at: Timestamp(-5),
            kind,
            frame: Frame::of(body),
        }
    }

    /// A file of version 1 stays readable.
    #[test]
    fn a_line_of_every_kind_is_read_as_it_was_always_written() {
        let (id, user) = ("01900000-0000-7000-8000-000000000001", UserId::fresh());
        let role = RoomRole::Reader;
        let of = Target { message: MessageId::parse(id).unwrap(), seq: 2, ordinal: 1 };
        let lines = [
            ("".to_owned(), Kind::Message),
            (
                format!(r#""effect":{{"joined":{{"user":"{user}","role":"reader"}}}},"#),
                Kind::Joined { user, role, username: "bob".into() },
            ),
            (format!(r#""effect":{{"gone":{{"user":"{user}"}}}},"#), Kind::Gone { user }),
            (format!(r#""effect":{{"role_set":{{"user":"{user}","role":"reader"}}}},"#), Kind::RoleSet { user, role }),
            (format!(r#""effect":{{"invited":{{"user":"{user}","role":"reader"}}}},"#), Kind::Invited { user, role }),
            (r#""effect":{"renamed":{"name":"tea"}},"#.to_owned(), Kind::Renamed { name: "tea".into() }),
            (
                format!(r#""effect":{{"edited":{{"of":{{"message":"{id}","seq":2,"ordinal":1}},"erases":false}}}},"#),
                Kind::Edited { of, erases: false },
            ),
            (
                format!(r#""effect":{{"deleted":{{"of":{{"message":"{id}","seq":2,"ordinal":1}}}}}},"#),
                Kind::Deleted { of },
            ),
        ];
        for (effect, kind) in lines {
            let body = r#"{\"username\":\"bob\"}"#;
            let line = format!(
                r#"{{"event":{{"seq":3,"ordinal":2,"sender":"{id}","client_id":"c","id":"{id}","sent_at":5,{effect}"body":"{body}"}}}}"#
            );
            let Line::Event(read) = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
            let event = read.event().unwrap();
            assert_eq!(event.kind, kind);
            assert_eq!(serde_json::to_string(&Line::Event(EventLine::of(&event))).unwrap(), line);
        }
    }

    #[test]
    fn an_event_comes_back_byte_for_byte() {
        let user = UserId::fresh();
        let role = RoomRole::Reader;
        let kinds = [
            Kind::Message,
            // These bodies name nobody.
            Kind::Joined { user, role, username: "".into() },
            Kind::Gone { user },
            Kind::RoleSet { user, role },
            Kind::Invited { user, role },
            Kind::Renamed { name: "tea \u{7f} ☕".into() },
            Kind::Edited { of: Target { message: MessageId::fresh(), seq: 2, ordinal: 1 }, erases: true },
        ];
        for kind in kinds {
            for body in
                [br#"{"b":1 , "a":"\u00e9\ud83d\ude00"}"#.as_slice(), "{\"é\":\"\u{1}\"}".as_bytes(), b"\xff\x00", b""]
            {
                let event = event(body, kind.clone());
                let text = serde_json::to_string(&Line::Event(EventLine::of(&event))).unwrap();
                let Line::Event(back) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
                assert_eq!(back.event().unwrap(), event, "{text}");
            }
        }
    }
}
