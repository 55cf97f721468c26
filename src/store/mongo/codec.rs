//! How our words look in documents. Ids are hyphenated text, times BSON dates, numbers 64-bit integers, roles and kinds
//! their names.
//!
//! The names here are in databases: they may be added to, never changed. What cannot be read is told with the place
//! where it stands ([`StoreError::Damaged`]).

use mongodb::bson::{Bson, DateTime, Document};
use uuid::Uuid;

use crate::{
    store::{Result, StoreError},
    types::{MessageId, NodeId, Role, RoomId, RoomKind, RoomRole, SessionId, Timestamp, UserId},
};

/// BSON counts to `i64::MAX`; a limit or cursor past it means "all there is".
pub(super) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// How many documents of a page come at once: all of them.
pub(super) fn batch(limit: usize) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX).min(i32::MAX as u32 - 1)
}

pub(super) fn date(time: Timestamp) -> DateTime {
    DateTime::from_millis(time.0)
}

pub(super) fn role_names(roles: &[Role]) -> Vec<&'static str> {
    roles.iter().map(|role| role.name()).collect()
}

/// Names the document and the field, so that an operator can look.
pub(super) fn damaged(doc: &Document, key: &str, what: &str) -> StoreError {
    let id = doc.get("_id").map_or_else(|| "a document without _id".into(), |id| format!("the document {id}"));
    StoreError::Damaged(format!("`{key}` of {id} is not {what}"))
}

pub(super) fn text<'a>(doc: &'a Document, key: &str) -> Result<&'a str> {
    doc.get_str(key).map_err(|_| damaged(doc, key, "a text"))
}

/// `None` where there is no such field.
pub(super) fn optional_text<'a>(doc: &'a Document, key: &str) -> Result<Option<&'a str>> {
    match doc.get(key) {
        None | Some(Bson::Null) => Ok(None),
        Some(_) => text(doc, key).map(Some),
    }
}

pub(super) fn flag(doc: &Document, key: &str) -> Result<bool> {
    doc.get_bool(key).map_err(|_| damaged(doc, key, "true or false"))
}

/// A number that is never negative, of whichever of BSON's kinds: a mongo shell writes 64-bit floats.
pub(super) fn count(doc: &Document, key: &str) -> Result<u64> {
    let number = match doc.get(key) {
        Some(Bson::Int64(number)) => u64::try_from(*number).ok(),
        Some(Bson::Int32(number)) => u64::try_from(*number).ok(),
        Some(Bson::Double(number)) if *number >= 0.0 && number.fract() == 0.0 => Some(*number as u64),
        _ => None,
    };
    number.ok_or_else(|| damaged(doc, key, "a whole number from 0"))
}

/// 0 where there is no such field.
pub(super) fn count_or_zero(doc: &Document, key: &str) -> Result<u64> {
    if doc.contains_key(key) { count(doc, key) } else { Ok(0) }
}

pub(super) fn time(doc: &Document, key: &str) -> Result<Timestamp> {
    let date = doc.get_datetime(key).map_err(|_| damaged(doc, key, "a date"))?;
    Ok(Timestamp(date.timestamp_millis()))
}

fn uuid(doc: &Document, key: &str) -> Result<Uuid> {
    Uuid::try_parse(text(doc, key)?).map_err(|_| damaged(doc, key, "an id"))
}

pub(super) fn user_id(doc: &Document, key: &str) -> Result<UserId> {
    uuid(doc, key).map(UserId)
}

pub(super) fn room_id(doc: &Document, key: &str) -> Result<RoomId> {
    uuid(doc, key).map(RoomId)
}

pub(super) fn session_id(doc: &Document, key: &str) -> Result<SessionId> {
    uuid(doc, key).map(SessionId)
}

pub(super) fn message_id(doc: &Document, key: &str) -> Result<MessageId> {
    uuid(doc, key).map(MessageId)
}

pub(super) fn node_id(doc: &Document, key: &str) -> Result<NodeId> {
    uuid(doc, key).map(NodeId)
}

/// Sorted, without repeats, whatever order they were given in.
pub(super) fn roles(doc: &Document, key: &str) -> Result<Vec<Role>> {
    let wrong = || damaged(doc, key, "a list of roles");
    let read = |name: &Bson| name.as_str().and_then(Role::from_name).ok_or_else(wrong);
    let names = doc.get_array(key).map_err(|_| wrong())?;
    let mut roles = names.iter().map(read).collect::<Result<Vec<Role>>>()?;
    roles.sort_unstable();
    roles.dedup();
    Ok(roles)
}

pub(super) fn room_role(doc: &Document, key: &str) -> Result<RoomRole> {
    RoomRole::from_name(text(doc, key)?).ok_or_else(|| damaged(doc, key, "a role in a room"))
}

pub(super) fn kind(doc: &Document, key: &str) -> Result<RoomKind> {
    let name = text(doc, key)?;
    let kinds = [RoomKind::Private, RoomKind::Group];
    kinds.into_iter().find(|kind| kind.name() == name).ok_or_else(|| damaged(doc, key, "a kind of room"))
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let user = UserId::fresh();
        let doc = doc! {
            "_id": user.to_string(),
            "at": date(Timestamp(1_700_000_000_123)),
            "n": int(u64::MAX),
            "roles": role_names(&[Role::Admin, Role::BasicUser]),
            "role": RoomRole::Reader.name(),
            "kind": RoomKind::Group.name(),
        };
        assert_eq!(user_id(&doc, "_id").unwrap(), user);
        assert_eq!(time(&doc, "at").unwrap(), Timestamp(1_700_000_000_123));
        assert_eq!(count(&doc, "n").unwrap(), i64::MAX as u64);
        assert_eq!(roles(&doc, "roles").unwrap(), Role::ALL);
        assert_eq!(room_role(&doc, "role").unwrap(), RoomRole::Reader);
        assert_eq!(kind(&doc, "kind").unwrap(), RoomKind::Group);
        assert_eq!((optional_text(&doc, "name").unwrap(), count_or_zero(&doc, "m").unwrap()), (None, 0));
    }

    #[test]
    fn numbers_are_read_from_every_kind_that_holds_them() {
        let doc = doc! { "a": 7_i32, "b": 7_i64, "c": 7.0, "d": 7.5, "e": -7_i64, "f": "7" };
        for key in ["a", "b", "c"] {
            assert_eq!(count(&doc, key).unwrap(), 7, "{key}");
        }
        for key in ["d", "e", "f", "missing"] {
            assert!(count(&doc, key).is_err(), "{key}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let doc = doc! { "_id": "here", "roles": ["admin", "emperor"], "user": "no id" };
        let told = |error: StoreError| error.to_string();
        let place = "the store's data is damaged: `roles` of the document \"here\" is not a list of roles";
        assert_eq!(told(roles(&doc, "roles").unwrap_err()), place);
        assert!(told(user_id(&doc, "user").unwrap_err()).contains("`user` of the document"));
    }
}
