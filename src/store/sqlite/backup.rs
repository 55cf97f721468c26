//! A copy of everything as it stands at one moment, while the store serves.
//!
//! `VACUUM INTO` reads in one transaction, so writers go on meanwhile, and leaves a single compact file without a log
//! beside it. It is checked again when it is restored (`restore.rs`).

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{codec::store_error, connection::open_plain, readings::Readings};
use crate::store::{Result, StoreError};

/// Everything that is in the tables. Blocks until the copy is on disk. `to` must not exist; nothing is left of it after an error.
pub(super) fn backup(database: &Path, to: &Path, readings: &Readings) -> Result<()> {
    // Made by us, so that nobody else may read it and nobody's file is overwritten.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(|error| cannot(to, &error))?;
    let result = copy(database, to, readings).and_then(|()| sync(to).map_err(|error| cannot(to, &error)));
    if result.is_err()
        && let Err(error) = fs::remove_file(to)
    {
        tracing::error!(%error, file = %to.display(), "an unfinished backup could not be removed");
    }
    result
}

fn copy(database: &Path, to: &Path, readings: &Readings) -> Result<()> {
    let text = to.to_str().ok_or_else(|| StoreError::Unsupported("the name of a backup must be UTF-8".into()))?;
    let copied = open_plain(database, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|db: Connection| {
            let _going = readings.begin("a backup", Some(db.get_interrupt_handle()));
            db.execute("VACUUM INTO ?", [text])
        })
        .and_then(|_| open_plain(to, OpenFlags::SQLITE_OPEN_READ_WRITE))
        // Put in the place of the database by hand, it must not take that one's journal for its own.
        .and_then(|copy| copy.execute("UPDATE settled SET database = randomblob(16)", []));
    copied.map(drop).map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => StoreError::Full(
            "the backup was given up, as the disk of the data came down to its reserve (store.reserve); write it to another \
             disk"
                .into(),
        ),
        _ => store_error(&error),
    })
}

fn cannot(to: &Path, error: &io::Error) -> StoreError {
    let text = format!("{} cannot be written: {error}", to.display());
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            StoreError::Unsupported(format!("{} exists already; name a new file for the backup", to.display()))
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(text),
        _ => StoreError::Unavailable(text),
    }
}

/// The file and its name reach the disk.
pub(super) fn sync(file: &Path) -> io::Result<()> {
    File::open(file)?.sync_all()?;
    File::open(folder_of(file))?.sync_all()
}

/// `natter.db` lies in `.`.
pub(super) fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
