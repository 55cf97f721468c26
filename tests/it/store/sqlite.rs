//! What the embedded store promises beyond the contract: one owner, migrations, full and damaged disks, backups.

use std::{
    fs,
    future::Future,
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use natter::{
    config,
    event::Event,
    metrics::Metrics,
    protocol::Frame,
    store::{
        Page, Stopped, Store, StoreError,
        sqlite::{OpenError, RestoreError, SqliteStore, restore},
    },
    types::{RoomId, UserId},
};
use rusqlite::Connection;
use tempfile::TempDir;

use super::fixture::{
    add, add_group, ann_alone, append_all, assert_sound, at, login, message, person, presented, token, whole_log,
};

/// Everything that is posted stays in the journal until the end.
pub async fn with_store<F: Future<Output = ()>>(test: impl FnOnce(Arc<dyn Store>) -> F) {
    let config = config::Store { settle_secs: 3_600, ..Default::default() };
    with_store_of(&config, test).await;
}

/// The tables have a post before the next one is taken.
pub async fn with_store_that_settles_at_once<F: Future<Output = ()>>(test: impl FnOnce(Arc<dyn Store>) -> F) {
    let config = config::Store { unsettled_bytes: 1, unsettled_millis: 60_000, ..Default::default() };
    with_store_of(&config, test).await;
}

async fn with_store_of<F: Future<Output = ()>>(config: &config::Store, test: impl FnOnce(Arc<dyn Store>) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open(&file_in(&folder), config, Arc::new(Metrics::default())).unwrap());
    test(store.clone()).await;
    store.close().await;
}

pub fn file_in(folder: &TempDir) -> PathBuf {
    folder.path().join("natter.db")
}

fn try_open(file: &Path, max_bytes: u64) -> Result<Arc<dyn Store>, OpenError> {
    let config = config::Store { max_bytes, ..Default::default() };
    Ok(Arc::new(SqliteStore::open(file, &config, Arc::new(Metrics::default()))?))
}

pub fn open(file: &Path, max_bytes: u64) -> Arc<dyn Store> {
    try_open(file, max_bytes).unwrap()
}

pub fn open_error(file: &Path) -> OpenError {
    try_open(file, 0).map(drop).expect_err("it must not open")
}

/// The files as a killed process leaves them: nothing closed, nothing folded in. The journal first: what leaves it meanwhile is
/// in the tables before.
pub fn copy_as_killed(from: &TempDir, to: &TempDir) {
    let names = fs::read_dir(from.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.ends_with("-shm") && !name.ends_with(".lock")).collect();
    names.sort_by_key(|name| (!name.contains(".log-"), name.clone()));
    for name in names {
        fs::copy(from.path().join(&name), to.path().join(&name)).unwrap();
    }
}

pub fn big(seq: u64, ordinal: u64, sender: UserId) -> Event {
    Event { frame: Frame::of(&[b'x'; 8_000]), ..message(seq, ordinal, sender) }
}

/// Appends until the store is full; returns how many were acknowledged.
async fn fill(store: &Arc<dyn Store>, room: RoomId, ann: UserId) -> u64 {
    let head = store.room(room).await.unwrap().unwrap();
    for n in 0.. {
        match store.append(room, vec![big(head.head_seq + 1 + n, head.messages + 1 + n, ann)]).await {
            Ok(appended) => assert_eq!(appended.stored, 1),
            Err(StoreError::Full(_)) => return n,
            Err(other) => panic!("{other}"),
        }
    }
    unreachable!("a limit is a limit")
}

#[tokio::test]
async fn a_second_owner_is_refused_and_told_who_is_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&file_in(&folder), 0);
    let error = open_error(&file_in(&folder));
    let told = error.to_string();
    assert!(matches!(error, OpenError::Owned { .. }));
    assert!(told.contains(&format!("process {}, since 20", std::process::id())), "{told}");
    let elsewhere = tempfile::tempdir().unwrap();
    assert!(matches!(restore(&file_in(&elsewhere), &file_in(&folder), true), Err(RestoreError::Open(_))));
    store.close().await;
    open(&file_in(&folder), 0).close().await;
    // Who forgets to close lets go all the same.
    drop(open(&file_in(&folder), 0));
    open(&file_in(&folder), 0).close().await;
}

#[tokio::test]
async fn what_it_makes_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("a/data");
    let store = open(&data.join("natter.db"), 0);
    store.backup(&data.join("copy.db")).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for name in ["natter.db", "natter.db-wal", "natter.db-shm", "natter.lock", "copy.db"] {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }
    store.close().await;
}

