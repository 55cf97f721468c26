//! What people with a socket each hold in memory while they say nothing: bytes of Rust's allocator, counted over a whole server in
//! this process, never guessed from the size of a type.

mod client;
mod server;

use std::time::{Duration, Instant};

use cap::Cap;
use mimalloc::MiMalloc;
use parking_lot::Mutex;

use client::{Parked, Person};
use server::Server;

#[global_allocator]
static ALLOCATOR: Cap<MiMalloc> = Cap::new(MiMalloc, usize::MAX);

/// At which maps of 64 parts, as that of who is online, are neither full nor empty.
const PEOPLE: usize = 3_000;
/// Some for each poller.
const FIRST: usize = 8;
/// How long what is remembered of somebody may take to be forgotten.
const DEADLINE: Duration = Duration::from_secs(60);
/// Somebody's socket, themselves, and that it follows a room that they are in.
const OF_A_PERSON: usize = 450;
/// A further socket of somebody, to a room that another of theirs follows.
const OF_A_SOCKET: usize = 350;

/// What people hold beyond what was held before.
struct Held {
    before: usize,
    ann: Person,
}

impl Held {
    /// Waits until it is no more than `most` bytes for each of so many, and fails where that does not come.
    fn is_at_most(&self, most: usize, each_of: usize) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let held = ALLOCATOR.allocated().saturating_sub(self.before);
            if held <= most * each_of {
                return;
            }
            assert!(Instant::now() < deadline, "{} bytes for each of {each_of}", held / each_of);
            self.ann.ask_after_health();
        }
    }
}

/// Held by each test: whatever the process holds is counted.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn somebody_with_a_socket_who_says_nothing_holds_at_most_450_bytes() {
    let _alone = ALONE.lock();
    let server = Server::start();
    let mut people: Vec<Person> = names().map(|name| Person::register(server.address, &name)).collect();
    let ann = people.remove(0);
    let room = ann.room_with("everybody", &names().skip(1).collect::<Vec<_>>());
    // What a server needs for the first of them, it has.
    people[..FIRST].iter().for_each(|person| drop(person.follow(&room)));
    let held = Held { before: ALLOCATOR.allocated(), ann };
    let _sockets: Vec<Parked> = people.iter().map(|person| person.follow(&room).park()).collect();
    held.is_at_most(OF_A_PERSON, PEOPLE);
}

#[test]
fn a_further_socket_of_somebody_holds_at_most_350_bytes() {
    let _alone = ALONE.lock();
    let server = Server::start();
    let ann = Person::register(server.address, "ann");
    let room = ann.room("hers");
    let _first: Vec<Parked> = (0..FIRST).map(|_| ann.follow(&room).park()).collect();
    let held = Held { before: ALLOCATOR.allocated(), ann };
    let _sockets: Vec<Parked> = (0..PEOPLE).map(|_| held.ann.follow(&room).park()).collect();
    held.is_at_most(OF_A_SOCKET, PEOPLE);
}

fn names() -> impl Iterator<Item = String> {
    (0..=PEOPLE).map(|n| format!("person{n}"))
}
