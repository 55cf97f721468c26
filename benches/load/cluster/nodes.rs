//! The same subscribers and posters on 1, 2 and 3 nodes: latency at a modest rate, and deliveries per second at saturation.

use std::time::Duration;

use super::Place;
use super::fleet::{Fleet, Measured, Shape};
use crate::report::Report;
use crate::stats::{Spread, figure};
use crate::table::Table;
use crate::{Outcome, Result};

/// A number that 1, 2 and 3 divide: every node has as many posters, each with a room of its own.
const ROOMS: usize = 6;

/// The rounds of one number of nodes.
struct Rounds {
    nodes: usize,
    steady: Vec<Measured>,
    saturated: Vec<Measured>,
}

pub async fn measure(place: &Place<'_>, report: &mut Report) -> Outcome {
    let counts: &[usize] = if place.has_bus() { &[1, 2, 3] } else { &[1] };
    let mut all = Vec::new();
    for &nodes in counts {
        all.push(on(place, nodes, report).await?);
    }
    fill(place, report, &all);
    Ok(())
}

async fn on(place: &Place<'_>, nodes: usize, report: &mut Report) -> Result<Rounds> {
    let options = place.options;
    println!("nodes: {nodes}");
    let targets = place.nodes(nodes, &format!("nodes_{nodes}"), true, None).await?;
    // Whole rooms on every node, so that each message has as many deliveries whatever the number of nodes.
    let each = options.subscribers as usize / (ROOMS * nodes) * ROOMS;
    let shape = Shape {
        rooms: ROOMS,
        readers: vec![each.max(ROOMS); nodes],
        posters: (0..ROOMS).map(|nth| nth % nodes).collect(),
        bytes: options.bytes as usize,
    };
    let mut fleet = Fleet::gather(&targets, (&place.store, place.nats.as_ref()), place.common, &shape).await?;
    let mut rounds = Rounds { nodes, steady: Vec::new(), saturated: Vec::new() };
    let length = Duration::from_secs(options.seconds);
    for round in 1..=place.common.rounds {
        rounds.steady.push(fleet.at_rate(options.rate, length).await?);
        let saturated = fleet.saturated(options.window, length).await?;
        println!("  round {round}: {} deliveries/s", figure(per_sec(&saturated)));
        rounds.saturated.push(saturated);
    }
    report.faults.add(&fleet.leave());
    super::stop(targets)?;
    Ok(rounds)
}

fn per_sec(measured: &Measured) -> f64 {
    measured.deliveries as f64 / measured.secs
}

/// Of all nodes together, in seconds for a million deliveries.
fn nodes_cpu(measured: &Measured) -> f64 {
    measured.nodes_cpu.iter().sum::<f64>() / measured.deliveries as f64 * 1e6
}

fn fill(place: &Place<'_>, report: &mut Report, all: &[Rounds]) {
    let options = place.options;
    let title = format!(
        "{} subscribers and {ROOMS} posters over the nodes, {ROOMS} rooms: median (min–max)",
        options.subscribers
    );
    let steady = format!("at {} msg/s: p50 ms", figure(options.rate));
    let header =
        ["nodes", &steady, "p99 ms", "saturated: deliveries/s", "posts/s", "ack p99 ms", "nodes' CPU s/M deliveries"];
    let mut table = Table::new(title, &header);
    for Rounds { nodes, steady, saturated } in all {
        let mut cells = vec![nodes.to_string()];
        let mut cell = |rounds: &[Measured], name: &str, of: fn(&Measured) -> f64| {
            let spread = Spread::of(rounds.iter().map(of));
            cells.push(spread.to_string());
            report.figure(&format!("nodes_{nodes}_{name}"), spread);
        };
        cell(steady, "p50_ms", |round| round.latency.millis_at(50.0));
        cell(steady, "p99_ms", |round| round.latency.millis_at(99.0));
        cell(saturated, "deliveries_per_sec", per_sec);
        cell(saturated, "posts_per_sec", |round| round.messages as f64 / round.secs);
        cell(saturated, "ack_p99_ms", |round| round.latency.millis_at(99.0));
        cell(saturated, "cpu_secs_per_million", nodes_cpu);
        table.row(cells);
    }
    report.table(table);
    report.note(
        "nodes, store, bus and clients share this machine: more nodes show what spreading costs, not what it gains.",
    );
}
