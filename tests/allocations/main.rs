//! What a post and a delivery allocate: counted over all threads of a server in this process, never timed.
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

/// Allocations for each of `posts`; what is settled later is not in it.
fn per_post(posts: usize, at_once: usize) -> f64 {
    let mut talk = Talk::begin(ROOMS, FIRST + posts);
    talk.post(FIRST, AT_ONCE, &mut []);
    allocations(|| talk.post(posts, at_once, &mut [])) / posts as f64
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
fn a_post_that_is_committed_alone_makes_at_most_17_allocations() {
    let each = per_post(4_000, 1);
    assert!(each <= 17.0, "{each} allocations a post");
}

#[test]
fn posts_at_saturation_make_at_most_8_allocations_each() {
    let each = per_post(32_000, AT_ONCE);
    assert!(each <= 8.0, "{each} allocations a post");
}

#[test]
fn posts_at_saturation_and_their_settling_make_at_most_8_allocations_each() {
    const POSTS: usize = 16_000;
    let mut talk = Talk::begin(ROOMS, FIRST + POSTS);
    talk.post(FIRST, AT_ONCE, &mut []);
    talk.server.settle("before.db");
    let backup = allocations(|| talk.server.settle("again.db"));
    let posting = allocations(|| talk.post(POSTS, AT_ONCE, &mut []));
    let settling = allocations(|| talk.server.settle("after.db")) - backup;
    let (posting, settling) = (posting / POSTS as f64, settling / POSTS as f64);
    assert!(posting + settling <= 8.0, "{posting} allocations a post, and {settling} to settle it");
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
