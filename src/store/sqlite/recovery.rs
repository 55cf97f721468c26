//! After a sudden end: brings the tables up to what the journal holds, before anything is served.

use std::{path::Path, time::Instant};

use rusqlite::{Connection, params};

use super::{
    OpenError,
    codec::{count, int},
    connection::open_writer,
    journal::{
        self, DatabaseId, Journal, Position,
        disk::{Beside, Disk},
        recovery::{self, JournalError},
    },
    settled,
};
use crate::{
    event::Event,
    types::{RoomId, Seq},
};

/// Of the write-ahead log, what a recovery leaves at most.
const LOG_BYTES: u64 = 64 << 20;

/// Events in one transaction.
const STEP: usize = 10_000;

/// Leaves a database that has everything, and an empty journal that goes on where the last one ended. It may be cut off at any
/// moment: what it had not finished, the next start does.
pub(super) fn recover(path: &Path) -> Result<Journal, OpenError> {
    let disk = Beside::new(path);
    let failed = |error| OpenError::of(path, error);
    // Without a limit of size: what was acknowledged has its place.
    let db = open_writer(path, 0, LOG_BYTES).map_err(failed)?;
    let (database, settled) = settled(&db).map_err(failed)?;
    let began = Instant::now();
    let found = recovery::read(&disk, database, settled)?;
    if !found.events.is_empty() {
        let events = found.events.len();
        tracing::info!(events, "the last run ended suddenly: bringing the tables up to the journal");
        if let Some((room, seq)) = misfit(&db, &found.events).map_err(failed)? {
            return Err(JournalError::Misfit { room, seq }.into());
        }
        settle(&db, found.events, found.end).map_err(failed)?;
        tracing::info!(events, seconds = began.elapsed().as_secs_f32(), "the tables have everything");
    } else if found.end > settled {
        settled::write(&db, &[], Some(found.end)).map_err(failed)?;
    }
    disk.slots().and_then(|slots| journal::remove(&disk, &slots)).map_err(OpenError::JournalFile)?;
    disk.hold_files().map_err(OpenError::JournalFile)?;
    Ok(Journal::new(Box::new(disk), database, found.end))
}

fn settled(db: &Connection) -> rusqlite::Result<(DatabaseId, Position)> {
    db.query_row("SELECT database, segment, end_offset FROM settled", [], |row| {
        Ok((row.get(0)?, Position { segment: count(row, 1)?, offset: count(row, 2)? }))
    })
}

/// Where the tables have another event than the journal.
fn misfit(db: &Connection, events: &[(RoomId, Event)]) -> rusqlite::Result<Option<(RoomId, Seq)>> {
    let mut other = db.prepare("SELECT 1 FROM events WHERE room_id = ? AND seq = ? AND event_id <> ?")?;
    for (room, event) in events {
        let ids = (room.0.as_bytes(), event.event_id.0.as_bytes());
        if other.exists(params![ids.0, int(event.seq), ids.1.as_slice()])? {
            return Ok(Some((*room, event.seq)));
        }
    }
    Ok(None)
}

/// Room by room, as pages of the tables are then written once.
fn settle(db: &Connection, mut events: Vec<(RoomId, Event)>, end: Position) -> rusqlite::Result<()> {
    events.sort_by_key(|(room, event)| (*room, event.seq));
    let mut events = events.into_iter().peekable();
    while events.peek().is_some() {
        let mut slice: Vec<(RoomId, Vec<Event>)> = Vec::new();
        for (room, event) in events.by_ref().take(STEP) {
            match slice.last_mut() {
                Some((last, events)) if *last == room => events.push(event),
                _ => slice.push((room, vec![event])),
            }
        }
        let step = db.unchecked_transaction()?;
        settled::write(db, &slice, events.peek().is_none().then_some(end))?;
        step.commit()?;
    }
    Ok(())
}
