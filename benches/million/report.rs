//! What a run leaves: tables on standard output, and the same as JSON. It fails where a count is not what it has to be.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::json;

use crate::Outcome;
use crate::clients::Told;
use crate::readings::Kernel;
use crate::world::World;

/// The machine that a million is to fit into.
const GOAL_BYTES: f64 = 16.0 * 1024.0 * 1024.0 * 1024.0;
const MIB: f64 = 1024.0 * 1024.0;
/// Caches with less for each connection are added up.
const LEAST_CACHE_BYTES: f64 = 16.0;
/// Where another count than the expected one is a result and no fault: memory is short, or a slow machine let pings come early.
const RESULTS: [&str; 2] = ["connect", "idle"];

pub struct Report {
    world: World,
    processes: usize,
    /// The first is without connections.
    pub samples: Vec<Sample>,
    pub after_traffic: Option<Sample>,
    pub steps: Vec<Step>,
    pub told: Told,
}

/// Memory with so many connections.
#[derive(Serialize)]
pub struct Sample {
    pub connections: u64,
    pub rss_anon: u64,
    /// Of the server's, what is in pages of 2 MiB.
    pub huge_pages: u64,
    /// Of all processes of clients.
    pub clients_anon: u64,
    pub kernel: Kernel,
}

#[derive(Serialize)]
pub struct Step {
    pub name: &'static str,
    pub secs: f64,
    /// Of the server.
    pub cpu_secs: f64,
    pub count: u64,
    pub expected: u64,
}

/// Bytes for each connection.
#[derive(Serialize)]
struct Each {
    server: f64,
    clients: f64,
    kernel: f64,
    /// By name, the largest first.
    kernel_lines: Vec<(String, f64)>,
}

impl Report {
    pub fn new(world: World, processes: usize) -> Self {
        let (samples, steps) = (Vec::new(), Vec::new());
        Self { world, processes, samples, after_traffic: None, steps, told: Told::default() }
    }

    pub fn finish(&self, file: &Path) -> Outcome {
        let [first, .., last] = self.samples.as_slice() else { return Err("memory was not read".into()) };
        // The first connections bring along what is needed once: the slope is taken from those on.
        let each = Each::of(&self.samples[self.samples.len().min(3) - 2], last);
        let problems = self.problems();
        self.print_memory(first);
        self.print_budget(&each, first);
        self.print_steps();
        let document = json!({
            "people": self.world.people, "members": self.world.members, "rooms": self.world.rooms(),
            "held": last.connections, "processes": self.processes, "samples": self.samples,
            "after_traffic": self.after_traffic, "bytes_per_connection": each, "fits": fits(&each, first),
            "steps": self.steps, "counts": self.told, "problems": problems,
        });
        fs::write(file, format!("{document:#}\n"))
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        println!(
            "\nlost {}, doubled {}, refused {}, cut off {}",
            self.told.lost, self.told.doubled, self.told.refused, self.told.cut
        );
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ").into()) }
    }

    fn problems(&self) -> Vec<String> {
        let Told { lost, doubled, refused, cut, ref why, .. } = self.told;
        let mut problems = Vec::new();
        for Step { name, count, expected, .. } in &self.steps {
            if count != expected && !RESULTS.contains(name) {
                problems.push(format!("{name}: {count} of {expected}"));
            }
        }
        if lost + doubled + refused + cut > 0 {
            let why = why.as_deref().unwrap_or("no reason told");
            problems.push(format!("{lost} lost, {doubled} doubled, {refused} refused, {cut} cut off: {why}"));
        }
        problems
    }

