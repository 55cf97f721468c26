//! What is in the index: how a message is put into it, taken out again, and what it is known by.

use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    event::{content_of, folded::Folded},
    store::sqlite::codec::{count, int},
    types::{RoomId, Seq, Timestamp, UserId},
    words::{self, cut::Cut},
};

/// Beginnings of words that have terms of their own. FTS5 finds longer ones by itself, as there are few words that begin so.
pub(super) const BEGINNINGS: [usize; 1] = [2];

/// Of a place, the bits that tell messages of one millisecond apart.
const SAME_TIME_BITS: u32 = 20;
const LAST_MILLISECOND: i64 = (1 << (63 - SAME_TIME_BITS)) - 1;

/// Stand before what a message has beside its text: no text has them in a word.
const WITH_LINK: char = '\u{e001}';
const FROM: char = '\u{e002}';
const ROOM: char = '\u{e003}';

/// The first place of a time.
pub(super) fn first_place(at: Timestamp) -> i64 {
    at.0.clamp(0, LAST_MILLISECOND) << SAME_TIME_BITS
}

pub(super) fn from_term(user: UserId) -> String {
    format!("{FROM}{}", user.0.simple())
}

pub(super) fn room_term(room: RoomId) -> String {
    format!("{ROOM}{}", room.0.simple())
}

pub(super) fn link_term() -> String {
    WITH_LINK.to_string()
}

/// Everything that the index knows of a message: the same for the same message for ever.
pub(super) fn terms_of(room: RoomId, sender: UserId, content: &str) -> String {
    let cut = Cut::of(content);
    let mut terms = format!("{} {}", room_term(room), from_term(sender));
    let mut add = |term: &str| {
        terms.push(' ');
        terms.push_str(term);
    };
    if words::has_link(content) {
        add(&link_term());
    }
    cut.beginnings(&BEGINNINGS).iter().for_each(|term| add(term));
    cut.terms().for_each(add);
    terms
}

/// Events that are in the tables and not in the index.
pub(in crate::store::sqlite) fn behind(db: &Connection) -> rusqlite::Result<u64> {
    db.prepare_cached("SELECT coalesce(sum(head_seq - searched_seq), 0) FROM rooms WHERE head_seq > searched_seq")?
        .query_row([], |row| count(row, 0))
}

pub(super) fn put(db: &Connection, number: i64, seq: Seq, place: i64, terms: &str) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO words (rowid, terms) VALUES (?, ?)")?.execute(params![place, terms])?;
    db.prepare_cached("INSERT INTO searched (place, room, seq) VALUES (?, ?, ?)")?
        .execute(params![place, number, int(seq)])
        .map(drop)
}

/// What the index has of a message that is about to change.
pub(in crate::store::sqlite) struct Standing {
    number: i64,
    place: i64,
    terms: String,
}

