//! The logs of rooms in the tables: appending to them, and reading a stretch.
//!
//! Appending reads the room's row once, inserts a row per event, and then brings the projections up to date once per
//! call (and per sender), not once per event. Posts come here from the journal, by [`settle`].

use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::{
    codec::{EVENT_COLUMNS, count, damaged, event, int, kind_to_blob, room_role_to_int},
    forms,
};
use crate::{
    event::{
        Event,
        fold::{Consent, Head, Joining, ReadMark, Standing, Stretch},
    },
    store::{Appended, Page, Stopped},
    types::{RoomId, Seq, UserId},
};

pub(super) fn append(db: &Connection, room: RoomId, events: &[Event]) -> rusqlite::Result<Appended> {
    let Some(head) = head(db, room)? else {
        return Ok(Appended { stored: 0, stopped: Some(Stopped::NoSuchRoom) });
    };
    let appended = insert(db, room, head, events)?;
    project(db, room, &events[..appended.stored])?;
    Ok(appended)
}

/// Takes in what is acknowledged and durable already. What is here before is passed over, so that it may be done again.
pub(super) fn settle(db: &Connection, room: RoomId, events: &[Event]) -> rusqlite::Result<()> {
    let head = head(db, room)?.unwrap_or_default();
    let new = &events[events.partition_point(|event| event.seq <= head)..];
    match insert(db, room, head, new)? {
        Appended { stopped: None, .. } => project(db, room, new),
        Appended { stopped: Some(stopped), .. } => {
            Err(damaged(format!("the journal does not follow on the log of room {room} at seq {head}: {stopped:?}")))
        }
    }
}

fn head(db: &Connection, room: RoomId) -> rusqlite::Result<Option<Seq>> {
    db.prepare_cached("SELECT head_seq FROM rooms WHERE room_id = ?")?
        .query_row([room.0.as_bytes()], |row| count(row, 0))
        .optional()
}

/// [`head`], where the event itself can be read too: on damaged tables nothing is to be built.
pub(super) fn sound_head(db: &Connection, room: RoomId) -> rusqlite::Result<Option<Seq>> {
    let sql = "SELECT head_seq, seq FROM rooms LEFT JOIN events USING (room_id)
        WHERE rooms.room_id = ? AND events.seq = rooms.head_seq";
    let found = db.prepare_cached(sql)?.query_row([room.0.as_bytes()], |row| count(row, 0)).optional()?;
    if found.is_some() { Ok(found) } else { head(db, room) }
}

/// Inserts events as long as each is the next one and new.
fn insert(db: &Connection, room: RoomId, head: Seq, events: &[Event]) -> rusqlite::Result<Appended> {
    let mut insert = db.prepare_cached(
        "INSERT INTO events (room_id, seq, ordinal, sender, client_id, event_id, sent_at, effect, body)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )?;
    for (stored, new) in events.iter().enumerate() {
        if new.seq != head + 1 + stored as Seq {
            return Ok(Appended { stored, stopped: Some(Stopped::SeqTaken) });
        }
        let inserted = insert.execute(params![
            room.0.as_bytes(),
            int(new.seq),
            int(new.ordinal),
            new.sender.0.as_bytes(),
            new.client_id,
            new.event_id.0.as_bytes().as_slice(),
            new.sent_at.0,
            kind_to_blob(&new.kind),
            new.body(),
        ])?;
        if inserted == 0 {
            let original = match &new.client_id {
                Some(client_id) => post(db, room, new.sender, client_id)?,
                None => None,
            };
            let stopped = original.map_or(Stopped::SeqTaken, Stopped::Duplicate);
            return Ok(Appended { stored, stopped: Some(stopped) });
        }
    }
    Ok(Appended { stored: events.len(), stopped: None })
}

pub(super) fn post(db: &Connection, room: RoomId, sender: UserId, client_id: &str) -> rusqlite::Result<Option<Event>> {
    let sql = format!("SELECT {EVENT_COLUMNS} FROM events WHERE room_id = ? AND sender = ? AND client_id = ?");
    db.prepare_cached(&sql)?.query_row(params![room.0.as_bytes(), sender.0.as_bytes(), client_id], event).optional()
}

/// Asks for many posts, one after the other, whether they are there; for most this is quicker than [`post`], as they are not.
pub(super) struct Posts<'a>(CachedStatement<'a>);

impl<'a> Posts<'a> {
    pub(super) fn of(db: &'a Connection) -> rusqlite::Result<Self> {
        db.prepare_cached("SELECT 1 FROM events WHERE room_id = ? AND sender = ? AND client_id = ?").map(Self)
    }

    pub(super) fn have(&mut self, room: RoomId, sender: UserId, client_id: &str) -> rusqlite::Result<bool> {
        self.0.exists(params![room.0.as_bytes(), sender.0.as_bytes(), client_id])
    }
}

pub(super) fn find_posts(db: &Connection, room: RoomId, ids: &[(UserId, Arc<str>)]) -> rusqlite::Result<Vec<Event>> {
    ids.iter().filter_map(|(sender, client_id)| post(db, room, *sender, client_id).transpose()).collect()
}

/// Brings the room's row, its members and their read marks up to these events, which have just been inserted.
fn project(db: &Connection, room: RoomId, events: &[Event]) -> rusqlite::Result<()> {
    let Some(Stretch { head, marks, members, name, changed }) = Stretch::of(events) else { return Ok(()) };
    for (user, standing) in members {
        stand(db, room, user, &standing)?;
    }
    for (user, mark) in marks {
        wrote(db, room, user, mark)?;
    }
    if let Some((_, name)) = name {
        db.prepare_cached("UPDATE rooms SET name = ? WHERE room_id = ?")?.execute(params![name, room.0.as_bytes()])?;
    }
    let Head { seq, messages, sent_at: _, active_at, last_message } = head;
    db.prepare_cached(
        "UPDATE rooms SET head_seq = ?, messages = ?, active_at = coalesce(?, active_at),
         last_message_seq = coalesce(?, last_message_seq) WHERE room_id = ?",
    )?
    .execute(params![
        int(seq),
        int(messages),
        active_at.map(|at| at.0),
        last_message.map(int),
        room.0.as_bytes()
    ])?;
    forms::project(db, room, changed.values())
}

