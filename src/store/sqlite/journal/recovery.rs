//! Reads a journal back after a start: what its segments hold behind the place up to which the tables have everything.

use std::io;

use super::{
    Position,
    disk::Disk,
    record,
    segment::{DatabaseId, HEADER_BYTES, Header, scan},
};
use crate::{
    event::Event,
    types::{RoomId, Seq},
};

/// Why a journal cannot be read. Its files are as they were.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{file} cannot be read: {error}")]
    Io { file: String, error: io::Error },
    #[error(
        "{file} belongs to another database, and may hold messages that are nowhere else. Put its own database back beside \
        it, or move it away"
    )]
    Foreign { file: String },
    #[error(
        "{file} is damaged at byte {at}: messages behind it that were acknowledged cannot be read. Restore the file, or a \
        backup (natter restore FILE --force); moving the journal's files away starts without them"
    )]
    Damaged { file: String, at: u64 },
    #[error(
        "the journal's file {side} {file} is missing, with messages that were acknowledged. Put it back, or restore a \
        backup (natter restore FILE --force); moving the journal's files away starts without them"
    )]
    Lost { file: String, side: &'static str },
    #[error(
        "the database has another event than the journal at seq {seq} of room {room}: one of the two is not of the same moment. \
        Restore a backup (natter restore FILE --force); moving the journal's files away starts with what the database has"
    )]
    Misfit { room: RoomId, seq: Seq },
}

/// What was read.
#[derive(Debug, Default)]
pub(in super::super) struct Recovered {
    /// In the order in which they were committed.
    pub events: Vec<(RoomId, Event)>,
    /// The end of what was read; segments to come have greater numbers.
    pub end: Position,
}

struct Found {
    slot: u32,
    header: Header,
    bytes: Vec<u8>,
}

/// Everything behind `settled`.
pub(in super::super) fn read(
    disk: &dyn Disk,
    database: DatabaseId,
    settled: Position,
) -> Result<Recovered, JournalError> {
    let found = segments(disk, database, settled)?;
    let mut recovered = Recovered { events: Vec::new(), end: settled };
    for (at, segment) in found.iter().enumerate() {
        let damaged = |at| JournalError::Damaged { file: disk.name(segment.slot), at };
        let number = segment.header.number;
        follows_on(disk, segment, &found[..at], settled)?;
        let later = &found[at + 1..];
        let until = match later.iter().rev().find(|later| later.header.previous == number) {
            Some(later) => Some(u64::from(later.header.previous_end)),
            None if later.is_empty() => None,
            // Its first commit failed.
            None => Some(HEADER_BYTES),
        };
        let scanned = scan(&segment.bytes, &segment.header, until);
        if let Some(at) = scanned.damaged_at {
            return Err(damaged(at));
        }
        if scanned.sealed {
            return Err(JournalError::Lost { file: disk.name(segment.slot), side: "after" });
        }
        for (end, mut events) in scanned.commits {
            let position = Position { segment: number, offset: end };
            if position <= settled {
                continue;
            }
            while !events.is_empty() {
                let event = record::take(&mut events).ok_or_else(|| damaged(end))?;
                recovered.events.push(event);
            }
        }
        recovered.end = recovered.end.max(Position { segment: number, offset: scanned.end });
    }
    Ok(recovered)
}

/// The segment that it names as the one before is there, as far as it is not settled.
fn follows_on(disk: &dyn Disk, segment: &Found, before: &[Found], settled: Position) -> Result<(), JournalError> {
    let Header { previous, previous_end, .. } = segment.header;
    let end = Position { segment: previous, offset: previous_end.into() };
    if end <= settled || before.iter().any(|before| before.header.number == previous) {
        return Ok(());
    }
    Err(JournalError::Lost { file: disk.name(segment.slot), side: "before" })
}

/// The segments that are not settled as a whole, in order.
fn segments(disk: &dyn Disk, database: DatabaseId, settled: Position) -> Result<Vec<Found>, JournalError> {
    let io_error = |file: String| move |error| JournalError::Io { file, error };
    let mut found = Vec::new();
    for slot in disk.slots().map_err(io_error(disk.name(0)))? {
        let bytes = disk.open(slot).and_then(|file| file.read()).map_err(io_error(disk.name(slot)))?;
        match Header::read(&bytes) {
            Some(header) if header.database != database => {
                return Err(JournalError::Foreign { file: disk.name(slot) });
            }
            Some(header) if header.number < settled.segment => {}
            Some(header) => found.push(Found { slot, header, bytes }),
            // A segment whose first bytes never reached the disk has taken no commit.
            None if bytes.iter().skip(HEADER_BYTES as usize).all(|byte| *byte == 0) => {}
            None => return Err(JournalError::Damaged { file: disk.name(slot), at: 0 }),
        }
    }
    found.sort_by_key(|segment| segment.header.number);
    Ok(found)
}
