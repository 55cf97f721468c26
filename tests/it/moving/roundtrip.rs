//! Out of a store and into another: what was there is there, and what was cut off goes on.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};

use super::fixture::{cli, content, database, digest, epochs, exported, filled, lines};
use crate::harness::{PASSWORD, Person, Process, Server, Setup, seqs};

/// Ann, Bob and Carl with a private room and a group, some messages, a role, a rename, somebody who left, read marks.
async fn village() -> (Server, String, String) {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let carl = server.person("Ünal").await;
    let private = ann.private(&bob).await;
    let group = ann.group("tea ☕", [&bob, &carl]).await;
    for number in 0..5 {
        ann.post_once(&private, &format!("{number} \"é\" \\ \u{2028} 🎉"), &format!("c{number}")).await;
        carl.post(&group, &format!("{number}")).await;
    }
    bob.mark_read(&private, 4).await;
    ann.set_role(&bob, &group, "moderator").await.ok();
    ann.rename(&group, "coffee").await.ok();
    carl.leave(&group).await.ok();
    server.cli(&["admin", "disable", "Ünal"]).await.ok();
    server.admin().await;
    (server, private, group)
}

/// A room as its member sees it in the list, but for the epoch.
async fn chat(person: &Person, room: &str) -> Value {
    let mut chat = person.chat(room).await;
    chat["epoch"].take();
    chat
}

#[tokio::test]
async fn everything_comes_through_but_logins_and_epochs() {
    let (server, private, group) = village().await;
    let (ann, bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    let file = server.dir().join("all.zst");
    let told = server.cli(&["export", "all.zst"]).await.ok();
    assert!(told.contains("4 users") && told.contains("sign in again"), "{told}");
    assert_eq!(fs::metadata(&file).expect("the export").permissions().mode() & 0o777, 0o600);
    let bytes = async |person: &Person, path: &str| person.get(path).await.text().to_owned();

    let there = Setup::new();
    let came = cli(&there, &["import", &file.display().to_string()]).await.ok();
    assert_eq!(digest(&came), digest(&told));
    let there = there.start().await;
    let (ann_there, bob_there) = (there.sign_in("ann").await, there.sign_in("bob").await);
    for room in [&private, &group] {
        let events = format!("/chat/{room}/events?after=0&limit=500");
        let page = ann.events(room, "?after=0&limit=500").await;
        let page_there = ann_there.events(room, "?after=0&limit=500").await;
        assert_ne!(page["epoch"], page_there["epoch"]);
        // The same bytes, but for the epoch.
        let epoch = |page: &Value| page["epoch"].as_str().expect("an epoch").to_owned();
        let text = bytes(&ann_there, &events).await;
        assert_eq!(text.replace(&epoch(&page_there), &epoch(&page)), bytes(&ann, &events).await);
        for (here, there) in [(&ann, &ann_there), (&bob, &bob_there)] {
            assert_eq!(chat(here, room).await, chat(there, room).await);
        }
        assert_eq!(ann.members(room).await.ok(), ann_there.members(room).await.ok());
    }
    let again = ann_there.post_json("/chat/new", &json!({"username": "bob"})).await.refused(400);
    assert_eq!(again["detail"]["chat_id"], private.as_str(), "the pair has its room");
    assert!(ann_there.post_once(&private, "0 \"é\" \\ \u{2028} 🎉", "c0").await.duplicate, "once stays once");
    there.reach.sign_in("Ünal", PASSWORD).await.refused(401);
    there.reach.get("/users/me").await.refused(401);
    there.sign_in("root").await.get("/users/").await.ok();
}

#[tokio::test]
async fn an_export_of_what_was_imported_is_equal_but_for_its_epochs() {
    let (server, ..) = village().await;
    server.cli(&["export", "all.zst"]).await.ok();
    let first = server.dir().join("all.zst");
    let there = Setup::new();
    cli(&there, &["import", &first.display().to_string()]).await.ok();
    let (second, sum) = exported(&there, "again.zst").await;
    assert_eq!(content(&first), content(&second));
    assert!(epochs(&first).is_disjoint(&epochs(&second)));
    assert_eq!(digest(&cli(&there, &["verify"]).await.ok()), sum);
}

#[tokio::test]
async fn the_digest_is_that_of_the_content_lines() {
    let (server, ..) = village().await;
    let sum = digest(&server.cli(&["export", "all.zst"]).await.ok());
    let text = zstd::decode_all(fs::File::open(server.dir().join("all.zst")).expect("it")).expect("a zstd stream");
    let text = String::from_utf8(text).expect("UTF-8");
    let is_content = |line: &&str| {
        ["{\"room\":", "{\"event\":", "{\"member\":", "{\"user\":"].iter().any(|start| line.starts_with(start))
    };
    let content: String = text.split_inclusive('\n').filter(is_content).collect();
    let hash = <sha2::Sha256 as sha2::Digest>::digest(content.as_bytes());
    assert_eq!(hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), sum);
}