fn stand(db: &Connection, room: RoomId, user: UserId, standing: &Standing) -> rusqlite::Result<()> {
    let Standing { at: _, joined, role, gone, consent } = standing;
    if let Some(consent) = consent {
        consents(db, room, user, *consent)?;
    }
    let key = [room.0.as_bytes(), user.0.as_bytes()];
    if *gone {
        db.prepare_cached("DELETE FROM members WHERE room_id = ? AND user_id = ?")?.execute(key).map(drop)
    } else if let Some(joining) = joined {
        join(db, room, user, room_role_to_int(standing.role_or(joining)), joining)
    } else if let Some(role) = role {
        db.prepare_cached("UPDATE members SET role = ? WHERE room_id = ? AND user_id = ?")?
            .execute(params![room_role_to_int(*role), key[0], key[1]])
            .map(drop)
    } else {
        Ok(())
    }
}

fn consents(db: &Connection, room: RoomId, user: UserId, consent: Consent) -> rusqlite::Result<()> {
    let (invited, role, by, at) = match consent {
        Consent::Free => {
            let key = [room.0.as_bytes(), user.0.as_bytes()];
            return db.prepare_cached("DELETE FROM consent WHERE room_id = ? AND user_id = ?")?.execute(key).map(drop);
        }
        Consent::Left => (false, None, None, None),
        Consent::Invited { role, by, at } => (true, Some(room_role_to_int(role)), Some(by), Some(at.0)),
    };
    db.prepare_cached(
        "INSERT OR REPLACE INTO consent (room_id, user_id, invited, role, by_id, invited_at) VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        room.0.as_bytes(),
        user.0.as_bytes(),
        invited,
        role,
        by.as_ref().map(|by| by.0.as_bytes().as_slice()),
        at
    ])
    .map(drop)
}

fn join(db: &Connection, room: RoomId, user: UserId, role: u8, joining: &Joining) -> rusqlite::Result<()> {
    let Joining { username: _, role: _, mark, own } = joining;
    db.prepare_cached(
        "INSERT INTO members (room_id, user_id, role, joined_seq, read_seq, read_ordinal, own)
         VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET role = ?3, joined_seq = ?4, read_seq = ?4, read_ordinal = ?5, own = ?6
         WHERE joined_seq < ?4",
    )?
    .execute(params![room.0.as_bytes(), user.0.as_bytes(), role, int(mark.seq), int(mark.ordinal), own])
    .map(drop)
}

/// Whoever writes has read up to there.
fn wrote(db: &Connection, room: RoomId, user: UserId, mark: ReadMark) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE members SET wrote = 1, read_seq = max(read_seq, ?3), read_ordinal = max(read_ordinal, ?4)
         WHERE room_id = ?1 AND user_id = ?2 AND (read_seq < ?3 OR NOT wrote)",
    )?
    .execute(params![room.0.as_bytes(), user.0.as_bytes(), int(mark.seq), int(mark.ordinal)])
    .map(drop)
}

/// Moves a member's read mark forward, never back.
pub(super) fn advance(db: &Connection, room: RoomId, user: UserId, mark: ReadMark) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE members SET read_seq = ?3, read_ordinal = ?4 WHERE room_id = ?1 AND user_id = ?2 AND read_seq < ?3",
    )?
    .execute(params![room.0.as_bytes(), user.0.as_bytes(), int(mark.seq), int(mark.ordinal)])
    .map(drop)
}

pub(super) fn page(db: &Connection, room: RoomId, page: Page) -> rusqlite::Result<Vec<Event>> {
    let (side, order, seq) = match (page.after, page.before) {
        (Some(after), _) => (">", "ASC", int(after)),
        (None, before) => ("<", "DESC", before.map_or(i64::MAX, int)),
    };
    let only = if page.messages_only { "AND effect IS NULL" } else { "" };
    let sql = format!(
        "SELECT {EVENT_COLUMNS} FROM events WHERE room_id = ? AND seq {side} ? {only} ORDER BY seq {order} LIMIT ?"
    );
    let mut events: Vec<Event> = db
        .prepare_cached(&sql)?
        .query_map(params![room.0.as_bytes(), seq, int(page.limit as u64)], event)?
        .collect::<rusqlite::Result<_>>()?;
    if page.after.is_none() {
        events.reverse();
    }
    Ok(events)
}

/// What the tables are to be asked for, where the tail has given `newer` of a page; `None`: nothing.
pub(super) fn rest_of(page: Page, newer: &[Event]) -> Option<Page> {
    match page.after {
        // The tail may not reach back to `after`.
        Some(after) => (newer.first().is_none_or(|first| first.seq > after + 1) || page.limit == 0).then_some(page),
        None if newer.len() >= page.limit => None,
        None => {
            let before = newer.first().map(|first| first.seq).or(page.before);
            Some(Page { before, limit: page.limit - newer.len(), ..page })
        }
    }
}

/// Tables and tail as one page; what both have is told once.
pub(super) fn as_one(page: Page, mut older: Vec<Event>, newer: Vec<Event>) -> Vec<Event> {
    let last = older.last().map_or(0, |event| event.seq);
    older.extend(newer.into_iter().filter(|event| event.seq > last));
    if page.after.is_some() {
        older.truncate(page.limit);
    }
    older
}
