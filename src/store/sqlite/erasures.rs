//! What was deleted, as the tables have it, and the word that some of it is to be erased elsewhere too (`eraser.rs`).

use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::types::{MessageId, RoomId};

/// Deletions of so long share the work; it is tried again as often where readers are in the way.
const EVERY: Duration = Duration::from_millis(500);

/// A deletion of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Erasure {
    pub chat_id: RoomId,
    pub message_id: MessageId,
    /// Milliseconds since 1970.
    pub at: i64,
}

/// Whether something was deleted that is not erased everywhere.
#[derive(Default)]
pub(super) struct Wanted {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    wanted: bool,
    stopping: bool,
}

impl Wanted {
    pub(super) fn want(&self) {
        self.state.lock().wanted = true;
        self.changed.notify_all();
    }

    pub(super) fn stop(&self) {
        self.state.lock().stopping = true;
        self.changed.notify_all();
    }

    /// Waits until something is wanted, and a moment more for what comes along; `false`: the store closes, which does the rest.
    pub(super) fn wait(&self) -> bool {
        let mut state = self.state.lock();
        while !state.wanted && !state.stopping {
            self.changed.wait(&mut state);
        }
        if !state.stopping {
            self.changed.wait_while_for(&mut state, |state| !state.stopping, EVERY);
        }
        state.wanted = false;
        !state.stopping
    }
}

/// Those of the tables after the `n`th, each with its number.
pub(super) fn erasures(db: &Connection, after: i64) -> rusqlite::Result<Vec<(i64, Erasure)>> {
    let erasure = |row: &rusqlite::Row<'_>| {
        let (room, message): ([u8; 16], [u8; 16]) = (row.get(1)?, row.get(2)?);
        let (chat_id, message_id) = (RoomId(Uuid::from_bytes(room)), MessageId(Uuid::from_bytes(message)));
        Ok((row.get(0)?, Erasure { chat_id, message_id, at: row.get(3)? }))
    };
    db.prepare_cached("SELECT n, room_id, message_id, at FROM erasures WHERE n > ? ORDER BY n")?
        .query_map([after], erasure)?
        .collect()
}

/// Notes that a message is deleted.
pub(super) fn note(db: &Connection, room: RoomId, message: MessageId, at: i64) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR IGNORE INTO erasures (room_id, message_id, at) VALUES (?, ?, ?)")?
        .execute(params![room.0.as_bytes(), message.0.as_bytes().as_slice(), at])
        .map(drop)
}
