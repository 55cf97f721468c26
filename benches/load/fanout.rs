//! One room, many subscribers: latency and CPU at a steady rate, deliveries per second at saturation, and both beside a
//! bare loop that writes the same bytes to as many sockets.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::report::{Report, Table};
use crate::server::Target;
use crate::side::{Measured, Side};
use crate::stats::{Spread, figure};
use crate::svg::{Plot, Series, point};
use crate::{Common, Outcome, proc};

#[derive(Args, Debug, Clone)]
pub struct Options {
    /// Sockets in the room
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=9_500))]
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

/// The rounds of one side.
#[derive(Default)]
struct Rounds {
    steady: Vec<Measured>,
    saturated: Vec<Measured>,
}

pub async fn run(common: &Common, options: &Options) -> Outcome {
    let readers = options.subscribers as usize;
    proc::allow_open_files(2 * readers as u64 + 200)?;
    let target = Target::start(common)?;
    let mut natter = Side::natter(&target, common, (1, readers, 1), options.bytes as usize).await?;
    let mut bare = Side::bare(1, readers, natter.crowd.event_bytes()).await?;
    let (mut of_natter, mut of_bare) = (Rounds::default(), Rounds::default());
    for round in 1..=common.rounds {
        println!("round {round} of {}", common.rounds);
        for (side, rounds) in [(&mut natter, &mut of_natter), (&mut bare, &mut of_bare)] {
            let messages = (options.rate * options.seconds as f64).ceil() as u64;
            rounds.steady.push(side.paced(options.rate, messages).await?);
            rounds
                .saturated
                .push(side.saturated(options.window, Duration::from_secs(options.saturated_seconds)).await?);
        }
    }

    let settings = json!({
        "subscribers": readers, "rate": options.rate, "seconds": options.seconds, "rounds": common.rounds,
        "saturated_seconds": options.saturated_seconds, "window": options.window, "bytes": options.bytes,
    });
    let mut report = Report::new("fanout", target.name(), settings);
    steady(&mut report, options, &of_natter.steady, &of_bare.steady);
    saturated(&mut report, options, &of_natter.saturated, &of_bare.saturated);
    report.note(
        "bare: one write per delivery, nothing stored, nobody authenticated. ratio: natter / bare, round by round.",
    );
    report.plot = plot(options, &of_natter.steady, &of_bare.steady);
    report.faults.add(&natter.faults());
    report.faults.add(&bare.faults());
    natter.leave();
    bare.leave();
    target.stop()?;
    report.finish(common.json.as_deref())
}

fn steady(report: &mut Report, options: &Options, natter: &[Measured], bare: &[Measured]) {
    let title = format!("{} msg/s to {} subscribers, open loop", figure(options.rate), options.subscribers);
    let mut table = Table::new(title, &["median (min–max)", "natter", "bare", "ratio"]);
    compare(report, &mut table, "p50, ms", "steady_p50_ms", natter, bare, |round| round.latency.millis_at(50.0));
    compare(report, &mut table, "p99, ms", "steady_p99_ms", natter, bare, |round| round.latency.millis_at(99.0));
    compare(report, &mut table, "max, ms", "steady_max_ms", natter, bare, |round| round.latency.max_millis());
    cpu(report, &mut table, "steady", natter, bare);
    report.table(table);
}

fn saturated(report: &mut Report, options: &Options, natter: &[Measured], bare: &[Measured]) {
    let title = format!("saturated: {} posts in flight to {} subscribers", options.window, options.subscribers);
    let mut table = Table::new(title, &["median (min–max)", "natter", "bare", "ratio"]);
    compare(
        report,
        &mut table,
        "deliveries/s",
        "saturated_deliveries_per_sec",
        natter,
        bare,
        Measured::deliveries_per_sec,
    );
    let messages = |round: &Measured| round.messages as f64 / round.secs;
    compare(report, &mut table, "messages/s", "saturated_messages_per_sec", natter, bare, messages);
    cpu(report, &mut table, "saturated", natter, bare);
    report.table(table);
}

fn cpu(report: &mut Report, table: &mut Table, part: &str, natter: &[Measured], bare: &[Measured]) {
    let name = format!("{part}_server_cpu_secs_per_million");
    compare(report, table, "server CPU s per million", &name, natter, bare, Measured::server_cpu_per_million);
    let name = format!("{part}_client_cpu_secs_per_million");
    compare(report, table, "client CPU s per million", &name, natter, bare, Measured::client_cpu_per_million);
}

/// One row: a figure of both sides, and their ratio.
pub fn compare<T>(
    report: &mut Report,
    table: &mut Table,
    label: &str,
    name: &str,
    natter: &[T],
    bare: &[T],
    of: impl Fn(&T) -> f64,
) {
    let spread = |rounds: &[T]| Spread::of(rounds.iter().map(&of));
    let ratio = Spread::of(natter.iter().zip(bare).map(|(natter, bare)| of(natter) / of(bare)));
    table.row(vec![label.into(), spread(natter).to_string(), spread(bare).to_string(), ratio.to_string()]);
    report.figure(name, spread(natter));
    report.figure(&format!("{name}_bare"), spread(bare));
    report.figure(&format!("{name}_ratio"), ratio);
}

fn plot(options: &Options, natter: &[Measured], bare: &[Measured]) -> Plot {
    let places = [50.0, 90.0, 99.0, 99.9, 99.99, 100.0];
    let line = |name: &str, rounds: &[Measured]| Series {
        name: name.into(),
        joined: true,
        points: (0..)
            .zip(places)
            .map(|(at, place)| {
                let spread = Spread::of(rounds.iter().map(|round| round.latency.millis_at(place)));
                let mut point = point(f64::from(at), spread.median);
                point.range = Some((spread.min, spread.max));
                point
            })
            .collect(),
    };
    Plot {
        title: format!("Delivery latency, {} msg/s to {} subscribers", figure(options.rate), options.subscribers),
        x: "percentile of deliveries".into(),
        y: "ms after the intended send time".into(),
        x_names: (0..)
            .zip(["50", "90", "99", "99.9", "99.99", "max"])
            .map(|(at, name)| (f64::from(at), name.into()))
            .collect(),
        series: vec![line("natter", natter), line("bare write loop", bare)],
    }
}
