//! Rooms, and who is in them: the projections of the logs that `log.rs` keeps up to date.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    codec::{count, int, joined_range, kind, kind_to_int, room_id, room_role, time, user_id},
    log,
};
use crate::{
    event::fold::ReadMark,
    store::{MemberRecord, NewRoom, RoomCreated, RoomCursor, RoomRecord, RoomSummary},
    types::{RoomId, RoomRole, Seq, UserId},
};

const COLUMNS: &str = "room_id, kind, name, epoch, head_seq, messages, created_at, active_at";

fn record(row: &Row<'_>) -> rusqlite::Result<RoomRecord> {
    Ok(RoomRecord {
        room_id: room_id(row, 0)?,
        kind: kind(row, 1)?,
        name: row.get(2)?,
        epoch: row.get(3)?,
        head_seq: count(row, 4)?,
        messages: count(row, 5)?,
        created_at: time(row, 6)?,
        active_at: time(row, 7)?,
    })
}

/// A second attempt with the same id finds the room of the first.
pub(super) fn create(db: &Connection, room: &NewRoom) -> rusqlite::Result<RoomCreated> {
    let there = db
        .prepare_cached(
            "SELECT room_id FROM rooms WHERE pair = ? UNION ALL SELECT room_id FROM rooms WHERE room_id = ?",
        )?
        .query_row(params![room.pair, room.room_id.0.as_bytes()], |row| room_id(row, 0))
        .optional()?;
    if let Some(there) = there {
        return Ok(RoomCreated::Exists(there));
    }
    db.prepare_cached(
        "INSERT INTO rooms (room_id, kind, pair, epoch, created_at, active_at, head_seq, messages, last_message_seq)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, 0, 0, 0)",
    )?
    .execute(params![
        room.room_id.0.as_bytes(),
        kind_to_int(room.kind),
        room.pair,
        room.epoch,
        room.created_at.0
    ])?;
    let appended = log::append(db, room.room_id, &room.events)?;
    if appended.stopped.is_some() {
        let error = "the first events of a room must be dense from 1 and new";
        return Err(rusqlite::Error::ToSqlConversionFailure(error.into()));
    }
    Ok(RoomCreated::Created)
}

pub(super) fn by_id(db: &Connection, room: RoomId) -> rusqlite::Result<Option<RoomRecord>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM rooms WHERE room_id = ?"))?
        .query_row([room.0.as_bytes()], record)
        .optional()
}

pub(super) fn list(db: &Connection, after: Option<RoomId>, limit: usize) -> rusqlite::Result<Vec<RoomRecord>> {
    let after = after.as_ref().map_or(&[][..], |room| room.0.as_bytes());
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM rooms WHERE room_id > ? ORDER BY room_id LIMIT ?"))?
        .query_map(params![after, int(limit as u64)], record)?
        .collect()
}

/// The read mark in two columns from `column` on.
fn mark(row: &Row<'_>, column: usize) -> rusqlite::Result<ReadMark> {
    Ok(ReadMark { seq: count(row, column)?, ordinal: count(row, column + 1)? })
}

fn member_record(row: &Row<'_>) -> rusqlite::Result<MemberRecord> {
    Ok(MemberRecord { user_id: user_id(row, 0)?, username: row.get(1)?, role: room_role(row, 2)?, read: mark(row, 3)? })
}

const MEMBERS: &str =
    "SELECT user_id, username, role, read_seq, read_ordinal FROM members JOIN users USING (user_id) WHERE room_id = ?1";

pub(super) fn member(db: &Connection, room: RoomId, user: UserId) -> rusqlite::Result<Option<MemberRecord>> {
    db.prepare_cached(&format!("{MEMBERS} AND user_id = ?2"))?
        .query_row([room.0.as_bytes(), user.0.as_bytes()], member_record)
        .optional()
}

pub(super) fn members(
    db: &Connection,
    room: RoomId,
    after: Option<UserId>,
    limit: usize,
) -> rusqlite::Result<Vec<MemberRecord>> {
    let (joined_seq, user) = match after {
        None => (0, UserId(uuid::Uuid::nil())),
        Some(user) => match joined_at(db, room, user)? {
            Some(seq) => (seq, user),
            None => return Ok(Vec::new()),
        },
    };
    db.prepare_cached(&format!("{MEMBERS} AND (joined_seq, user_id) > (?2, ?3) ORDER BY joined_seq, user_id LIMIT ?4"))?
        .query_map(params![room.0.as_bytes(), int(joined_seq), user.0.as_bytes(), int(limit as u64)], member_record)?
        .collect()
}

