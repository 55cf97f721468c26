//! What became of messages: `forms`, which says of each that was changed how it stands, and reading messages so.
//!
//! A form holds no text: that stays in the events, and is erased there, in the transaction that stores the deletion.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    codec::{count, edits_of, event_at, event_columns, int},
    erasures,
    search::index,
};
use crate::{
    event::{
        Event, erased,
        fold::{Changed, Head},
        folded::{Folded, FoldedPage, Form},
    },
    store::Page,
    types::{MessageId, Ordinal, RoomId, Seq, Timestamp},
};

/// Brings the forms of these messages up to what a stretch of the log says of them; its events have just been inserted.
pub(super) fn project<'a>(
    db: &Connection,
    room: RoomId,
    changed: impl IntoIterator<Item = &'a Changed>,
) -> rusqlite::Result<()> {
    for Changed { of, at: last, edits, deleted, erased_before } in changed {
        let indexed = match at(db, room, of.seq)? {
            Some(before) => index::standing(db, room, &before)?,
            None => None,
        };
        db.prepare_cached(
            "INSERT INTO forms (room_id, seq, at, edits, edit_seq, deleted) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO UPDATE SET at = ?3, edits = edits + ?4, edit_seq = coalesce(?5, edit_seq),
             deleted = coalesce(?6, deleted)",
        )?
        .execute(params![
            room.0.as_bytes(),
            int(of.seq),
            int(*last),
            int(edits.len() as u64),
            edits.last().copied().map(int),
            deleted.then_some(int(of.ordinal)),
        ])?;
        if let Some(before) = erased_before {
            erase_before(db, room, of.seq, *before)?;
        }
        if *deleted {
            choose_last_message(db, room, of.seq)?;
            erasures::note(db, room, of.message, Timestamp::now().0)?;
        }
        if let Some(indexed) = indexed
            && let Some(now) = at(db, room, of.seq)?
        {
            index::follow(db, room, indexed, &now)?;
        }
    }
    Ok(())
}

/// Erases what a message and its edits before this event said.
fn erase_before(db: &Connection, room: RoomId, message: Seq, before: Seq) -> rusqlite::Result<()> {
    let spoken = texts(db, room, message, 0, usize::MAX)?;
    let mut put = db.prepare_cached("UPDATE events SET body = ? WHERE room_id = ? AND seq = ?")?;
    for event in spoken.iter().filter(|event| event.seq < before && !event.is_erased()) {
        put.execute(params![erased::frame(event.body()).json_bytes(), room.0.as_bytes(), int(event.seq)])?;
    }
    Ok(())
}

/// Erases a message that was deleted in another life of its log, where it is here. `false`: it is not, or deleted here too.
pub(super) fn erase(db: &Connection, room: RoomId, message: MessageId) -> rusqlite::Result<bool> {
    let Some(found) = by_id(db, room, message)?.filter(|found| !found.form.deleted) else { return Ok(false) };
    let Event { seq, ordinal, .. } = found.event;
    let indexed = index::standing(db, room, &found)?;
    db.prepare_cached(
        "INSERT INTO forms (room_id, seq, at, edits, edit_seq, deleted) VALUES (?1, ?2, ?2, 0, NULL, ?3)
         ON CONFLICT DO UPDATE SET deleted = ?3",
    )?
    .execute(params![room.0.as_bytes(), int(seq), int(ordinal)])?;
    erase_before(db, room, seq, Seq::MAX)?;
    choose_last_message(db, room, seq)?;
    if let Some(indexed) = indexed
        && let Some(now) = at(db, room, seq)?
    {
        index::follow(db, room, indexed, &now)?;
    }
    Ok(true)
}

/// A deleted message is not the last one of a list of rooms.
fn choose_last_message(db: &Connection, room: RoomId, deleted: Seq) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE rooms SET last_message_seq = coalesce(
             (SELECT seq FROM events AS e WHERE room_id = ?1 AND seq < ?2 AND effect IS NULL AND NOT EXISTS
                  (SELECT 1 FROM forms AS f WHERE f.room_id = ?1 AND f.seq = e.seq AND deleted IS NOT NULL)
              ORDER BY seq DESC LIMIT 1), 0)
         WHERE room_id = ?1 AND last_message_seq = ?2",
    )?
    .execute(params![room.0.as_bytes(), int(deleted)])
    .map(drop)
}

/// What a message said: its own event and its edits, ascending, the first `limit` after `after`.
pub(super) fn texts(
    db: &Connection,
    room: RoomId,
    message: Seq,
    after: Seq,
    limit: usize,
) -> rusqlite::Result<Vec<Event>> {
    let columns = event_columns("e");
    let sql = format!(
        "SELECT * FROM (
             SELECT {columns} FROM events AS e WHERE room_id = ?1 AND seq = ?2 AND seq > ?5
             UNION ALL SELECT {columns} FROM events AS e WHERE room_id = ?1 AND effect >= ?3 AND effect < ?4 AND seq > ?5
         ) ORDER BY seq LIMIT ?6"
    );
    let (from, to) = edits_of(message);
    db.prepare_cached(&sql)?
        .query_map(params![room.0.as_bytes(), int(message), from, to, int(after), int(limit as u64)], |row| {
            event_at(row, 0)
        })?
        .collect()
}

