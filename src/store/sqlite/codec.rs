//! How our words look as SQLite values, and SQLite's errors as ours.
//!
//! The numbers here are on disk: they may be added to, never changed.

use std::sync::Arc;

use rusqlite::{ErrorCode, Row, types::Type};
use uuid::Uuid;

use crate::{
    event::{Event, Kind, Target},
    protocol::Frame,
    store::StoreError,
    types::{MessageId, Role, RoomId, RoomKind, RoomRole, Seq, SessionId, Timestamp, UserId},
};

/// SQLite counts to `i64::MAX`; a limit or cursor past it means "all there is".
pub(super) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A number that is never negative.
pub(super) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

fn uuid(row: &Row<'_>, column: usize) -> rusqlite::Result<Uuid> {
    row.get::<_, [u8; 16]>(column).map(Uuid::from_bytes)
}

pub(super) fn user_id(row: &Row<'_>, column: usize) -> rusqlite::Result<UserId> {
    uuid(row, column).map(UserId)
}

pub(super) fn room_id(row: &Row<'_>, column: usize) -> rusqlite::Result<RoomId> {
    uuid(row, column).map(RoomId)
}

pub(super) fn session_id(row: &Row<'_>, column: usize) -> rusqlite::Result<SessionId> {
    uuid(row, column).map(SessionId)
}

pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp)
}

fn role_bit(role: Role) -> i64 {
    match role {
        Role::Admin => 1,
        Role::BasicUser => 2,
    }
}

/// A set of roles as bits.
pub(super) fn roles_to_bits(roles: &[Role]) -> i64 {
    roles.iter().fold(0, |bits, role| bits | role_bit(*role))
}

pub(super) fn roles_from_bits(bits: i64) -> Vec<Role> {
    Role::ALL.into_iter().filter(|role| bits & role_bit(*role) != 0).collect()
}

pub(super) fn room_role_to_int(role: RoomRole) -> u8 {
    match role {
        RoomRole::Owner => 0,
        RoomRole::Moderator => 1,
        RoomRole::Member => 2,
        RoomRole::Reader => 3,
    }
}

fn room_role_from_int(number: u8) -> Option<RoomRole> {
    RoomRole::ALL.into_iter().find(|role| room_role_to_int(*role) == number)
}

pub(super) fn room_role(row: &Row<'_>, column: usize) -> rusqlite::Result<RoomRole> {
    room_role_from_int(row.get(column)?).ok_or_else(|| unreadable(column, Type::Integer, "a room role"))
}

pub(super) fn kind_to_int(kind: RoomKind) -> u8 {
    match kind {
        RoomKind::Private => 0,
        RoomKind::Group => 1,
    }
}

pub(super) fn kind(row: &Row<'_>, column: usize) -> rusqlite::Result<RoomKind> {
    match row.get::<_, i64>(column)? {
        0 => Ok(RoomKind::Private),
        1 => Ok(RoomKind::Group),
        _ => Err(unreadable(column, Type::Integer, "a kind of room")),
    }
}

const JOINED: u8 = 1;
const GONE: u8 = 2;
const ROLE_SET: u8 = 3;
const RENAMED: u8 = 4;
const INVITED: u8 = 5;
const EDITED: u8 = 6;
const DELETED: u8 = 7;

/// A tag, the user's 16 bytes, then the role; or a tag and the name; or a tag, the seq and the ordinal of a message in 8 bytes
/// each that sort as they count, its id, and of an edit whether it erases. Messages are `NULL`.
pub(super) fn kind_to_blob(kind: &Kind) -> Option<Vec<u8>> {
    let with_user =
        |tag: u8, user: &UserId, role: Option<u8>| [&[tag][..], user.0.as_bytes(), role.as_slice()].concat();
    let with_target = |tag: u8, Target { message, seq, ordinal }: &Target| {
        [&[tag][..], &seq.to_be_bytes(), &ordinal.to_be_bytes(), message.0.as_bytes()].concat()
    };
    match kind {
        Kind::Message => None,
        Kind::Edited { of, erases } => Some([with_target(EDITED, of), vec![u8::from(*erases)]].concat()),
        Kind::Deleted { of } => Some(with_target(DELETED, of)),
        Kind::Joined { user, role, username: _ } => Some(with_user(JOINED, user, Some(room_role_to_int(*role)))),
        Kind::Gone { user } => Some(with_user(GONE, user, None)),
        Kind::RoleSet { user, role } => Some(with_user(ROLE_SET, user, Some(room_role_to_int(*role)))),
        Kind::Renamed { name } => Some([&[RENAMED], name.as_bytes()].concat()),
        Kind::Invited { user, role } => Some(with_user(INVITED, user, Some(room_role_to_int(*role)))),
    }
}

/// Every `Joined` of this user, whatever the role, lies in this range of blobs.
pub(super) fn joined_range(user: UserId) -> (Vec<u8>, Vec<u8>) {
    let start = [&[JOINED], user.0.as_bytes().as_slice()].concat();
    let end = [start.as_slice(), &[u8::MAX]].concat();
    (start, end)
}

/// Every edit of the message at this seq lies in this range of blobs.
pub(super) fn edits_of(message: Seq) -> (Vec<u8>, Vec<u8>) {
    let with_seq = |seq: Seq| [&[EDITED][..], &seq.to_be_bytes()].concat();
    (with_seq(message), with_seq(message + 1))
}

fn target(blob: &[u8]) -> Option<Target> {
    let (seq, rest) = blob.split_first_chunk()?;
    let (ordinal, id) = rest.split_first_chunk()?;
    let message = MessageId(Uuid::from_slice(id).ok()?);
    Some(Target { message, seq: Seq::from_be_bytes(*seq), ordinal: Seq::from_be_bytes(*ordinal) })
}

