//! Room on the disk, and the part of it that is kept in reserve (`store.reserve`).
//!
//! While no more than the reserve is free, nothing is taken that makes the data grow. What ends logins, disables accounts,
//! changes roles and passwords or deletes is taken all the same: whoever runs a server must be able to stop somebody.
//!
//! - The journal, the write-ahead log and temporary files lie on the same disk, so what is free is without them. What is acknowledged
//!   and has still to be written counts as well: whoever asks names it, and the log's pages may all have to find a place in the
//!   database.
//! - A first part of the reserve is a file, `natter.db.reserve`: where others fill the disk to its last byte, it is given up for what
//!   may use the reserve, and laid aside again once there is room.
//! - `store.max_bytes` has the same reserve below it.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use rusqlite::Connection;

use super::{backup::folder_of, codec::count};
use crate::{
    config,
    metrics::Metrics,
    store::{Result, StoreError},
};

/// The reserve where none is set: this part of the disk, or of `store.max_bytes`, and at most so much.
const PART: u64 = 20;
const MOST: u64 = 1_000_000_000;

/// What a commit of the journal or of the tables may take beside what it is asked for: a step of a segment, and the pages of a tree.
const STEP_BYTES: u64 = 512 << 10;

/// What any one write to the tables is taken to need.
const WRITE_BYTES: u64 = 256 << 10;

const BALLAST_BYTES: u64 = 1 << 20;

/// Pages that any one write may need in the tables, at the worst.
const WRITE_PAGES: u64 = 12;

pub(super) struct Space {
    database: PathBuf,
    log: PathBuf,
    ballast: PathBuf,
    /// `store.reserve` and `store.max_bytes`; 0: by the size of the disk, and no limit.
    reserve: u64,
    max_bytes: u64,
    /// How much is laid aside.
    held: Mutex<u64>,
    metrics: Arc<Metrics>,
}

/// A file system as it is at this moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Disk {
    bytes: u64,
    /// Without what only the superuser may take; with what is laid aside.
    pub free: u64,
    /// What of it is kept in reserve.
    pub reserve: u64,
    /// Of the write-ahead log.
    pub log: u64,
}

/// `natter.db-wal` and others of its kind.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(database);
    name.push(suffix);
    name.into()
}

impl Disk {
    /// What may be written by what may not use the reserve.
    fn left(&self) -> u64 {
        self.free.saturating_sub(self.reserve + self.log + STEP_BYTES)
    }

    /// Nothing is taken any more that may not use the reserve.
    pub(super) fn is_full(&self) -> bool {
        self.left() < WRITE_BYTES
    }

    /// The write-ahead log is a good part of what is left: better in the database at once.
    pub(super) fn wants_the_log_back(&self) -> bool {
        self.log > 0 && self.left() < self.log + WRITE_BYTES
    }
}

impl Space {
    /// For the database at `path`, whose folder is there and is ours.
    pub(super) fn new(path: &Path, config: &config::Store, metrics: Arc<Metrics>) -> Self {
        let ballast = beside(path, ".reserve");
        let held = fs::metadata(&ballast).map_or(0, |file| file.len());
        let space = Self {
            database: path.into(),
            log: beside(path, "-wal"),
            ballast,
            reserve: config.reserve,
            max_bytes: config.max_bytes,
            held: Mutex::new(held),
            metrics,
        };
        // To begin at all takes a few pages, of the log's index too.
        if space.look().is_some_and(|disk| disk.free < held + WRITE_BYTES) {
            space.give_up_ballast();
        }
        space
    }

    /// `None` where the file system does not say.
    pub(super) fn look(&self) -> Option<Disk> {
        let disk = rustix::fs::statvfs(folder_of(&self.database)).ok()?;
        let bytes = disk.f_blocks.saturating_mul(disk.f_frsize);
        Some(Disk {
            bytes,
            free: disk.f_bavail.saturating_mul(disk.f_frsize).saturating_add(*self.held.lock()),
            reserve: self.reserve_of(bytes),
            log: fs::metadata(&self.log).map_or(0, |log| log.len()),
        })
    }

