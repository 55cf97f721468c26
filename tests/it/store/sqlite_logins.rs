//! What the embedded store keeps of logins, and what it finds of them in databases of versions before.

use std::path::Path;

use natter::{
    store::{Device, LoginRecord, Presented, RefreshHash, Renewal, Rotation, SessionRecord},
    types::{SessionId, Timestamp, UserId},
};
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::{
    fixture::{add, at, login, renewal, token},
    sqlite::{file_in, open},
};

/// A database as a version before left it, the login in it that was begun first, and its token's hash. The token before that one
/// was `[0; 32]`.
fn of_before(file: &Path, version: usize) -> (SessionRecord, RefreshHash) {
    let db = Connection::open(file).unwrap();
    db.execute_batch(include_str!("version-3.sql")).unwrap();
    let sql = "SELECT session_id, user_id, created_at, sessions.expires_at, hash
               FROM sessions JOIN refresh_tokens USING (session_id) ORDER BY session_id LIMIT 1";
    let id = |row: &Row<'_>, column| row.get(column).map(Uuid::from_bytes);
    let found = db.query_row(sql, [], |row| {
        let session = SessionRecord {
            session_id: SessionId(id(row, 0)?),
            user_id: UserId(id(row, 1)?),
            created_at: Timestamp(row.get(2)?),
            expires_at: Timestamp(row.get(3)?),
        };
        Ok((session, row.get(4)?))
    });
    let (session, hash): (SessionRecord, RefreshHash) = found.unwrap();
    db.execute(
        "INSERT INTO refresh_tokens (hash, session_id, used, expires_at) VALUES (?, ?, 1, ?)",
        params![[0_u8; 32], session.session_id.0.as_bytes(), session.expires_at.0],
    )
    .unwrap();
    if version == 2 {
        // It did not know when a token expires.
        let undo = "DROP INDEX refresh_tokens_by_expiry; ALTER TABLE refresh_tokens DROP COLUMN expires_at";
        db.execute_batch(undo).unwrap();
    }
    db.pragma_update(None, "user_version", version as i64).unwrap();
    (session, hash)
}

#[tokio::test]
async fn a_database_of_an_older_version_keeps_its_logins() {
    for version in [2, 3] {
        let folder = tempfile::tempdir().unwrap();
        let file = file_in(&folder);
        let (session, hash) = of_before(&file, version);
        let store = open(&file, 0);
        assert_eq!(store.purge_sessions(at(2), 9).await.unwrap(), 0);
        let (seen_at, device) = (session.created_at, Device::default());
        let unseen = LoginRecord { session: session.clone(), seen_at, device };
        assert!(store.logins_of(session.user_id).await.unwrap().contains(&unseen));
        let bare = |hash, now| Renewal { presented: Presented::Bare(hash), ..renewal(&session, 0, now) };
        for hash in [[0; 32], hash] {
            assert_eq!(store.session_of_refresh(Presented::Bare(hash)).await.unwrap(), Some(session.clone()));
        }
        // Its token is answered with one of today, again where the answer was lost, and that one goes on.
        assert_eq!(store.rotate_refresh(bare(hash, 2)).await.unwrap(), Rotation::Rotated(session.clone()));
        assert_eq!(store.rotate_refresh(bare(hash, 3)).await.unwrap(), Rotation::Rotated(session.clone()));
        assert_eq!(store.rotate_refresh(renewal(&session, 1, 4)).await.unwrap(), Rotation::Rotated(session.clone()));
        // The used one is a copy in two hands, as ever.
        assert_eq!(store.rotate_refresh(bare([0; 32], 5)).await.unwrap(), Rotation::Reused(session.clone()));
        assert_eq!(store.session(session.session_id).await.unwrap(), None);
        store.close().await;
    }
}

#[tokio::test]
async fn a_used_token_of_an_older_version_ends_its_login() {
    let folder = tempfile::tempdir().unwrap();
    let (session, _) = of_before(&file_in(&folder), 3);
    let store = open(&file_in(&folder), 0);
    let reused = Renewal { presented: Presented::Bare([0; 32]), ..renewal(&session, 0, 1) };
    assert_eq!(store.rotate_refresh(reused).await.unwrap(), Rotation::Reused(session));
    store.close().await;
}

#[tokio::test]
async fn a_login_that_is_renewed_without_end_keeps_one_row() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&file_in(&folder), 0);
    let session = login(add(&store, "ann").await, 0);
    store.create_session(session.clone(), token(&session, 0), 9).await.unwrap();
    for n in 0..100 {
        store.rotate_refresh(renewal(&session, n, i64::from(n))).await.unwrap();
    }
    store.close().await;
    let db = Connection::open(file_in(&folder)).unwrap();
    for (table, rows) in [("sessions", 1), ("refreshes", 1), ("refresh_tokens", 0)] {
        let found: i64 = db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(found, rows, "{table}");
    }
}
