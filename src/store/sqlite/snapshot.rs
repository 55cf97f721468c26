//! The tables as the thread of the journal reads them.

use std::path::PathBuf;

use rusqlite::Connection;

use super::{
    codec::{store_error, wants_a_new_connection},
    connection::open_reader,
};
use crate::store::Result;

/// A snapshot is held no longer than a look takes: a checkpoint goes as far as the oldest one, and the write-ahead log begins anew
/// only where nobody reads it.
pub(super) struct Tables {
    database: PathBuf,
    /// `None` at first and after trouble.
    connection: Option<Connection>,
}

impl Tables {
    /// Opened now, while there are files to be had; a failure shows with the first look.
    pub(super) fn new(database: PathBuf) -> Self {
        let connection = open_reader(&database).ok();
        Self { database, connection }
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
}