#[tokio::test]
async fn a_running_server_exports_each_log_up_to_one_moment() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let mut rooms = vec![ann.private(&bob).await];
    for name in ["one", "two", "three"] {
        rooms.push(ann.group(name, [&bob]).await);
    }
    let storm = async |room: &str| {
        for number in 0..200 {
            ann.post(room, &format!("m{number}")).await;
            bob.mark_read(room, number).await;
        }
    };
    let export = async {
        bob.follow(&rooms[3]).await.next_events(30).await;
        let newcomer = server.person("dora").await;
        ann.invite(&newcomer, &rooms[1]).await.ok();
        server.cli(&["export", "storm.zst"]).await.ok();
        server.cli(&["verify"]).await.ok();
    };
    tokio::join!(storm(&rooms[0]), storm(&rooms[1]), storm(&rooms[2]), storm(&rooms[3]), export);

    let there = Setup::new();
    cli(&there, &["import", &server.dir().join("storm.zst").display().to_string()]).await.ok();
    let there = there.start().await;
    let ann_there = there.sign_in("ann").await;
    for room in &rooms {
        let (whole, part) = (ann.log(room).await, ann_there.log(room).await);
        assert_eq!(part[..], whole[..part.len()]);
        assert_eq!(seqs(&part), (1..=part.len() as u64).collect::<Vec<_>>());
    }
    assert!(ann_there.log(&rooms[3]).await.len() >= 30);
    ann_there.post(&rooms[0], "goes on").await;
}

/// A setup whose import of `file` was killed in the middle: another is begun where it was faster than that.
async fn cut_off(file: &str) -> Setup {
    loop {
        let there = Setup::new();
        let import = Process::spawn(there.command_with(&["import", file]));
        import.logged("importing: ").await;
        import.signal("KILL");
        if !import.ended().await.success() {
            return there;
        }
    }
}

#[tokio::test]
async fn a_killed_import_goes_on_where_it_stopped() {
    let here = Setup::new();
    filled(&here, 120, 400).await;
    let (file, sum) = exported(&here, "big.zst").await;
    let file = file.display().to_string();

    let events = |there: &Setup| {
        let begun = rusqlite::Connection::open(database(there)).expect("it was begun");
        begun.query_row("SELECT count(*) FROM events", [], |row| row.get::<_, i64>(0)).expect("a count")
    };
    let there = loop {
        let there = cut_off(&file).await;
        // Killed so soon that nothing was in yet, it proves nothing.
        if events(&there) > 0 {
            break there;
        }
    };
    assert!(events(&there) < 120 * 402);

    for args in [&["serve"][..], &["admin", "list"], &["backup", "b.db"], &["export", "e.zst"], &["verify"]] {
        let refused = cli(&there, args).await.failed();
        assert!(refused.contains("natter import") && refused.contains("has not ended"), "{args:?}: {refused}");
    }
    let other = Setup::new();
    filled(&other, 1, 1).await;
    let (other, _) = exported(&other, "other.zst").await;
    let refused = cli(&there, &["import", &other.display().to_string()]).await.failed();
    assert!(refused.contains("another import") && refused.contains("has not ended"), "{refused}");

    let told = cli(&there, &["import", &file]).await.ok();
    assert!(told.contains("earlier attempt"), "{told}");
    assert_eq!(digest(&told), sum);
    assert_eq!(exported(&there, "back.zst").await.1, sum);
    there.start().await;
}

#[tokio::test]
async fn an_import_into_a_store_with_data_is_refused() {
    let (server, private, _) = village().await;
    let log = server.sign_in("ann").await.log(&private).await;
    server.cli(&["export", "all.zst"]).await.ok();
    let refused = server.cli(&["import", "all.zst"]).await.failed();
    assert!(refused.contains(&server.pid().to_string()), "a running server: {refused}");
    let mut server = server;
    server.stop().await;
    let refused = server.cli(&["import", "all.zst"]).await.failed();
    assert!(refused.contains("empty one"), "{refused}");
    server.restart().await;
    assert_eq!(server.sign_in("ann").await.log(&private).await, log);
}

#[tokio::test]
async fn an_export_never_overwrites_and_leaves_nothing_half_done() {
    let (server, ..) = village().await;
    fs::write(server.dir().join("precious.txt"), "precious").expect("the test's own folder");
    let refused = server.cli(&["export", "precious.txt"]).await.failed();
    assert!(refused.contains("exists already"), "{refused}");
    assert_eq!(fs::read_to_string(server.dir().join("precious.txt")).expect("still there"), "precious");
    let refused = server.cli(&["export", "missing/all.zst"]).await.failed();
    assert!(refused.contains("missing/all.zst"), "{refused}");
    let left = fs::read_dir(server.dir()).expect("the folder").filter_map(Result::ok);
    let left: Vec<_> = left.map(|entry| entry.file_name()).filter(|name| name != "data").collect();
    assert_eq!(left, ["precious.txt"]);
    let nothing = Setup::new();
    let refused = cli(&nothing, &["export", "all.zst"]).await.failed();
    assert!(refused.contains("no database"), "{refused}");
    assert!(!nothing.dir().join("data").exists());
}

#[tokio::test]
async fn progress_goes_to_standard_error() {
    let setup = Setup::new();
    filled(&setup, 2, 10).await;
    let there = Setup::new();
    let ran = cli(&setup, &["export", "all.zst"]).await;
    assert!(ran.stderr.lines().all(|line| line.starts_with("exporting: ")), "{}", ran.stderr);
    let file = setup.dir().join("all.zst");
    assert_eq!(lines(&file).last().expect("an end")["end"]["counts"]["events"], 24);
    let ran = cli(&there, &["import", &file.display().to_string()]).await;
    let stages = ["checking: ", "importing: ", "verifying: "];
    assert!(ran.stderr.lines().all(|line| stages.iter().any(|stage| line.starts_with(stage))), "{}", ran.stderr);
    ran.ok();
}
