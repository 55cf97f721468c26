//! A disk that is full, a file that is damaged, a database from the future: said clearly, and nothing acknowledged lost.

use std::fs;

use serde_json::json;

use crate::harness::{Person, Server, Setup, seqs};

/// Posts long messages until the store is full; gives those acknowledged.
async fn fill(person: &Person, room: &str) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0..5_000 {
        let message = format!("{number:04} {}", "🫖".repeat(3_900));
        let answer = person.try_post(room, &json!({"message": message})).await;
        match answer.status {
            200 => acknowledged.push(message),
            _ => {
                answer.refused(503);
                return acknowledged;
            }
        }
    }
    panic!("the store never got full");
}

#[tokio::test]
async fn a_full_disk_is_a_503_and_reading_goes_on() {
    let mut server = Server::with(&[("store.max_bytes", "2000000")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut socket = bob.follow(&room).await;
    let acknowledged = fill(&ann, &room).await;
    assert!(!acknowledged.is_empty());
    ann.try_post(&room, &json!({"message": "🫖".repeat(3_900)})).await.refused(503);

    assert_eq!(server.reach.get("/healthz").await.status, 200);
    assert_eq!(bob.log(&room).await.len(), acknowledged.len() + 2);
    let live = socket.next_events(acknowledged.len()).await;
    assert_eq!(seqs(&live), (3..=acknowledged.len() as u64 + 2).collect::<Vec<_>>());
    assert!(server.metric("natter_store_errors_total").await >= 1.0);

    server.restart_with("store.max_bytes", "0").await;
    ann.post(&room, "room again").await;
    let log = ann.log(&room).await;
    assert_eq!(seqs(&log), (1..=acknowledged.len() as u64 + 3).collect::<Vec<_>>());
    let said: Vec<&str> = log.iter().filter_map(|event| event["content"].as_str()).collect();
    assert_eq!(said[..acknowledged.len()], acknowledged);
}

#[tokio::test]
async fn a_post_refused_by_a_full_disk_can_be_retried_once_there_is_room() {
    let mut server = Server::with(&[("store.max_bytes", "2000000")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    fill(&ann, &room).await;
    let text = "🫖".repeat(3_900);
    ann.try_post(&room, &json!({"message": text, "client_id": "retry"})).await.refused(503);
    server.restart_with("store.max_bytes", "0").await;
    let posted = ann.post_once(&room, &text, "retry").await;
    assert!(!posted.duplicate, "nothing of the refused post was kept");
    assert!(ann.post_once(&room, &text, "retry").await.duplicate);
}

#[tokio::test]
async fn a_damaged_database_stops_the_start_with_its_name() {
    let server = Server::start().await;
    server.two_people().await;
    server.stop().await;
    let file = server.data().join("natter.db");
    let mut bytes = fs::read(&file).expect("the database");
    bytes[..100].fill(0x5a);
    fs::write(&file, bytes).expect("one's own file");
    let refused = server.cli(&["serve"]).await.failed();
    assert!(refused.contains("natter.db"), "{refused}");
}

#[tokio::test]
async fn a_database_of_a_newer_natter_is_refused() {
    let server = Server::start().await;
    server.stop().await;
    let database = rusqlite::Connection::open(server.data().join("natter.db")).expect("the database");
    database.pragma_update(None, "user_version", 9_999).expect("a writable database");
    drop(database);
    let refused = server.cli(&["serve"]).await.failed();
    assert!(refused.contains("newer"), "{refused}");
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_made_is_named() {
    let setup = crate::harness::Setup::new().write("file", "no folder");
    let url = format!("sqlite:{}/file/data/natter.db", setup.dir().display());
    let refused = setup.set("DB_URL", &url).run().await.failed();
    assert!(refused.contains("file/data"), "{refused}");
}

#[tokio::test]
async fn a_file_that_may_not_grow_is_a_503_and_ends_nothing() {
    let server = Setup::new().start_after("ulimit -f 4000").await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let acknowledged = fill(&ann, &room).await;
    assert_eq!(server.reach.get("/healthz").await.status, 200);
    assert_eq!(bob.log(&room).await.len(), acknowledged.len() + 2);
}
