//! Puts a backup in the place of the database, after checking every room's log in it.
//!
//! What is checked is the copy that will serve, not the file it came from. A restored server is another life of the
//! same rooms: every epoch is renewed, so clients reload instead of trusting cursors that may lie ahead of the log, and
//! every login is ended, since some of them had been ended after the backup was made. What was deleted after that is erased in it,
//! by the list beside the database (`eraser.rs`).

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};

use super::{
    OpenError,
    backup::sync,
    codec::count,
    connection::open_plain,
    eraser,
    journal::disk::{Beside, Disk},
    lock::FolderLock,
    open::place_of,
    recovery::recover,
    schema::{self, Kind},
};
use crate::types::Timestamp;

/// What the restored database holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreReport {
    pub users: u64,
    pub rooms: u64,
    pub events: u64,
    /// Messages that were deleted after the backup was made, and are erased in it now.
    pub erased: usize,
    /// Where the database that was there before is now.
    pub kept: Option<PathBuf>,
}

/// Why nothing was restored. The database in place is then as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{} is there already. With --force it is put aside, under a name that says when.", file.display())]
    Exists { file: PathBuf },
    #[error("{} is not a natter backup.", file.display())]
    Foreign { file: PathBuf },
    #[error("{} was made by a newer natter (schema {found}, this one knows {known}). Restore it with that version.",
        file.display())]
    Newer { file: PathBuf, found: usize, known: usize },
    #[error("{} is damaged: {what}. Nothing was restored; take another backup.", file.display())]
    Damaged { file: PathBuf, what: String },
    #[error("{} has a write-ahead log beside it, so it is a database in use and no finished backup. \
        Make one with: natter backup FILE", file.display())]
    Unfinished { file: PathBuf },
    #[error("{} cannot be read or written: {error}.", file.display())]
    Io { file: PathBuf, error: io::Error },
    #[error("The copy of the backup cannot be prepared: {0}. Check that the disk has room.")]
    Database(rusqlite::Error),
}

/// Replaces the database at `to` by the backup `from`. Nobody may be serving it. Blocks until it is on disk.
pub fn restore(from: &Path, to: &Path, force: bool) -> Result<RestoreReport, RestoreError> {
    let to = &place_of(to)?;
    let _lock = FolderLock::take(to, false)?;
    if !force && to.exists() {
        return Err(RestoreError::Exists { file: to.clone() });
    }
    if fs::metadata(with_suffix(from, "-wal")).is_ok_and(|log| log.len() > 0) {
        return Err(RestoreError::Unfinished { file: from.into() });
    }
    let copy = with_suffix(to, ".restoring");
    let result =
        prepare(from, &copy, to).and_then(|report| install(&copy, to).map(|kept| RestoreReport { kept, ..report }));
    if result.is_err() {
        remove(&copy)?;
    }
    result
}

/// Leaves a checked database at `copy`, ready to serve.
fn prepare(from: &Path, copy: &Path, to: &Path) -> Result<RestoreReport, RestoreError> {
    remove(copy)?;
    let mut source = fs::File::open(from).map_err(|error| io_error(from, error))?;
    let mut target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(copy)
        .map_err(|error| io_error(copy, error))?;
    io::copy(&mut source, &mut target).map_err(|error| io_error(copy, error))?;
    drop(target);

    let mut db = open_plain(copy, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(RestoreError::Database)?;
    // One file and no other beside it until it is in place.
    let version = examine(&db, from)?;
    let report = begin_new_life(&mut db, version).map_err(RestoreError::Database)?;
    let (_, erased) = eraser::apply(&db, to).map_err(|error| io_error(&eraser::List::path(to), error))?;
    let report = RestoreReport { erased, ..report };
    db.close().map_err(|(_, error)| RestoreError::Database(error))?;
    sync(copy).map_err(|error| io_error(copy, error))?;
    Ok(report)
}

/// The version of a database that is whole, or what is wrong with it.
fn examine(db: &Connection, from: &Path) -> Result<usize, RestoreError> {
    let damaged = |what: String| RestoreError::Damaged { file: from.into(), what };
    let kind = schema::kind(db).map_err(|error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => RestoreError::Foreign { file: from.into() },
        _ => damaged(error.to_string()),
    })?;
    let version = match kind {
        Kind::Natter(version) => version,
        Kind::Newer(found) => {
            return Err(RestoreError::Newer { file: from.into(), found, known: schema::VERSION });
        }
        Kind::Empty | Kind::Foreign => return Err(RestoreError::Foreign { file: from.into() }),
    };
    match fault(db) {
        Ok(None) => Ok(version),
        Ok(Some(what)) => Err(damaged(what)),
        Err(error) => Err(damaged(error.to_string())),
    }
}

