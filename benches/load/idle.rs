//! Memory of the server per idle connection: authenticated, of a user of its own, subscribed to one room, saying nothing.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::check::Faults;
use crate::crowd::Crowd;
use crate::people::People;
use crate::report::Report;
use crate::sender::{Sender, Until};
use crate::server::Target;
use crate::side::settle;
use crate::stats::{self, Spread, figure};
use crate::svg::{Plot, Series, point};
use crate::table::Table;
use crate::{Common, Outcome, Result, at_least_one, proc};

#[derive(Args, Debug, Clone)]
pub struct Options {
    /// Numbers of connections to measure at, ascending
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 5_000, 10_000, 18_000])]
    steps: Vec<usize>,
    /// Users in each room
    #[arg(long, default_value_t = 500, value_parser = at_least_one)]
    room_of: usize,
    /// Wait before memory is read: what a server remembers of those who came is forgotten after some seconds
    #[arg(long, default_value_t = 12_000)]
    settle_ms: u64,
}

struct Round {
    /// Connections and bytes of anonymous memory; the first is the server with its users and the room, before anyone connects.
    points: Vec<(f64, f64)>,
    bytes_per_connection: f64,
    connects_per_sec: f64,
    /// From the posts that ended the round, one to each room, to the last of their deliveries.
    reached_all_millis: f64,
    faults: Faults,
}

pub async fn run(common: &Common, options: &Options) -> Outcome {
    let most = options.steps.last().copied().unwrap_or_default();
    if options.steps.len() < 2 || !options.steps.is_sorted() {
        return Err("--steps wants at least two numbers, ascending".into());
    }
    proc::allow_open_files(most as u64 + 200)?;
    let count = if common.url.is_some() { 1 } else { common.rounds };
    let (mut rounds, mut name) = (Vec::new(), String::new());
    for nth in 1..=count {
        println!("round {nth} of {count}");
        let target = Target::start(common)?;
        name = target.name();
        rounds.push(round(&target, common, options, most).await?);
        target.stop()?;
    }

    let settings = json!({ "steps": options.steps, "settle_ms": options.settle_ms, "room_of": options.room_of,
        "per_user": common.per_user, "rounds": count, });
    let mut report = Report::new("idle", name, settings);
    fill(&mut report, &rounds);
    report.plot = plot(&rounds);
    rounds.iter().for_each(|round| report.faults.add(&round.faults));
    if common.url.is_some() {
        report.note("one round: the memory of a server that is not started anew says little the second time.");
    }
    report.finish(common)
}

async fn round(target: &Target, common: &Common, options: &Options, most: usize) -> Result<Round> {
    let people = People::gather(target, common, most).await?;
    let rooms = people.rooms(target, most.div_ceil(options.room_of)).await?;
    let crowd = Crowd::new();
    settle(options.settle_ms).await;
    let mut points = vec![(0.0, target.anon_bytes()? as f64)];
    let (mut have, mut connecting) = (0, Duration::ZERO);
    for &step in &options.steps {
        let start = Instant::now();
        crowd.join(target, &people, &rooms, step - have).await?;
        connecting += start.elapsed();
        have = step;
        settle(options.settle_ms).await;
        points.push((step as f64, target.anon_bytes()? as f64));
        println!("  {step} connections: {} MiB", figure(target.anon_bytes()? as f64 / 1_048_576.0));
    }

    let heads: Vec<u64> = crowd.heads(rooms.len()).iter().map(|head| head + 1).collect();
    let count = rooms.len() as u64;
    let mut sender = Sender::open(target.addr, people.first(), rooms, &people.run, 128).await?;
    let posted = Instant::now();
    sender.windowed(count, Until::Posts(count)).await?;
    let last = crowd.wait_for(have as u64, Duration::from_secs(30)).await;
    let faults = crowd.faults(&heads);
    crowd.leave();
    Ok(Round {
        bytes_per_connection: stats::line(&points[1..]).0,
        points,
        connects_per_sec: have as f64 / connecting.as_secs_f64(),
        reached_all_millis: last.saturating_duration_since(posted).as_secs_f64() * 1_000.0,
        faults,
    })
}

fn fill(report: &mut Report, rounds: &[Round]) {
    let mut table = Table::new("server memory (anonymous), MiB", &["connections", "median (min–max)"]);
    for (nth, (connections, _)) in rounds[0].points.iter().enumerate() {
        let spread = Spread::of(rounds.iter().map(|round| round.points[nth].1 / 1_048_576.0));
        table.row(vec![connections.to_string(), spread.to_string()]);
        report.figure(&format!("anon_mib_at_{connections}"), spread);
    }
    report.table(table);

    let mut table = Table::new("", &["", "median (min–max)"]);
    let mut row = |label: &str, name: &str, of: fn(&Round) -> f64| {
        let spread = Spread::of(rounds.iter().map(of));
        table.row(vec![label.into(), spread.to_string()]);
        report.figure(name, spread);
    };
    row("bytes per connection (slope by least squares)", "bytes_per_connection", |round| round.bytes_per_connection);
    row("connected and subscribed per second", "connects_per_sec", |round| round.connects_per_sec);
    row("a message to each room has reached all, ms", "reached_all_ms", |round| round.reached_all_millis);
    report.table(table);
}

fn plot(rounds: &[Round]) -> Plot {
    let mib = |bytes: f64| bytes / 1_048_576.0;
    let mut series = Vec::new();
    for (nth, round) in rounds.iter().enumerate() {
        let points = round.points.iter().map(|&(connections, bytes)| point(connections, mib(bytes))).collect();
        let name = format!("round {}: {} B per connection", nth + 1, figure(round.bytes_per_connection));
        series.push(Series { name, points, joined: true });
    }
    Plot {
        title: "Server memory by idle connections".into(),
        x: "authenticated connections, each subscribed to one room".into(),
        y: "anonymous memory, MiB".into(),
        x_names: Vec::new(),
        series,
    }
}
