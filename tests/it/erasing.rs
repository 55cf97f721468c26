//! What is deleted is gone: from every file of the data folder, from backups that come back, and with an account that goes.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::harness::{Server, until};

/// Files under a folder that hold these bytes, by their names.
fn holders(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holders(&path, text));
        } else {
            // One that has gone since holds nothing.
            let bytes = fs::read(&path).unwrap_or_default();
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

async fn until_gone(server: &Server, text: &str) {
    let what = format!("{text:?} to be in no file");
    until(&what, async || holders(&server.data(), text).is_empty()).await;
}

/// Of everybody's: the history, and every event.
fn shown(page: &Value) -> String {
    page["messages"].to_string()
}

#[tokio::test]
async fn what_is_deleted_is_in_no_file_of_the_data_folder() {
    let server = Server::with(&[("limits.rates", "off"), ("store.settle_secs", "1")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let said = ann.post(&room, "needle-first-form").await;
    ann.edit(&room, &said.message_id, &format!("needle-second-form {}", "x".repeat(3_000))).await;
    // One that is in the tables for a while, and one that is in the journal alone.
    until("it to be settled", async || server.metric("natter_store_unsettled_bytes").await == 0.0).await;
    assert!(!holders(&server.data(), "needle-").is_empty(), "the test sees what is there");
    let fresh = ann.post(&room, "needle-in-the-journal").await;
    for n in 0..300 {
        ann.post(&room, &format!("kept {n}")).await;
    }
    ann.erase(&room, &said.message_id).await;
    ann.erase(&room, &fresh.message_id).await;
    until_gone(&server, "needle-").await;
    assert!(!holders(&server.data(), "kept 299").is_empty(), "and nothing else is gone");
    assert_eq!(ann.log(&room).await.len() as u64, ann.head(&room).await);
}

#[tokio::test]
async fn a_kill_after_a_deletion_leaves_nothing_of_it_once_the_server_has_started() {
    let mut server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    for round in 0..3 {
        let said = ann.post(&room, &format!("needle-{round}")).await;
        ann.erase(&room, &said.message_id).await;
        server.kill().await;
        server.restart().await;
        until_gone(&server, "needle-").await;
    }
    assert_eq!(bob.at(&server).history(&room, "").await["messages"], json!([]));
}

#[tokio::test]
async fn a_kill_in_the_middle_of_deletions_leaves_each_message_whole_or_erased() {
    let mut server = Server::with(&[("limits.rates", "off")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut said = Vec::new();
    for n in 0..60 {
        said.push(ann.post(&room, &format!("needle-{n}-whole")).await.message_id);
    }
    let deletions = said.iter().map(|id| ann.delete_unheard(&room, id));
    let all = futures_util::future::join_all(deletions);
    tokio::select! {
        _ = all => {}
        () = until("some to be deleted", async || server.metric("natter_deletions_total").await >= 5.0) => {}
    }
    server.kill().await;
    server.restart().await;
    let (ann, log) = (ann.at(&server), ann.at(&server).log(&room).await);
    let deleted: Vec<&Value> = log.iter().filter(|event| event["type"] == "delete").map(|e| &e["message_id"]).collect();
    assert!(deleted.len() >= 5);
    for (n, id) in said.iter().enumerate() {
        let text = format!("needle-{n}-whole");
        let event = log.iter().find(|event| event["type"] == "message" && event["message_id"] == id.as_str());
        let event = event.expect("its event is there");
        if deleted.iter().any(|gone| **gone == id.as_str()) {
            assert_eq!((&event["content"], &event["deleted"]), (&json!(""), &json!(true)));
            until_gone(&server, &text).await;
        } else {
            assert_eq!((&event["content"], event.get("deleted")), (&json!(text), None));
        }
    }
    assert_eq!(shown(&ann.history(&room, "?limit=500").await).matches("needle").count(), 60 - deleted.len());
}

#[tokio::test]
async fn without_a_history_of_edits_no_file_holds_an_earlier_text() {
    let server = Server::with(&[("rooms.edit_history", "off")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let said = ann.post(&room, "needle-first").await;
    ann.edit(&room, &said.message_id, "what stays").await;
    until_gone(&server, "needle-").await;
    assert!(!holders(&server.data(), "what stays").is_empty());
}

#[tokio::test]
async fn a_backup_from_before_does_not_bring_back_what_was_deleted() {
    let mut server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let kept = ann.post(&room, "kept").await;
    let said = ann.post(&room, "needle-in-the-backup").await;
    ann.edit(&room, &said.message_id, "needle-edited").await;
    let file = server.dir().join("before.db").display().to_string();
    server.cli(&["backup", &file]).await.ok();
    ann.erase(&room, &said.message_id).await;
    until_gone(&server, "needle-").await;
    server.stop().await;
    let restored = server.cli(&["restore", &file, "--force"]).await.ok();
    assert!(restored.contains("1 messages that were deleted after the backup"), "{restored}");
    assert_eq!(holders(&server.data(), "needle-"), [""; 0], "before anything is served");
    server.restart().await;
    let bob = server.sign_in("bob").await;
    assert_eq!(bob.history(&room, "").await["messages"].as_array().map(Vec::len), Some(1));
    let chat = bob.chat(&room).await;
    assert_eq!((&chat["last_message"]["seq"], &chat["unread"]), (&json!(kept.seq), &json!(1)));
    let refused = server.sign_in("ann").await.try_edit(&room, &said.message_id, &json!({"message": "x"})).await;
    assert_eq!(refused.refused(409)["code"], "deleted");
    // Nor does a file that somebody puts there by hand.
    server.stop().await;
    fs::copy(&file, server.data().join("natter.db")).expect("a copy");
    server.restart().await;
    until_gone(&server, "needle-").await;
}

#[tokio::test]
async fn an_account_that_goes_with_its_messages_leaves_none_of_them_anywhere() {
    let server = Server::with(&[("limits.rates", "off")]).await;
    let root = server.admin().await;
    let (ann, bob) = server.two_people().await;
    let (pair, group, left) =
        (ann.private(&bob).await, ann.group("tea", [&bob]).await, ann.group("cocoa", [&bob]).await);
    for room in [&pair, &group, &left] {
        for n in 0..5 {
            let said = bob.post(room, &format!("needle-{n}")).await;
            bob.edit(room, &said.message_id, &format!("needle-{n} again")).await;
        }
        ann.post(room, "of ann").await;
    }
    bob.leave(&left).await.ok();
    let mut socket = ann.follow(&group).await;
    let body = json!({"messages": "erase"});
    root.request(reqwest::Method::DELETE, "/users/bob", Some(&body)).await.ok();
    for room in [&pair, &group, &left] {
        let log = async || json!(ann.log(room).await).to_string();
        until("it to be erased, in the background", async || !log().await.contains("needle")).await;
        assert!(log().await.contains("of ann"));
        assert_eq!(ann.history(room, "").await["messages"].as_array().map(Vec::len), Some(1));
    }
    let heard = socket.find("a deletion", |frame| frame["type"] == "delete").await;
    assert_eq!(heard["chat_id"], json!(group));
    if server.data().exists() {
        until_gone(&server, "needle-").await;
    }
}

#[tokio::test]
async fn changes_survive_a_kill() {
    let mut server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let (kept, gone) = (ann.post(&room, "kept").await, ann.post(&room, "a secret").await);
    ann.edit(&room, &kept.message_id, "changed").await;
    ann.erase(&room, &gone.message_id).await;
    let before = ann.history(&room, "?with=deleted").await;
    server.kill().await;
    server.restart().await;
    let (ann, bob) = (ann.at(&server), bob.at(&server));
    assert_eq!(bob.history(&room, "?with=deleted").await, before);
    assert!(!json!(ann.log(&room).await).to_string().contains("secret"));
}