/// `body` is the event's JSON.
fn kind_from_blob(blob: &[u8], body: &[u8]) -> Option<Kind> {
    let (tag, rest) = blob.split_first()?;
    if *tag == RENAMED {
        return Some(Kind::Renamed { name: String::from_utf8(rest.to_vec()).ok()? });
    }
    match *tag {
        EDITED => {
            let (erases, rest) = rest.split_last()?;
            return Some(Kind::Edited { of: target(rest)?, erases: *erases != 0 });
        }
        DELETED => return Some(Kind::Deleted { of: target(rest)? }),
        _ => {}
    }
    let (user, rest) = rest.split_at_checked(16)?;
    let user = UserId(Uuid::from_slice(user).ok()?);
    let kind = match (*tag, rest) {
        (JOINED, [role]) => Kind::Joined { user, role: room_role_from_int(*role)?, username: Arc::default() },
        (ROLE_SET, [role]) => Kind::RoleSet { user, role: room_role_from_int(*role)? },
        (INVITED, [role]) => Kind::Invited { user, role: room_role_from_int(*role)? },
        (GONE, []) => Kind::Gone { user },
        _ => return None,
    };
    Some(kind.named_in(body))
}

/// The columns that [`event`] reads, in its order.
pub(super) const EVENT_COLUMNS: &str = "seq, ordinal, sender, client_id, event_id, sent_at, effect, body";

pub(super) fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    event_at(row, 0)
}

/// [`EVENT_COLUMNS`] of the table that a query calls so.
pub(super) fn event_columns(table: &str) -> String {
    EVENT_COLUMNS.split(", ").map(|column| format!("{table}.{column}")).collect::<Vec<_>>().join(", ")
}

/// From the columns that begin there.
pub(super) fn event_at(row: &Row<'_>, first: usize) -> rusqlite::Result<Event> {
    let body = row.get_ref(first + 7)?.as_blob()?;
    let kind = match row.get_ref(first + 6)?.as_blob_or_null()? {
        None => Kind::Message,
        Some(blob) => {
            kind_from_blob(blob, body).ok_or_else(|| unreadable(first + 6, Type::Blob, "the kind of an event"))?
        }
    };
    Ok(Event {
        seq: count(row, first)?,
        ordinal: count(row, first + 1)?,
        sender: user_id(row, first + 2)?,
        client_id: row.get(first + 3)?,
        event_id: MessageId(Uuid::from_bytes(row.get(first + 4)?)),
        sent_at: time(row, first + 5)?,
        kind,
        frame: Frame::of(body),
    })
}

fn unreadable(column: usize, kind: Type, what: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, format!("this is not {what}").into())
}

/// What our own words on disk cannot be.
pub(super) fn damaged(what: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Null, what.into())
}

/// What an error of SQLite means to whoever asked the store.
pub(super) fn store_error(error: &rusqlite::Error) -> StoreError {
    let text = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full(text),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Damaged(text),
        Some(_) => StoreError::Unavailable(text),
        None => match error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..) => StoreError::Damaged(text),
            _ => StoreError::Unavailable(text),
        },
    }
}

/// The environment failed, not the one request: everything in the same transaction shares its fate.
pub(super) fn is_of_the_environment(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory
        )
    )
}

/// A connection that has seen this may hold a wrong picture of the file: open a new one.
pub(super) fn wants_a_new_connection(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::FileLockingProtocolFailed
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back_as_it_was() {
        let (user, username) = (UserId::fresh(), Arc::<str>::from("bob"));
        let of = Target { message: MessageId::fresh(), seq: 300, ordinal: 7 };
        let mut kinds = vec![
            Kind::Gone { user },
            Kind::Renamed { name: "tea ☕".into() },
            Kind::Edited { of, erases: false },
            Kind::Edited { of, erases: true },
            Kind::Deleted { of },
        ];
        for role in RoomRole::ALL {
            kinds.push(Kind::Joined { user, role, username: username.clone() });
            kinds.push(Kind::RoleSet { user, role });
            kinds.push(Kind::Invited { user, role });
        }
        for kind in kinds {
            let blob = kind_to_blob(&kind).expect("only messages are NULL");
            assert_eq!(kind_from_blob(&blob, br#"{"username":"bob"}"#), Some(kind));
        }
    }

    #[test]
    fn an_edit_lies_in_the_range_of_its_message() {
        let edit = |seq| {
            let of = Target { message: MessageId::fresh(), seq, ordinal: 1 };
            kind_to_blob(&Kind::Edited { of, erases: seq % 2 == 0 }).expect("a blob")
        };
        let (from, to) = edits_of(255);
        assert!([edit(255), edit(255)].iter().all(|blob| *blob >= from && *blob < to));
        assert!([edit(254), edit(256), edit(65_280)].iter().all(|blob| *blob < from || *blob >= to));
    }

    #[test]
    fn a_joined_kind_lies_in_its_users_range() {
        let joined = |user, role| kind_to_blob(&Kind::Joined { user, role, username: "bob".into() }).expect("a blob");
        let user = UserId::fresh();
        let (start, end) = joined_range(user);
        for role in RoomRole::ALL {
            let blob = joined(user, role);
            assert!(start < blob && blob < end);
        }
        let other = joined(UserId::fresh(), RoomRole::Owner);
        assert!(!(start < other && other < end));
    }

    #[test]
    fn every_set_of_roles_comes_back_sorted() {
        assert_eq!(roles_from_bits(roles_to_bits(&[Role::BasicUser, Role::Admin])), vec![Role::Admin, Role::BasicUser]);
        assert_eq!(roles_from_bits(roles_to_bits(&[])), vec![]);
    }
}
