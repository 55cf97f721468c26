//! The tables as the thread of the journal reads them.

use std::{path::PathBuf, sync::Arc};

use rusqlite::Connection;

use super::{
    codec::{count, store_error, wants_a_new_connection},
    connection::open_reader,
    writer::Writer,
};
use crate::store::Result;

/// Pages that a settled post may need in the tables at the worst, beside what holds its own bytes.
const PAGES_OF_A_POST: u64 = 12;

/// A snapshot serves as long as nobody has written to them.
pub(super) struct Tables {
    database: PathBuf,
    pub max_bytes: u64,
    writer: Arc<Writer>,
    /// `None` at first and after trouble.
    connection: Option<Connection>,
    /// The commits that are in the snapshot; `None`: there is none.
    snapshot: Option<u64>,
}

impl Tables {
    pub(super) fn new(database: PathBuf, max_bytes: u64, writer: Arc<Writer>) -> Self {
        Self { database, max_bytes, writer, connection: None, snapshot: None }
    }

    /// Sees everything that was committed before.
    pub(super) fn read<T>(&mut self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let result = self.fresh().and_then(read);
        if let Err(error) = &result
            && wants_a_new_connection(error)
        {
            (self.connection, self.snapshot) = (None, None);
        }
        result.map_err(|error| store_error(&error))
    }

    fn fresh(&mut self) -> rusqlite::Result<&Connection> {
        let commits = self.writer.commits();
        if self.snapshot != Some(commits) {
            self.let_go()?;
        }
        if self.connection.is_none() {
            self.connection = Some(open_reader(&self.database)?);
        }
        let db = self.connection.as_ref().ok_or(rusqlite::Error::InvalidQuery)?;
        if self.snapshot.is_none() {
            // The snapshot is that of the first read in it.
            db.prepare_cached("BEGIN")?.execute([])?;
            self.snapshot = Some(commits);
            db.prepare_cached("SELECT 1 FROM settled")?.exists([])?;
        }
        Ok(db)
    }

    /// A snapshot that nobody reads would keep the write-ahead log from being used again.
    pub(super) fn let_go(&mut self) -> rusqlite::Result<()> {
        if self.snapshot.take().is_some()
            && let Some(db) = &self.connection
            && !db.is_autocommit()
        {
            let ended = db.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
            if ended.is_err() {
                self.connection = None;
            }
            return ended.map(drop);
        }
        Ok(())
    }

    /// How far they may still grow, without what the last post may need.
    pub(super) fn bytes_left(&mut self) -> Result<u64> {
        let max_bytes = self.max_bytes;
        self.read(|db| {
            let pragma = |sql| db.prepare_cached(sql)?.query_row([], |row| count(row, 0));
            let used = pragma("PRAGMA page_count")?.saturating_sub(pragma("PRAGMA freelist_count")?);
            let page = pragma("PRAGMA page_size")?;
            Ok((max_bytes / page).saturating_sub(used + PAGES_OF_A_POST) * page)
        })
    }
}
