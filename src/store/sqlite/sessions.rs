//! Logins and their refresh tokens. A login that ends takes its tokens along (`ON DELETE CASCADE`).

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::codec::{int, session_id, time, user_id};
use crate::{
    store::{RefreshHash, Rotation, SessionRecord},
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
    refresh: &RefreshHash,
    keep: usize,
) -> rusqlite::Result<Vec<SessionId>> {
    db.prepare_cached("INSERT INTO sessions (session_id, user_id, created_at, expires_at) VALUES (?, ?, ?, ?)")?
        .execute(params![
            session.session_id.0.as_bytes(),
            session.user_id.0.as_bytes(),
            session.created_at.0,
            session.expires_at.0,
        ])?;
    add_token(db, session.session_id, refresh, session.expires_at)?;
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

fn add_token(db: &Connection, session: SessionId, hash: &RefreshHash, expires_at: Timestamp) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO refresh_tokens (hash, session_id, used, expires_at) VALUES (?, ?, 0, ?)")?
        .execute(params![hash, session.0.as_bytes(), expires_at.0])
        .map(drop)
}

pub(super) fn by_id(db: &Connection, session: SessionId) -> rusqlite::Result<Option<SessionRecord>> {
    db.prepare_cached("SELECT session_id, user_id, created_at, expires_at FROM sessions WHERE session_id = ?")?
        .query_row([session.0.as_bytes()], record)
        .optional()
}

/// A refresh token that is known, and the login that it belongs to.
pub(super) struct Token {
    pub session: SessionRecord,
    /// It was rotated away.
    used: bool,
    expires_at: Timestamp,
}

pub(super) fn by_token(db: &Connection, hash: &RefreshHash) -> rusqlite::Result<Option<Token>> {
    db.prepare_cached(
        "SELECT session_id, user_id, created_at, sessions.expires_at, used, refresh_tokens.expires_at
         FROM refresh_tokens JOIN sessions USING (session_id) WHERE hash = ?",
    )?
    .query_row([hash], |row| Ok(Token { session: record(row)?, used: row.get(4)?, expires_at: time(row, 5)? }))
    .optional()
}

pub(super) fn rotate(
    db: &Connection,
    presented: &RefreshHash,
    next: &RefreshHash,
    now: Timestamp,
    expires_at: Timestamp,
) -> rusqlite::Result<Rotation> {
    let Some(Token { session, used, expires_at: good_until }) = by_token(db, presented)? else {
        return Ok(Rotation::Unknown);
    };
    if session.expires_at.min(good_until) <= now {
        return Ok(Rotation::Unknown);
    }
    if used {
        end(db, session.session_id)?;
        return Ok(Rotation::Reused(session));
    }
    db.prepare_cached("UPDATE refresh_tokens SET used = 1 WHERE hash = ?")?.execute([presented])?;
    add_token(db, session.session_id, next, expires_at.max(good_until))?;
    db.prepare_cached("UPDATE sessions SET expires_at = ? WHERE session_id = ?")?
        .execute(params![expires_at.0, session.session_id.0.as_bytes()])?;
    Ok(Rotation::Rotated(SessionRecord { expires_at, ..session }))
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