#[tokio::test]
async fn everything_is_there_after_closing_and_opening() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&file_in(&folder), 0);
    let (ann, room) = ann_alone(&store).await;
    append_all(&store, room, (1..=9).map(|n| message(2 + n, n, ann)).collect()).await;
    let log = whole_log(&store, room).await;
    store.close().await;
    assert!(!folder.path().join("natter.db-wal").exists());
    let store = open(&file_in(&folder), 0);
    assert_eq!(whole_log(&store, room).await, log);
    append_all(&store, room, vec![message(12, 10, ann)]).await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_sudden_end() {
    let (folder, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(&file_in(&folder), 0);
    let (ann, room) = ann_alone(&store).await;
    for n in 1..=50 {
        append_all(&store, room, vec![message(2 + n, n, ann)]).await;
    }
    copy_as_killed(&folder, &after);
    let revived = open(&file_in(&after), 0);
    assert_eq!(assert_sound(&revived, room).await, whole_log(&store, room).await);
}

#[tokio::test]
async fn names_of_an_older_version_that_look_alike_stay_and_no_others_come() {
    let folder = tempfile::tempdir().unwrap();
    let db = Connection::open(file_in(&folder)).unwrap();
    db.execute_batch(include_str!("version-3.sql")).unwrap();
    for (name, millis) in [("eve", 1), ("еve", 2)] {
        let row = "INSERT INTO users VALUES (randomblob(16), ?1, ?1, ?1, '!', 2, ?2, 0, 0)";
        db.execute(row, rusqlite::params![name, millis]).unwrap();
    }
    drop(db);
    let store = open(&file_in(&folder), 0);
    for name in ["eve", "еve"] {
        assert!(store.user_by_name(name).await.unwrap().is_some(), "{name}");
        assert!(!store.create_user(person(name)).await.unwrap(), "{name}");
    }
    assert!(!store.create_user(person("еvе")).await.unwrap(), "no third comes");
    store.close().await;
}

#[tokio::test]
async fn a_database_of_the_version_without_a_journal_goes_on_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    // As that version left it, after three posts of two people.
    Connection::open(file_in(&folder)).unwrap().execute_batch(include_str!("version-3.sql")).unwrap();
    let store = open(&file_in(&folder), 0);
    let room = store.rooms(None, 9).await.unwrap().remove(0);
    let before = whole_log(&store, room.room_id).await;
    assert_eq!((before.len(), room.head_seq, room.messages), (5, 5, 3));
    let ann = before[2].sender;
    append_all(&store, room.room_id, vec![message(6, 4, ann)]).await;
    let again = Event { client_id: Some("c0".into()), ..message(7, 5, ann) };
    let appended = store.append(room.room_id, vec![again]).await.unwrap();
    assert_eq!(appended.stopped, Some(Stopped::Duplicate(before[2].clone())));
    store.close().await;
    let log = assert_sound(&open(&file_in(&folder), 0), room.room_id).await;
    assert_eq!((log.len(), &log[..5]), (6, &before[..]));
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    open(&file_in(&folder), 0).close().await;
    let db = Connection::open(file_in(&folder)).unwrap();
    db.pragma_update(None, "user_version", 9_999).unwrap();
    drop(db);
    let error = open_error(&file_in(&folder));
    assert!(matches!(error, OpenError::Newer { found: 9_999, .. }));
    assert!(error.to_string().contains("newer natter"), "{error}");
}

#[tokio::test]
async fn a_file_of_somebody_else_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    Connection::open(file_in(&folder)).unwrap().execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (1)").unwrap();
    let before = fs::read(file_in(&folder)).unwrap();
    assert!(matches!(open_error(&file_in(&folder)), OpenError::Foreign { .. }));
    assert_eq!(fs::read(file_in(&folder)).unwrap(), before);
    fs::write(file_in(&folder), "a letter, not a database".repeat(99)).unwrap();
    assert!(matches!(open_error(&file_in(&folder)), OpenError::Foreign { .. }));
}

#[tokio::test]
async fn a_full_store_says_so_and_loses_nothing_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&file_in(&folder), 1024 * 1024);
    let (ann, room) = ann_alone(&store).await;
    let acknowledged = fill(&store, room, ann).await;
    assert!(acknowledged > 50);
    assert!(matches!(store.ready().await, Err(StoreError::Full(_))));
    // It reads on, and the log ends with what was acknowledged last.
    assert_eq!(assert_sound(&store, room).await.len() as u64, 2 + acknowledged);
    store.close().await;
    assert!(fs::metadata(file_in(&folder)).unwrap().len() <= 1024 * 1024);

    let store = open(&file_in(&folder), 0);
    store.ready().await.unwrap();
    append_all(&store, room, vec![big(3 + acknowledged, 1 + acknowledged, ann)]).await;
    assert_sound(&store, room).await;
}

