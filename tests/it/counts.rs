//! What a post costs, in bytes, writes and wake-ups: counted, never timed.

use std::{fs, ops::Range};

use futures_util::future::join_all;
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

/// Journal and tables take 2 KB of it at most; the rest is the index of searches, which is filled from the tables.
const MOST_BYTES: f64 = 3_584.0;

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
async fn a_post_of_128_bytes_that_is_committed_alone_writes_at_most_3_5_kb_with_its_words() {
    let one_at_a_time = async |socket: &mut Socket, rooms: &[String], posts: Range<usize>| {
        for n in posts {
            socket.ask(post(rooms, n)).await;
        }
    };
    // What comes within the default of store.settle_secs at 1,000 a second, and is settled together then.
    let (bytes, writes) = cost(30_000, one_at_a_time).await;
    assert!(bytes <= MOST_BYTES, "{bytes} bytes a post");
    // One is the journal's; waking a thread is one, too.
    assert!(writes <= 3.0, "{writes} writes a post");
}

#[tokio::test]
async fn posts_at_saturation_share_writes_and_write_at_most_3_5_kb_each_with_their_words() {
    let at_once = async |socket: &mut Socket, rooms: &[String], posts| post_all(socket, rooms, posts).await;
    let (bytes, writes) = cost(100_000, at_once).await;
    assert!(bytes <= MOST_BYTES, "{bytes} bytes a post");
    // A third of it are pages of the index of words.
    assert!(writes <= 1.25, "{writes} writes a post");
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

#[tokio::test]
async fn a_connection_at_rest_costs_a_ping_and_its_answer_and_nothing_else() {
    const SOCKETS: usize = 50;
    const PINGS: usize = 3;
    let server = Server::with(&[("sockets.ping_secs", "1"), ("sockets.pong_secs", "4")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        sockets.push(ann.follow(&room).await);
    }
    let pinged = async |sockets: &mut [Socket], times: usize| {
        let listening = sockets.iter_mut().map(async |socket| {
            for _ in 0..times {
                socket.ping().await;
            }
        });
        join_all(listening).await;
    };
    pinged(&mut sockets, 1).await;
    let before = server.metrics().await;
    pinged(&mut sockets, PINGS).await;
    let after = server.metrics().await;
    let counted = |name: &str| after[name] - before[name];
    // The last of them may have been pinged once more while the first were listened to, and answers are in the next read.
    let pings = counted("natter_socket_writes_total");
    assert!(pings >= (SOCKETS * PINGS) as f64 / 2.0, "{pings} pings");
    let (answers, reads) = (counted("natter_frames_received_total"), counted("natter_socket_reads_total"));
    assert!(answers <= pings + SOCKETS as f64, "{answers} answers to {pings} pings");
    assert!(reads <= 2.0 * answers, "{reads} reads for {answers} answers: one has it, one finds that it was all");
    let wakes = counted("natter_socket_wakes_total");
    assert!(wakes <= pings + SOCKETS as f64, "{wakes} wakes for {pings} pings");
}

#[tokio::test]
async fn a_delivery_to_a_reader_who_is_level_is_one_write_and_wakes_nobody() {
    const READERS: usize = 20;
    const POSTS: usize = 100;
    let server = Server::with(&[("sockets.ping_secs", "3600"), ("presence.enabled", "false")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(bob.follow(&room).await);
    }
    let before = server.metrics().await;
    for n in 0..POSTS {
        ann.post(&room, &n.to_string()).await;
        for reader in &mut readers {
            reader.next_event().await;
        }
    }
    let after = server.metrics().await;
    let counted = |name: &str| after[name] - before[name];
    assert_eq!(counted("natter_deliveries_total"), (READERS * POSTS) as f64);
    assert_eq!(counted("natter_socket_writes_total"), (READERS * POSTS) as f64);
    assert_eq!((counted("natter_socket_wakes_total"), counted("natter_socket_reads_total")), (0.0, 0.0));
}

/// A field of a thread's status.
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)).expect("a field that every thread has").trim()
}

/// How often threads of this name have gone to sleep so far, and were woken.
fn woken(server: &Server, name: &str) -> f64 {
    let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("the server's threads");
    let statuses = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok());
    let sleeps = |status: String| field(&status, "voluntary_ctxt_switches:").parse::<f64>().expect("a number");
    statuses.filter(|status| field(status, "Name:") == name).map(sleeps).sum()
}

