//! The journal: what was posted, in the order in which it was acknowledged, until the tables have it.
//!
//! It is a row of segments, each in a file beside the database (`disk.rs`) and used again once everything in it is settled; a
//! commit is one write at the end of the last one, and one sync. `segment.rs` and `record.rs` have the bytes, `recovery.rs` reads them back.
//!
//! - A file grows in steps of zeros that are written before they are needed: a sync that has no length to store is twice as
//!   fast.
//! - After a failed write or sync nobody knows what the file holds. That segment takes no more commits, and the next one says
//!   where its last good one ended; until that has reached the disk, nothing is acknowledged.
//! - A segment that is followed says so in its last commit, so that a lost file is noticed.

pub(super) mod disk;
mod record;
pub(super) mod recovery;
mod segment;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, io};

use self::{
    disk::{Disk, Slot},
    segment::{HEADER_BYTES, Header},
};
use crate::{event::Event, types::RoomId};

pub(super) use self::segment::DatabaseId;

/// A segment that has grown to this is followed by the next one.
const SEGMENT_BYTES: u64 = 4 << 20;
/// So much is written ahead.
const STEP_BYTES: u64 = 256 << 10;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
/// Files that are kept for later segments; more are removed.
const FREE_FILES: usize = 8;

/// A place between two commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Position {
    pub segment: u64,
    pub offset: u64,
}

pub(super) struct Journal {
    disk: Box<dyn Disk>,
    database: DatabaseId,
    /// The segment that takes commits; `None` before the first one and after a failure.
    active: Option<Active>,
    /// Segments that are not settled yet, oldest first.
    full: VecDeque<Full>,
    /// Files without a segment that is needed.
    free: Vec<u32>,
    /// Files that were ever used: the next new one has this number.
    files: u32,
    /// A file was made whose name a power cut may still take.
    names_unsynced: bool,
    /// Where the last good commit ended.
    end: Position,
    /// The highest number that a segment was ever given.
    numbered: u64,
    commit: Vec<u8>,
}

struct Active {
    file: Box<dyn Slot>,
    slot: u32,
    number: u64,
    salt: u64,
    end: u64,
    /// The file is so long.
    bytes: u64,
}

struct Full {
    slot: u32,
    number: u64,
    bytes: u64,
}

impl Journal {
    /// A journal that goes on after `end`; of older segments there is nothing left.
    pub(super) fn new(disk: Box<dyn Disk>, database: DatabaseId, end: Position) -> Self {
        Self {
            disk,
            database,
            active: None,
            full: VecDeque::new(),
            free: Vec::new(),
            files: 0,
            names_unsynced: false,
            end,
            numbered: end.segment,
            commit: Vec::new(),
        }
    }

    /// Makes these events durable, all or none of them, and says where they end. After an error nothing of them counts once
    /// the next commit has succeeded; until then they may come back with a restart.
    pub(super) fn commit<'a>(&mut self, events: impl Iterator<Item = (RoomId, &'a Event)>) -> io::Result<Position> {
        let mut commit = std::mem::take(&mut self.commit);
        segment::begin(&mut commit);
        for (room, event) in events {
            commit = record::put(commit, room, event);
        }
        let result = self.write(&mut commit);
        self.commit = commit;
        result
    }

    fn write(&mut self, commit: &mut [u8]) -> io::Result<Position> {
        let fits = |active: &Active| active.end == HEADER_BYTES || active.end + commit.len() as u64 <= SEGMENT_BYTES;
        let mut active = match self.active.take() {
            Some(active) if fits(&active) => active,
            before => self.next_segment(before)?,
        };
        segment::finish(active.salt, commit);
        match active.write(commit) {
            Ok(()) => {
                self.end = Position { segment: active.number, offset: active.end };
                self.active = Some(active);
                Ok(self.end)
            }
            Err(error) => {
                self.full.push_back(active.full());
                Err(error)
            }
        }
    }

    /// Begins a segment. `before` is the one that is full now; after a failure there is none, and it cannot be sealed.
    fn next_segment(&mut self, before: Option<Active>) -> io::Result<Active> {
        let next = self.prepare();
        if let Some(before) = before {
            // Written behind the last good commit: should this fail, the next one knows where it ended all the same.
            let sealed = next.is_ok().then(|| before.file.write(&segment::seal(before.salt), before.end));
            if let Some(Err(error)) = sealed.map(|written| written.and_then(|()| before.file.sync())) {
                tracing::warn!(%error, "the end of a segment could not be marked");
            }
            self.full.push_back(before.full());
        }
        next
    }

    fn prepare(&mut self) -> io::Result<Active> {
        let slot = self.free.pop().unwrap_or(self.files);
        if slot == self.files {
            self.files += 1;
            self.names_unsynced = true;
        }
        // Never used again, also where this fails.
        self.numbered += 1;
        let salt = rand::random();
        let header = Header {
            database: self.database,
            number: self.numbered,
            salt,
            previous: self.end.segment,
            previous_end: self.end.offset as u32,
        };
        let prepared = self.disk.open(slot).and_then(|file| {
            file.write(&header.bytes(), 0)?;
            file.sync()?;
            let bytes = file.bytes()?;
            if self.names_unsynced {
                self.disk.sync_names()?;
            }
            self.names_unsynced = false;
            Ok(Active { file, slot, number: header.number, salt, end: HEADER_BYTES, bytes })
        });
        if prepared.is_err() {
            self.free.push(slot);
        }
        prepared
    }

    /// Everything before `settled` is in the tables, and on disk there: its files may be used again.
    pub(super) fn release(&mut self, settled: Position) {
        while let Some(full) = self.full.pop_front_if(|full| full.number < settled.segment) {
            if self.free.len() < FREE_FILES && full.bytes <= SEGMENT_BYTES + STEP_BYTES {
                self.free.push(full.slot);
            } else if let Err(error) = self.disk.remove(full.slot) {
                tracing::warn!(%error, file = self.disk.name(full.slot), "a file of the journal could not be removed");
                self.free.push(full.slot);
            }
        }
    }

    /// Where the last good commit ended.
    pub(super) fn end(&self) -> Position {
        self.end
    }

    /// Everything is settled, and on disk there: no file is left.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        let active = self.active.take().map(|active| active.slot);
        let slots: Vec<u32> =
            self.full.drain(..).map(|full| full.slot).chain(self.free.drain(..)).chain(active).collect();
        remove(&*self.disk, &slots)
    }
}

/// Removes files that nobody needs any more.
pub(super) fn remove(disk: &dyn Disk, slots: &[u32]) -> io::Result<()> {
    for slot in slots {
        match disk.remove(*slot) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    if slots.is_empty() { Ok(()) } else { disk.sync_names() }
}

impl Active {
    fn write(&mut self, commit: &[u8]) -> io::Result<()> {
        let end = self.end + commit.len() as u64;
        if end > self.bytes {
            let grown = (end + STEP_BYTES).div_ceil(STEP_BYTES) * STEP_BYTES;
            while self.bytes < grown {
                let zeros = &ZEROS[..ZEROS.len().min((grown - self.bytes) as usize)];
                self.file.write(zeros, self.bytes)?;
                self.bytes += zeros.len() as u64;
            }
        }
        // Nobody knows what the file holds after this has failed, whatever the reason.
        self.file.write(commit, self.end).and_then(|()| self.file.sync()).map_err(io::Error::other)?;
        self.end = end;
        Ok(())
    }

    fn full(self) -> Full {
        Full { slot: self.slot, number: self.number, bytes: self.bytes }
    }
}
