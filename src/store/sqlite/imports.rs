//! The mark on a database that an import is filling: while it is there, nothing may serve from it.

use rusqlite::{Connection, OptionalExtension};

use crate::store::Begun;

pub(super) fn begin(db: &Connection, import: &str) -> rusqlite::Result<Begun> {
    match unfinished(db)? {
        Some(name) if name == import => return Ok(Begun::Again),
        Some(name) => return Ok(Begun::Other(name)),
        None => {}
    }
    let in_use: bool =
        db.query_row("SELECT EXISTS (SELECT 1 FROM users) OR EXISTS (SELECT 1 FROM rooms)", [], |row| row.get(0))?;
    if in_use {
        return Ok(Begun::InUse);
    }
    db.execute("INSERT INTO unfinished_import (one, name) VALUES (1, ?)", [import])?;
    Ok(Begun::Anew)
}

pub(super) fn end(db: &Connection) -> rusqlite::Result<()> {
    db.execute("DELETE FROM unfinished_import", []).map(drop)
}

pub(super) fn unfinished(db: &Connection) -> rusqlite::Result<Option<String>> {
    db.query_row("SELECT name FROM unfinished_import", [], |row| row.get(0)).optional()
}
