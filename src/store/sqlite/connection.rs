//! How a connection to the database is opened: the settings that make a commit durable and a reader harmless.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags};

use super::codec::count;

/// Only somebody outside natter (a backup tool, a shell) can make us wait for a lock.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// More statements than there are in this module's files, so that none is ever compiled twice.
const CACHED_STATEMENTS: usize = 64;

/// The writer's connection. `max_bytes` 0 is no limit.
///
/// - `synchronous=FULL` makes a commit in WAL mode reach the disk before it returns.
/// - `wal_autocheckpoint=0`: the writer checkpoints by itself, after it has answered those who wait.
/// - `secure_delete`: what is erased, and what pages held that are free, is overwritten.
/// - No `mmap`: a failing disk would then be a signal that kills the process instead of an error that is answered.
pub(super) fn open_writer(path: &Path, max_bytes: u64, log_bytes: u64) -> rusqlite::Result<Connection> {
    let db = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.execute_batch(
        "PRAGMA foreign_keys = ON;
         PRAGMA synchronous = FULL;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA secure_delete = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -16384;",
    )?;
    db.query_row(&format!("PRAGMA journal_size_limit = {log_bytes}"), [], |_| Ok(()))?;
    limit_size(&db, max_bytes)?;
    Ok(db)
}

/// A pool connection: it may not write, and it sees whatever was committed before its read began. Its cache holds the upper levels
/// of the trees; pages below them are the system's to keep, once for all.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let db = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.execute_batch("PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -1024;")?;
    Ok(db)
}

/// A connection to a file that nobody else uses: for looking before a start, for backups, for restores.
pub(super) fn open_plain(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    open(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

fn open(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(db)
}

/// The limit belongs to a connection, not to the file, and never cuts off what is there already.
fn limit_size(db: &Connection, max_bytes: u64) -> rusqlite::Result<()> {
    if max_bytes == 0 {
        return Ok(());
    }
    let page_size = db.query_row("PRAGMA page_size", [], |row| count(row, 0))?;
    let pages = (max_bytes / page_size).clamp(1, u64::from(u32::MAX - 1));
    db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
}
