//! Backups: made while people chat, checked before they are brought back, and a new life for every room.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::json;

use crate::harness::{Person, Server, seqs};

/// A server with one room of some messages, and a backup of it in `kept.db`.
async fn backed_up() -> (Server, Person, Person, String, String) {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    for number in 0..10 {
        ann.post_once(&room, &format!("kept {number}"), &format!("c{number}")).await;
    }
    let file = server.dir().join("kept.db").display().to_string();
    server.cli(&["backup", &file]).await.ok();
    (server, ann, bob, room, file)
}

#[tokio::test]
async fn a_backup_brings_back_what_was_there_and_nothing_later() {
    let (mut server, ann, bob, room, file) = backed_up().await;
    let log = ann.log(&room).await;
    ann.post(&room, "said after the backup").await;
    server.stop().await;
    server.cli(&["restore", &file, "--force"]).await.ok();
    server.restart().await;
    let ann = server.sign_in("ann").await;
    assert_eq!(ann.log(&room).await, log);
    let next = ann.post(&room, "goes on").await;
    assert_eq!(next.seq, log.len() as u64 + 1);
    assert_eq!(server.sign_in("bob").await.chat(&room).await["unread"], 11);
    drop(bob);
}

#[tokio::test]
async fn a_restore_ends_every_login_and_renews_every_epoch() {
    let (mut server, ann, _bob, room, file) = backed_up().await;
    let before = ann.history(&room, "").await;
    let epoch = before["epoch"].as_str().expect("an epoch");
    server.stop().await;
    server.cli(&["restore", &file, "--force"]).await.ok();
    server.restart().await;
    ann.get("/users/me").await.refused(401);
    ann.refresh().await.refused(401);
    let ann = server.sign_in("ann").await;
    assert_ne!(ann.history(&room, "").await["epoch"], epoch);
    let resumed = ann.socket().await.resume(&room, before["head_seq"].as_u64().unwrap(), epoch).await;
    assert_eq!(resumed["lossless"], false);
}

#[tokio::test]
async fn once_stays_once_across_a_restore() {
    let (mut server, _ann, _bob, room, file) = backed_up().await;
    server.stop().await;
    server.cli(&["restore", &file, "--force"]).await.ok();
    server.restart().await;
    assert!(server.sign_in("ann").await.post_once(&room, "kept 3", "c3").await.duplicate);
}

#[tokio::test]
async fn a_backup_in_the_middle_of_a_storm_is_whole_to_its_end() {
    let mut server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let file = server.dir().join("storm.db").display().to_string();
    let storm = async {
        for number in 0..300 {
            ann.post(&room, &format!("m{number}")).await;
        }
    };
    let backup = async {
        bob.follow(&room).await.next_events(50).await;
        server.cli(&["backup", &file]).await.ok();
    };
    tokio::join!(storm, backup);
    let whole = ann.log(&room).await;
    server.stop().await;
    server.cli(&["restore", &file, "--force"]).await.ok();
    server.restart().await;
    let restored = server.sign_in("ann").await.log(&room).await;
    assert!(restored.len() >= 52, "{}", restored.len());
    assert_eq!(restored[..], whole[..restored.len()]);
    assert_eq!(seqs(&restored), (1..=restored.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_backup_moves_to_another_machine() {
    let (_server, _ann, _bob, room, file) = backed_up().await;
    let mut other = Server::start().await;
    other.stop().await;
    fs::remove_dir_all(other.data()).expect("the data of a stopped server");
    other.cli(&["restore", &file]).await.ok();
    other.restart().await;
    assert_eq!(other.sign_in("ann").await.history(&room, "").await["messages"].as_array().map(Vec::len), Some(10));
}

#[tokio::test]
async fn a_backup_is_its_owners_alone() {
    let (_server, _ann, _bob, _room, file) = backed_up().await;
    let mode = fs::metadata(&file).expect("the backup").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds everybody's password hashes and messages");
}

#[tokio::test]
async fn a_backup_never_overwrites_a_file() {
    let (server, ann, ..) = backed_up().await;
    let file = server.dir().join("precious.txt");
    fs::write(&file, "precious").expect("the test's own folder");
    let refused = server.cli(&["backup", &file.display().to_string()]).await.failed();
    assert!(refused.contains("precious.txt"), "{refused}");
    assert_eq!(fs::read_to_string(&file).expect("still there"), "precious");
    ann.me().await;
}

#[tokio::test]
async fn a_backup_is_made_without_the_server_too_and_in_the_callers_folder() {
    let (server, ..) = backed_up().await;
    server.cli(&["backup", "relative.db"]).await.ok();
    assert!(server.dir().join("relative.db").is_file());
    server.stop().await;
    server.cli(&["backup", "stopped.db"]).await.ok();
    assert!(server.dir().join("stopped.db").is_file());
}

#[tokio::test]
async fn a_restore_is_refused_while_the_server_runs_and_over_data_without_force() {
    let (mut server, _ann, _bob, room, file) = backed_up().await;
    let refused = server.cli(&["restore", &file, "--force"]).await.failed();
    assert!(refused.contains(&server.pid().to_string()), "{refused}");
    server.stop().await;
    let refused = server.cli(&["restore", &file]).await.failed();
    assert!(refused.contains("--force"), "{refused}");
    server.restart().await;
    server.sign_in("ann").await.post(&room, "as before").await;
}

#[tokio::test]
async fn a_file_that_is_no_whole_backup_is_refused_and_the_data_stays() {
    let (mut server, _ann, _bob, room, file) = backed_up().await;
    let log = server.sign_in("ann").await.log(&room).await;
    server.stop().await;
    let whole = fs::read(&file).expect("the backup");
    let mut bent = whole.clone();
    let middle = bent.len() / 2;
    bent[middle..].fill(0x5a);
    let wrong: [(&str, &[u8]); 4] =
        [("empty", b""), ("text", b"no database"), ("cut", &whole[..whole.len() / 2]), ("bent", &bent)];
    for (name, bytes) in wrong {
        let path = server.dir().join(name);
        fs::write(&path, bytes).expect("the test's own folder");
        let refused = server.cli(&["restore", &path.display().to_string(), "--force"]).await.failed();
        assert!(refused.contains(name), "{name}: {refused}");
    }
    server.cli(&["restore", "missing.db", "--force"]).await.failed();
    server.restart().await;
    let ann = server.sign_in("ann").await;
    assert_eq!(ann.log(&room).await, log);
    assert_eq!(ann.get("/readyz").await.ok()["detail"], json!(null));
}
