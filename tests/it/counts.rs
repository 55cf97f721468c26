//! What a post costs, in bytes and writes: counted, never timed.

use std::{fs, ops::Range};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    harness::{Person, Server, Socket},
    wire,
};

const ROOMS: usize = 64;
/// Posts on their way at once.
const AT_ONCE: usize = 64;
/// Posts before anything is counted: some segments of the journal.
const FIRST: usize = 40_000;
/// Of the database.
const PAGE: f64 = 4_096.0;
/// The bytes and the writes of a process or a thread.
fn counters(file: &str) -> (f64, f64) {
    let counters = fs::read_to_string(file).expect("the kernel's counters");
    let of = |name: &str| {
        let line = counters.lines().find_map(|line| line.strip_prefix(name)).expect("a counter");
        line.trim().parse().expect("a number")
    };
    (of("wchar:"), of("syscw:"))
}

/// What the server's process has written to files so far, and in how many writes: everything, without what went to sockets.
/// Answers leave as vectors, which the kernel counts with the files; whoever counts must follow no room, since events do not.
async fn written(server: &Server) -> (f64, f64) {
    let (bytes, writes) = counters(&format!("/proc/{}/io", server.pid()));
    let metrics = server.metrics().await;
    (bytes - metrics["natter_delivered_bytes_total"], writes - metrics["natter_socket_writes_total"])
}

/// The rooms of somebody who talks to nobody yet.
async fn rooms(person: &Person) -> Vec<String> {
    let mut rooms = Vec::new();
    for n in 0..ROOMS {
        rooms.push(person.group(&format!("room {n}"), []).await);
    }
    rooms
}

fn post(rooms: &[String], n: usize) -> Value {
    let (room, client_id) = (&rooms[n % rooms.len()], format!("0190b0a6-0000-7000-8000-{n:012}"));
    json!({"type": "post", "chat_id": room, "content": "x".repeat(128), "client_id": client_id})
}

/// Has everything brought into the tables, which nobody has to wait for so: a backup has everything. Gives what it wrote itself.
async fn settle(server: &Server, backup: &str) -> f64 {
    let file = server.dir().join(backup);
    server.cli(&["backup", file.to_str().expect("a path in UTF-8")]).await.ok();
    fs::metadata(file).expect("the backup").len() as f64
}

async fn post_all(socket: &mut Socket, rooms: &[String], posts: Range<usize>) {
    for first in posts.clone().step_by(AT_ONCE) {
        let some = first..posts.end.min(first + AT_ONCE);
        wire::send_at_once(socket, some.clone().map(|n| post(rooms, n))).await;
        for _ in some {
            socket.wait_for("posted").await;
        }
    }
}

/// Brings the write-ahead log into the database from outside, and says in how many bytes: what a checkpoint has still to do is a
/// cost of what was posted.
fn checkpoint(server: &Server) -> f64 {
    let db = Connection::open(server.data().join("natter.db")).expect("the database");
    let before = counters("/proc/thread-self/io").0;
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).expect("a checkpoint");
    counters("/proc/thread-self/io").0 - before
}

/// Bytes and writes for each of the posts that `posting` makes, settling and checkpoints included. Before it the journal has
/// come to use its files again: making them is a cost that is paid once.
async fn cost(posts: usize, posting: impl AsyncFnOnce(&mut Socket, &[String], Range<usize>)) -> (f64, f64) {
    let server = Server::with(&[("limits.rates", "off"), ("store.settle_secs", "600")]).await;
    let ann = server.person("ann").await;
    let rooms = rooms(&ann).await;
    let mut socket = ann.socket().await;
    post_all(&mut socket, &rooms, 0..FIRST).await;
    settle(&server, "before.db").await;
    checkpoint(&server);
    let before = written(&server).await;
    posting(&mut socket, &rooms, FIRST..FIRST + posts).await;
    let backup = settle(&server, "after.db").await;
    let after = written(&server).await;
    let bytes = after.0 - before.0 - backup + checkpoint(&server);
    let writes = after.1 - before.1 - backup / PAGE;
    (bytes / posts as f64, writes / posts as f64)
}

#[tokio::test]
async fn a_post_of_128_bytes_that_is_committed_alone_writes_at_most_2_kb() {
    let one_at_a_time = async |socket: &mut Socket, rooms: &[String], posts: Range<usize>| {
        for n in posts {
            socket.ask(post(rooms, n)).await;
        }
    };
    // What comes within the default of store.settle_secs at 1,000 a second, and is settled together then.
    let (bytes, writes) = cost(30_000, one_at_a_time).await;
    assert!(bytes <= 2_048.0, "{bytes} bytes a post");
    // One is the journal's; waking a thread is one, too.
    assert!(writes <= 3.0, "{writes} writes a post");
}

#[tokio::test]
async fn posts_at_saturation_share_writes_and_write_at_most_2_kb_each() {
    let at_once = async |socket: &mut Socket, rooms: &[String], posts| post_all(socket, rooms, posts).await;
    let (bytes, writes) = cost(100_000, at_once).await;
    assert!(bytes <= 2_048.0, "{bytes} bytes a post");
    assert!(writes <= 0.75, "{writes} writes a post");
}

#[tokio::test]
async fn acknowledgements_of_one_commit_leave_in_one_write() {
    const ROUNDS: usize = 50;
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let rooms = rooms(&ann).await;
    let mut socket = ann.socket().await;
    socket.ask(post(&rooms, 0)).await;
    let before = server.metrics().await;
    post_all(&mut socket, &rooms, 1..1 + ROUNDS * ROOMS).await;
    let after = server.metrics().await;
    let counted = |name: &str| after[name] - before[name];
    let (commits, writes) = (counted("natter_commit_ops_count"), counted("natter_socket_writes_total"));
    assert!(commits < (ROUNDS * ROOMS) as f64 / 4.0, "{commits} commits: what comes together shares them");
    // A commit of more than 64 answers takes two.
    assert!(writes <= commits * 1.25, "{writes} writes for {commits} commits");
}
