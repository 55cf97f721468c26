//! Many small rooms: the highest steady rate at which deliveries stay quick, durable and in order, beside a bare loop
//! that writes each message to as few sockets.

use clap::Args;
use serde_json::json;

use crate::report::Report;
use crate::server::Target;
use crate::side::{Measured, Side};
use crate::stats::{Spread, figure};
use crate::svg::{Plot, Series, point};
use crate::table::{Table, compare};
use crate::{Common, Outcome, Result, proc};

#[derive(Args, Debug, Clone)]
pub struct Options {
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    rooms: u32,
    /// Sockets in each room
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    readers: u32,
    /// A rate counts while p99 stays below this
    #[arg(long, default_value_t = 50.0)]
    p99_ms: f64,
    /// Length of one try
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// The first rate to try, in messages per second over all rooms
    #[arg(long, default_value_t = 1_000.0)]
    from: f64,
    /// After doubling, the last interval is halved so many times: with 4 the answer is within 7 %
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=10))]
    halvings: u32,
    /// Length of a message's content
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    bytes: u32,
}

/// A search never goes past this.
const HIGHEST_RATE: f64 = 200_000.0;

/// Every try of one search, and the highest rate that was held.
struct Search {
    tries: Vec<(f64, Measured)>,
    best: f64,
}

impl Search {
    fn cpu_per_million(&self) -> f64 {
        let best = self.tries.iter().rfind(|(rate, _)| *rate == self.best);
        best.map_or(f64::NAN, |(_, measured)| measured.server_cpu_per_million())
    }
}

pub async fn run(common: &Common, options: &Options) -> Outcome {
    let (rooms, readers) = (options.rooms as usize, options.readers as usize);
    proc::allow_open_files(2 * (rooms * readers) as u64 + 200)?;
    let target = Target::start(common)?;
    let senders = (1..=16).rev().find(|senders| rooms % senders == 0).unwrap_or(1);
    let mut natter = Side::natter(&target, common, (rooms, readers, senders), options.bytes as usize).await?;
    let mut bare = Side::bare(rooms, readers, natter.crowd.event_bytes(), 0).await?;
    let (mut of_natter, mut of_bare) = (Vec::new(), Vec::new());
    for round in 1..=common.rounds {
        println!("round {round} of {}", common.rounds);
        of_natter.push(search(&mut natter, options).await?);
        of_bare.push(search(&mut bare, options).await?);
    }

    let settings = json!({
        "rooms": rooms, "readers": readers, "p99_ms": options.p99_ms, "seconds": options.seconds, "bytes": options.bytes,
        "rounds": common.rounds,
    });
    let mut report = Report::new("rooms", target.name(), settings);
    let title = format!("{rooms} rooms × {readers} readers, open loop, p99 < {} ms", figure(options.p99_ms));
    let mut table = Table::new(title, &["median (min–max)", "natter", "bare", "ratio"]);
    compare(&mut report, &mut table, "highest msg/s", "highest_messages_per_sec", &of_natter, &of_bare, |round| {
        round.best
    });
    let name = "server_cpu_secs_per_million";
    let label = "server CPU s per million deliveries, there";
    compare(&mut report, &mut table, label, name, &of_natter, &of_bare, Search::cpu_per_million);
    report.table(table);
    report.plot = plot(&of_natter, &of_bare);
    report.faults.add(&natter.faults());
    report.faults.add(&bare.faults());
    natter.leave();
    bare.leave();
    target.stop()?;
    report.finish(common)
}

/// Doubles the rate until it is not held, then closes in.
async fn search(side: &mut Side<'_>, options: &Options) -> Result<Search> {
    let mut found = Search { tries: Vec::new(), best: 0.0 };
    let (mut rate, mut too_high) = (options.from, f64::INFINITY);
    let mut halvings = 0;
    while halvings <= options.halvings && rate <= HIGHEST_RATE {
        // A rate that a hiccup of the machine spoiled gets a second chance.
        if attempt(side, options, rate, &mut found).await? || attempt(side, options, rate, &mut found).await? {
            found.best = rate;
        } else {
            too_high = rate;
        }
        if too_high.is_finite() {
            halvings += 1;
            rate = (found.best + too_high) / 2.0;
        } else {
            rate *= 2.0;
        }
    }
    Ok(found)
}

/// Whether `rate` was held.
async fn attempt(side: &mut Side<'_>, options: &Options, rate: f64, found: &mut Search) -> Result<bool> {
    // Whole turns of all rooms, so that each gets as many.
    let turns = (rate * options.seconds as f64 / f64::from(options.rooms)).ceil().max(1.0);
    let messages = turns as u64 * u64::from(options.rooms);
    let measured = side.paced(rate, messages).await?;
    let whole = measured.deliveries == messages * u64::from(options.readers);
    let p99_ms = measured.latency.millis_at(99.0);
    println!("  {} msg/s: p99 {} ms", figure(rate), figure(p99_ms));
    found.tries.push((rate, measured));
    Ok(whole && p99_ms < options.p99_ms)
}

fn plot(natter: &[Search], bare: &[Search]) -> Plot {
    let cloud = |name: &str, searches: &[Search]| Series {
        name: name.into(),
        joined: false,
        points: searches
            .iter()
            .flat_map(|search| &search.tries)
            .map(|(rate, tried)| point(*rate, tried.latency.millis_at(99.0)))
            .collect(),
    };
    let best = |name: &str, searches: &[Search]| {
        format!("{name}: {} msg/s", figure(Spread::of(searches.iter().map(|search| search.best)).median))
    };
    Plot {
        title: "Delivery latency by rate, many rooms".into(),
        x: "messages per second, all rooms".into(),
        y: "p99, ms".into(),
        x_names: Vec::new(),
        series: vec![cloud(&best("natter", natter), natter), cloud(&best("bare write loop", bare), bare)],
    }
}
