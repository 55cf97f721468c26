//! The embedded store's journal: posts are safe in it first and in the tables later, and a sudden end at any moment loses none.

use std::{fs, sync::Arc};

use natter::{
    config,
    metrics::Metrics,
    store::{
        Store, StoreError,
        sqlite::{SqliteStore, restore},
    },
    types::{RoomId, UserId},
};
use rusqlite::Connection;
use tempfile::TempDir;

use super::{
    fixture::{add, ann_alone, append_all, assert_sound, joined, message, whole_log},
    sqlite::{big, copy_as_killed, file_in, open, open_error},
};

/// A store with posts in its journal alone, and what its folder holds.
async fn unsettled(folder: &TempDir, posts: u64) -> (Arc<dyn Store>, UserId, RoomId) {
    let config = config::Store { settle_secs: 3_600, ..Default::default() };
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open(&file_in(folder), &config, Arc::new(Metrics::default())).unwrap());
    let (ann, room) = ann_alone(&store).await;
    for n in 1..=posts {
        append_all(&store, room, vec![message(2 + n, n, ann)]).await;
    }
    (store, ann, room)
}

fn seqs_in_tables(folder: &TempDir) -> Vec<u64> {
    let db = Connection::open(file_in(folder)).unwrap();
    let mut seqs = db.prepare("SELECT seq FROM events ORDER BY seq").unwrap();
    seqs.query_map([], |row| row.get::<_, i64>(0)).unwrap().map(|seq| seq.unwrap() as u64).collect()
}

#[tokio::test]
async fn posts_are_in_the_journal_first_and_in_the_tables_after_closing() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _, room) = unsettled(&folder, 9).await;
    assert_eq!(seqs_in_tables(&folder), [1, 2], "posts are not settled yet");
    assert_eq!(assert_sound(&store, room).await.len(), 11);
    store.close().await;
    assert_eq!(seqs_in_tables(&folder), (1..=11).collect::<Vec<_>>());
    let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["natter.db", "natter.db.reserve", "natter.lock"]);
}

#[tokio::test]
async fn a_change_of_a_room_brings_its_posts_into_the_tables_first() {
    let folder = tempfile::tempdir().unwrap();
    let (store, ann, room) = unsettled(&folder, 3).await;
    let bob = add(&store, "bob").await;
    append_all(&store, room, vec![joined(6, 3, ann, bob)]).await;
    assert_eq!(seqs_in_tables(&folder), [1, 2, 3, 4, 5, 6]);
    append_all(&store, room, vec![message(7, 4, bob)]).await;
    assert_eq!(assert_sound(&store, room).await.len(), 7);
    assert_eq!(store.member(room, bob).await.unwrap().unwrap().read.seq, 7);
}

#[tokio::test]
async fn a_backup_has_what_was_acknowledged_before_it() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, _, room) = unsettled(&folder, 9).await;
    let copy = elsewhere.path().join("copy.db");
    store.backup(&copy).await.unwrap();
    assert_eq!(restore(&copy, &file_in(&elsewhere), false).unwrap().events, 11);
    assert_sound(&open(&file_in(&elsewhere), 0), room).await;
}

#[tokio::test]
async fn a_start_after_a_sudden_end_can_end_suddenly_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (store, ann, room) = unsettled(&folder, 20).await;
    let log = whole_log(&store, room).await;
    // Copies of copies: each is a start that settled the journal, and was killed before it could serve.
    let mut last = folder;
    for n in 0..3 {
        let next = tempfile::tempdir().unwrap();
        copy_as_killed(&last, &next);
        let revived = open(&file_in(&next), 0);
        assert_eq!(assert_sound(&revived, room).await[..log.len()], log);
        append_all(&revived, room, vec![message(23 + n, 21 + n, ann)]).await;
        let after = tempfile::tempdir().unwrap();
        copy_as_killed(&next, &after);
        last = after;
    }
    assert_eq!(assert_sound(&open(&file_in(&last), 0), room).await.len(), log.len() + 3);
}

#[tokio::test]
async fn a_journal_that_is_cut_anywhere_keeps_every_post_before_the_cut() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _, room) = unsettled(&folder, 4).await;
    let log = whole_log(&store, room).await;
    let killed = tempfile::tempdir().unwrap();
    copy_as_killed(&folder, &killed);
    let journal = fs::read(killed.path().join("natter.db.log-0")).unwrap();
    let end = journal.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let mut kept = Vec::new();
    for cut in (0..=end).step_by(61).chain([end]) {
        let cut_off = tempfile::tempdir().unwrap();
        copy_as_killed(&killed, &cut_off);
        fs::write(cut_off.path().join("natter.db.log-0"), &journal[..cut]).unwrap();
        let revived = open(&file_in(&cut_off), 0);
        let left = assert_sound(&revived, room).await;
        assert_eq!(left, log[..left.len()], "cut at {cut}");
        kept.push(left.len());
    }
    kept.dedup();
    assert_eq!(kept, [2, 3, 4, 5, 6], "each post went with its last byte");
}

