//! Logins and their refresh tokens: one row of `refreshes` for each login. A login that ends takes it along (`ON DELETE
//! CASCADE`).
//!
//! A login begun by a version before has no such row until its token is used here; until then its tokens are in
//! `refresh_tokens`, where they stay until they expire, because nothing but their hashes leads to their login.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::codec::{count, int, session_id, time, user_id};
use crate::{
    store::{
        Device, LoginRecord, Presented, RefreshHash, RefreshKey, Renewal, Rotation, SessionRecord,
        refresh::{Held, Used, Verdict},
    },
    types::{SessionId, Timestamp, UserId},
};

fn record(row: &Row<'_>) -> rusqlite::Result<SessionRecord> {
    Ok(SessionRecord {
        session_id: session_id(row, 0)?,
        user_id: user_id(row, 1)?,
        created_at: time(row, 2)?,
        expires_at: time(row, 3)?,
    })
}

pub(super) fn create(
    db: &Connection,
    session: &SessionRecord,
    first: &RefreshKey,
    keep: usize,
) -> rusqlite::Result<Vec<SessionId>> {
    db.prepare_cached("INSERT INTO sessions (session_id, user_id, created_at, expires_at) VALUES (?, ?, ?, ?)")?
        .execute(params![
            session.session_id.0.as_bytes(),
            session.user_id.0.as_bytes(),
            session.created_at.0,
            session.expires_at.0,
        ])?;
    hold(db, session.session_id, first, None)?;
    let others_kept = int(keep as u64).max(1) - 1;
    // The new one stays even where a clock was set back and it looks older than the rest.
    let mut ended: Vec<SessionId> = db
        .prepare_cached(
            "SELECT session_id FROM sessions WHERE user_id = ? AND session_id <> ?
             ORDER BY created_at DESC, session_id DESC LIMIT -1 OFFSET ?",
        )?
        .query_map(params![session.user_id.0.as_bytes(), session.session_id.0.as_bytes(), others_kept], |row| {
            session_id(row, 0)
        })?
        .collect::<rusqlite::Result<_>>()?;
    ended.reverse();
    for session in &ended {
        end(db, *session)?;
    }
    Ok(ended)
}

/// Makes `key` the login's current token.
fn hold(db: &Connection, session: SessionId, key: &RefreshKey, used: Option<Used>) -> rusqlite::Result<()> {
    let (hash, at) = used.map(|used| (used.hash, used.at.0)).unzip();
    db.prepare_cached(
        "INSERT OR REPLACE INTO refreshes (session_id, family, hash, turn, used, used_at) VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![session.0.as_bytes(), key.family, key.hash, int(key.turn), hash, at])
    .map(drop)
}

fn held(db: &Connection, session: SessionId) -> rusqlite::Result<Option<Held>> {
    let held = |row: &Row<'_>| {
        let used: Option<RefreshHash> = row.get(3)?;
        let used = used.map(|hash| Ok::<_, rusqlite::Error>(Used { hash, at: time(row, 4)? })).transpose()?;
        Ok(Held { family: Some(row.get(0)?), turn: count(row, 1)?, hash: row.get(2)?, used })
    };
    db.prepare_cached("SELECT family, turn, hash, used, used_at FROM refreshes WHERE session_id = ?")?
        .query_row([session.0.as_bytes()], held)
        .optional()
}

/// What a version before holds of a login: its one token that was not used.
fn held_before(db: &Connection, session: SessionId) -> rusqlite::Result<Option<Held>> {
    db.prepare_cached("SELECT hash FROM refresh_tokens WHERE session_id = ? AND NOT used")?
        .query_row([session.0.as_bytes()], |row| Ok(Held { family: None, turn: 0, hash: row.get(0)?, used: None }))
        .optional()
}

pub(super) fn by_id(db: &Connection, session: SessionId) -> rusqlite::Result<Option<SessionRecord>> {
    db.prepare_cached("SELECT session_id, user_id, created_at, expires_at FROM sessions WHERE session_id = ?")?
        .query_row([session.0.as_bytes()], record)
        .optional()
}

pub(super) fn see(db: &Connection, session: SessionId, at: Timestamp, device: &Device) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE sessions SET seen_at = ?, address = ?, agent = ? WHERE session_id = ?")?
        .execute(params![at.0, device.address, device.agent, session.0.as_bytes()])
        .map(drop)
}