#[tokio::test]
async fn a_full_store_serves_again_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&file_in(&folder), 1024 * 1024);
    let (ann, room) = ann_alone(&store).await;
    for n in 0..2_000 {
        let session = login(ann, i64::from(n));
        store.create_session(session.clone(), token(&session, n), 9_999).await.unwrap();
    }
    fill(&store, room, ann).await;
    assert_eq!(store.purge_sessions(at(i64::MAX / 2), 9_999).await.unwrap(), 2_000);
    store.ready().await.unwrap();
    assert!(fill(&store, room, ann).await > 10);
    assert_sound(&store, room).await;
}

/// Where a table's pages begin in the file.
fn root_of(file: &Path, table: &str) -> u64 {
    let db = Connection::open(file).unwrap();
    let sql = "SELECT (rootpage - 1) * page_size FROM sqlite_schema, pragma_page_size WHERE name = ?";
    db.query_row(sql, [table], |row| row.get::<_, i64>(0)).unwrap() as u64
}

#[tokio::test]
async fn damage_is_told_and_service_comes_back_when_it_is_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&file_in(&folder), 0);
    let (ann, room) = ann_alone(&store).await;
    append_all(&store, room, (1..=99).map(|n| big(2 + n, n, ann)).collect()).await;
    store.close().await;

    let offset = root_of(&file_in(&folder), "events");
    let file = fs::File::options().read(true).write(true).open(file_in(&folder)).unwrap();
    let mut page = [0; 4096];
    file.read_exact_at(&mut page, offset).unwrap();
    file.write_all_at(&[0xee; 4096], offset).unwrap();

    let store = open(&file_in(&folder), 0);
    let latest = Page { after: None, before: None, limit: 9, messages_only: false };
    assert!(matches!(store.events(room, latest).await, Err(StoreError::Damaged(_))));
    assert!(matches!(store.append(room, vec![message(102, 100, ann)]).await, Err(StoreError::Damaged(_))));
    assert!(store.user(ann).await.unwrap().is_some());
    store.ready().await.unwrap();

    file.write_all_at(&page, offset).unwrap();
    assert_eq!(store.events(room, latest).await.unwrap().len(), 9);
    append_all(&store, room, vec![message(102, 100, ann)]).await;
    assert_sound(&store, room).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_made_while_writing_is_one_moment_of_it() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(&file_in(&folder), 0);
    let ann = add(&store, "ann").await;
    let mut rooms = Vec::new();
    for _ in 0..4 {
        rooms.push(add_group(&store, &[ann]).await);
    }
    for room in &rooms {
        append_all(&store, *room, (1..=200).map(|n| big(2 + n, n, ann)).collect()).await;
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writers: Vec<_> = rooms
        .iter()
        .map(|room| {
            let (store, room, stopped) = (store.clone(), *room, stopped.clone());
            tokio::spawn(async move {
                for n in (201..).take_while(|_| !*stopped.borrow()) {
                    append_all(&store, room, vec![message(2 + n, n, ann)]).await;
                }
            })
        })
        .collect();
    let copy = elsewhere.path().join("copy.db");
    store.backup(&copy).await.unwrap();
    stop.send(true).unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    // A second backup does not overwrite the first.
    assert!(matches!(store.backup(&copy).await, Err(StoreError::Unsupported(_))));
    let report = restore(&copy, &file_in(&elsewhere), false).unwrap();
    assert_eq!((report.users, report.rooms, report.kept), (1, 4, None));
    let restored = open(&file_in(&elsewhere), 0);
    let mut events = 0;
    for room in rooms {
        let log = assert_sound(&restored, room).await;
        assert!(log.len() >= 202);
        assert_eq!(whole_log(&store, room).await[..log.len()], log);
        events += log.len() as u64;
    }
    assert_eq!(report.events, events);
}

#[tokio::test]
async fn a_backup_that_cannot_be_written_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&file_in(&folder), 0);
    let nowhere = folder.path().join("missing/copy.db");
    assert!(matches!(store.backup(&nowhere).await, Err(StoreError::Unavailable(_))));
    assert!(!nowhere.exists());
}

