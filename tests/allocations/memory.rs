//! What people with a socket each hold in memory while they say nothing: bytes of Rust's allocator, counted over a whole server in
//! this process, never guessed from the size of a type.

mod client;
mod server;

use std::time::{Duration, Instant};

use cap::Cap;
use mimalloc::MiMalloc;
use natter::config::{self, Config};

use client::{Parked, Person};
use server::Server;

#[global_allocator]
static ALLOCATOR: Cap<MiMalloc> = Cap::new(MiMalloc, usize::MAX);

const PEOPLE: usize = 7_000;
/// How long what is remembered of somebody may take to be forgotten.
const DEADLINE: Duration = Duration::from_secs(30);
/// Somebody signed in, their socket, and that it follows a room that all of them are in.
const OF_A_PERSON: usize = 400;
/// A further socket of somebody, to the same room.
const OF_A_SOCKET: usize = 400;

/// What is remembered of those who do nothing is soon forgotten.
fn settings() -> Config {
    let settings = server::settings();
    Config { auth: config::Auth { cache_secs: 1, ..settings.auth }, ..settings }
}

/// Waits until no more than `most` bytes are held beyond `before`, and fails where that does not come.
fn held_at_most(most: usize, before: usize, of: usize, ann: &Person) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let held = ALLOCATOR.allocated().saturating_sub(before);
        if held <= most * of {
            return;
        }
        assert!(Instant::now() < deadline, "{} bytes each of {of}", held / of);
        ann.ask_after_health();
    }
}

#[test]
fn somebody_who_follows_a_room_and_says_nothing_holds_at_most_400_bytes() {
    let server = Server::with(settings());
    let people: Vec<Person> = (0..=PEOPLE).map(|n| Person::register(server.address, &format!("person{n}"))).collect();
    let ann = &people[0];
    let names: Vec<String> = (1..=PEOPLE).map(|n| format!("person{n}")).collect();
    let room = ann.room_with("everybody", &names);
    let first = ann.follow(&room).park();
    let mut held = Vec::new();
    for part in people[1..].chunks(PEOPLE / 4) {
        let part: Vec<Parked> = part.iter().map(|person| person.follow(&room).park()).collect();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(17) {
            ann.ask_after_health();
        }
        println!("{} place", ALLOCATOR.allocated() as i64);
        held.push(part);
    }
    drop(first);
    held_at_most(OF_A_PERSON, 0, PEOPLE, ann);
}