/// What is wrong with the pages, or else with the logs.
fn fault(db: &Connection) -> rusqlite::Result<Option<String>> {
    let integrity: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if integrity != "ok" {
        return Ok(Some(integrity));
    }
    // A log is dense from 1 to its head, and the room's row agrees with it; nothing belongs to no room.
    let wrong: i64 = db.query_row(
        "WITH logs AS (
            SELECT room_id, count(*) AS events, min(seq) AS first, max(seq) AS head, sum(effect IS NULL) AS messages,
                max(ordinal) AS ordinal
            FROM events GROUP BY room_id)
         SELECT (SELECT count(*) FROM rooms LEFT JOIN logs USING (room_id)
                 WHERE head_seq <> ifnull(head, 0) OR head_seq <> ifnull(events, 0) OR ifnull(first, 1) <> 1
                    OR rooms.messages <> ifnull(logs.messages, 0) OR rooms.messages <> ifnull(ordinal, 0))
              + (SELECT count(*) FROM logs WHERE room_id NOT IN (SELECT room_id FROM rooms))",
        [],
        |row| row.get(0),
    )?;
    Ok((wrong > 0).then(|| format!("the logs of {wrong} rooms have gaps or do not fit their heads")))
}

/// New epochs, no logins, the newest schema.
fn begin_new_life(db: &mut Connection, version: usize) -> rusqlite::Result<RestoreReport> {
    db.execute_batch(
        "PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON",
    )?;
    schema::migrate(db, version)?;
    let change = db.transaction()?;
    change.execute_batch(
        "UPDATE rooms SET epoch = lower(hex(randomblob(8)));
         UPDATE settled SET database = randomblob(16), segment = 0, end_offset = 0;
         UPDATE users SET token_epoch = token_epoch + 1;
         DELETE FROM sessions;",
    )?;
    let rows_of = |table| change.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| count(row, 0));
    let (users, rooms, events) = (rows_of("users")?, rows_of("rooms")?, rows_of("events")?);
    let report = RestoreReport { users, rooms, events, erased: 0, kept: None };
    change.commit()?;
    Ok(report)
}

/// Puts the copy in place in one step; whoever dies before or after it leaves a whole database there.
fn install(copy: &Path, to: &Path) -> Result<Option<PathBuf>, RestoreError> {
    let kept = if to.exists() { Some(put_aside(to)?) } else { None };
    // A log of the old database must not be applied to the new one.
    remove(&with_suffix(to, "-wal"))?;
    remove(&with_suffix(to, "-shm"))?;
    fs::rename(copy, to).and_then(|()| sync(to)).map_err(|error| io_error(to, error))?;
    if let Some(kept) = &kept {
        move_journal(to, kept)?;
    }
    Ok(kept)
}

/// Gives the old database (and its logs, where they cannot be folded in) a second name.
fn put_aside(to: &Path) -> Result<PathBuf, RestoreError> {
    let stamp = Timestamp::now().to_string().replace([':', '-'], "");
    let kept = with_suffix(to, &format!(".before-restore-{stamp}"));
    if Beside::new(to).slots().is_ok_and(|slots| !slots.is_empty())
        && let Err(error) = recover(to)
    {
        tracing::warn!(%error, "the journal of the database to be replaced is kept beside it");
    }
    // A damaged one cannot be opened; then its log goes along as it is.
    let folded = open_plain(to, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .and_then(|db| db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)));
    if let Err(error) = folded {
        tracing::warn!(%error, "the database to be replaced could not be tidied first");
    }
    fs::hard_link(to, &kept).or_else(|_| fs::copy(to, &kept).map(drop)).map_err(|error| io_error(&kept, error))?;
    let log = with_suffix(to, "-wal");
    if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        let kept_log = with_suffix(&kept, "-wal");
        fs::copy(&log, &kept_log).map_err(|error| io_error(&kept_log, error))?;
        sync(&kept_log).map_err(|error| io_error(&kept_log, error))?;
    }
    sync(&kept).map_err(|error| io_error(&kept, error))?;
    Ok(kept)
}

/// What of the journal did not go into the old database goes with it, after that one has its new place: until then the new one is
/// refused beside a journal that is not its own.
fn move_journal(to: &Path, kept: &Path) -> Result<(), RestoreError> {
    let (journal, of_kept) = (Beside::new(to), Beside::new(kept));
    for slot in journal.slots().map_err(|error| io_error(to, error))? {
        let (file, aside) = (journal.path(slot), of_kept.path(slot));
        fs::rename(&file, &aside).and_then(|()| sync(&aside)).map_err(|error| io_error(&file, error))?;
    }
    Ok(())
}

fn remove(file: &Path) -> Result<(), RestoreError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(file, error)),
        _ => Ok(()),
    }
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(suffix);
    PathBuf::from(name)
}

fn io_error(file: &Path, error: io::Error) -> RestoreError {
    RestoreError::Io { file: file.into(), error }
}
