//! How an event looks as a document, and the keys of everything that belongs to a room.
//!
//! An event is `{ _id: "<room>:<seq as 16 hex digits>", room, seq, ordinal, sender, client_id?, once?, event_id, sent_at,
//! effect?, body }`. The `_id` alone makes a seq unique and keeps a log together and in order; `once` makes
//! `(room, sender, client_id)` unique. A message has no `effect`. The names here are in databases: they may be added to,
//! never changed.

use std::sync::Arc;

use mongodb::bson::{Binary, Bson, Document, RawDocumentBuf, doc, rawdoc, spec::BinarySubtype};

use super::codec::{count, damaged, date, flag, int, message_id, optional_text, room_role, text, time, user_id};
use crate::{
    event::{Event, Kind, Target},
    protocol::Frame,
    store::Result,
    types::{RoomId, Seq, UserId},
};

/// Keys of a room's log sort as their seqs do.
pub(super) fn event_key(room: RoomId, seq: Seq) -> String {
    format!("{room}:{seq:016x}")
}

pub(super) fn member_key(room: RoomId, user: UserId) -> String {
    format!("{room}:{user}")
}

/// The value that is unique for one `(room, sender, client_id)`.
pub(super) fn once_key(room: RoomId, sender: UserId, client_id: &str) -> String {
    format!("{room}:{sender}:{client_id}")
}

pub(super) fn event_document(room: RoomId, event: &Event) -> RawDocumentBuf {
    let mut document = rawdoc! {
        "_id": event_key(room, event.seq),
        "room": room.to_string(),
        "seq": int(event.seq),
        "ordinal": int(event.ordinal),
        "sender": event.sender.to_string(),
        "event_id": event.event_id.to_string(),
        "sent_at": date(event.sent_at),
    };
    if let Some(client_id) = &event.client_id {
        document.append("client_id", &**client_id);
        document.append("once", once_key(room, event.sender, client_id));
    }
    if let Some(kind) = kind_document(&event.kind) {
        document.append("effect", kind);
    }
    document.append("body", Binary { subtype: BinarySubtype::Generic, bytes: event.body().to_vec() });
    document
}

fn kind_document(kind: &Kind) -> Option<RawDocumentBuf> {
    Some(match kind {
        Kind::Message => return None,
        Kind::Joined { user, role, username: _ } => {
            rawdoc! { "kind": "joined", "user": user.to_string(), "role": role.name() }
        }
        Kind::Gone { user } => rawdoc! { "kind": "gone", "user": user.to_string() },
        Kind::RoleSet { user, role } => rawdoc! { "kind": "role", "user": user.to_string(), "role": role.name() },
        Kind::Invited { user, role } => rawdoc! { "kind": "invited", "user": user.to_string(), "role": role.name() },
        Kind::Renamed { name } => rawdoc! { "kind": "renamed", "name": name.as_str() },
        Kind::Edited { of, erases } => {
            let mut document = target_document("edited", of);
            document.append("erases", *erases);
            document
        }
        Kind::Deleted { of } => target_document("deleted", of),
    })
}

fn target_document(kind: &str, Target { message, seq, ordinal }: &Target) -> RawDocumentBuf {
    rawdoc! { "kind": kind, "message": message.to_string(), "of": int(*seq), "ordinal": int(*ordinal) }
}

fn target(kind: &Document) -> Result<Target> {
    Ok(Target { message: message_id(kind, "message")?, seq: count(kind, "of")?, ordinal: count(kind, "ordinal")? })
}

pub(super) fn event(document: &Document) -> Result<Event> {
    let Some(Bson::Binary(Binary { bytes: body, .. })) = document.get("body") else {
        return Err(damaged(document, "body", "binary data"));
    };
    Ok(Event {
        seq: count(document, "seq")?,
        ordinal: count(document, "ordinal")?,
        sender: user_id(document, "sender")?,
        client_id: optional_text(document, "client_id")?.map(Arc::from),
        event_id: message_id(document, "event_id")?,
        sent_at: time(document, "sent_at")?,
        kind: kind(document)?.named_in(body),
        frame: Frame::of(body),
    })
}