/// To be asked before the message changes, and before its text is erased: what is taken out must be named as it was put in. `None`:
/// the index has nothing of it, and comes to it later.
pub(in crate::store::sqlite) fn standing(
    db: &Connection,
    room: RoomId,
    latest: &Folded,
) -> rusqlite::Result<Option<Standing>> {
    let (seq, Some(terms)) = (latest.event.seq, latest_terms(room, latest)) else { return Ok(None) };
    let taken: Option<(Option<i64>, bool)> = db
        .prepare_cached("SELECT number, searched_seq >= ? FROM rooms WHERE room_id = ?")?
        .query_row(params![int(seq), room.0.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((Some(number), true)) = taken else { return Ok(None) };
    let place = db
        .prepare_cached("SELECT place FROM searched WHERE place >= ? AND room = ? AND seq = ? ORDER BY place LIMIT 1")?
        .query_row(params![first_place(latest.event.sent_at), number, int(seq)], |row| row.get(0))
        .optional()?;
    Ok(place.map(|place| Standing { number, place, terms }))
}

/// Brings the index up to what became of the message, in the transaction that changed it: nobody finds what it does not say any more.
pub(in crate::store::sqlite) fn follow(
    db: &Connection,
    room: RoomId,
    before: Standing,
    latest: &Folded,
) -> rusqlite::Result<()> {
    let Standing { number, place, terms } = before;
    db.prepare_cached("INSERT INTO words (words, rowid, terms) VALUES ('delete', ?, ?)")?
        .execute(params![place, terms])?;
    db.prepare_cached("DELETE FROM searched WHERE place = ?")?.execute([place])?;
    match latest_terms(room, latest) {
        Some(terms) => put(db, number, latest.event.seq, place, &terms),
        None => Ok(()),
    }
}

/// `None` where it is deleted.
pub(super) fn latest_terms(room: RoomId, latest: &Folded) -> Option<String> {
    let content = if latest.is_deleted() { None } else { content_of(latest.spoken().body()) };
    content.map(|content| terms_of(room, latest.event.sender, &content))
}

/// The short name of a room in the index.
pub(super) fn number(db: &Connection, room: RoomId) -> rusqlite::Result<i64> {
    let known: Option<i64> = db
        .prepare_cached("SELECT number FROM rooms WHERE room_id = ?")?
        .query_row([room.0.as_bytes()], |row| row.get(0))?;
    if let Some(number) = known {
        return Ok(number);
    }
    db.prepare_cached(
        "UPDATE rooms SET number = 1 + coalesce((SELECT max(number) FROM rooms WHERE number IS NOT NULL), 0)
         WHERE room_id = ? RETURNING number",
    )?
    .query_row([room.0.as_bytes()], |row| row.get(0))
}

/// After all others of this millisecond; of a later one where it is full.
pub(super) fn free_place(db: &Connection, at: Timestamp) -> rusqlite::Result<i64> {
    let mut first = first_place(at);
    loop {
        let end = first.saturating_add(1 << SAME_TIME_BITS);
        let last: Option<i64> = db
            .prepare_cached("SELECT place FROM searched WHERE place >= ? AND place < ? ORDER BY place DESC LIMIT 1")?
            .query_row([first, end], |row| row.get(0))
            .optional()?;
        match last {
            None => return Ok(first),
            Some(last) if last + 1 < end => return Ok(last + 1),
            Some(_) => first = end,
        }
    }
}

/// By which way of cutting texts the index was made; empty before its first message.
pub(super) fn version(db: &Connection) -> rusqlite::Result<String> {
    db.query_row("SELECT version FROM words_version", [], |row| row.get(0))
}

/// Empties it; every log is to be taken in from its beginning.
pub(in crate::store::sqlite) fn empty(db: &Connection) -> rusqlite::Result<()> {
    db.execute("INSERT INTO words (words) VALUES ('delete-all')", [])?;
    db.execute("DELETE FROM searched", [])?;
    db.execute("UPDATE rooms SET searched_seq = 0 WHERE searched_seq > 0", [])?;
    db.execute("UPDATE words_version SET version = ?", [words::version()]).map(drop)
}

/// What is wrong with it, in sentences. Of what it has not taken in yet nothing is said.
pub(in crate::store::sqlite) fn check(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut inside = db.prepare("PRAGMA integrity_check(words)")?;
    let told = inside.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut wrong: Vec<String> = told.into_iter().filter(|told| told != "ok").collect();
    let there: i64 = db.query_row("SELECT count(*) FROM searched", [], |row| row.get(0))?;
    // A log that is damaged where the index ends in it says nothing of the index.
    let due: Option<i64> = db.query_row(
        "SELECT CASE WHEN count(*) = count(ordinal) THEN coalesce(sum(ordinal), 0) END - (
             SELECT count(*) FROM forms JOIN rooms USING (room_id) WHERE deleted IS NOT NULL AND seq <= searched_seq
         ) FROM rooms LEFT JOIN events ON events.room_id = rooms.room_id AND seq = searched_seq WHERE searched_seq > 0",
        [],
        |row| row.get(0),
    )?;
    if let Some(due) = due
        && there != due
    {
        wrong.push(format!("it has {there} messages, and should have {due}"));
    }
    Ok(wrong)
}
