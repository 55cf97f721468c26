//! Rooms, and who is in them: the projections of the logs that `log.rs` keeps up to date, with what the tail has beyond them.

use std::{cmp::Reverse, collections::HashMap};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    codec::{count, int, joined_range, kind, kind_to_int, room_id, room_role, time, user_id},
    forms, log,
    tail::{Newer, Tail},
};
use crate::{
    event::fold::{Head, ReadMark},
    store::{MemberRecord, NewRoom, RoomCreated, RoomCursor, RoomRecord, RoomSummary, deletion::Nameless},
    types::{RoomId, RoomRole, Seq, Timestamp, UserId},
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

/// What the tail says of a room's end.
pub(super) fn with_head(mut room: RoomRecord, newer: Option<&Head>) -> RoomRecord {
    if let Some(Head { seq, messages, sent_at: _, active_at, last_message: _ }) = newer
        && *seq > room.head_seq
    {
        (room.head_seq, room.messages) = (*seq, *messages);
        room.active_at = active_at.unwrap_or(room.active_at);
    }
    room
}

pub(super) fn with_mark(mut member: MemberRecord, newer: Option<ReadMark>) -> MemberRecord {
    member.wrote |= newer.is_some();
    member.read = newer_mark(member.read, newer);
    member
}

fn newer_mark(mark: ReadMark, newer: Option<ReadMark>) -> ReadMark {
    newer.filter(|newer| newer.seq > mark.seq).unwrap_or(mark)
}

fn member_record(row: &Row<'_>) -> rusqlite::Result<MemberRecord> {
    Ok(MemberRecord {
        user_id: user_id(row, 0)?,
        username: row.get(1)?,
        role: room_role(row, 2)?,
        read: mark(row, 3)?,
        wrote: row.get(5)?,
    })
}

const MEMBERS: &str = "SELECT user_id, username, role, read_seq, read_ordinal, wrote
     FROM members JOIN users USING (user_id) WHERE room_id = ?1";

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

pub(super) fn set_read(
    db: &Connection,
    tail: &Tail,
    room: RoomId,
    user: UserId,
    seq: Seq,
) -> rusqlite::Result<Option<ReadMark>> {
    let (own, newer) = (tail.mark(room, user), tail.ordinal_at(room, seq));
    let found = db
        .prepare_cached(
            "SELECT read_seq, read_ordinal, head_seq FROM members JOIN rooms USING (room_id)
             WHERE room_id = ? AND user_id = ?",
        )?
        .query_row([room.0.as_bytes(), user.0.as_bytes()], |row| Ok((mark(row, 0)?, count(row, 2)?)))
        .optional()?;
    let Some((mark, head)) = found else { return Ok(None) };
    let mark = newer_mark(mark, own);
    let (head, ordinal) = newer.map_or((head, None), |(newer, ordinal)| (newer.max(head), ordinal));
    let seq = seq.min(head);
    if seq <= mark.seq {
        return Ok(Some(mark));
    }
    let ordinal = match ordinal {
        Some(ordinal) => ordinal,
        None => db
            .prepare_cached("SELECT ordinal FROM events WHERE room_id = ? AND seq = ?")?
            .query_row(params![room.0.as_bytes(), int(seq)], |row| count(row, 0))?,
    };
    let mark = ReadMark { seq, ordinal };
    log::advance(db, room, user, mark)?;
    Ok(Some(mark))
}

pub(super) fn count_of(db: &Connection, user: UserId) -> rusqlite::Result<usize> {
    let mut rooms = db.prepare_cached("SELECT count(*) FROM members WHERE user_id = ? AND own")?;
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

/// Sorts the rooms by their rows and by what is `newer` of them, and looks up the rest only for those on the page.
pub(super) fn list_of(
    db: &Connection,
    nameless: &Nameless,
    user: UserId,
    newer: &HashMap<RoomId, Newer>,
    after: Option<RoomCursor>,
    limit: usize,
    usernames: usize,
) -> rusqlite::Result<Vec<RoomSummary>> {
    let cursor = match after {
        Some(cursor) => (cursor.active_at, cursor.room_id),
        None => (Timestamp(i64::MAX), RoomId(uuid::Uuid::max())),
    };
    let mut rooms = rows_of(db, user, cursor, limit.saturating_add(newer.len()))?;
    rooms.retain(|(room, _)| !newer.contains_key(&room.room_id));
    for (room, newer) in newer {
        let Some((record, last_message, hidden)) = row_of(db, user, *room)? else { continue };
        if hidden >= newer.head.last_message.unwrap_or(last_message) && hidden > 0 {
            continue;
        }
        let record = with_head(record, Some(&newer.head));
        if (record.active_at, record.room_id) < cursor {
            rooms.push((record, last_message));
        }
    }
    rooms.sort_unstable_by_key(|(room, _)| Reverse((room.active_at, room.room_id)));
    rooms.truncate(limit);
    let summary = |(room, last_message): (RoomRecord, Seq)| {
        let newer = newer.get(&room.room_id);
        summary(db, nameless, user, room, last_message, newer, usernames)
    };
    rooms.into_iter().map(summary).collect()
}

const ROWS_OF: &str = "SELECT room_id, kind, name, epoch, head_seq, messages, created_at, active_at, last_message_seq,
     hidden_seq FROM members JOIN rooms USING (room_id) WHERE user_id = ?";
/// Not hidden, or something was said since.
const NOT_HIDDEN: &str = "(hidden_seq = 0 OR last_message_seq > hidden_seq)";

/// A user's rooms behind `cursor` as the tables have them, each with the seq of its last message.
fn rows_of(
    db: &Connection,
    user: UserId,
    (active_at, room): (Timestamp, RoomId),
    limit: usize,
) -> rusqlite::Result<Vec<(RoomRecord, Seq)>> {
    let sql = format!(
        "{ROWS_OF} AND {NOT_HIDDEN} AND (active_at, room_id) < (?, ?) ORDER BY active_at DESC, room_id DESC LIMIT ?"
    );
    let values = params![user.0.as_bytes(), active_at.0, room.0.as_bytes(), int(limit as u64)];
    db.prepare_cached(&sql)?.query_map(values, |row| Ok((record(row)?, count(row, 8)?)))?.collect()
}

/// One of them, where the user is a member, also a hidden one: with where they hid it.
fn row_of(db: &Connection, user: UserId, room: RoomId) -> rusqlite::Result<Option<(RoomRecord, Seq, Seq)>> {
    db.prepare_cached(&format!("{ROWS_OF} AND room_id = ?"))?
        .query_row([user.0.as_bytes(), room.0.as_bytes()], |row| Ok((record(row)?, count(row, 8)?, count(row, 9)?)))
        .optional()
}

fn summary(
    db: &Connection,
    nameless: &Nameless,
    user: UserId,
    room: RoomRecord,
    last_message: Seq,
    newer: Option<&Newer>,
    usernames: usize,
) -> rusqlite::Result<RoomSummary> {
    let id = room.room_id.0.as_bytes();
    let (role, read): (RoomRole, ReadMark) = db
        .prepare_cached("SELECT role, read_seq, read_ordinal FROM members WHERE room_id = ? AND user_id = ?")?
        .query_row([id, user.0.as_bytes()], |row| Ok((room_role(row, 0)?, mark(row, 1)?)))?;
    let read = newer_mark(read, newer.and_then(|newer| newer.mark));
    let last_message = match newer {
        Some(newer) if newer.head.seq >= room.head_seq => {
            Some(nameless.message(newer.last_sender, newer.last_message.clone()))
        }
        _ => forms::at(db, room.room_id, last_message)?.map(|last| nameless.folded(last).body()),
    };
    let deleted = forms::deleted_after(db, room.room_id, read.ordinal)?;
    let unread = room.messages.saturating_sub(read.ordinal).saturating_sub(deleted);
    let usernames = db
        .prepare_cached(
            "SELECT username FROM members JOIN users USING (user_id) WHERE room_id = ?
             ORDER BY joined_seq, members.user_id LIMIT ?",
        )?
        .query_map(params![id, int(usernames as u64)], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(RoomSummary { room, role, read, unread, last_message, usernames })
}
