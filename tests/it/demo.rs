//! `natter demo`: alive within seconds, with logins that work, and gone without a trace.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use serde_json::json;

use crate::harness::{Person, Server, Setup, seqs, until};

const TEAM: [&str; 6] = ["maya", "jonas", "amara", "kenji", "sofia", "leila"];

fn setup() -> Setup {
    let setup = Setup::new().args(&["demo"]);
    let folder = setup.dir().display().to_string();
    setup.set("TMPDIR", &folder)
}

/// The folders of demos that are in a demo's temporary folder.
fn folders(server: &Server) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(server.dir()).expect("the test's own folder").map(|entry| entry.expect("an entry").path());
    entries.filter(|path| path.display().to_string().contains("natter-demo-")).collect()
}

/// Signs in with what is printed.
async fn visitor(server: &Server, name: &str) -> Person {
    let line = server.process().line(&format!("    {name} ")).await;
    let password = line.split_whitespace().nth(1).expect("a password");
    Person::of_login(server.reach.clone(), name, server.reach.sign_in(name, password).await.ok())
}

#[tokio::test]
async fn its_logins_work_and_there_is_something_to_read() {
    let server = setup().start().await;
    assert_eq!(server.reach.get("/").await.status, 200);
    let (guest, admin) = (visitor(&server, "guest").await, visitor(&server, "admin").await);
    guest.get("/users/").await.refused(403);
    let people = admin.get("/users/").await.ok();
    assert_eq!(people["users"].as_array().expect("users").len(), TEAM.len() + 2);

    let chats = guest.get("/chat/my-chats").await.ok();
    let chats = chats["chats"].as_array().expect("chats");
    let kinds = |kind: &str| chats.iter().filter(|chat| chat["kind"] == kind).count();
    assert!(kinds("group") >= 3 && kinds("private") >= 2, "{chats:?}");
    for chat in chats {
        assert!(chat["unread"].as_u64() > Some(0) && chat["last_message"].is_object(), "{chat}");
        let path = format!("/chat/{}/events", chat["chat_id"].as_str().expect("an id"));
        let events = guest.get(&path).await.ok();
        let events = events["events"].as_array().expect("events");
        assert_eq!(seqs(events), (1..=events.len() as u64).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn people_type_and_talk_while_one_looks_on() {
    let server = setup().start().await;
    let guest = visitor(&server, "guest").await;
    let mut socket = guest.socket().await;
    socket.ask(json!({ "type": "subscribe", "all": true })).await;
    let message = socket.find("somebody to say something", |frame| frame["type"] == "message").await;
    assert!(TEAM.iter().any(|name| message["sender"] == *name), "{message}");
    socket.wait_for("typing").await;
}

#[tokio::test]
async fn who_is_written_to_reads_it_and_answers() {
    let server = setup().start().await;
    let guest = visitor(&server, "guest").await;
    let made = guest.post_json("/chat/new", &json!({ "username": "amara" })).await.ok();
    let room = made["chat_id"].as_str().expect("an id").to_owned();
    let mut socket = guest.follow(&room).await;
    guest.post(&room, "Hello, Amara!").await;
    socket.find("Amara to answer", |frame| frame["type"] == "message" && frame["sender"] == "amara").await;
    // Who has answered lets it be seen what she has read.
    let seq = guest.post(&room, "How are you?").await.seq;
    socket.find("Amara to read", |frame| frame["type"] == "read" && frame["read_seq"].as_u64() >= Some(seq)).await;
}

#[tokio::test]
async fn nothing_of_it_is_left_and_no_other_data_is_touched() {
    for signal in ["TERM", "INT"] {
        let server = setup().start().await;
        let there = folders(&server);
        assert_eq!(there.len(), 1);
        let mode = fs::metadata(&there[0]).expect("the demo's folder").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(there[0].join("natter.db").exists());
        assert!(!server.data().exists(), "the database of the settings is not opened");
        server.process().signal(signal);
        assert_eq!(server.process().ended().await.code(), Some(0), "{}", server.log());
        assert_eq!(folders(&server), [] as [PathBuf; 0], "{signal}");
        assert!(!server.log().contains("left over"), "{}", server.log());
    }
}

#[tokio::test]
async fn it_ends_at_once_while_it_still_begins() {
    // One hash takes far longer than the test waits.
    let server = setup().set("auth.bcrypt_cost", "18");
    let process = crate::harness::Process::spawn(server.command_with(&["demo"]));
    let there = async || fs::read_dir(server.dir()).expect("a folder").count() > 0;
    until("its folder", there).await;
    until("it to serve", async || {
        let folders = fs::read_dir(server.dir()).expect("a folder").filter_map(Result::ok);
        folders.map(|entry| entry.path().join("natter.sock")).any(|socket| socket.exists())
    })
    .await;
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0));
    assert_eq!(fs::read_dir(server.dir()).expect("a folder").count(), 0);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_what_to_do() {
    let server = Server::start().await;
    let demo = setup().set("server.bind", &server.reach.addr.to_string());
    let refused = demo.run().await.failed();
    assert!(refused.contains(&server.reach.addr.to_string()) && refused.contains("--bind"), "{refused}");
    assert_eq!(fs::read_dir(demo.dir()).expect("the test's own folder").count(), 0);
}
