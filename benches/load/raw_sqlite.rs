//! The ceiling for durable posts: SQLite alone, one row per post, a commit per batch, nobody to talk to.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use crate::Result;
use crate::stats::Latency;

pub struct Committed {
    pub rows_per_sec: f64,
    /// Of one commit with its batch.
    pub latency: Latency,
}

/// The least a log has to hold: room, seq and the event's bytes, found by (room, seq). Durable as natter is: WAL, FULL.
pub fn commit_batches(
    folder: &Path,
    rooms: i64,
    batch: u64,
    event_bytes: usize,
    length: Duration,
) -> Result<Committed> {
    let mut database = Connection::open(folder.join(format!("raw-{rooms}-{batch}.db")))?;
    database.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE IF NOT EXISTS log (room BLOB, seq INTEGER, event BLOB, PRIMARY KEY (room, seq)) WITHOUT ROWID;",
    )?;
    let mut row: i64 = database.query_row("SELECT count(*) FROM log", [], |row| row.get(0))?;
    let (event, first, start) = (vec![b'x'; event_bytes], row, Instant::now());
    let mut latency = Latency::default();
    while start.elapsed() < length {
        let began = Instant::now();
        let transaction = database.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO log VALUES (?1, ?2, ?3)")?;
            for _ in 0..batch {
                let room = i128::from(row % rooms).to_be_bytes();
                insert.execute(params![room, row / rooms + 1, event])?;
                row += 1;
            }
        }
        transaction.commit()?;
        latency.record(began.elapsed());
    }
    Ok(Committed { rows_per_sec: (row - first) as f64 / start.elapsed().as_secs_f64(), latency })
}