#[tokio::test]
async fn a_journal_that_is_damaged_or_of_another_database_is_told_with_its_name() {
    let (folder, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_store, ..) = unsettled(&folder, 9).await;
    copy_as_killed(&folder, &killed);
    let journal = killed.path().join("natter.db.log-0");
    let whole = fs::read(&journal).unwrap();
    let mut flipped = whole.clone();
    flipped[200] ^= 1;
    fs::write(&journal, flipped).unwrap();
    let error = open_error(&file_in(&killed)).to_string();
    assert!(error.contains("natter.db.log-0 is damaged at byte") && error.contains("natter restore"), "{error}");

    let stranger = tempfile::tempdir().unwrap();
    open(&file_in(&stranger), 0).close().await;
    fs::write(stranger.path().join("natter.db.log-0"), &whole).unwrap();
    let error = open_error(&file_in(&stranger)).to_string();
    assert!(error.contains("natter.db.log-0 belongs to another database"), "{error}");
    assert_eq!(fs::read(stranger.path().join("natter.db.log-0")).unwrap(), whole, "it is left as it was");
}

#[tokio::test]
async fn a_database_that_says_something_else_than_its_journal_is_not_served() {
    let (folder, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_store, ..) = unsettled(&folder, 3).await;
    copy_as_killed(&folder, &killed);
    Connection::open(file_in(&killed))
        .unwrap()
        .execute_batch(
            "INSERT INTO events SELECT room_id, 3, 1, sender, NULL, randomblob(16), sent_at, NULL, body FROM events WHERE seq = 2;
             UPDATE rooms SET head_seq = 3, messages = 1;",
        )
        .unwrap();
    let error = open_error(&file_in(&killed)).to_string();
    assert!(error.contains("another event than the journal at seq 3") && error.contains("natter restore"), "{error}");
    assert!(killed.path().join("natter.db.log-0").exists(), "nothing is thrown away");
}

#[tokio::test]
async fn a_restore_over_a_damaged_journal_keeps_it_beside_the_old_database() {
    let (folder, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, ..) = unsettled(&folder, 9).await;
    let copy = killed.path().join("copy.db");
    copy_as_killed(&folder, &killed);
    store.backup(&copy).await.unwrap();
    let journal = killed.path().join("natter.db.log-0");
    let mut bytes = fs::read(&journal).unwrap();
    bytes[200] ^= 1;
    fs::write(&journal, &bytes).unwrap();
    let kept = restore(&copy, &file_in(&killed), true).unwrap().kept.expect("put aside");
    assert_eq!(fs::read(format!("{}.log-0", kept.display())).unwrap(), bytes);
    assert!(!journal.exists());
    open(&file_in(&killed), 0).close().await;
}

#[tokio::test]
async fn a_restore_over_a_killed_server_keeps_the_posts_of_its_journal() {
    let (folder, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, _, room) = unsettled(&folder, 3).await;
    let copy = folder.path().join("copy.db");
    store.backup(&copy).await.unwrap();
    append_all(&store, room, vec![message(6, 4, whole_log(&store, room).await[2].sender)]).await;
    copy_as_killed(&folder, &after);
    let kept = restore(&copy, &file_in(&after), true).unwrap().kept.expect("put aside");
    let restored = open(&file_in(&after), 0);
    assert_eq!(assert_sound(&restored, room).await.len(), 5);
    restored.close().await;
    restore(&kept, &file_in(&after), true).unwrap();
    assert_eq!(assert_sound(&open(&file_in(&after), 0), room).await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn past_what_may_be_unsettled_posts_wait_and_are_refused_as_busy() {
    let folder = tempfile::tempdir().unwrap();
    let config = config::Store { unsettled_bytes: 20_000, unsettled_millis: 1, ..Default::default() };
    let metrics = Arc::new(Metrics::default());
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&file_in(&folder), &config, metrics.clone()).unwrap());
    let (ann, room) = ann_alone(&store).await;
    // Somebody from outside holds the tables.
    let outside = Connection::open(file_in(&folder)).unwrap();
    outside.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut stored = 0;
    let error = loop {
        match store.append(room, vec![big(3 + stored, 1 + stored, ann)]).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Busy), "{error}");
    assert!((2..5).contains(&stored), "{stored} of 8,000 bytes fit into 20,000");
    assert!(metrics.render().contains(r#"natter_bound_hits_total{setting="store.unsettled_bytes"} 1"#));
    outside.execute_batch("COMMIT").unwrap();
    assert_eq!(assert_sound(&store, room).await.len() as u64, 2 + stored);
    store.close().await;
}
