//! Data is for its owner alone: what others may read or write is made private at the start, with a warning, or refused.
//!
//! What natter makes is private from the beginning. A folder or a file that somebody else made, or copied back, may not be.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::{
    OpenError,
    backup::folder_of,
    journal::disk::{Beside, Disk},
    space::beside,
};

/// What others may do with a file.
const OF_OTHERS: u32 = 0o077;
const EVERYBODY_WRITES: u32 = 0o002;
/// Nobody may remove what is not theirs.
const STICKY: u32 = 0o1000;

/// The folder of this database, which is there, and its files.
pub(super) fn keep_private(database: &Path) -> Result<(), OpenError> {
    folder(folder_of(database), database)?;
    let journal = Beside::new(database);
    let segments = journal.slots().unwrap_or_default().into_iter().map(|slot| journal.path(slot));
    let others = ["-wal", "-shm", ".reserve", ".erased"].map(|suffix| beside(database, suffix));
    let lock = folder_of(database).join("natter.lock");
    [database.to_owned(), lock].into_iter().chain(others).chain(segments).try_for_each(file)
}

fn file(path: PathBuf) -> Result<(), OpenError> {
    let mode = match fs::symlink_metadata(&path) {
        Ok(found) if found.is_file() => found.mode() & 0o7777,
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => return Err(OpenError::Exposed { path, mode: 0 }),
    };
    if mode & OF_OTHERS == 0 {
        return Ok(());
    }
    // By its name: to open it and close it again would give up the locks that this process has on it.
    match fs::set_permissions(&path, Permissions::from_mode(0o600)) {
        Ok(()) => {
            tracing::warn!("{} could be read by others (mode {mode:o}), and is private now", path.display());
            Ok(())
        }
        Err(_) => Err(OpenError::Exposed { path, mode }),
    }
}

/// A folder that holds nothing but natter's own is made private. Another one is somebody's home, or a place for many: it is left
/// as it is, unless everybody may put files of their own in the place of ours.
fn folder(path: &Path, database: &Path) -> Result<(), OpenError> {
    let io = |error| OpenError::Folder { folder: path.into(), error };
    let mode = fs::metadata(path).map_err(io)?.mode() & 0o7777;
    if mode & OF_OTHERS == 0 {
        return Ok(());
    }
    if holds_only_ours(path, database).map_err(io)? && fs::set_permissions(path, Permissions::from_mode(0o700)).is_ok()
    {
        tracing::warn!("{} was open to others (mode {mode:o}), and is private now", path.display());
        return Ok(());
    }
    if mode & EVERYBODY_WRITES != 0 && mode & STICKY == 0 {
        return Err(OpenError::Exposed { path: path.into(), mode });
    }
    tracing::warn!(
        "others may look into {}, where the data is (mode {mode:o}): give natter a folder of its own, and chmod 700 it",
        path.display()
    );
    Ok(())
}

fn holds_only_ours(folder: &Path, database: &Path) -> io::Result<bool> {
    let database = database.file_name().unwrap_or_default().as_encoded_bytes();
    let is_ours = |name: &[u8]| {
        name.starts_with(database)
            || name.starts_with(b"natter.")
            || name.starts_with(b"secret.key")
            || name == b"lost+found"
    };
    for entry in fs::read_dir(folder)? {
        if !is_ours(entry?.file_name().as_encoded_bytes()) {
            return Ok(false);
        }
    }
    Ok(true)
}
