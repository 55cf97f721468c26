//! Micro-benchmarks of the paths that run for every message, request and connection.
//!
//!     cargo bench --bench micro
//!     cargo bench --bench micro -- publish
//!
//! They use what the library offers to anybody. Out of reach are therefore the reading of a client's frames (`ws::reader` and
//! `ws::commands` are the engine's own: `load posts` and `tests/allocations` see them from outside), and a fan-out without its
//! commit: what more readers cost is the difference between two lines of `publish`.

mod scene;

use std::hint::black_box;
use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{Bencher, Divan};
use hyper::Uri;
use natter::auth::token::{Claims, Tokens};
use natter::chat::ring::{Ring, RingBudget};
use natter::config::Config;
use natter::event::Event;
use natter::http::routes;
use natter::metrics::Metrics;
use natter::protocol::{Frame, Said};
use natter::types::{MessageId, RoomId, SessionId, Timestamp, UserId};

use self::scene::{Log, Scene, event};

fn main() {
    Divan::from_args().main();
}

/// A message of 128 bytes as everyone gets it: JSON and frame header.
#[divan::bench]
fn encode_message(bencher: Bencher<'_, '_>) {
    let (room, sender) = (RoomId::fresh(), UserId::fresh());
    bencher.bench(|| event(black_box(room), sender, 17));
}

/// The acknowledgement of a post.
#[divan::bench]
fn encode_posted(bencher: Bencher<'_, '_>) {
    let (chat_id, message_id, sent_at) = (RoomId::fresh(), MessageId::fresh(), Timestamp::now());
    bencher.bench(|| {
        let client_id = Some("0193d5a0-17");
        Frame::json(black_box(&Said::Posted {
            req: None,
            chat_id,
            client_id,
            message_id,
            seq: 17,
            sent_at,
            duplicate: false,
            deleted: None,
        }))
    });
}

fn ring(events: u64) -> (Ring, Event) {
    let budget = RingBudget::new(&Config::default().rooms, Arc::new(Metrics::default()));
    let (mut ring, event) = (Ring::new(0, budget), event(RoomId::fresh(), UserId::fresh(), 1));
    (1..=events).for_each(|seq| ring.push(&event, seq));
    (ring, event)
}

/// Into a full ring, which lets go of its oldest.
#[divan::bench]
fn ring_push(bencher: Bencher<'_, '_>) {
    let (mut ring, event) = ring(2_000);
    bencher.bench_local(|| ring.push(&event, ring.head()));
}

/// The last so many frames, copied as for one write.
#[divan::bench(args = [1, 10, 100, 1_000])]
fn ring_read(bencher: Bencher<'_, '_>, events: u64) {
    let (ring, _) = ring(2_000);
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(events)).bench_local(|| {
        out.clear();
        let entries = ring.after(ring.head() - events).expect("the ring reaches back so far");
        entries.for_each(|entry| out.extend_from_slice(entry.frame.bytes()));
        out.len()
    });
}

/// A post: judged, committed to the journal, acknowledged, and offered to so many readers who are level.
#[divan::bench(args = [1, 100, 10_000], sample_count = 30, sample_size = 1)]
fn publish(bencher: Bencher<'_, '_>, readers: usize) {
    let scene = Scene::with_readers(readers);
    bencher.counter(ItemsCount::new(readers)).bench_local(|| scene.publish());
}

/// On disk when it returns.
#[divan::bench(args = [1, 10, 100, 1_000], sample_count = 30, sample_size = 1)]
fn append(bencher: Bencher<'_, '_>, batch: u64) {
    let log = Log::open();
    bencher
        .counter(ItemsCount::new(batch))
        .with_inputs(|| log.next(batch))
        .bench_local_values(|events| log.append(events));
}

#[divan::bench]
fn verify_token(bencher: Bencher<'_, '_>) {
    let tokens = Tokens::new(&[7; 32], &Config::default().auth, Arc::default());
    let token = tokens.issue(&Claims {
        sub: "ann".into(),
        uid: UserId::fresh(),
        sid: SessionId::fresh(),
        ver: 0,
        iat: Timestamp::now().unix_secs(),
        exp: Timestamp::now().plus_secs(3_600).unix_secs(),
        nbf: None,
    });
    bencher.bench(|| tokens.check(black_box(&token)).expect("it is valid"));
}

#[divan::bench(args = ["/users/me", "/chat/0193d5a0-0000-7000-8000-000000000000/members/ann", "/nowhere"])]
fn match_route(bencher: Bencher<'_, '_>, path: &str) {
    let uri = Uri::try_from(path).expect("a path");
    bencher.bench(|| routes::find(black_box(&uri)));
}