#[tokio::test]
async fn a_restore_renews_epochs_ends_logins_and_keeps_the_old_database() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (file, copy) = (file_in(&folder), elsewhere.path().join("copy.db"));
    let store = open(&file, 0);
    let (ann, room) = ann_alone(&store).await;
    let session = login(ann, 0);
    store.create_session(session.clone(), token(&session, 1), 9).await.unwrap();
    append_all(&store, room, vec![message(3, 1, ann)]).await;
    store.backup(&copy).await.unwrap();
    append_all(&store, room, vec![message(4, 2, ann)]).await;
    let before = store.room(room).await.unwrap().unwrap();
    store.close().await;

    assert!(matches!(restore(&copy, &file, false), Err(RestoreError::Exists { .. })));
    let report = restore(&copy, &file, true).unwrap();
    assert_eq!((report.users, report.rooms, report.events), (1, 1, 3));
    let store = open(&file, 0);
    let after = store.room(room).await.unwrap().unwrap();
    assert_eq!((after.head_seq, after.messages), (3, 1));
    assert_ne!(after.epoch, before.epoch);
    assert_eq!(store.session(session.session_id).await.unwrap(), None);
    assert_eq!(store.session_of_refresh(presented(&session, 1)).await.unwrap(), None);
    assert_eq!(store.user(ann).await.unwrap().unwrap().token_epoch, 1);
    store.close().await;

    let kept = report.kept.expect("the old one is put aside");
    assert!(kept.to_str().unwrap().contains("natter.db.before-restore-20"));
    restore(&kept, &file, true).unwrap();
    let store = open(&file, 0);
    assert_eq!(store.room(room).await.unwrap().unwrap().head_seq, 4);
}

#[tokio::test]
async fn a_restore_over_a_killed_server_keeps_what_its_log_held() {
    let (folder, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(&file_in(&folder), 0);
    let copy = folder.path().join("copy.db");
    store.backup(&copy).await.unwrap();
    let (_, room) = ann_alone(&store).await;
    copy_as_killed(&folder, &after);
    let kept = restore(&copy, &file_in(&after), true).unwrap().kept.expect("put aside");
    let restored = open(&file_in(&after), 0);
    assert_eq!(restored.room(room).await.unwrap(), None);
    restored.close().await;
    restore(&kept, &file_in(&after), true).unwrap();
    assert_eq!(assert_sound(&open(&file_in(&after), 0), room).await.len(), 2);
}

#[tokio::test]
async fn a_damaged_backup_is_refused_and_changes_nothing() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (file, copy) = (file_in(&folder), elsewhere.path().join("copy.db"));
    let store = open(&file, 0);
    let (ann, room) = ann_alone(&store).await;
    append_all(&store, room, (1..=99).map(|n| big(2 + n, n, ann)).collect()).await;
    store.backup(&copy).await.unwrap();
    store.close().await;
    let (whole, serving) = (fs::read(&copy).unwrap(), fs::read(&file).unwrap());
    let refused = |what: &str| {
        let error = restore(&copy, &file, true).expect_err(what);
        assert_eq!(fs::read(&file).unwrap(), serving, "{what}");
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["natter.db", "natter.db.reserve", "natter.lock"], "{what}");
        error
    };

    fs::write(&copy, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(refused("cut off"), RestoreError::Damaged { .. }));
    let mut scribbled = whole.clone();
    let root = root_of(&file, "members") as usize;
    scribbled[root..root + 4096].fill(0xee);
    fs::write(&copy, scribbled).unwrap();
    assert!(matches!(refused("a page of nonsense"), RestoreError::Damaged { .. }));
    fs::write(&copy, "no database at all".repeat(99)).unwrap();
    assert!(matches!(refused("text"), RestoreError::Foreign { .. }));
    fs::write(&copy, "").unwrap();
    assert!(matches!(refused("nothing"), RestoreError::Foreign { .. }));
    for harm in [
        "DELETE FROM events WHERE seq = 50",
        "DELETE FROM events WHERE seq = 101",
        "DELETE FROM events WHERE seq = 1",
        "UPDATE rooms SET head_seq = 102",
        "UPDATE rooms SET messages = 98",
        "DELETE FROM rooms",
    ] {
        fs::write(&copy, &whole).unwrap();
        Connection::open(&copy).unwrap().execute_batch(harm).unwrap();
        assert!(matches!(refused(harm), RestoreError::Damaged { .. }), "{harm}");
    }
    fs::write(&copy, &whole).unwrap();
    Connection::open(&copy).unwrap().pragma_update(None, "user_version", 9_999).unwrap();
    assert!(matches!(refused("newer"), RestoreError::Newer { .. }));
    fs::remove_file(&copy).unwrap();
    assert!(matches!(refused("missing"), RestoreError::Io { .. }));

    fs::write(&copy, &whole).unwrap();
    fs::write(elsewhere.path().join("copy.db-wal"), "more").unwrap();
    assert!(matches!(refused("in use"), RestoreError::Unfinished { .. }));
    fs::remove_file(elsewhere.path().join("copy.db-wal")).unwrap();
    restore(&copy, &file, true).unwrap();
    assert_eq!(assert_sound(&open(&file, 0), room).await.len(), 101);
}
