//! The index of searches follows the log, whatever happens to the server, and can be made anew.

use super::{all, finds, texts};
use crate::harness::{Server, Setup, until};

#[tokio::test]
async fn what_was_said_is_found_after_a_sudden_end_and_after_the_index_was_made_anew() {
    let mut server = Server::with(&[("limits.rates", "off")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut said = Vec::new();
    for number in 0..30 {
        let text = format!("needle {number}");
        ann.post(&room, &text).await;
        said.insert(0, text);
        if number % 10 == 0 {
            server.kill().await;
            server.restart().await;
        }
    }
    let expected: Vec<&str> = said.iter().map(String::as_str).collect();
    let (ann, bob) = (ann.at(&server), bob.at(&server));
    finds(&bob, "needle", &[], &expected).await;
    let told = server.cli(&["reindex"]).await.ok();
    assert!(told.contains("searches find everything"), "{told}");
    assert_eq!(texts(&all(&bob, "needle", &[]).await), expected);
    ann.post(&room, "needle 30").await;
    said.insert(0, "needle 30".into());
    let expected: Vec<&str> = said.iter().map(String::as_str).collect();
    finds(&bob, "needle", &[], &expected).await;
    server.cli(&["verify"]).await.ok();
    server.stop().await;
    server.cli(&["reindex"]).await.ok();
    server.cli(&["verify"]).await.ok();
    server.restart().await;
    assert_eq!(texts(&all(&bob.at(&server), "needle", &[]).await), expected);
}

#[tokio::test]
async fn what_was_imported_is_found() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    ann.post(&room, "a needle").await;
    let file = server.dir().join("all.natter");
    let file = file.to_str().expect("a path");
    server.cli(&["export", file]).await.ok();
    let setup = Setup::new();
    let ran = setup.command_with(&["import", file]).output().expect("it runs");
    assert!(ran.status.success(), "{ran:?}");
    let server = setup.start().await;
    finds(&server.sign_in("bob").await, "needle", &[], &["a needle"]).await;
}

#[tokio::test]
async fn how_far_the_index_is_behind_is_counted() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    ann.post(&room, "a needle").await;
    finds(&bob, "needle", &[], &["a needle"]).await;
    until("nothing to be behind", async || server.metric("natter_search_behind_events").await == 0.0).await;
    assert!(server.metric("natter_search_seconds_count").await >= 1.0);
}

/// Nothing of it is left in the index either: neither words nor how they begin.
#[tokio::test]
async fn the_words_of_a_deleted_message_are_in_no_file() {
    let server = Server::with(&[("limits.rates", "off")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    for number in 0..50 {
        ann.post(&room, &format!("others {number}")).await;
    }
    let edited = ann.post(&room, "xylophonium").await;
    let said = ann.post(&room, "quetzalcoatl").await;
    finds(&bob, "quetzalc", &[], &["quetzalcoatl"]).await;
    finds(&bob, "xylo", &[], &["xylophonium"]).await;
    ann.edit(&room, &edited.message_id, "zzyzxville").await;
    finds(&bob, "zzyz", &[], &["zzyzxville"]).await;
    for message in [&said, &edited] {
        ann.delete(&format!("/chat/{room}/messages/{}", message.message_id)).await.ok();
    }
    assert_eq!(all(&bob, "quetzalcoatl", &[]).await, []);
    server.stop().await;
    for file in std::fs::read_dir(server.data()).expect("a folder") {
        let path = file.expect("an entry").path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        for word in ["quetzalcoatl", "xylophonium", "zzyzxville"] {
            let found = bytes.windows(word.len()).any(|part| part == word.as_bytes());
            assert!(!found, "{word} is in {}", path.display());
        }
    }
}

#[tokio::test]
async fn an_index_that_lacks_a_message_is_told_and_made_anew() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    ann.post(&room, "a needle").await;
    finds(&bob, "needle", &[], &["a needle"]).await;
    server.stop().await;
    let path = server.data().join("natter.db");
    let db = rusqlite::Connection::open(path).expect("a database");
    db.execute("DELETE FROM searched", []).expect("SQL");
    drop(db);
    let told = server.cli(&["verify"]).await;
    assert!(told.stdout.contains("the index of searches: it has 0 messages, and should have 1"), "{}", told.stdout);
    told.failed();
    server.cli(&["reindex"]).await.ok();
    server.cli(&["verify"]).await.ok();
}
