//! What a post, a delivery and a request allocate: counted over all threads of a server in this process, never timed.
//!
//! Counted are the allocations and reallocations of Rust's allocator, which is the program's own; SQLite's go past it. The
//! client allocates nothing while anything is counted.

mod client;
mod server;

use alloc_tracker::{Allocator, Session};
use mimalloc::MiMalloc;
use parking_lot::{Mutex, MutexGuard};
use serde_json::json;

use client::{Person, Socket};
use server::Server;

#[global_allocator]
static ALLOCATOR: Allocator<MiMalloc> = Allocator::new(MiMalloc);

/// Held by each test: whatever the process allocates is counted.
static ALONE: Mutex<()> = Mutex::new(());

const ROOMS: usize = 64;
/// Posts on their way at once.
const AT_ONCE: usize = 64;
/// Posts before anything is counted, so that queues, rings and maps have their sizes.
const FIRST: usize = 16_000;
const READERS: usize = 200;
/// Its text, its `client_id`, who waits for the answer, the batch, who is told of that, the event and its bytes; and now and then
/// a list that grows.
const OF_A_POST: f64 = 7.2;
const OF_A_COMMIT: f64 = 12.0;
/// A `GET /users/me`: hyper reads the head and the answer's headers are made; and now and then something is swept.
const OF_A_LOOK: f64 = 8.05;

/// Allocations and reallocations, of all threads.
fn allocations(work: impl FnOnce()) -> f64 {
    let session = Session::new().no_stdout().no_file();
    let span = session.operation("work").measure_process();
    work();
    drop(span.iterations(1));
    let report = session.to_report();
    report.operations().map(|(_, work)| work.total_allocations_count() as f64).sum()
}

/// Posts that nobody has made yet, one frame after the other.
struct Posts {
    frames: Vec<u8>,
    each: usize,
    made: usize,
}

impl Posts {
    /// Of 128 bytes, with a `client_id`, to the rooms in turn.
    fn to(rooms: &[String], posts: usize) -> Self {
        let post = |n: usize| {
            let (room, client_id) = (&rooms[n % rooms.len()], format!("0190b0a6-0000-7000-8000-{n:012}"));
            let content = "x".repeat(128);
            client::frame(&json!({"type": "post", "chat_id": room, "content": content, "client_id": client_id}))
        };
        Self { frames: (0..posts).flat_map(post).collect(), each: post(0).len(), made: 0 }
    }

    fn next(&mut self, posts: usize) -> &[u8] {
        let first = self.made;
        self.made += posts;
        &self.frames[first * self.each..self.made * self.each]
    }

    /// Makes so many, `at_once` at a time, and waits for what follows from them.
    fn make(&mut self, posts: usize, at_once: usize, socket: &mut Socket, readers: &mut [Socket]) {
        for _ in 0..posts / at_once {
            socket.send(self.next(at_once));
            socket.read("posted", at_once);
            readers.iter_mut().for_each(|reader| reader.read("message", at_once));
        }
    }
}

/// Somebody with rooms of their own, who talks to nobody yet. The server has ended before the next test begins: fields are
/// dropped in their order.
struct Talk {
    server: Server,
    ann: Person,
    rooms: Vec<String>,
    socket: Socket,
    posts: Posts,
    _alone: MutexGuard<'static, ()>,
}

impl Talk {
    fn begin(rooms: usize, posts: usize) -> Self {
        let alone = ALONE.lock();
        let server = Server::start();
        let ann = Person::register(server.address, "ann");
        let rooms: Vec<String> = (0..rooms).map(|n| ann.room(&format!("room {n}"))).collect();
        let (socket, posts) = (ann.socket(), Posts::to(&rooms, posts));
        Self { server, ann, rooms, socket, posts, _alone: alone }
    }

    fn post(&mut self, posts: usize, at_once: usize, readers: &mut [Socket]) {
        self.posts.make(posts, at_once, &mut self.socket, readers);
    }
}

/// Allocations of posts, and the commits that they shared: how many these are depends on the disk.
struct Cost {
    posts: f64,
    commits: f64,
    allocations: f64,
}

impl Cost {
    fn assert_small(&self) {
        let Self { posts, commits, allocations } = self;
        let most = OF_A_POST * posts + OF_A_COMMIT * commits;
        assert!(*allocations <= most, "{allocations} allocations for {posts} posts in {commits} commits");
    }
}

/// What is settled later is not in it.
fn cost(talk: &mut Talk, posts: usize, at_once: usize) -> Cost {
    let before = talk.server.commits();
    let allocations = allocations(|| talk.post(posts, at_once, &mut []));
    Cost { posts: posts as f64, commits: talk.server.commits() - before, allocations }
}

/// Allocations for each delivery of `posts`: what readers add to what the posts take without them.
fn per_delivery(posts: usize, at_once: usize) -> f64 {
    let mut talk = Talk::begin(1, 4 * posts);
    talk.post(posts, at_once, &mut []);
    let without = allocations(|| talk.post(posts, at_once, &mut []));
    let mut readers: Vec<Socket> = (0..READERS).map(|_| talk.ann.follow(&talk.rooms[0])).collect();
    talk.post(posts, at_once, &mut readers);
    let with = allocations(|| talk.post(posts, at_once, &mut readers));
    (with - without) / (posts * READERS) as f64
}

#[test]
fn a_post_makes_7_allocations_and_a_commit_at_most_12() {
    const POSTS: usize = 16_000;
    let mut talk = Talk::begin(ROOMS, FIRST + 2 * POSTS);
    talk.post(FIRST, AT_ONCE, &mut []);
    cost(&mut talk, POSTS / 4, 1).assert_small();
    cost(&mut talk, POSTS, AT_ONCE).assert_small();
}

#[test]
fn settling_a_post_and_taking_in_its_words_makes_at_most_5_allocations() {
    const POSTS: usize = 16_000;
    let mut talk = Talk::begin(ROOMS, FIRST + POSTS);
    talk.post(FIRST, AT_ONCE, &mut []);
    talk.server.settle("before.db");
    let backup = allocations(|| talk.server.settle("again.db"));
    talk.post(POSTS, AT_ONCE, &mut []);
    let settling = (allocations(|| talk.server.settle("after.db")) - backup) / POSTS as f64;
    assert!(settling <= 5.0, "{settling} allocations to settle a post");
}

#[test]
fn a_delivery_of_a_post_alone_allocates_nothing() {
    let each = per_delivery(500, 1);
    assert!(each <= 0.02, "{each} allocations a delivery");
}

#[test]
fn a_delivery_in_a_burst_allocates_nothing() {
    let each = per_delivery(3_200, AT_ONCE);
    assert!(each <= 0.02, "{each} allocations a delivery");
}

#[test]
fn asking_for_ones_account_again_makes_8_allocations() {
    const TIMES: usize = 2_000;
    let talk = Talk::begin(1, 0);
    let mut asking = talk.ann.asking();
    asking.ask(TIMES);
    let each = allocations(|| asking.ask(TIMES)) / TIMES as f64;
    assert!(each <= OF_A_LOOK, "{each} allocations a request");
}