    fn print_memory(&self, first: &Sample) {
        println!(
            "\n{} people in {} rooms, {} processes of clients",
            self.world.people,
            self.world.rooms(),
            self.processes
        );
        println!(
            "\n{:>12} {:>11} {:>8} {:>9} {:>11} {:>8} {:>12}",
            "connections", "server MiB", "B each", "huge MiB", "kernel MiB", "B each", "clients MiB"
        );
        for sample in self.samples.iter().chain(&self.after_traffic) {
            let kernel = sample.kernel.since(&first.kernel).total() as f64;
            let each = |bytes: f64| match sample.connections {
                0 => "-".to_owned(),
                connections => format!("{:.0}", bytes / connections as f64),
            };
            println!(
                "{:>12} {:>11.1} {:>8} {:>9.1} {:>11.1} {:>8} {:>12.1}",
                sample.connections,
                sample.rss_anon as f64 / MIB,
                each(sample.rss_anon as f64 - first.rss_anon as f64),
                sample.huge_pages as f64 / MIB,
                kernel / MIB,
                each(kernel),
                sample.clients_anon as f64 / MIB,
            );
        }
        println!(
            "server, clients: anonymous resident memory; huge: what of the server's is in pages of 2 MiB, used or not."
        );
        println!(
            "kernel: what has come since the first line, for both ends of each connection. The last line is after all traffic."
        );
    }

    fn print_budget(&self, each: &Each, first: &Sample) {
        println!("\nbytes for each connection beyond the first tenth");
        println!("  {:<40} {:>8.0}", "natter", each.server);
        println!("  {:<40} {:>8.0}", "a client of this tool", each.clients);
        for (name, bytes) in &each.kernel_lines {
            println!("  {:<40} {:>8.0}", format!("kernel, both ends: {name}"), bytes);
        }
        println!("  {:<40} {:>8.0}", "sum", each.sum());
        println!("so {:.0} connections with their clients fit into 16 GiB", fits(each, first));
    }

    fn print_steps(&self) {
        println!(
            "\n{:<32} {:>9} {:>9} {:>11} {:>9} {:>10} {:>10}",
            "step", "seconds", "CPU s", "% of a core", "µs each", "count", "expected"
        );
        for Step { name, secs, cpu_secs, count, expected } in &self.steps {
            let cores = 100.0 * cpu_secs / secs.max(f64::EPSILON);
            let each = if *count == 0 { "-".to_owned() } else { format!("{:.1}", 1e6 * cpu_secs / *count as f64) };
            println!("{name:<32} {secs:>9.1} {cpu_secs:>9.2} {cores:>11.1} {each:>9} {count:>10} {expected:>10}");
        }
        println!("CPU: the server's, of everything it did meanwhile. idle counts pings.");
    }
}

impl Kernel {
    fn total(&self) -> i64 {
        self.slab + self.tcp_buffers + self.page_tables + self.vmalloc + self.per_cpu
    }
}

impl Each {
    fn of(first: &Sample, last: &Sample) -> Self {
        let connections = last.connections.saturating_sub(first.connections).max(1) as f64;
        let grown = last.kernel.since(&first.kernel);
        let each = |bytes: i64| bytes as f64 / connections;
        let mut lines: Vec<(String, f64)> =
            grown.caches.iter().map(|(name, bytes)| (name.clone(), each(*bytes))).collect();
        lines.retain(|(_, bytes)| *bytes >= LEAST_CACHE_BYTES);
        lines.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        let named: f64 = lines.iter().map(|(_, bytes)| bytes).sum();
        lines.push(("other caches, free objects".into(), each(grown.slab) - named));
        lines.push(("TCP buffers".into(), each(grown.tcp_buffers)));
        lines.push(("page tables".into(), each(grown.page_tables)));
        lines.push(("vmalloc (tables of files)".into(), each(grown.vmalloc)));
        lines.push(("per CPU".into(), each(grown.per_cpu)));
        Self {
            server: (last.rss_anon as f64 - first.rss_anon as f64) / connections,
            // Allocated at once, when they start.
            clients: last.clients_anon as f64 / last.connections.max(1) as f64,
            kernel: each(grown.total()),
            kernel_lines: lines,
        }
    }

    fn sum(&self) -> f64 {
        self.server + self.clients + self.kernel
    }
}

/// How many connections fit into the machine of the goal, given what is taken without any.
fn fits(each: &Each, first: &Sample) -> f64 {
    let taken = first.rss_anon as f64 + first.clients_anon as f64 + first.kernel.slab as f64;
    ((GOAL_BYTES - taken) / each.sum()).max(0.0).floor()
}
