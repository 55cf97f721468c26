//! What a store costs that is far away: the same posters on one node, with a delay before the store. Group commit has to
//! make up for it: a round trip may cost time, and not throughput.
//!
//! Where the store is busy all the time, how long a post takes is the store's doing: so many in flight, through what it can
//! write in a second. What natter adds is seen before a store that answers at once.

use std::time::Duration;

use serde_json::json;

use super::Place;
use super::at_once::AtOnce;
use super::fleet::{Fleet, Measured, Shape};
use crate::report::Report;
use crate::stats::{Spread, figure};
use crate::svg::{Plot, Series, point};
use crate::table::Table;
use crate::{Outcome, Result, delay};

/// What is asked of natter where the round trip is 5 ms: acknowledged posts per second as a share of those without a delay,
/// and p99 in round trips.
const LEAST_SHARE: f64 = 0.5;
const MOST_ROUND_TRIPS: f64 = 10.0;
const JUDGED_MILLIS: u64 = 5;

/// The rounds of one delay.
struct Rounds {
    millis: u64,
    /// The store answers at once, once it is reached.
    at_once: bool,
    runs: Vec<Measured>,
}

impl Rounds {
    fn name(&self) -> String {
        format!("{} ms{}", self.millis, if self.at_once { ", answers at once" } else { "" })
    }

    fn key(&self) -> String {
        format!("{}delay_{}_ms", if self.at_once { "at_once_" } else { "" }, self.millis)
    }

    fn per_sec(&self) -> Spread {
        Spread::of(self.runs.iter().map(|run| run.messages as f64 / run.secs))
    }

    fn millis_at(&self, percentile: f64) -> Spread {
        Spread::of(self.runs.iter().map(|run| run.latency.millis_at(percentile)))
    }
}

pub async fn measure(place: &Place<'_>, report: &mut Report) -> Outcome {
    let delays = match place.store.addr()? {
        Some(_) => place.options.delays.clone(),
        // SQLite is nowhere else.
        None => vec![0],
    };
    let mut all = Vec::new();
    for millis in &delays {
        all.push(at(place, *millis, None, report).await?);
    }
    let mut at_once = Vec::new();
    if let Some(addr) = place.store.addr()? {
        for millis in &delays {
            at_once.push(at(place, *millis, Some(AtOnce::before(addr)?), report).await?);
        }
    }
    let mut table = table(place);
    for rounds in [&all, &at_once] {
        fill(&mut table, report, rounds);
    }
    report.table(table);
    report.plot = plot(&all);
    Ok(())
}

async fn at(place: &Place<'_>, millis: u64, at_once: Option<AtOnce>, report: &mut Report) -> Result<Rounds> {
    let options = place.options;
    let mut rounds = Rounds { millis, at_once: at_once.is_some(), runs: Vec::new() };
    println!("store {} away", rounds.name());
    let before = match at_once.as_ref().map(|at_once| at_once.addr).or(place.store.addr()?) {
        Some(addr) => Some(delay::start(addr, Duration::from_millis(millis))?),
        None => None,
    };
    let targets = place.nodes(1, &rounds.key(), false, before).await?;
    let rooms = options.rooms as usize;
    let shape = Shape { rooms, readers: vec![0], posters: vec![0; rooms], bytes: options.bytes as usize };
    let mut fleet = Fleet::gather(&targets, (&place.store, None), place.common, &shape).await?;
    if let Some(at_once) = &at_once {
        at_once.switch_on();
    }
    for round in 1..=place.common.rounds {
        let run = fleet.saturated(options.in_flight, Duration::from_secs(options.seconds)).await?;
        println!("  round {round}: {} acks/s", figure(run.messages as f64 / run.secs));
        rounds.runs.push(run);
    }
    report.faults.add(&fleet.leave());
    super::stop(targets)?;
    Ok(rounds)
}

fn table(place: &Place<'_>) -> Table {
    let options = place.options;
    let title = format!(
        "{} rooms, a poster each with {} posts in flight, one node: median (min–max)",
        options.rooms, options.in_flight
    );
    let header = [
        "round trip to the store",
        "acks/s",
        "share",
        "p50 ms",
        "p99 ms",
        "p50 round trips",
        "p99 round trips",
        "node CPU µs/post",
    ];
    Table::new(title, &header)
}

fn fill(table: &mut Table, report: &mut Report, all: &[Rounds]) {
    let Some(first) = all.first().map(|rounds| rounds.per_sec().median) else { return };
    for rounds in all {
        let (per_sec, p50, p99) = (rounds.per_sec(), rounds.millis_at(50.0), rounds.millis_at(99.0));
        let share = per_sec.median / first;
        // Without a delay there is nothing to count in.
        let trips = |latency: Spread| if rounds.millis == 0 { f64::NAN } else { latency.median / rounds.millis as f64 };
        let shown = |value: f64| if value.is_nan() { "-".into() } else { figure(value) };
        let cpu = Spread::of(rounds.runs.iter().map(|run| run.nodes_cpu[0] / run.messages as f64 * 1e6));
        table.row(vec![
            rounds.name(),
            per_sec.to_string(),
            figure(share),
            p50.to_string(),
            p99.to_string(),
            shown(trips(p50)),
            shown(trips(p99)),
            cpu.to_string(),
        ]);
        let key = rounds.key();
        report.figure(&format!("{key}_acks_per_sec"), per_sec);
        report.figure(&format!("{key}_p50_ms"), p50);
        report.figure(&format!("{key}_p99_ms"), p99);
        report.figure(&format!("{key}_cpu_micros"), cpu);
        report.value(&format!("{key}_share"), json!(share));
        report.value(&format!("{key}_p99_round_trips"), json!(trips(p99)));
        if rounds.millis == JUDGED_MILLIS {
            let holds = share >= LEAST_SHARE && trips(p99) <= MOST_ROUND_TRIPS;
            report.value(&format!("{key}_group_commit_holds"), json!(holds));
            report.note(format!(
                "group commit {} at {}: {} of the undelayed rate (at least {LEAST_SHARE}), p99 {} round trips (at most {MOST_ROUND_TRIPS})",
                if holds { "holds" } else { "DOES NOT HOLD" },
                rounds.name(),
                figure(share),
                figure(trips(p99)),
            ));
        }
    }
}

fn plot(all: &[Rounds]) -> Plot {
    let rate = Series {
        name: "acknowledged posts per second".into(),
        joined: true,
        points: all
            .iter()
            .map(|rounds| {
                let spread = rounds.per_sec();
                let mut point = point(rounds.millis as f64, spread.median);
                point.range = Some((spread.min, spread.max));
                point
            })
            .collect(),
    };
    Plot {
        title: "Acknowledged posts by distance of the store".into(),
        x: "round trip to the store, ms".into(),
        y: "per second".into(),
        x_names: Vec::new(),
        series: vec![rate],
    }
}