pub(super) fn of_user(db: &Connection, user: UserId) -> rusqlite::Result<Vec<LoginRecord>> {
    let login = |row: &Row<'_>| {
        let device = Device { address: row.get(5)?, agent: row.get(6)? };
        Ok(LoginRecord { session: record(row)?, seen_at: time(row, 4)?, device })
    };
    db.prepare_cached(
        "SELECT session_id, user_id, created_at, expires_at, coalesce(seen_at, created_at), address, agent
         FROM sessions WHERE user_id = ?",
    )?
    .query_map([user.0.as_bytes()], login)?
    .collect()
}

/// The login of a token of a version before, and until when the token is good.
fn of_bare(db: &Connection, hash: &RefreshHash) -> rusqlite::Result<Option<(SessionRecord, Timestamp)>> {
    db.prepare_cached(
        "SELECT session_id, user_id, created_at, sessions.expires_at, refresh_tokens.expires_at
         FROM refresh_tokens JOIN sessions USING (session_id) WHERE hash = ?",
    )?
    .query_row([hash], |row| Ok((record(row)?, time(row, 4)?)))
    .optional()
}

/// A login and what is held of its tokens, by one of them.
fn find(db: &Connection, presented: &Presented) -> rusqlite::Result<Option<(SessionRecord, Timestamp, Held)>> {
    let found = match presented {
        Presented::Key(key) => by_id(db, key.session)?.map(|session| (session.expires_at, session)),
        Presented::Bare(hash) => of_bare(db, hash)?.map(|(session, until)| (session.expires_at.min(until), session)),
    };
    let Some((good_until, session)) = found else { return Ok(None) };
    let held = match held(db, session.session_id)? {
        Some(held) => Some(held),
        None => held_before(db, session.session_id)?,
    };
    Ok(held.map(|held| (session, good_until, held)))
}

pub(super) fn by_token(db: &Connection, presented: &Presented) -> rusqlite::Result<Option<SessionRecord>> {
    let found = find(db, presented)?.filter(|(.., held)| match presented {
        Presented::Key(key) => held.family == Some(key.family),
        Presented::Bare(_) => true,
    });
    Ok(found.map(|(session, ..)| session))
}

pub(super) fn rotate(db: &Connection, renewal: &Renewal) -> rusqlite::Result<Rotation> {
    let &Renewal { presented, next, now, expires_at, .. } = renewal;
    let Some((session, good_until, held)) = find(db, &presented)? else { return Ok(Rotation::Unknown) };
    if good_until <= now {
        return Ok(Rotation::Unknown);
    }
    match held.judge(renewal) {
        Verdict::Follow(used) => {
            hold(db, session.session_id, &next, Some(used))?;
            db.prepare_cached("UPDATE sessions SET expires_at = ? WHERE session_id = ?")?
                .execute(params![expires_at.0, session.session_id.0.as_bytes()])?;
            Ok(Rotation::Rotated(SessionRecord { expires_at, ..session }))
        }
        Verdict::Refuse => Ok(Rotation::Unknown),
        Verdict::End => {
            end(db, session.session_id)?;
            Ok(Rotation::Reused(session))
        }
    }
}

pub(super) fn end(db: &Connection, session: SessionId) -> rusqlite::Result<bool> {
    let ended = db.prepare_cached("DELETE FROM sessions WHERE session_id = ?")?.execute([session.0.as_bytes()])?;
    Ok(ended > 0)
}

/// Ends every login of a user but `keep`.
pub(super) fn end_all(db: &Connection, user: UserId, keep: Option<SessionId>) -> rusqlite::Result<()> {
    let keep = keep.map(|session| *session.0.as_bytes());
    db.prepare_cached("DELETE FROM sessions WHERE user_id = ? AND session_id IS NOT ?")?
        .execute(params![user.0.as_bytes(), keep])
        .map(drop)
}

pub(super) fn purge(db: &Connection, now: Timestamp, limit: usize) -> rusqlite::Result<usize> {
    let sessions = db
        .prepare_cached(
            "DELETE FROM sessions WHERE session_id IN
             (SELECT session_id FROM sessions WHERE expires_at < ? ORDER BY expires_at LIMIT ?)",
        )?
        .execute(params![now.0, int(limit as u64)])?;
    let tokens = db
        .prepare_cached(
            "DELETE FROM refresh_tokens WHERE hash IN
             (SELECT hash FROM refresh_tokens WHERE expires_at < ? ORDER BY expires_at LIMIT ?)",
        )?
        .execute(params![now.0, int(limit.saturating_sub(sessions) as u64)])?;
    Ok(sessions + tokens)
}
