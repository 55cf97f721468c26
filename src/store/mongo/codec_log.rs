//! How an event looks as a document, and the keys of everything that belongs to a room.
//!
//! An event is `{ _id: "<room>:<seq as 16 hex digits>", room, seq, ordinal, sender, client_id?, once?, event_id, sent_at,
//! effect?, body }`. The `_id` alone makes a seq unique and keeps a log together and in order; `once` makes
//! `(room, sender, client_id)` unique. A message has no `effect`. The names here are in databases: they may be added to,
//! never changed.

use bytes::Bytes;
use mongodb::bson::{Binary, Bson, Document, RawDocumentBuf, doc, rawdoc, spec::BinarySubtype};

use super::codec::{count, damaged, date, int, message_id, optional_text, room_role, text, time, user_id};
use crate::{
    store::{Effect, NewEvent, Result, StoredEvent},
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

pub(super) fn event_document(room: RoomId, event: &NewEvent) -> RawDocumentBuf {
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
        document.append("client_id", client_id.as_str());
        document.append("once", once_key(room, event.sender, client_id));
    }
    if let Some(effect) = effect_document(&event.effect) {
        document.append("effect", effect);
    }
    document.append("body", Binary { subtype: BinarySubtype::Generic, bytes: event.body.to_vec() });
    document
}

fn effect_document(effect: &Effect) -> Option<RawDocumentBuf> {
    Some(match effect {
        Effect::Message => return None,
        Effect::Joined { user, role } => rawdoc! { "kind": "joined", "user": user.to_string(), "role": role.name() },
        Effect::Gone { user } => rawdoc! { "kind": "gone", "user": user.to_string() },
        Effect::RoleSet { user, role } => rawdoc! { "kind": "role", "user": user.to_string(), "role": role.name() },
        Effect::Renamed { name } => rawdoc! { "kind": "renamed", "name": name.as_str() },
    })
}

/// Takes the document apart, so that the body is not copied.
pub(super) fn event(mut document: Document) -> Result<StoredEvent> {
    let body = match document.remove("body") {
        Some(Bson::Binary(body)) => Bytes::from(body.bytes),
        _ => return Err(damaged(&document, "body", "binary data")),
    };
    Ok(StoredEvent {
        seq: count(&document, "seq")?,
        ordinal: count(&document, "ordinal")?,
        sender: user_id(&document, "sender")?,
        client_id: optional_text(&document, "client_id")?.map(str::to_owned),
        event_id: message_id(&document, "event_id")?,
        sent_at: time(&document, "sent_at")?,
        body,
        effect: effect(&document)?,
    })
}

fn effect(document: &Document) -> Result<Effect> {
    let effect = match document.get("effect") {
        None => return Ok(Effect::Message),
        Some(Bson::Document(effect)) => effect,
        Some(_) => return Err(damaged(document, "effect", "the effect of an event")),
    };
    Ok(match text(effect, "kind")? {
        "joined" => Effect::Joined { user: user_id(effect, "user")?, role: room_role(effect, "role")? },
        "gone" => Effect::Gone { user: user_id(effect, "user")? },
        "role" => Effect::RoleSet { user: user_id(effect, "user")?, role: room_role(effect, "role")? },
        "renamed" => Effect::Renamed { name: text(effect, "name")?.to_owned() },
        _ => return Err(damaged(document, "effect", "an effect that this natter knows")),
    })
}

/// What is stored is this very event, to the last byte, and not just another try of the same post.
pub(super) fn is_same(stored: &StoredEvent, new: &NewEvent) -> bool {
    stored.event_id == new.event_id
        && (stored.seq, stored.ordinal, stored.sent_at) == (new.seq, new.ordinal, new.sent_at)
        && (stored.sender, &stored.client_id) == (new.sender, &new.client_id)
        && stored.effect == new.effect
        && stored.body == new.body
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

    fn new_event(effect: Effect, client_id: Option<&str>) -> NewEvent {
        NewEvent {
            seq: 0x1f,
            ordinal: 7,
            sender: UserId::fresh(),
            client_id: client_id.map(str::to_owned),
            event_id: MessageId::fresh(),
            sent_at: Timestamp(1_700_000_000_123),
            body: Bytes::from_static(b"{\"a\":\"\0\xff\"}"),
            effect,
        }
    }

    #[test]
    fn every_event_comes_back_as_it_was() {
        let user = UserId::fresh();
        let mut effects = vec![Effect::Message, Effect::Gone { user }, Effect::Renamed { name: "tea ☕".into() }];
        for role in RoomRole::ALL {
            effects.push(Effect::Joined { user, role });
            effects.push(Effect::RoleSet { user, role });
        }
        for effect in effects {
            for client_id in [None, Some("1:☕")] {
                let new = new_event(effect.clone(), client_id);
                let document = event_document(RoomId::fresh(), &new).to_document().expect("sound");
                assert_eq!(document.contains_key("effect"), effect != Effect::Message);
                assert_eq!(document.contains_key("once"), client_id.is_some());
                let stored = event(document).expect("readable");
                assert!(is_same(&stored, &new), "{stored:?}");
                let retried = NewEvent { sent_at: Timestamp(stored.sent_at.0 + 1), ..new };
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
        let document = event_document(RoomId::fresh(), &new_event(Effect::Message, None)).to_document().expect("sound");
        let mut newer = document.clone();
        newer.insert("effect", doc! { "kind": "reaction" });
        assert!(event(newer).expect_err("unknown").to_string().contains("`effect`"));
        let mut bare = document;
        bare.remove("body");
        assert!(event(bare).expect_err("no body").to_string().contains("`body`"));
    }
}
