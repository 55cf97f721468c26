//! The audit: one row an entry, in the order of their ids, which is that of time.

use rusqlite::{Connection, Row, named_params, params};
use uuid::Uuid;

use super::codec::{count, int, time};
use crate::{
    store::{AuditQuery, AuditRecord},
    types::Timestamp,
};

const COLUMNS: &str = "id, at, who, address, what, whom, detail, request_id, count";

fn record(row: &Row<'_>) -> rusqlite::Result<AuditRecord> {
    Ok(AuditRecord {
        id: Uuid::from_bytes(row.get(0)?),
        at: time(row, 1)?,
        who: row.get(2)?,
        address: row.get(3)?,
        what: row.get(4)?,
        whom: row.get(5)?,
        detail: row.get(6)?,
        request_id: row.get(7)?,
        count: count(row, 8)?,
    })
}

pub(super) fn append(db: &Connection, entries: &[AuditRecord]) -> rusqlite::Result<()> {
    let mut insert =
        db.prepare_cached(&format!("INSERT INTO audit ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING"))?;
    for entry in entries {
        insert.execute(params![
            entry.id.as_bytes(),
            entry.at.0,
            entry.who,
            entry.address,
            entry.what,
            entry.whom,
            entry.detail,
            entry.request_id,
            int(entry.count),
        ])?;
    }
    Ok(())
}

pub(super) fn list(db: &Connection, query: &AuditQuery) -> rusqlite::Result<Vec<AuditRecord>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM audit
         WHERE id < :before AND (:who IS NULL OR who = :who OR whom = :who) AND (:what IS NULL OR what = :what)
         ORDER BY id DESC LIMIT :limit"
    ))?
    .query_map(
        named_params! {
            ":before": query.after.unwrap_or(Uuid::max()).as_bytes(),
            ":who": query.who,
            ":what": query.what,
            ":limit": int(query.limit as u64),
        },
        record,
    )?
    .collect()
}

pub(super) fn purge(db: &Connection, before: Timestamp, keep: usize, limit: usize) -> rusqlite::Result<usize> {
    let all: i64 = db.prepare_cached("SELECT count(*) FROM audit")?.query_row([], |row| row.get(0))?;
    let beyond = all.saturating_sub(int(keep as u64)).max(0).min(int(limit as u64));
    let forget = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        db.prepare_cached(&format!("DELETE FROM audit WHERE id IN (SELECT id FROM audit {sql})"))?.execute(values)
    };
    let too_many = forget("ORDER BY id LIMIT ?", &[&beyond])?;
    let left = int(limit.saturating_sub(too_many) as u64);
    let too_old = forget("WHERE at < ? ORDER BY id LIMIT ?", &[&before.0, &left])?;
    Ok(too_many + too_old)
}
