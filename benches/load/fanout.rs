//! One room, many subscribers: latency and CPU at a steady rate, deliveries per second at saturation, and both beside a
//! bare loop that writes the same bytes to as many sockets; at saturation also beside one that writes them in chunks of 64 KB.
//!
//! The sides have their sockets one after the other, so that this process and the servers need one open file for each reader.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::check::Faults;
use crate::report::Report;
use crate::server::Target;
use crate::side::{Measured, SETTLE_MILLIS, Side, percentiles, settle};
use crate::stats::figure;
use crate::table::{Ceiling, Table, compare_all};
use crate::{Common, Outcome, proc};

#[derive(Args, Debug, Clone)]
pub struct Options {
    /// Sockets in the room
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    subscribers: u32,
    /// Messages per second in the steady part
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// Length of the steady part of each round
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Length of the saturated part of each round
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    saturated_seconds: u64,
    /// Posts without acknowledgement in the saturated part
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    window: u64,
    /// Length of a message's content
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    bytes: u32,
}

/// The longest write of the bare loop that gathers.
const CHUNK_BYTES: usize = 64 * 1024;

/// The rounds of one side.
#[derive(Default)]
struct Rounds {
    steady: Vec<Measured>,
    saturated: Vec<Measured>,
}

#[derive(Default)]
struct Sides {
    natter: Rounds,
    bare: Rounds,
    /// Saturated.
    chunked: Vec<Measured>,
    faults: Faults,
}

pub async fn run(common: &Common, options: &Options) -> Outcome {
    let readers = options.subscribers as usize;
    proc::allow_open_files(readers as u64 + 500)?;
    let target = Target::start(common)?;
    let mut sides = Sides::default();
    for round in 1..=common.rounds {
        println!("round {round} of {}", common.rounds);
        sides.round(&target, common, options).await?;
    }

    let settings = json!({
        "subscribers": readers, "rate": options.rate, "seconds": options.seconds, "rounds": common.rounds,
        "saturated_seconds": options.saturated_seconds, "window": options.window, "bytes": options.bytes,
        "chunk_bytes": CHUNK_BYTES,
    });
    let mut report = Report::new("fanout", target.name(), settings);
    steady(&mut report, options, &sides);
    saturated(&mut report, options, &sides);
    report.note(
        "bare: one write per delivery, nothing stored, nobody authenticated; 64 KB writes: the same frames, as many in each \
         write as fit. ratio: natter beside it, round by round.",
    );
    report.note("cores: CPU seconds by seconds. Client and server share this machine's.");
    let title = format!("Delivery latency, {} msg/s to {} subscribers", figure(options.rate), options.subscribers);
    report.plot = percentiles(title, [("natter", &sides.natter.steady[..]), ("bare write loop", &sides.bare.steady)]);
    report.faults = sides.faults;
    target.stop()?;
    report.finish(common)
}

impl Sides {
    async fn round(&mut self, target: &Target, common: &Common, options: &Options) -> Outcome {
        let (readers, length) = (options.subscribers as usize, Duration::from_secs(options.saturated_seconds));
        let messages = (options.rate * options.seconds as f64).ceil() as u64;

        let mut side = Side::natter(target, common, (1, readers, 1), options.bytes as usize).await?;
        let event_bytes = side.crowd.event_bytes();
        self.natter.steady.push(side.paced(options.rate, messages).await?);
        self.natter.saturated.push(side.saturated(options.window, length).await?);
        tell("natter", self.natter.saturated.last());
        leave(side, &mut self.faults).await;

        let mut side = Side::bare(1, readers, event_bytes, 0).await?;
        self.bare.steady.push(side.paced(options.rate, messages).await?);
        self.bare.saturated.push(side.saturated(options.window, length).await?);
        tell("bare", self.bare.saturated.last());
        leave(side, &mut self.faults).await;

        // While a chunk is written another one has to be ordered, or no chunk would be whole.
        let window = options.window.max(2 * CHUNK_BYTES.div_ceil(event_bytes) as u64);
        let mut side = Side::bare(1, readers, event_bytes, CHUNK_BYTES).await?;
        self.chunked.push(side.saturated(window, length).await?);
        tell("64 KB writes", self.chunked.last());
        leave(side, &mut self.faults).await;
        Ok(())
    }
}

fn tell(side: &str, saturated: Option<&Measured>) {
    let per_sec = saturated.map_or(f64::NAN, Measured::deliveries_per_sec);
    println!("  {side}: {} deliveries/s", figure(per_sec));
}

/// Waits until the side's sockets are gone.
async fn leave(side: Side<'_>, faults: &mut Faults) {
    faults.add(&side.faults());
    side.leave();
    settle(SETTLE_MILLIS).await;
}

fn steady(report: &mut Report, options: &Options, sides: &Sides) {
    let title = format!("{} msg/s to {} subscribers, open loop", figure(options.rate), options.subscribers);
    let mut table = Table::new(title, &["median (min–max)", "natter", "bare", "ratio"]);
    let (natter, bare) = (&sides.natter.steady[..], [Ceiling::bare(&sides.bare.steady)]);
    let mut row = |label: &str, name: &str, of: fn(&Measured) -> f64| {
        compare_all(report, &mut table, label, &format!("steady_{name}"), natter, &bare, of);
    };
    row("p50, ms", "p50_ms", |round| round.latency.millis_at(50.0));
    row("p99, ms", "p99_ms", |round| round.latency.millis_at(99.0));
    row("max, ms", "max_ms", |round| round.latency.max_millis());
    cpu(row);
    report.table(table);
}

fn saturated(report: &mut Report, options: &Options, sides: &Sides) {
    let title = format!("saturated: {} posts in flight to {} subscribers", options.window, options.subscribers);
    let header = ["median (min–max)", "natter", "bare", "ratio", "64 KB writes", "ratio"];
    let mut table = Table::new(title, &header);
    let natter = &sides.natter.saturated[..];
    let chunked = Ceiling { rounds: &sides.chunked, figure: "chunked", ratio: "chunked_ratio" };
    let bare = [Ceiling::bare(&sides.bare.saturated), chunked];
    let mut row = |label: &str, name: &str, of: fn(&Measured) -> f64| {
        compare_all(report, &mut table, label, &format!("saturated_{name}"), natter, &bare, of);
    };
    row("deliveries/s", "deliveries_per_sec", Measured::deliveries_per_sec);
    row("messages/s", "messages_per_sec", |round| round.messages as f64 / round.secs);
    cpu(row);
    report.table(table);
}

fn cpu(mut row: impl FnMut(&str, &str, fn(&Measured) -> f64)) {
    row("server CPU s per million", "server_cpu_secs_per_million", Measured::server_cpu_per_million);
    row("client CPU s per million", "client_cpu_secs_per_million", Measured::client_cpu_per_million);
    row("server, cores", "server_cores", Measured::server_cores);
    row("its busiest thread", "server_busiest_thread_cores", Measured::busiest_thread_cores);
    row("client, cores", "client_cores", Measured::client_cores);
}
