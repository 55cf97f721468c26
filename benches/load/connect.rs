//! Upgrades per second: sockets that come as fast as they are taken, each with a token of its own and a room that its user has
//! to be a member of; beside a bare responder that answers the same handshakes and looks at nothing.

use std::net::SocketAddr;
use std::time::Instant;

use clap::Args;
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::json;

use crate::people::{People, Person};
use crate::report::Report;
use crate::server::Target;
use crate::side::{SETTLE_MILLIS, settle};
use crate::socket::Socket;
use crate::stats::{Latency, Spread, figure};
use crate::svg::{Plot, Series, point};
use crate::table::{Table, compare};
use crate::{Common, Outcome, Result, apart, at_least_one, bare, proc};

#[derive(Args, Debug, Clone)]
pub struct Options {
    /// Sockets that come in each round, and stay until all are there
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=18_000))]
    connections: u32,
    /// Handshakes under way at once
    #[arg(long, default_value_t = 128, value_parser = at_least_one)]
    at_once: usize,
    /// Threads of the tool that connect
    #[arg(long, default_value_t = 2, value_parser = at_least_one)]
    threads: usize,
    /// Users in each room
    #[arg(long, default_value_t = 500, value_parser = at_least_one)]
    room_of: usize,
}

/// Who comes, and to which path.
#[derive(Clone)]
struct Guest {
    person: Person,
    path: String,
}

struct Run {
    upgrades_per_sec: f64,
    /// From the first byte of the connection to the last of the answer.
    latency: Latency,
    /// CPU seconds per million upgrades.
    server_cpu: f64,
    client_cpu: f64,
}

pub async fn run(common: &Common, options: &Options) -> Outcome {
    let count = options.connections as usize;
    proc::allow_open_files(count as u64 + 500)?;
    let target = Target::start(common)?;
    let people = People::gather(&target, common, count).await?;
    let rooms = people.rooms(&target, count.div_ceil(options.room_of)).await?;
    let path = |nth: usize| format!("/ws/chat/{}", rooms[nth % rooms.len()]);
    let guests: Vec<Guest> = (0..count).map(|nth| Guest { person: people.of(nth).clone(), path: path(nth) }).collect();
    members_only(&target, &people, &rooms).await?;
    let bare = bare::Process::start(&["handshake"], "")?;
    let (mut of_natter, mut of_bare) = (Vec::new(), Vec::new());
    for round in 1..=common.rounds {
        println!("round {round} of {}", common.rounds);
        of_natter.push(measure(target.addr, &guests, options, || target.cpu_secs()).await?);
        of_bare.push(measure(bare.addr, &guests, options, || bare.cpu_secs()).await?);
        let rates = [&of_natter, &of_bare].map(|runs| figure(runs[runs.len() - 1].upgrades_per_sec));
        println!("  natter {} upgrades/s, bare {}", rates[0], rates[1]);
    }

    let settings = json!({
        "connections": count, "at_once": options.at_once, "threads": options.threads, "room_of": options.room_of,
        "per_user": common.per_user,
    });
    let mut report = Report::new("connect", target.name(), settings);
    let title = format!("{count} WebSocket upgrades, {} at a time", options.at_once);
    let mut table = Table::new(title, &["median (min–max)", "natter", "bare handshake", "ratio"]);
    let mut row = |label: &str, name: &str, of: fn(&Run) -> f64| {
        compare(&mut report, &mut table, label, name, &of_natter, &of_bare, of);
    };
    row("upgrades/s", "upgrades_per_sec", |run| run.upgrades_per_sec);
    row("p50, ms", "p50_ms", |run| run.latency.millis_at(50.0));
    row("p99, ms", "p99_ms", |run| run.latency.millis_at(99.0));
    row("server CPU s per million", "server_cpu_secs_per_million", |run| run.server_cpu);
    row("client CPU s per million", "client_cpu_secs_per_million", |run| run.client_cpu);
    report.table(table);
    report.note("natter: the token is verified and the user's membership in the room; every user has a token of its own, which from the second round on the server has seen before.");
    report.note("bare: the request is read and its key answered, nothing else.");
    report.plot = plot(&of_natter, &of_bare);
    target.stop()?;
    report.finish(common)
}

/// Before anything is measured: somebody from another room has to be refused.
async fn members_only(target: &Target, people: &People, rooms: &[String]) -> Outcome {
    if rooms.len() < 2 || people.all.len() < rooms.len() {
        return Ok(());
    }
    match Socket::open(target.addr, &format!("/ws/chat/{}", rooms[0]), people.of(1)).await {
        Ok(_) => Err("somebody who is no member of a room got a socket that follows it".into()),
        Err(_) => Ok(()),
    }
}

async fn measure(
    addr: SocketAddr,
    guests: &[Guest],
    options: &Options,
    server_cpu: impl Fn() -> Result<f64>,
) -> Result<Run> {
    let threads = options.threads.min(options.at_once);
    let at_once = options.at_once / threads;
    let (server, client, start) = (server_cpu()?, proc::own_cpu_secs()?, Instant::now());
    let shares = (0..threads).map(|nth| guests.iter().skip(nth).step_by(threads).cloned().collect::<Vec<_>>());
    let coming = shares.map(|share| apart::start(move |_| come(addr, share, at_once)).done());
    let (mut sockets, mut latency) = (Vec::new(), Latency::default());
    for (came, handshakes) in try_join_all(coming).await? {
        sockets.extend(came);
        latency.add(&handshakes);
    }
    let (secs, millions) = (start.elapsed().as_secs_f64(), guests.len() as f64 / 1e6);
    let run = Run {
        upgrades_per_sec: guests.len() as f64 / secs,
        server_cpu: (server_cpu()? - server) / millions,
        client_cpu: (proc::own_cpu_secs()? - client) / millions,
        latency,
    };
    drop(sockets);
    settle(SETTLE_MILLIS).await;
    Ok(run)
}

async fn come(addr: SocketAddr, guests: Vec<Guest>, at_once: usize) -> Result<(Vec<Socket>, Latency)> {
    let mut latency = Latency::default();
    let mut coming = stream::iter(guests)
        .map(|guest| async move {
            let start = Instant::now();
            let socket = Socket::open(addr, &guest.path, &guest.person).await?;
            Result::Ok((socket, start.elapsed()))
        })
        .buffer_unordered(at_once);
    let mut sockets = Vec::new();
    while let Some((socket, took)) = coming.try_next().await? {
        latency.record(took);
        sockets.push(socket);
    }
    Ok((sockets, latency))
}

fn plot(natter: &[Run], bare: &[Run]) -> Plot {
    let series = |name: &str, runs: &[Run]| Series {
        name: format!("{name}, median {}", Spread::of(runs.iter().map(|run| run.upgrades_per_sec))),
        joined: true,
        points: (1..).zip(runs).map(|(at, run)| point(f64::from(at), run.upgrades_per_sec)).collect(),
    };
    Plot {
        title: "WebSocket upgrades, with token and membership".into(),
        x: "round".into(),
        y: "upgrades per second".into(),
        x_names: (1..).zip(natter).map(|(at, _)| (f64::from(at), at.to_string())).collect(),
        series: vec![series("natter", natter), series("bare handshake", bare)],
    }
}
