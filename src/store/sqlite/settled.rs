//! Moving events of the journal into the tables, and saying in them how far that has come.

use rusqlite::{Connection, params};

use super::{codec::int, journal::Position, log};
use crate::{event::Event, types::RoomId};

pub(super) fn write(db: &Connection, slice: &[(RoomId, Vec<Event>)], end: Option<Position>) -> rusqlite::Result<()> {
    for (room, events) in slice {
        log::settle(db, *room, events)?;
    }
    if let Some(end) = end {
        // Somebody else may have settled more meanwhile.
        db.prepare_cached("UPDATE settled SET segment = ?1, end_offset = ?2 WHERE (segment, end_offset) < (?1, ?2)")?
            .execute(params![int(end.segment), int(end.offset)])?;
    }
    Ok(())
}