fn folded(row: &Row<'_>) -> rusqlite::Result<Folded> {
    let event = event_at(row, 0)?;
    let Some(at) = row.get::<_, Option<i64>>(8)? else { return Ok(Folded::plain(event)) };
    let edit_seq: Option<i64> = row.get(10)?;
    let form = Form {
        at: at as Seq,
        edits: count(row, 9)?,
        edit: edit_seq.map(|seq| seq as Seq),
        deleted: row.get::<_, Option<i64>>(11)?.is_some(),
    };
    let edit = if edit_seq.is_some() { Some(event_at(row, 12)?) } else { None };
    Ok(Folded { event, form, edit })
}

/// Messages with their forms, and with the edits that have their text; what is to be found follows.
fn select() -> String {
    format!(
        "SELECT {}, f.at, f.edits, f.edit_seq, f.deleted, {} FROM events AS e
         LEFT JOIN forms AS f ON f.room_id = e.room_id AND f.seq = e.seq
         LEFT JOIN events AS l ON l.room_id = e.room_id AND l.seq = f.edit_seq",
        event_columns("e"),
        event_columns("l")
    )
}

/// As the tables have it, whose head is the page's: a read sees one state of them.
pub(super) fn page(db: &Connection, room: RoomId, page: Page) -> rusqlite::Result<FoldedPage> {
    let head = db
        .prepare_cached("SELECT head_seq, messages FROM rooms WHERE room_id = ?")?
        .query_row([room.0.as_bytes()], |row| Ok((count(row, 0)?, count(row, 1)?)))
        .optional()?;
    let (head, messages) = head.unwrap_or_default();
    let (side, order, seq) = match (page.after, page.before) {
        (Some(after), _) => (">", "ASC", int(after)),
        (None, before) => ("<", "DESC", before.map_or(i64::MAX, int)),
    };
    let sql = format!(
        "{} WHERE e.room_id = ? AND e.seq {side} ? AND e.effect IS NULL ORDER BY e.seq {order} LIMIT ?",
        select()
    );
    let mut found: Vec<Folded> = db
        .prepare_cached(&sql)?
        .query_map(params![room.0.as_bytes(), seq, int(page.limit as u64)], folded)?
        .collect::<rusqlite::Result<_>>()?;
    if page.after.is_none() {
        found.reverse();
    }
    Ok(FoldedPage { head, count: messages, messages: found })
}

/// One message by where it stands.
pub(super) fn at(db: &Connection, room: RoomId, seq: Seq) -> rusqlite::Result<Option<Folded>> {
    let sql = format!("{} WHERE e.room_id = ? AND e.seq = ? AND e.effect IS NULL", select());
    db.prepare_cached(&sql)?.query_row(params![room.0.as_bytes(), int(seq)], folded).optional()
}

pub(super) fn by_id(db: &Connection, room: RoomId, message: MessageId) -> rusqlite::Result<Option<Folded>> {
    // As the index has it: the beginning of an id is enough.
    let sql = format!(
        "{} WHERE e.room_id = ?1 AND substr(e.event_id, 1, 8) = substr(?2, 1, 8) AND e.event_id = ?2 AND e.effect IS NULL",
        select()
    );
    let values = params![room.0.as_bytes(), message.0.as_bytes().as_slice()];
    db.prepare_cached(&sql)?.query_row(values, folded).optional()
}

/// How many of the messages with a greater ordinal are deleted.
pub(super) fn deleted_after(db: &Connection, room: RoomId, ordinal: Ordinal) -> rusqlite::Result<Ordinal> {
    db.prepare_cached("SELECT count(*) FROM forms WHERE room_id = ? AND deleted > ?")?
        .query_row(params![room.0.as_bytes(), int(ordinal)], |row| count(row, 0))
}

/// The tables' page with what the tail had, when it ended there, of events behind the tables' head.
pub(super) fn with_tail(mut settled: FoldedPage, end: Option<Head>, newer: Vec<Event>, page: Page) -> FoldedPage {
    let Some(end) = end.filter(|end| end.seq > settled.head) else { return settled };
    let head = settled.head;
    settled.messages.extend(newer.into_iter().filter(|event| event.seq > head).map(Folded::plain));
    let over = settled.messages.len().saturating_sub(page.limit);
    if page.after.is_some() {
        settled.messages.truncate(page.limit);
    } else {
        settled.messages.drain(..over);
    }
    FoldedPage { head: end.seq, count: end.messages, ..settled }
}
