//! What a connection at rest holds: counted in bytes of Rust's allocator over a whole server in this process.

mod client;
mod server;

use std::time::{Duration, Instant};

use cap::Cap;
use mimalloc::MiMalloc;

use client::{Parked, Person};
use server::Server;

#[global_allocator]
static ALLOCATOR: Cap<MiMalloc> = Cap::new(MiMalloc, usize::MAX);

const PEOPLE: usize = 2_000;

#[test]
fn a_connection_at_rest() {
    let server = Server::start();
    let people: Vec<Person> = (0..=PEOPLE).map(|n| Person::register(server.address, &format!("person{n}"))).collect();
    let names: Vec<String> = (1..=PEOPLE).map(|n| format!("person{n}")).collect();
    let room = people[0].room_with("all", &names);
    let first: Vec<Parked> = people[1..=PEOPLE / 2].iter().map(|person| person.follow(&room).park()).collect();
    std::thread::sleep(Duration::from_secs(3));
    let before = ALLOCATOR.allocated();
    let began = Instant::now();
    let rest: Vec<Parked> = people[PEOPLE / 2 + 1..].iter().map(|person| person.follow(&room).park()).collect();
    let took = began.elapsed();
    for _ in 0..5 {
        std::thread::sleep(Duration::from_secs(2));
        let each = (ALLOCATOR.allocated() - before) as f64 / rest.len() as f64;
        println!("{each} bytes a connection; total {before}; {took:?} {}", first.len());
    }
}