/// What a server has done.
struct Done {
    commits: f64,
    /// To sockets.
    writes: f64,
    workers_woken: f64,
    journal_woken: f64,
}

impl Done {
    async fn so_far(server: &Server) -> Self {
        let metrics = server.metrics().await;
        Self {
            commits: metrics["natter_commit_ops_count"],
            writes: metrics["natter_socket_writes_total"],
            workers_woken: woken(server, "natter"),
            journal_woken: woken(server, "natter-journal"),
        }
    }

    async fn during(server: &Server, posting: impl AsyncFnOnce()) -> Self {
        let before = Self::so_far(server).await;
        posting().await;
        let after = Self::so_far(server).await;
        Self {
            commits: after.commits - before.commits,
            writes: after.writes - before.writes,
            workers_woken: after.workers_woken - before.workers_woken,
            journal_woken: after.journal_woken - before.journal_woken,
        }
    }

    fn per(self, each: f64) -> Self {
        Self {
            commits: self.commits / each,
            writes: self.writes / each,
            workers_woken: self.workers_woken / each,
            journal_woken: self.journal_woken / each,
        }
    }
}

/// As many workers on every machine, so that they wake each other as often.
async fn with_two_workers() -> Server {
    Server::with(&[("limits.rates", "off"), ("store.settle_secs", "600"), ("server.threads", "2")]).await
}

/// What a post takes that every reader has got before the next one is made.
async fn a_post_alone(readers: usize) -> Done {
    const POSTS: usize = 1_000;
    let server = with_two_workers().await;
    let ann = server.person("ann").await;
    let rooms = [ann.group("tea", []).await];
    let mut socket = ann.socket().await;
    let mut following = Vec::new();
    for _ in 0..readers {
        following.push(ann.follow(&rooms[0]).await);
    }
    let mut post_each = async |posts: Range<usize>| {
        for n in posts {
            socket.ask(post(&rooms, n)).await;
            for reader in &mut following {
                reader.wait_for("message").await;
            }
        }
    };
    post_each(0..100).await;
    let done = Done::during(&server, async || post_each(100..100 + POSTS).await).await;
    done.per(POSTS as f64)
}

#[tokio::test]
async fn a_post_alone_is_answered_in_one_write_and_wakes_few_threads() {
    let Done { writes, workers_woken, journal_woken, .. } = a_post_alone(0).await;
    assert!(writes <= 1.01, "{writes} writes to sockets a post");
    // 3: one worker by the frame, the same by the commit, and another to wait for sockets while that one answers.
    assert!(workers_woken <= 4.5, "{workers_woken} wake-ups of workers a post");
    // 3: by the append, and twice in the sync, by the disk.
    assert!(journal_woken <= 5.0, "{journal_woken} wake-ups of the journal's thread a post");
}

#[tokio::test]
async fn a_reader_who_is_level_costs_one_write_a_post_and_wakes_nobody() {
    const READERS: usize = 8;
    let Done { writes, workers_woken, journal_woken, .. } = a_post_alone(READERS).await;
    assert!(writes <= 1.01 * (1 + READERS) as f64, "{writes} writes to sockets a post");
    // As without readers: the worker who is told of the commit writes to all of them.
    assert!(workers_woken <= 4.5, "{workers_woken} wake-ups of workers a post");
    assert!(journal_woken <= 5.0, "{journal_woken} wake-ups of the journal's thread a post");
}

#[tokio::test]
async fn posts_of_one_commit_share_its_wake_ups() {
    let server = with_two_workers().await;
    let ann = server.person("ann").await;
    let rooms = rooms(&ann).await;
    let mut socket = ann.socket().await;
    post_all(&mut socket, &rooms, 0..1_600).await;
    let done = Done::during(&server, async || post_all(&mut socket, &rooms, 1_600..16_000).await).await;
    let commits = done.commits;
    assert!(commits <= 14_400.0 / 4.0, "{commits} commits: what comes together shares them");
    let Done { workers_woken, journal_woken, .. } = done.per(commits);
    // 2: one by the commit, and another to wait for sockets meanwhile; the frames come to one that is awake, or wake it.
    assert!(workers_woken <= 3.2, "{workers_woken} wake-ups of workers a commit");
    // 3: by the first append, and twice in the sync, by the disk.
    assert!(journal_woken <= 4.6, "{journal_woken} wake-ups of the journal's thread a commit");
}
