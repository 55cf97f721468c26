//! One process per data folder, by a lock on `natter.lock` that the kernel lets go when the process ends, however
//! it ends. The file's text tells whoever comes second who was first.
//!
//! A database may have several names. Symbolic links are followed first ([`real_path`]), so that everything that lies beside the
//! database lies beside the file itself. Another hard link, or a file that was mounted elsewhere, is found by a lock on the
//! database file: that one belongs to the file, whatever its names are. It is not SQLite's kind of lock and not in its way.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::OpenError;
use crate::types::Timestamp;

const NAME: &str = "natter.lock";

/// Links that lead to links, at most.
const LINKS: usize = 40;

/// The folder is ours until this is dropped, and with it the database. It outlives every connection to that one: SQLite's own
/// locks of a file would go with any handle of this process on it.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
    _database: Option<File>,
}

impl FolderLock {
    /// Of the folder of a database at its [`real_path`]; `make` makes the database, empty, where there is none.
    pub(crate) fn take(database: &Path, make: bool) -> Result<Self, OpenError> {
        let folder = super::backup::folder_of(database);
        let path = folder.join(NAME);
        let io = |error| OpenError::Folder { folder: folder.into(), error };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Owned { by: owner(&mut file) }),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        let told =
            file.set_len(0).and_then(|()| writeln!(file, "process {}, since {}", std::process::id(), Timestamp::now()));
        // The lock holds without its text, and a full disk must not keep an operator out.
        if let Err(error) = told {
            tracing::debug!(%error, file = %path.display(), "the lock's text could not be written");
        }
        Ok(Self { _file: file, _database: take_database(database, make)? })
    }
}

fn take_database(database: &Path, make: bool) -> Result<Option<File>, OpenError> {
    let io = |error| OpenError::Folder { folder: super::backup::folder_of(database).into(), error };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(make).mode(0o600);
    let file = match options.open(database) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !make => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(OpenError::Owned { by: "another natter, which knows the database by another name".into() });
        }
        Err(TryLockError::Error(error)) => return Err(io(error)),
    }
    let names = file.metadata().map_err(io)?.nlink();
    if names > 1 {
        tracing::warn!(
            "{} has {names} names (hard links): always open it by the same one, since its logs lie beside that name",
            database.display()
        );
    }
    Ok(Some(file))
}

/// The path at which a database really is, or will be: absolute, and without a symbolic link. Its folder must be there.
pub(crate) fn real_path(path: &Path) -> io::Result<PathBuf> {
    let mut path = std::path::absolute(path)?;
    for _ in 0..LINKS {
        let folder = fs::canonicalize(super::backup::folder_of(&path))?;
        path = folder.join(path.file_name().ok_or(io::ErrorKind::InvalidFilename)?);
        match fs::read_link(&path) {
            // Relative to the folder of the link; an absolute one replaces it.
            Ok(to) => path = folder.join(to),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("its symbolic links lead in a circle"))
}

/// The owner writes its line just after it has the lock, so for an instant there may be none.
fn owner(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    match text.trim() {
        line if read.is_ok() && !line.is_empty() => format!("another natter ({line})"),
        _ => "another natter".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_database_is_found_through_every_link_to_it() {
        let place = tempfile::tempdir().unwrap();
        let place = fs::canonicalize(place.path()).unwrap();
        fs::create_dir_all(place.join("a/data")).unwrap();
        fs::create_dir(place.join("b")).unwrap();
        symlink("../a/data", place.join("b/data")).unwrap();
        symlink("data/natter.db", place.join("b/one.db")).unwrap();
        symlink(place.join("b/one.db"), place.join("a/two.db")).unwrap();
        symlink("circle.db", place.join("circle.db")).unwrap();
        for there in [false, true] {
            for name in ["a/data/natter.db", "b/data/natter.db", "b/one.db", "a/two.db", "a/../b/./data/natter.db"] {
                assert_eq!(real_path(&place.join(name)).unwrap(), place.join("a/data/natter.db"), "{name}, {there}");
            }
            File::create(place.join("a/data/natter.db")).unwrap();
        }
        assert!(real_path(&place.join("circle.db")).is_err());
    }
}
