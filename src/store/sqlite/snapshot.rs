//! The tables as the thread of the journal reads them.

use std::path::PathBuf;

use rusqlite::Connection;

use super::{
    codec::{count, store_error, wants_a_new_connection},
    connection::open_reader,
};
use crate::store::Result;

/// Pages that a settled post may need in the tables at the worst, beside what holds its own bytes.
const PAGES_OF_A_POST: u64 = 12;

/// A snapshot is held no longer than a look takes: a checkpoint goes as far as the oldest one, and the write-ahead log begins anew
/// only where nobody reads it.
pub(super) struct Tables {
    database: PathBuf,
    pub max_bytes: u64,
    /// `None` at first and after trouble.
    connection: Option<Connection>,
}

impl Tables {
    pub(super) fn new(database: PathBuf, max_bytes: u64) -> Self {
        Self { database, max_bytes, connection: None }
    }

    /// Sees everything that was committed before, in one snapshot.
    pub(super) fn read<T>(&mut self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let result = self.in_a_snapshot(read);
        if let Err(error) = &result
            && wants_a_new_connection(error)
        {
            self.connection = None;
        }
        result.map_err(|error| store_error(&error))
    }

    fn in_a_snapshot<T>(&mut self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let db = match &self.connection {
            Some(db) => db,
            None => self.connection.insert(open_reader(&self.database)?),
        };
        db.prepare_cached("BEGIN")?.execute([])?;
        let result = read(db);
        let ended = db.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        if ended.is_err() {
            self.connection = None;
        }
        result.and_then(|result| ended.map(|_| result))
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
