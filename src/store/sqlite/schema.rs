//! The tables, as a list of numbered steps that only ever grows at its end.
//!
//! A database says which steps it has seen in `PRAGMA user_version`, and that it is natter's in `application_id`.
//! Ids are 16-byte BLOBs, times milliseconds, roles the small numbers of `codec.rs`.

use rusqlite::{Connection, TransactionBehavior};

use super::users;

/// "natt": set in every database of ours and in no other.
pub(super) const APPLICATION_ID: i64 = 0x6e61_7474;

/// The version this binary writes.
pub const VERSION: usize = MIGRATIONS.len();

/// Step `n` leads from version `n` to `n + 1`. A released step is never edited: add one after it.
const MIGRATIONS: &[&str] = &[
    // 1: users, logins, rooms, members, the logs.
    "
    CREATE TABLE users (
        user_id       BLOB NOT NULL PRIMARY KEY,
        folded        TEXT NOT NULL UNIQUE,
        username      TEXT NOT NULL,
        display_name  TEXT NOT NULL,
        password_hash TEXT NOT NULL,
        roles         INTEGER NOT NULL,
        created_at    INTEGER NOT NULL,
        disabled      INTEGER NOT NULL,
        token_epoch   INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    -- Who could be the last admin. Bit 1 of `roles` is admin.
    CREATE INDEX users_admins ON users (user_id) WHERE roles & 1 AND NOT disabled;

    CREATE TABLE sessions (
        session_id BLOB NOT NULL PRIMARY KEY,
        user_id    BLOB NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX sessions_of_user ON sessions (user_id, created_at, session_id);
    CREATE INDEX sessions_by_expiry ON sessions (expires_at);

    -- Tokens that were rotated away stay, used: presenting one again betrays a stolen copy.
    CREATE TABLE refresh_tokens (
        hash       BLOB NOT NULL PRIMARY KEY,
        session_id BLOB NOT NULL REFERENCES sessions ON DELETE CASCADE,
        used       INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX refresh_tokens_of_session ON refresh_tokens (session_id);

    CREATE TABLE rooms (
        room_id          BLOB NOT NULL PRIMARY KEY,
        kind             INTEGER NOT NULL,
        name             TEXT,
        pair             TEXT UNIQUE,
        epoch            TEXT NOT NULL,
        head_seq         INTEGER NOT NULL,
        messages         INTEGER NOT NULL,
        last_message_seq INTEGER NOT NULL,
        created_at       INTEGER NOT NULL,
        active_at        INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE members (
        room_id      BLOB NOT NULL,
        user_id      BLOB NOT NULL,
        role         INTEGER NOT NULL,
        joined_seq   INTEGER NOT NULL,
        read_seq     INTEGER NOT NULL,
        read_ordinal INTEGER NOT NULL,
        PRIMARY KEY (room_id, user_id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX members_in_order ON members (room_id, joined_seq, user_id);
    CREATE INDEX members_of_user ON members (user_id, room_id);

    -- `effect` is NULL for a message, which changes nothing but the counters.
    CREATE TABLE events (
        room_id    BLOB NOT NULL,
        seq        INTEGER NOT NULL,
        ordinal    INTEGER NOT NULL,
        sender     BLOB NOT NULL,
        client_id  TEXT,
        event_id   BLOB NOT NULL,
        sent_at    INTEGER NOT NULL,
        effect     BLOB,
        body       BLOB NOT NULL,
        PRIMARY KEY (room_id, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX events_once ON events (room_id, sender, client_id) WHERE client_id IS NOT NULL;
    -- Who joined when, also of those who left: few entries, and none for a message.
    CREATE INDEX events_effects ON events (room_id, effect) WHERE effect IS NOT NULL;

    -- One row that `ready` writes anew, as large as a large message, to see that writing works.
    CREATE TABLE probe (filling BLOB NOT NULL) STRICT;
    INSERT INTO probe VALUES (zeroblob(16384));
    ",
    // 2: the import that has begun and not ended, at most one.
    "
    CREATE TABLE unfinished_import (
        one  INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
        name TEXT NOT NULL
    ) STRICT;
    ",
    // 3: a refresh token stays as long as it could have been used, so that a login that is renewed for years keeps few.
    "
    ALTER TABLE refresh_tokens ADD COLUMN expires_at INTEGER NOT NULL DEFAULT 0;
    UPDATE refresh_tokens SET expires_at =
        (SELECT expires_at FROM sessions WHERE sessions.session_id = refresh_tokens.session_id);
    CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at);
    ",
    // 4: how far the journal's events are in these tables, and the name by which the journal knows its database.
    "
    CREATE TABLE settled (
        one        INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
        database   BLOB NOT NULL,
        segment    INTEGER NOT NULL,
        end_offset INTEGER NOT NULL
    ) STRICT;
    INSERT INTO settled VALUES (1, randomblob(16), 0, 0);
    ",
    // 5: who blocks whom; and of members whether they have written, are there by their own doing, and where they hid the room.
    "
    CREATE TABLE blocks (
        user_id    BLOB NOT NULL,
        blocked_id BLOB NOT NULL,
        PRIMARY KEY (user_id, blocked_id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX blocks_of_blocked ON blocks (blocked_id);

    ALTER TABLE members ADD COLUMN wrote INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE members ADD COLUMN own INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE members ADD COLUMN hidden_seq INTEGER NOT NULL DEFAULT 0;
    UPDATE members SET own = 1 WHERE EXISTS (
        SELECT 1 FROM events
        WHERE events.room_id = members.room_id AND seq = members.joined_seq AND sender = members.user_id
    );
    -- In private rooms alone it is asked for.
    UPDATE members SET wrote = 1 WHERE room_id IN (SELECT room_id FROM rooms WHERE kind = 0) AND EXISTS (
        SELECT 1 FROM events WHERE events.room_id = members.room_id AND sender = members.user_id AND effect IS NULL
    );
    CREATE INDEX members_by_own_doing ON members (user_id) WHERE own;
    ",
    // 6: of a login's refresh tokens the current one and the one used last, however often it is renewed. What is in
    // `refresh_tokens` is of logins begun before, and goes as it expires.
    "
    CREATE TABLE refreshes (
        session_id BLOB NOT NULL PRIMARY KEY REFERENCES sessions ON DELETE CASCADE,
        family     BLOB NOT NULL,
        hash       BLOB NOT NULL,
        turn       INTEGER NOT NULL,
        used       BLOB,
        used_at    INTEGER
    ) STRICT, WITHOUT ROWID;
    ",
    // 7: when and by what a login was begun or renewed last, where that was noted.
    "
    ALTER TABLE sessions ADD COLUMN seen_at INTEGER;
    ALTER TABLE sessions ADD COLUMN address TEXT;
    ALTER TABLE sessions ADD COLUMN agent TEXT;
    ",
    // 8.
    SKELETONS,
    // 9: who is to be asked before they are in a room: 0 has left, 1 is invited.
    "
    CREATE TABLE consent (
        room_id    BLOB NOT NULL,
        user_id    BLOB NOT NULL,
        invited    INTEGER NOT NULL,
        role       INTEGER,
        by_id      BLOB,
        invited_at INTEGER,
        PRIMARY KEY (room_id, user_id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX consent_of_invited ON consent (user_id, invited_at, room_id) WHERE invited;
    -- Those whose last word in a room was that they leave it.
    INSERT INTO consent (room_id, user_id, invited)
        SELECT room_id, sender, 0 FROM events AS gone
        WHERE length(effect) = 17 AND substr(effect, 1, 1) = x'02' AND substr(effect, 2) = sender
        AND NOT EXISTS (SELECT 1 FROM members WHERE members.room_id = gone.room_id AND user_id = sender)
        AND NOT EXISTS (
            SELECT 1 FROM events AS later
            WHERE later.room_id = gone.room_id AND later.effect = gone.effect AND later.seq > gone.seq
        );
    ",
    // 10: the audit.
    "
    CREATE TABLE audit (
        id         BLOB NOT NULL PRIMARY KEY,
        at         INTEGER NOT NULL,
        who        TEXT,
        address    TEXT,
        what       TEXT NOT NULL,
        whom       TEXT,
        detail     TEXT,
        request_id TEXT,
        count      INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    ",
    // 11: accounts that are being deleted or were.
    "
    ALTER TABLE users ADD COLUMN deletion INTEGER;
    CREATE INDEX users_deletions ON users (deletion) WHERE deletion IS NOT NULL;
    ",
    // 12: how messages stand that were changed: by which event last (`at`), how often they were edited and where their text is;
    // of deleted ones their ordinal. And messages by their ids.
    "
    CREATE TABLE forms (
        room_id  BLOB NOT NULL,
        seq      INTEGER NOT NULL,
        at       INTEGER NOT NULL,
        edits    INTEGER NOT NULL,
        edit_seq INTEGER,
        deleted  INTEGER,
        PRIMARY KEY (room_id, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX forms_deleted ON forms (room_id, deleted) WHERE deleted IS NOT NULL;
    CREATE INDEX events_by_id ON events (room_id, substr(event_id, 1, 8)) WHERE effect IS NULL;
    ",
    // 13: the index of searches (`search/`), which is filled in the background.
    "
    ALTER TABLE rooms ADD COLUMN searched_seq INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE rooms ADD COLUMN number INTEGER;
    CREATE INDEX rooms_behind ON rooms (room_id) WHERE head_seq > searched_seq;
    CREATE UNIQUE INDEX rooms_by_number ON rooms (number) WHERE number IS NOT NULL;
    CREATE TABLE searched (
        place INTEGER NOT NULL PRIMARY KEY,
        room  INTEGER NOT NULL,
        seq   INTEGER NOT NULL
    ) STRICT;
    -- Of 'ascii', only that it splits at spaces is used.
    CREATE VIRTUAL TABLE words USING fts5 (terms, content='', columnsize=0, tokenize='ascii');
    INSERT INTO words (words, rank) VALUES ('secure-delete', 1);
    CREATE TABLE words_version (version TEXT NOT NULL) STRICT;
    INSERT INTO words_version VALUES ('');
    ",
    // 14: the messages that were deleted, in the order in which they were.
    "
    CREATE TABLE erasures (
        n          INTEGER PRIMARY KEY,
        room_id    BLOB NOT NULL,
        message_id BLOB NOT NULL UNIQUE,
        at         INTEGER NOT NULL
    ) STRICT;
    ",
];

/// What a username looks like, once each; none where another had a name that looks the same before. The step goes on with
/// [`users::fill_skeletons`].
const SKELETONS: &str = "
    ALTER TABLE users ADD COLUMN skeleton TEXT;
    CREATE UNIQUE INDEX users_skeletons ON users (skeleton);
";

/// What kind of database a file turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Empty,
    /// Ours, at this version.
    Natter(usize),
    /// Ours, of a version that this binary does not know.
    Newer(usize),
    Foreign,
}

pub(super) fn kind(db: &Connection) -> rusqlite::Result<Kind> {
    let application: i64 = db.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match (application, usize::try_from(version)) {
        (APPLICATION_ID, Ok(version)) if version > VERSION => Kind::Newer(version),
        (APPLICATION_ID, Ok(version)) => Kind::Natter(version),
        (0, Ok(0)) if tables == 0 => Kind::Empty,
        _ => Kind::Foreign,
    })
}

/// Brings an empty database or one of ours to [`VERSION`], each step in a transaction of its own.
pub(super) fn migrate(db: &mut Connection, from: usize) -> rusqlite::Result<()> {
    for (done, step) in MIGRATIONS.iter().enumerate().skip(from) {
        let step_tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        step_tx.execute_batch(step)?;
        if *step == SKELETONS {
            users::fill_skeletons(&step_tx)?;
        }
        step_tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        step_tx.pragma_update(None, "user_version", (done + 1) as i64)?;
        step_tx.commit()?;
    }
    Ok(())
}