fn kind(document: &Document) -> Result<Kind> {
    let kind = match document.get("effect") {
        None => return Ok(Kind::Message),
        Some(Bson::Document(kind)) => kind,
        Some(_) => return Err(damaged(document, "effect", "the kind of an event")),
    };
    Ok(match text(kind, "kind")? {
        "joined" => {
            Kind::Joined { user: user_id(kind, "user")?, role: room_role(kind, "role")?, username: Arc::default() }
        }
        "gone" => Kind::Gone { user: user_id(kind, "user")? },
        "role" => Kind::RoleSet { user: user_id(kind, "user")?, role: room_role(kind, "role")? },
        "invited" => Kind::Invited { user: user_id(kind, "user")?, role: room_role(kind, "role")? },
        "renamed" => Kind::Renamed { name: text(kind, "name")?.to_owned() },
        "edited" => Kind::Edited { of: target(kind)?, erases: flag(kind, "erases")? },
        "deleted" => Kind::Deleted { of: target(kind)? },
        _ => return Err(damaged(document, "effect", "one that this natter knows")),
    })
}

/// What is stored is this very event, to the last byte, and not just another try of the same post.
pub(super) fn is_same(stored: &Event, new: &Event) -> bool {
    stored.event_id == new.event_id
        && (stored.seq, stored.ordinal, stored.sent_at) == (new.seq, new.ordinal, new.sent_at)
        && (stored.sender, &stored.client_id) == (new.sender, &new.client_id)
        && stored.kind == new.kind
        && stored.frame == new.frame
}

/// Everything of a room's log after `after` and before `before`, as a range of `_id`.
pub(super) fn log_range(room: RoomId, after: Option<Seq>, before: Option<Seq>) -> Document {
    // `:` sorts before `;`, so that the whole log lies between the two.
    let from = after.map_or_else(|| format!("{room}:"), |after| event_key(room, after));
    let to = before.map_or_else(|| format!("{room};"), |before| event_key(room, before));
    doc! { "_id": { "$gt": from, "$lt": to } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{MessageId, RoomRole, Timestamp};

    fn new_event(kind: Kind, client_id: Option<&str>) -> Event {
        Event {
            seq: 0x1f,
            ordinal: 7,
            sender: UserId::fresh(),
            client_id: client_id.map(Arc::from),
            event_id: MessageId::fresh(),
            sent_at: Timestamp(1_700_000_000_123),
            frame: Frame::of(if matches!(kind, Kind::Joined { .. }) {
                br#"{"username":"bob"}"#
            } else {
                b"{\"a\":\"\0\xff\"}"
            }),
            kind,
        }
    }

    #[test]
    fn every_event_comes_back_as_it_was() {
        let user = UserId::fresh();
        let of = Target { message: MessageId::fresh(), seq: 300, ordinal: 7 };
        let mut kinds = vec![
            Kind::Message,
            Kind::Gone { user },
            Kind::Renamed { name: "tea ☕".into() },
            Kind::Edited { of, erases: true },
            Kind::Deleted { of },
        ];
        for role in RoomRole::ALL {
            kinds.push(Kind::Joined { user, role, username: "bob".into() });
            kinds.push(Kind::RoleSet { user, role });
            kinds.push(Kind::Invited { user, role });
        }
        for kind in kinds {
            for client_id in [None, Some("1:☕")] {
                let new = new_event(kind.clone(), client_id);
                let document = event_document(RoomId::fresh(), &new).to_document().expect("sound");
                assert_eq!(document.contains_key("effect"), kind != Kind::Message);
                assert_eq!(document.contains_key("once"), client_id.is_some());
                let stored = event(&document).expect("readable");
                assert!(is_same(&stored, &new), "{stored:?}");
                let retried = Event { sent_at: Timestamp(stored.sent_at.0 + 1), ..new };
                assert!(!is_same(&stored, &retried));
            }
        }
    }

    #[test]
    fn keys_sort_as_seqs_do_and_stay_in_their_room() {
        let room = RoomId::fresh();
        let keys = [1, 9, 10, 0xff, 0x100, u64::MAX].map(|seq| event_key(room, seq));
        assert!(keys.is_sorted());
        let range = log_range(room, None, None);
        let bounds = range.get_document("_id").expect("a range");
        let (from, to) = (bounds.get_str("$gt").expect("text"), bounds.get_str("$lt").expect("text"));
        assert!(keys.iter().all(|key| from < key.as_str() && key.as_str() < to));
        let other = event_key(RoomId::fresh(), 1);
        assert!(!(from < other.as_str() && other.as_str() < to));
    }

    #[test]
    fn what_is_not_an_event_is_named() {
        let document = event_document(RoomId::fresh(), &new_event(Kind::Message, None)).to_document().expect("sound");
        let mut newer = document.clone();
        newer.insert("effect", doc! { "kind": "reaction" });
        assert!(event(&newer).expect_err("unknown").to_string().contains("`effect`"));
        let mut bare = document;
        bare.remove("body");
        assert!(event(&bare).expect_err("no body").to_string().contains("`body`"));
    }
}
