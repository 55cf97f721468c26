//! The steps of the feeder: what comes next in the logs, and taking it in.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::index::{self, free_place, number, put, terms_of};
use crate::{
    event::content_of,
    store::sqlite::{
        codec::{count, int, room_id, time, user_id},
        forms,
    },
    types::{RoomId, Seq, Timestamp},
};

/// Rooms looked at in one step.
const ROOMS: usize = 256;

/// A step of the feeder: what comes next in the logs of some rooms.
pub(super) struct Step {
    rooms: Vec<Stretch>,
    entries: Vec<Entry>,
}

struct Stretch {
    room: RoomId,
    from: Seq,
    upto: Seq,
}

struct Entry {
    room: RoomId,
    seq: Seq,
    sent_at: Timestamp,
    event_id: [u8; 16],
    /// The event that changed it last, when it was read.
    form: Seq,
    terms: String,
}

impl Step {
    pub fn events(&self) -> u64 {
        self.rooms.iter().map(|stretch| stretch.upto - stretch.from).sum()
    }

    /// Where the next step begins to look.
    pub fn last_room(&self) -> Option<RoomId> {
        self.rooms.last().map(|stretch| stretch.room)
    }
}

/// The next step, of at most about `most` messages, in rooms after `after`; `None`: the index has everything of these.
pub(super) fn next(db: &Connection, after: Option<RoomId>, most: usize) -> rusqlite::Result<Option<Step>> {
    let mut behind = db.prepare_cached(
        "SELECT room_id, searched_seq, head_seq FROM rooms
         WHERE head_seq > searched_seq AND room_id > ? ORDER BY room_id LIMIT ?",
    )?;
    let mut messages = db.prepare_cached(
        "SELECT e.seq, e.sender, e.sent_at, coalesce(l.body, e.body), e.event_id, coalesce(f.at, 0), f.deleted IS NULL
         FROM events AS e
         LEFT JOIN forms AS f ON f.room_id = e.room_id AND f.seq = e.seq
         LEFT JOIN events AS l ON l.room_id = e.room_id AND l.seq = f.edit_seq
         WHERE e.room_id = ? AND e.seq > ? AND e.seq <= ? AND e.effect IS NULL ORDER BY e.seq LIMIT ?",
    )?;
    let after = after.map_or(Vec::new(), |after| after.0.as_bytes().to_vec());
    let rooms = behind
        .query_map(params![after, int(ROOMS as u64)], |row| Ok((room_id(row, 0)?, count(row, 1)?, count(row, 2)?)))?;
    let mut step = Step { rooms: Vec::new(), entries: Vec::new() };
    for room in rooms {
        let (room, from, head) = room?;
        let left = most.saturating_sub(step.entries.len());
        if left == 0 {
            break;
        }
        let (mut rows, mut last, mut taken) =
            (messages.query(params![room.0.as_bytes(), int(from), int(head), int(left as u64)])?, from, 0);
        while let Some(row) = rows.next()? {
            (last, taken) = (count(row, 0)?, taken + 1);
            let content = if row.get(6)? { content_of(row.get_ref(3)?.as_blob()?) } else { None };
            if let Some(content) = content {
                let terms = terms_of(room, user_id(row, 1)?, &content);
                let (sent_at, event_id, form) = (time(row, 2)?, row.get(4)?, count(row, 5)?);
                step.entries.push(Entry { room, seq: last, sent_at, event_id, form, terms });
            }
        }
        let upto = if taken == left { last } else { head };
        step.rooms.push(Stretch { room, from, upto });
    }
    // FTS5 takes in what comes in order faster. Ids, too, are later ones greater.
    step.entries.sort_unstable_by_key(|entry| (entry.sent_at, entry.event_id));
    Ok((!step.rooms.is_empty()).then_some(step))
}

/// Takes a step in. What has been taken in meanwhile, or out again, is passed over.
pub(super) fn take_in(db: &Connection, step: &Step) -> rusqlite::Result<()> {
    let mut numbers: HashMap<RoomId, i64> = HashMap::new();
    for Stretch { room, from, upto } in &step.rooms {
        let moved = db
            .prepare_cached("UPDATE rooms SET searched_seq = ?3 WHERE room_id = ?1 AND searched_seq = ?2")?
            .execute(params![room.0.as_bytes(), int(*from), int(*upto)])?;
        if moved == 1 {
            numbers.insert(*room, number(db, *room)?);
        }
    }
    for entry in &step.entries {
        let Some(number) = numbers.get(&entry.room) else { continue };
        let form: Option<i64> = db
            .prepare_cached("SELECT at FROM forms WHERE room_id = ? AND seq = ?")?
            .query_row(params![entry.room.0.as_bytes(), int(entry.seq)], |row| row.get(0))
            .optional()?;
        if form.unwrap_or(0) == int(entry.form) {
            put(db, *number, entry.seq, free_place(db, entry.sent_at)?, &entry.terms)?;
        } else if let Some(latest) = forms::at(db, entry.room, entry.seq)?
            && let Some(terms) = index::latest_terms(entry.room, &latest)
        {
            put(db, *number, entry.seq, free_place(db, entry.sent_at)?, &terms)?;
        }
    }
    Ok(())
}
