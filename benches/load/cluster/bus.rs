//! What the bus costs for each message, in CPU: one node without it, with it, and with others that hear.

use std::time::Duration;

use super::Place;
use super::fleet::{Fleet, Measured, Shape};
use crate::report::Report;
use crate::stats::{Spread, figure};
use crate::table::Table;
use crate::{Outcome, Result};

const ROOMS: usize = 8;

/// A set of nodes; the first has the posters and a subscriber in each room.
struct Case {
    name: &'static str,
    key: &'static str,
    bus: bool,
    nodes: usize,
    /// Subscribers of each room on the second node.
    elsewhere: usize,
}

const CASES: [Case; 4] = [
    Case { name: "one node, no bus", key: "without", bus: false, nodes: 1, elsewhere: 0 },
    Case { name: "one node, bus", key: "alone", bus: true, nodes: 1, elsewhere: 0 },
    Case { name: "and one that only hears", key: "heard", bus: true, nodes: 2, elsewhere: 0 },
    Case { name: "and one with subscribers", key: "followed", bus: true, nodes: 2, elsewhere: 1 },
];

/// A round: under load and, for as long, at rest.
struct Round {
    load: Measured,
    rest: Measured,
}

impl Round {
    /// Microseconds for each message, beyond what being there costs.
    fn micros(&self, of: impl Fn(&Measured) -> f64) -> f64 {
        let at_rest = of(&self.rest) / self.rest.secs * self.load.secs;
        (of(&self.load) - at_rest) / self.load.messages as f64 * 1e6
    }

    fn node(&self, nth: usize) -> f64 {
        self.micros(|measured| measured.nodes_cpu.get(nth).copied().unwrap_or(f64::NAN))
    }
}

pub async fn measure(place: &Place<'_>, report: &mut Report) -> Outcome {
    let mut all = Vec::new();
    for case in &CASES {
        println!("bus: {}", case.name);
        all.push(rounds(place, case, report).await?);
    }
    fill(place, report, &all);
    Ok(())
}

async fn rounds(place: &Place<'_>, case: &Case, report: &mut Report) -> Result<Vec<Round>> {
    let options = place.options;
    let targets = place.nodes(case.nodes, &format!("bus_{}", case.key), case.bus, None).await?;
    let mut readers = vec![ROOMS; 1];
    readers.resize(case.nodes, ROOMS * case.elsewhere);
    let shape = Shape { rooms: ROOMS, readers, posters: vec![0; ROOMS], bytes: options.bytes as usize };
    let nats = place.nats.as_ref().filter(|_| case.bus);
    let mut fleet = Fleet::gather(&targets, (&place.store, nats), place.common, &shape).await?;
    let length = Duration::from_secs(options.seconds);
    let mut rounds = Vec::new();
    for _ in 0..place.common.rounds {
        let rest = fleet.idle(length).await?;
        let load = fleet.at_rate(options.bus_rate, length).await?;
        rounds.push(Round { load, rest });
    }
    report.faults.add(&fleet.leave());
    super::stop(targets)?;
    Ok(rounds)
}

fn fill(place: &Place<'_>, report: &mut Report, all: &[Vec<Round>]) {
    let title = format!(
        "CPU µs for each message at {} msg/s, {ROOMS} rooms with a subscriber each: median (min–max)",
        figure(place.options.bus_rate)
    );
    let header = ["", "posting node", "other node", "nats-server", "store", "p99 ms", "at rest, CPU ms/s of a node"];
    let mut table = Table::new(title, &header);
    for (case, rounds) in CASES.iter().zip(all) {
        let mut cells = vec![case.name.to_owned()];
        let mut cell = |name: &str, of: &dyn Fn(&Round) -> f64| {
            let spread = Spread::of(rounds.iter().map(of));
            cells.push(spread.to_string());
            report.figure(&format!("bus_{}_{name}", case.key), spread);
        };
        cell("node_cpu_micros", &|round| round.node(0));
        cell("other_node_cpu_micros", &|round| round.node(1));
        cell("nats_cpu_micros", &|round| round.micros(|measured| measured.nats_cpu));
        cell("store_cpu_micros", &|round| round.micros(|measured| measured.store_cpu));
        cell("p99_ms", &|round| round.load.latency.millis_at(99.0));
        cell("rest_cpu_ms_per_sec", &|round| round.rest.nodes_cpu[0] / round.rest.secs * 1e3);
        table.row(cells);
    }
    report.table(table);
    report.note(
        "CPU: user and system, from /proc, which counts in 10 ms; less what the same process used at rest in the same time.",
    );
}
