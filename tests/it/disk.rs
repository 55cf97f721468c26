//! A disk that is full, a file that is damaged, a database from the future: said clearly, and nothing acknowledged lost.

use std::{fs, os::unix::fs::PermissionsExt};

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

/// Free bytes of the disk that the tests' folders are on.
fn free_bytes(server: &Server) -> u64 {
    let disk = rustix::fs::statvfs(server.dir()).expect("a file system");
    disk.f_bavail * disk.f_frsize
}

#[tokio::test]
async fn in_the_reserve_nothing_grows_and_everybody_can_be_stopped() {
    let mut server = Server::start().await;
    server.admin().await;
    let (ann, bob) = server.two_people().await;
    let eve = server.person("eve").await;
    let (room, tea) = (ann.private(&bob).await, ann.group("tea", [&bob, &eve]).await);
    ann.post(&tea, "before").await;
    // More than any disk has.
    server.restart_with("store.reserve", "1000000000000000000").await;
    server.process().logged("come down to its reserve").await;

    for refused in [
        ann.try_post(&room, &json!({"message": "one more"})).await,
        server.reach.register("late", "correct-horse").await,
        server.reach.sign_in("ann", crate::harness::PASSWORD).await,
        ann.post_json("/chat/new", &json!({"username": "eve"})).await,
        ann.refresh().await,
        ann.rename(&tea, "coffee").await,
    ] {
        assert_eq!(refused.refused(503)["code"], "store_full");
    }
    assert_eq!(server.reach.get("/readyz").await.status, 503);
    assert_eq!(ann.log(&tea).await.len(), 5);
    assert!(server.metric("natter_store_reserve_bytes").await > server.metric("natter_store_free_bytes").await);
    assert!(server.metric(r#"natter_bound_hits_total{setting="store.reserve"}"#).await >= 1.0);

    ann.remove(&eve, &tea).await.ok();
    eve.get(&format!("/chat/{tea}")).await.refused(403);
    server.cli(&["admin", "disable", "eve"]).await.ok();
    assert_eq!(eve.get("/users/me").await.status, 401);
    server.cli(&["admin", "grant", "bob"]).await.ok();
    server.cli(&["admin", "revoke", "bob"]).await.ok();
    server.cli_reading(&["admin", "reset-password", "bob", "--password-stdin"], "another-horse").await.ok();
    assert_eq!(bob.get("/users/me").await.status, 401);
    ann.revoke().await.ok();

    server.restart_with("store.reserve", "0").await;
    let ann = server.sign_in("ann").await;
    ann.post(&tea, "there is room").await;
}

#[tokio::test]
async fn in_the_reserve_below_the_limit_of_size_everybody_can_be_stopped() {
    let server = Server::with(&[("store.max_bytes", "2000000"), ("store.reserve", "400000")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    fill(&ann, &room).await;
    ann.try_post(&room, &json!({"message": "🫖".repeat(3_900)})).await.refused(503);
    server.cli(&["admin", "disable", "bob"]).await.ok();
    assert_eq!(bob.get("/users/me").await.status, 401);
    ann.revoke().await.ok();
    let bytes = fs::metadata(server.data().join("natter.db")).expect("the database").len();
    assert!(bytes <= 1_600_000, "{bytes}: the reserve is free");
}

#[tokio::test]
async fn a_disk_that_others_fill_and_empty_stops_and_starts_posting_by_itself() {
    const MARGIN: u64 = 256 << 20;
    let mut server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let reserve = free_bytes(&server) - 2 * MARGIN;
    server.restart_with("store.reserve", &reserve.to_string()).await;
    ann.post(&room, "there is room").await;

    let filling = fs::File::create(server.dir().join("others")).expect("a file");
    rustix::fs::fallocate(&filling, rustix::fs::FallocateFlags::empty(), 0, 4 * MARGIN).expect("a file of this size");
    ann.try_post(&room, &json!({"message": "one more"})).await.refused(503);
    drop(filling);
    fs::remove_file(server.dir().join("others")).expect("a file that is there");
    crate::harness::until("there is room again", async || {
        ann.try_post(&room, &json!({"message": "again"})).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_holds_the_write_ahead_log_is_named_and_the_log_is_short_once_it_has_gone() {
    let server = Server::with(&[("store.wal_bytes", "1000000"), ("store.settle_secs", "1")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let script = "import sqlite3,sys; db = sqlite3.connect(sys.argv[1]); db.execute('begin'); \
        db.execute('select count(*) from users').fetchone(); print('reads', flush=True); sys.stdin.read()";
    let mut shell = std::process::Command::new("python3");
    shell.args(["-c", script]).arg(server.data().join("natter.db"));
    let mut shell =
        shell.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().expect("python3");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.take().expect("piped")), &mut line)
        .expect("it says that it reads");

    for _ in 0..100 {
        ann.post(&room, &"🫖".repeat(3_900)).await;
    }
    server.process().logged(&format!("process {} (python3)", shell.id())).await;
    assert!(server.metric("natter_wal_bytes").await > 1_000_000.0);
    assert!(server.metric("natter_journal_bytes").await > 1_000_000.0);
    ann.post(&room, "goes on").await;

    drop(shell.stdin.take());
    shell.wait().expect("it ends");
    server.process().logged("the write-ahead log is short again").await;
}

#[tokio::test]
async fn an_operators_command_is_taken_while_no_file_is_left() {
    let server = Setup::new().start_after("ulimit -n 64").await;
    let (_ann, bob) = server.two_people().await;
    let mut held = Vec::new();
    let files = || fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("a process").count();
    for _ in 0..100 {
        held.push(server.reach.raw().await);
    }
    crate::harness::until("its files are taken", async || files() >= 40).await;
    server.cli(&["admin", "disable", "bob"]).await.ok();
    server.cli(&["admin", "list"]).await.ok();
    drop(held);
    crate::harness::until("there are files again", async || files() < 40).await;
    assert_eq!(bob.get("/users/me").await.status, 401);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
    let server = Server::start().await;
    server.process().signal("STOP");
    let refused = server.cli(&["admin", "list"]).await.failed();
    server.process().signal("CONT");
    assert!(refused.contains("said nothing for 6 seconds"), "{refused}");
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

fn set_mode(path: &std::path::Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("one's own");
}

#[tokio::test]
async fn what_it_makes_is_for_its_owner_alone_whatever_the_umask() {
    let server = Setup::new().start_after("umask 0").await;
    let (ann, bob) = server.two_people().await;
    ann.post(&ann.private(&bob).await, "hello").await;
    server.cli(&["backup", "copy.db"]).await.ok();
    server.cli(&["export", "copy.natter"]).await.ok();
    assert_eq!(mode(&server.data()), 0o700);
    let files = fs::read_dir(server.data()).expect("the data").map(|entry| entry.expect("a file").path());
    let copies = ["copy.db", "copy.natter"].map(|name| server.dir().join(name));
    let (mut names, mut count) = (Vec::new(), 0);
    for file in files.chain(copies) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        count += 1;
        names.push(file);
    }
    assert!(count >= 9, "{names:?}");
}

#[tokio::test]
async fn data_that_others_could_read_is_made_private_and_told() {
    let mut server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    ann.post(&ann.private(&bob).await, "hello").await;
    server.kill().await;
    let names: Vec<_> =
        fs::read_dir(server.data()).expect("the data").map(|entry| entry.expect("a file").path()).collect();
    let files = names.iter().filter(|name| !name.ends_with("natter.sock"));
    files.clone().for_each(|file| set_mode(file, 0o644));
    set_mode(&server.data(), 0o777);
    server.restart().await;
    assert_eq!(mode(&server.data()), 0o700);
    for file in files.filter(|file| file.exists()) {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    let log = server.log();
    for told in
        ["data was open to others (mode 777)", "natter.db could be read by others (mode 644)", "secret.key could be"]
    {
        assert!(log.contains(told), "{told}: {log}");
    }
}

#[tokio::test]
async fn a_folder_where_everybody_may_put_files_of_their_own_is_refused() {
    let setup = Setup::new();
    fs::create_dir(setup.dir().join("data")).expect("a folder");
    fs::write(setup.dir().join("data/others.txt"), "x").expect("a file");
    set_mode(&setup.dir().join("data"), 0o777);
    let refused = setup.run().await.failed();
    assert!(refused.contains("mode 777") && refused.contains("chmod go="), "{refused}");
    set_mode(&setup.dir().join("data"), 0o755);
    let server = setup.start().await;
    assert_eq!(mode(&server.data()), 0o755, "it is not natter's alone");
    assert!(server.log().contains("others may look into"));
}
