//! What people want to hear of: who blocks whom, and the rooms that somebody hid from their list.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    codec::{count, int, room_id, room_role, time, user_id},
    tail::Tail,
};
use crate::{
    store::{BlockSet, BlockedRecord, InvitationRecord, RoomCursor},
    types::{RoomId, RoomRole, UserId},
};

pub(super) fn set_block(
    db: &Connection,
    user: UserId,
    other: UserId,
    blocked: bool,
    most: usize,
) -> rusqlite::Result<BlockSet> {
    let pair = [user.0.as_bytes(), other.0.as_bytes()];
    if !blocked {
        db.prepare_cached("DELETE FROM blocks WHERE user_id = ? AND blocked_id = ?")?.execute(pair)?;
        return Ok(BlockSet::Done);
    }
    if db.prepare_cached("SELECT 1 FROM blocks WHERE user_id = ? AND blocked_id = ?")?.exists(pair)? {
        return Ok(BlockSet::Done);
    }
    let there = db
        .prepare_cached("SELECT count(*) FROM blocks WHERE user_id = ?")?
        .query_row([pair[0]], |row| count(row, 0))?;
    if there >= most as u64 {
        return Ok(BlockSet::TooMany);
    }
    db.prepare_cached("INSERT INTO blocks (user_id, blocked_id) VALUES (?, ?)")?.execute(pair)?;
    Ok(BlockSet::Done)
}

pub(super) fn blocks_of(
    db: &Connection,
    user: UserId,
    after: Option<UserId>,
    limit: usize,
) -> rusqlite::Result<Vec<BlockedRecord>> {
    let after = after.as_ref().map_or(&[][..], |after| after.0.as_bytes());
    db.prepare_cached(
        "SELECT blocked_id, username FROM blocks JOIN users ON users.user_id = blocked_id
         WHERE blocks.user_id = ? AND blocked_id > ? ORDER BY blocked_id LIMIT ?",
    )?
    .query_map(params![user.0.as_bytes(), after, int(limit as u64)], |row| {
        Ok(BlockedRecord { user_id: user_id(row, 0)?, username: row.get(1)? })
    })?
    .collect()
}

pub(super) fn between(db: &Connection, one: UserId, other: UserId) -> rusqlite::Result<Vec<UserId>> {
    db.prepare_cached(
        "SELECT user_id FROM blocks WHERE user_id = ?1 AND blocked_id = ?2
         UNION ALL SELECT user_id FROM blocks WHERE user_id = ?2 AND blocked_id = ?1",
    )?
    .query_map([one.0.as_bytes(), other.0.as_bytes()], |row| user_id(row, 0))?
    .collect()
}

pub(super) fn apart_from(db: &Connection, user: UserId) -> rusqlite::Result<Vec<UserId>> {
    db.prepare_cached(
        "SELECT blocked_id FROM blocks WHERE user_id = ?1 UNION SELECT user_id FROM blocks WHERE blocked_id = ?1",
    )?
    .query_map([user.0.as_bytes()], |row| user_id(row, 0))?
    .collect()
}

pub(super) fn private_room(db: &Connection, pair: &str) -> rusqlite::Result<Option<RoomId>> {
    db.prepare_cached("SELECT room_id FROM rooms WHERE pair = ?")?.query_row([pair], |row| room_id(row, 0)).optional()
}

/// Everything up to the head is hidden; the tail may be ahead of the tables.
pub(super) fn set_hidden(
    db: &Connection,
    tail: &Tail,
    room: RoomId,
    user: UserId,
    hidden: bool,
) -> rusqlite::Result<bool> {
    let newer = tail.head(room).map_or(0, |head| head.seq);
    let changed = db
        .prepare_cached(
            "UPDATE members SET hidden_seq =
                iif(?3, max(?4, (SELECT head_seq FROM rooms WHERE rooms.room_id = members.room_id)), 0)
             WHERE room_id = ?1 AND user_id = ?2",
        )?
        .execute(params![room.0.as_bytes(), user.0.as_bytes(), hidden, int(newer)])?;
    Ok(changed == 1)
}

pub(super) fn invited_to(
    db: &Connection,
    room: RoomId,
    after: Option<UserId>,
    limit: usize,
) -> rusqlite::Result<Vec<(UserId, RoomRole)>> {
    let after = after.as_ref().map_or(&[][..], |after| after.0.as_bytes());
    db.prepare_cached(
        "SELECT user_id, role FROM consent WHERE room_id = ? AND user_id > ? AND invited ORDER BY user_id LIMIT ?",
    )?
    .query_map(params![room.0.as_bytes(), after, int(limit as u64)], |row| Ok((user_id(row, 0)?, room_role(row, 1)?)))?
    .collect()
}

pub(super) fn invitations_of(
    db: &Connection,
    user: UserId,
    after: Option<RoomCursor>,
    limit: usize,
) -> rusqlite::Result<Vec<InvitationRecord>> {
    let (at, room) = after.map_or((i64::MAX, uuid::Uuid::max()), |after| (after.active_at.0, after.room_id.0));
    db.prepare_cached(
        "SELECT consent.room_id, name, role, username, invited_at
         FROM consent JOIN rooms USING (room_id) JOIN users ON users.user_id = by_id
         WHERE consent.user_id = ? AND invited AND (invited_at, consent.room_id) < (?, ?)
         ORDER BY invited_at DESC, consent.room_id DESC LIMIT ?",
    )?
    .query_map(params![user.0.as_bytes(), at, room.as_bytes(), int(limit as u64)], |row| {
        Ok(InvitationRecord {
            room_id: room_id(row, 0)?,
            name: row.get(1)?,
            role: room_role(row, 2)?,
            by: row.get(3)?,
            at: time(row, 4)?,
        })
    })?
    .collect()
}

pub(super) fn has_left(db: &Connection, room: RoomId, user: UserId) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM consent WHERE room_id = ? AND user_id = ? AND NOT invited")?
        .exists([room.0.as_bytes(), user.0.as_bytes()])
}

/// The rooms that both are in, by which `user` knows `other` where they have written there: groups are known at once (`None`).
pub(super) fn shared_rooms(db: &Connection, user: UserId, other: UserId) -> rusqlite::Result<Vec<Option<RoomId>>> {
    db.prepare_cached(
        "SELECT room_id, kind <> 0 OR mine.wrote
         FROM members AS mine JOIN members AS theirs USING (room_id) JOIN rooms USING (room_id)
         WHERE mine.user_id = ? AND theirs.user_id = ? ORDER BY 2 DESC LIMIT 1",
    )?
    .query_map([user.0.as_bytes(), other.0.as_bytes()], |row| {
        Ok(if row.get(1)? { None } else { Some(room_id(row, 0)?) })
    })?
    .collect()
}