/// Somebody's position among the members. One who left still has the position of their last stay, so that a list goes
/// on where it was when the person it stopped at is gone.
fn joined_at(db: &Connection, room: RoomId, user: UserId) -> rusqlite::Result<Option<Seq>> {
    let (from, to) = joined_range(user);
    db.prepare_cached("SELECT max(seq) FROM events WHERE room_id = ? AND effect > ? AND effect < ?")?
        .query_row(params![room.0.as_bytes(), from, to], |row| Ok(row.get::<_, Option<i64>>(0)?.map(|seq| seq as Seq)))
}

pub(super) fn set_read(db: &Connection, room: RoomId, user: UserId, seq: Seq) -> rusqlite::Result<Option<ReadMark>> {
    let found = db
        .prepare_cached(
            "SELECT read_seq, read_ordinal, head_seq FROM members JOIN rooms USING (room_id)
             WHERE room_id = ? AND user_id = ?",
        )?
        .query_row([room.0.as_bytes(), user.0.as_bytes()], |row| Ok((mark(row, 0)?, count(row, 2)?)))
        .optional()?;
    let Some((mark, head)) = found else { return Ok(None) };
    let seq = seq.min(head);
    if seq <= mark.seq {
        return Ok(Some(mark));
    }
    let ordinal = db
        .prepare_cached("SELECT ordinal FROM events WHERE room_id = ? AND seq = ?")?
        .query_row(params![room.0.as_bytes(), int(seq)], |row| count(row, 0))?;
    let mark = ReadMark { seq, ordinal };
    log::advance(db, room, user, mark)?;
    Ok(Some(mark))
}

pub(super) fn count_of(db: &Connection, user: UserId) -> rusqlite::Result<usize> {
    let mut rooms = db.prepare_cached("SELECT count(*) FROM members WHERE user_id = ?")?;
    rooms.query_row(params![user.0.as_bytes()], |row| count(row, 0)).map(|rooms| rooms as usize)
}

pub(super) fn ids_of(
    db: &Connection,
    user: UserId,
    after: Option<RoomId>,
    limit: usize,
) -> rusqlite::Result<Vec<RoomId>> {
    let after = after.as_ref().map_or(&[][..], |room| room.0.as_bytes());
    db.prepare_cached("SELECT room_id FROM members WHERE user_id = ? AND room_id > ? ORDER BY room_id LIMIT ?")?
        .query_map(params![user.0.as_bytes(), after, int(limit as u64)], |row| room_id(row, 0))?
        .collect()
}

/// Sorts the rooms by their rows alone, and looks up the rest only for those on the page.
pub(super) fn list_of(
    db: &Connection,
    user: UserId,
    after: Option<RoomCursor>,
    limit: usize,
    usernames: usize,
) -> rusqlite::Result<Vec<RoomSummary>> {
    let (active_at, room) = match after {
        Some(cursor) => (cursor.active_at.0, cursor.room_id),
        None => (i64::MAX, RoomId(uuid::Uuid::max())),
    };
    let sql = format!(
        "SELECT {COLUMNS}, last_message_seq FROM members JOIN rooms USING (room_id)
         WHERE user_id = ? AND (active_at, room_id) < (?, ?) ORDER BY active_at DESC, room_id DESC LIMIT ?"
    );
    let rooms: Vec<(RoomRecord, Seq)> = db
        .prepare_cached(&sql)?
        .query_map(params![user.0.as_bytes(), active_at, room.0.as_bytes(), int(limit as u64)], |row| {
            Ok((record(row)?, count(row, 8)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    rooms.into_iter().map(|(room, last_message)| summary(db, user, room, last_message, usernames)).collect()
}

fn summary(
    db: &Connection,
    user: UserId,
    room: RoomRecord,
    last_message: Seq,
    usernames: usize,
) -> rusqlite::Result<RoomSummary> {
    let id = room.room_id.0.as_bytes();
    let (role, read): (RoomRole, ReadMark) = db
        .prepare_cached("SELECT role, read_seq, read_ordinal FROM members WHERE room_id = ? AND user_id = ?")?
        .query_row([id, user.0.as_bytes()], |row| Ok((room_role(row, 0)?, mark(row, 1)?)))?;
    let last_message = db
        .prepare_cached("SELECT body FROM events WHERE room_id = ? AND seq = ?")?
        .query_row(params![id, int(last_message)], |row| Ok(bytes::Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?)))
        .optional()?;
    let usernames = db
        .prepare_cached(
            "SELECT username FROM members JOIN users USING (user_id) WHERE room_id = ?
             ORDER BY joined_seq, members.user_id LIMIT ?",
        )?
        .query_map(params![id, int(usernames as u64)], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(RoomSummary { room, role, read, last_message, usernames })
}
