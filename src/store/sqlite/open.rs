//! What happens before the first connection may serve: the folder, its lock, and a look at what the file is.

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{
    backup::folder_of,
    connection::open_plain,
    journal::{
        disk::{Beside, Disk},
        recovery::JournalError,
    },
    lock::{FolderLock, real_path},
    modes,
    schema::{self, Kind},
};

/// Why the store cannot be opened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("The data folder belongs to {by}. Stop that one first, or give this one a folder of its own (store.url).")]
    Owned { by: String },
    #[error("The data folder {} cannot be used: {error}. Create it for the user that natter runs as, or set store.url.",
        folder.display())]
    Folder { folder: PathBuf, error: io::Error },
    #[error("{} was written by a newer natter (schema {found}, this one knows {known}). Run that version, or restore a \
        backup made by this one.", file.display())]
    Newer { file: PathBuf, found: usize, known: usize },
    #[error(
        "{} is open to others (mode {mode:o}), and natter cannot change that: whoever reads or replaces it has everybody's messages \
         and logins. Give it to the user that natter runs as, and take the rights of others away: chmod go= {}", path.display(),
        path.display()
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{} is not a natter database. Name another file in store.url.", file.display())]
    Foreign { file: PathBuf },
    #[error("{} is damaged: {error}. Restore a backup: natter restore FILE --force", file.display())]
    Damaged { file: PathBuf, error: rusqlite::Error },
    #[error("{} cannot keep a write-ahead log here. Put the data folder on a local disk: network file systems lack the \
        locks that it needs.", file.display())]
    NoLog { file: PathBuf },
    #[error("{} cannot be opened: {error}. Check that the disk has room and that natter may write there.",
        file.display())]
    Database { file: PathBuf, error: rusqlite::Error },
    #[error("{} is a link, and a journal lies beside it: its posts would be missed. Move {}.log-* to {}.log-*, and start again.",
        link.display(), link.display(), file.display())]
    Strayed { link: PathBuf, file: PathBuf },
    #[error("The journal cannot be taken over: {0}.")]
    Journal(#[from] JournalError),
    #[error("The journal's files cannot be removed: {0}. Check that natter may write to the data folder.")]
    JournalFile(io::Error),
    #[error("The store's writer thread cannot be started: {0}. Check the limit on processes (ulimit -u).")]
    Thread(io::Error),
    #[error(
        "The list of what was deleted, beside the database (its name with .erased), cannot be used: {0}. Check that natter may read and \
         write it."
    )]
    Erased(io::Error),
}

impl OpenError {
    pub(super) fn of(file: &Path, error: rusqlite::Error) -> Self {
        let file = file.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => OpenError::Foreign { file },
            Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged { file, error },
            _ => OpenError::Database { file, error },
        }
    }

    pub(super) fn is_of_a_full_disk(&self) -> bool {
        matches!(self, OpenError::Database { error, .. } if error.sqlite_error_code() == Some(ErrorCode::DiskFull))
    }
}

/// The path in `sqlite:<path>`; `sqlite:///abs/path` is taken too.
pub fn path_of(url: &str) -> Result<PathBuf, String> {
    if url.starts_with("mongodb://") || url.starts_with("mongodb+srv://") {
        return Err("MongoDB comes with a later version of natter; use sqlite:<path> for now, as in \
                    sqlite:data/natter.db"
            .into());
    }
    let wrong = || format!("{url:?} names no store; write sqlite:<path>, as in sqlite:data/natter.db");
    let path = url.strip_prefix("sqlite:").ok_or_else(wrong)?;
    let path = match path.strip_prefix("//") {
        // What stands between `//` and the next `/` would be a machine, and a file has none.
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(_) => return Err(wrong()),
        None => path,
    };
    if path.is_empty() || path.ends_with('/') || path == ":memory:" {
        return Err(wrong());
    }
    Ok(PathBuf::from(path))
}

/// Takes the folder of a database at its real path, and leaves one of the newest schema in it.
pub(super) fn prepare(path: &Path) -> Result<FolderLock, OpenError> {
    let lock = FolderLock::take(path, true)?;
    modes::keep_private(path)?;
    let mut db = open_plain(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|error| OpenError::of(path, error))?;
    let version = match schema::kind(&db).map_err(|error| OpenError::of(path, error))? {
        Kind::Empty => 0,
        Kind::Natter(version) => version,
        Kind::Newer(found) => return Err(OpenError::Newer { file: path.into(), found, known: schema::VERSION }),
        Kind::Foreign => return Err(OpenError::Foreign { file: path.into() }),
    };
    bring_up(&mut db, path, version)
        .map_err(|error| OpenError::of(path, error))?
        .then_some(lock)
        .ok_or_else(|| OpenError::NoLog { file: path.into() })
}

/// Makes the folder (0700) where there is none, and follows the links to where the database really is.
pub(super) fn place_of(path: &Path) -> Result<PathBuf, OpenError> {
    let folder = folder_of(path);
    let io = |error| OpenError::Folder { folder: folder.into(), error };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io)?;
    let (link, file) = (std::path::absolute(path).map_err(io)?, real_path(path).map_err(io)?);
    // Through a link to the folder, the two are beside the same journal.
    if link.is_symlink() && Beside::new(&link).slots().is_ok_and(|slots| !slots.is_empty()) {
        return Err(OpenError::Strayed { link, file });
    }
    Ok(file)
}

/// `false` where the file system cannot do WAL.
fn bring_up(db: &mut Connection, path: &Path, version: usize) -> rusqlite::Result<bool> {
    db.execute_batch("PRAGMA synchronous = FULL")?;
    let mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if version < schema::VERSION {
        tracing::info!(file = %path.display(), from = version, to = schema::VERSION, "bringing the database up to date");
        schema::migrate(db, version)?;
    }
    Ok(mode == "wal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_from_its_url() {
        assert_eq!(path_of("sqlite:data/natter.db"), Ok("data/natter.db".into()));
        assert_eq!(path_of("sqlite:/var/lib/natter.db"), Ok("/var/lib/natter.db".into()));
        assert_eq!(path_of("sqlite:///var/lib/natter.db"), Ok("/var/lib/natter.db".into()));
    }

    #[test]
    fn a_url_of_no_store_is_refused_with_a_sentence() {
        for url in ["", "sqlite:", "sqlite://host/file", "sqlite:data/", "sqlite::memory:", "postgres://x", "data.db"] {
            assert!(path_of(url).expect_err(url).contains("sqlite:<path>"), "{url}");
        }
        assert!(path_of("mongodb://localhost").expect_err("not yet").contains("later version"));
    }
}