    fn reserve_of(&self, disk: u64) -> u64 {
        let whole = if self.max_bytes > 0 { disk.min(self.max_bytes) } else { disk };
        if self.reserve > 0 { self.reserve } else { (whole / PART).min(MOST) }
    }

    /// Whether the disk has room for `more` bytes beside the reserve.
    pub(super) fn admit(&self, more: u64) -> Result<()> {
        let Some(disk) = self.look() else { return Ok(()) };
        if more <= disk.left() {
            return Ok(());
        }
        self.metrics.bound_hit("store.reserve");
        Err(StoreError::Full(format!(
            "{} bytes are free in {}, of which store.reserve keeps {}",
            disk.free,
            folder_of(&self.database).display(),
            disk.reserve
        )))
    }

    /// The same for one write to the tables, which may have a limit of their own too.
    pub(super) fn admit_write(&self, tables: Option<&Connection>) -> Result<()> {
        self.admit(WRITE_BYTES)?;
        match tables {
            Some(db) if self.max_bytes > 0 => {
                let left = self.bytes_left(db).map_err(|error| super::codec::store_error(&error))?;
                if left > 0 { Ok(()) } else { Err(self.no_room_in_tables()) }
            }
            _ => Ok(()),
        }
    }

    /// `store.max_bytes` is a limit.
    pub(super) fn tables_are_limited(&self) -> bool {
        self.max_bytes > 0
    }

    /// How far the tables may still grow below the reserve, without what any one write may need.
    pub(super) fn bytes_left(&self, db: &Connection) -> rusqlite::Result<u64> {
        let pragma = |sql| db.prepare_cached(sql)?.query_row([], |row| count(row, 0));
        let used = pragma("PRAGMA page_count")?.saturating_sub(pragma("PRAGMA freelist_count")?);
        let page = pragma("PRAGMA page_size")?;
        let reserve = self.reserve_of(self.look().map_or(u64::MAX, |disk| disk.bytes));
        Ok((self.max_bytes.saturating_sub(reserve) / page).saturating_sub(used + WRITE_PAGES) * page)
    }

    pub(super) fn no_room_in_tables(&self) -> StoreError {
        self.metrics.bound_hit("store.max_bytes");
        StoreError::Full("it has reached store.max_bytes, of which store.reserve is kept".into())
    }

    /// Lays aside what there is room for, where it is not there.
    pub(super) fn lay_aside(&self) {
        let Some(disk) = self.look() else { return };
        let wanted = (disk.reserve / 2).min(BALLAST_BYTES);
        let mut held = self.held.lock();
        if *held >= wanted || disk.left() < wanted {
            return;
        }
        match self.fill(wanted) {
            Ok(()) => *held = wanted,
            Err(error) => {
                tracing::debug!(%error, "nothing could be laid aside");
                *held = 0;
                drop(held);
                self.give_up_ballast();
            }
        }
    }

    /// Written, not only sized, and with what no file system makes smaller.
    fn fill(&self, bytes: u64) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.ballast)?;
        let mut piece = [0; 64 << 10];
        let mut left = bytes as usize;
        while left > 0 {
            rand::fill(&mut piece[..]);
            let some = left.min(piece.len());
            file.write_all(&piece[..some])?;
            left -= some;
        }
        file.sync_data()
    }

    /// What was laid aside is room now, for whoever may use the reserve.
    pub(super) fn give_up_ballast(&self) {
        let mut held = self.held.lock();
        let emptied = OpenOptions::new().write(true).open(&self.ballast).and_then(|file| file.set_len(0));
        match emptied {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, file = %self.ballast.display(), "what was kept in reserve could not be given up");
            }
            _ => *held = 0,
        }
    }
}

/// Writes as much as a large message, and says whether the configured size has room for one.
pub(super) fn probe(db: &rusqlite::Connection) -> rusqlite::Result<bool> {
    /// Enough for the largest event and the pages of its indexes.
    const PAGES: i64 = 32;
    db.prepare_cached("UPDATE probe SET filling = randomblob(16384)")?.execute([])?;
    let pragma = |sql| db.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
    let room = pragma("PRAGMA max_page_count")? - pragma("PRAGMA page_count")? + pragma("PRAGMA freelist_count")?;
    Ok(room >= PAGES)
}
