//! Durable, acknowledged posts per second: few and many senders, in rooms of their own or one shared room, waiting for each
//! acknowledgement or not; beside a bare SQLite that commits batches of as many rows as posts are in flight.

use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::try_join_all;
use serde_json::json;

use crate::check::Faults;
use crate::crowd::Schedule;
use crate::people::{self, People};
use crate::raw_sqlite::{self, Committed};
use crate::report::{Report, Table};
use crate::sender::{Acks, Sender, Until};
use crate::server::{self, Target};
use crate::side::post_on_time;
use crate::stats::{Latency, Spread, figure};
use crate::svg::{Plot, Series, point};
use crate::{Common, Outcome, Result, proc};

#[derive(Args, Debug, Clone)]
pub struct Options {
    /// The many senders, each with its own socket; the few are one
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    senders: u32,
    /// Posts a sender may have unacknowledged where it does not wait for each
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(2..=256))]
    window: u32,
    /// Length of each measurement
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Length of a message's content
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    bytes: u32,
    /// Fixed rates of the open loops, in posts per second
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 27_000], value_parser = clap::value_parser!(u32).range(1..=200_000))]
    rates: Vec<u32>,
    /// Length of a row of the bare SQLite: an event with such a content
    #[arg(long, default_value_t = 350)]
    row_bytes: u32,
}

/// natter's largest commit (`store.commit_ops`); the bare loop does not gather more either.
const LARGEST_BATCH: u64 = 4_096;

#[derive(Clone, Copy)]
struct Case {
    senders: usize,
    shared_room: bool,
    window: u64,
}

struct Run {
    acks_per_sec: f64,
    latency: Latency,
    server_cpu_secs: f64,
}

/// What an open loop at a fixed rate saw.
struct Fixed {
    rate: u32,
    latency: Latency,
}

/// The senders with the rooms of their own; `rooms[0]` is the shared one as well.
struct Crew<'a> {
    target: &'a Target,
    people: People,
    rooms: Vec<String>,
    senders: Vec<Sender>,
    faults: Faults,
}

pub async fn run(common: &Common, options: &Options) -> Outcome {
    let many = options.senders as usize;
    proc::allow_open_files(2 * many as u64 + 200)?;
    let folder = server::scratch_folder()?;
    let target = Target::start(common)?;
    let mut crew = Crew::gather(&target, common, options).await?;
    let cases = cases(options);
    let mut runs: Vec<Vec<(Run, Committed)>> = cases.iter().map(|_| Vec::new()).collect();
    let mut fixed = Vec::new();
    for round in 1..=common.rounds {
        println!("round {round} of {}", common.rounds);
        for (case, runs) in cases.iter().zip(&mut runs) {
            let run = crew.run(*case, options).await?;
            println!("  {}: {} acks/s", case.name(), figure(run.acks_per_sec));
            runs.push((run, raw(*case, options, folder.path()).await?));
        }
        for rate in &options.rates {
            let run = crew.at_rate(*rate, options).await?;
            println!(
                "  {} posts/s, open loop: p99 {} ms",
                figure(f64::from(*rate)),
                figure(run.latency.millis_at(99.0))
            );
            fixed.push(run);
        }
    }

    let settings = json!({
        "senders": many, "window": options.window, "seconds": options.seconds, "bytes": options.bytes,
        "row_bytes": options.row_bytes, "rates": options.rates, "rounds": common.rounds,
    });
    let mut report = Report::new("posts", target.name(), settings);
    fill(&mut report, &cases, &runs, options, &fixed);
    report.plot = plot(&cases, &runs);
    report.faults = std::mem::take(&mut crew.faults);
    drop(crew);
    target.stop()?;
    report.finish(common.json.as_deref())
}

fn cases(options: &Options) -> Vec<Case> {
    let (many, deep) = (options.senders as usize, u64::from(options.window));
    let case = |senders, shared_room, window| Case { senders, shared_room, window };
    vec![
        case(1, false, 1),
        case(1, false, deep),
        case(many, false, 1),
        case(many, false, deep),
        case(many, true, 1),
        case(many, true, deep),
    ]
}

impl Case {
    fn name(&self) -> String {
        let rooms = match (self.senders, self.shared_room) {
            (1, _) => "1 sender".into(),
            (many, true) => format!("{many} senders, one room"),
            (many, false) => format!("{many} senders, own rooms"),
        };
        format!("{rooms}, {} in flight each", self.window)
    }

    fn key(&self) -> String {
        format!(
            "{}_senders_{}_window_{}",
            self.senders,
            if self.shared_room { "one_room" } else { "own_rooms" },
            self.window
        )
    }

    fn rooms(&self) -> usize {
        if self.shared_room { 1 } else { self.senders }
    }

    fn batch(&self) -> u64 {
        (self.senders as u64 * self.window).min(LARGEST_BATCH)
    }
}

impl<'a> Crew<'a> {
    async fn gather(target: &'a Target, common: &Common, options: &Options) -> Result<Self> {
        let many = options.senders as usize;
        let people = People::gather(target, common, many).await?;
        let rooms = people.rooms(target, many).await?;
        let mut senders = Vec::new();
        for (nth, room) in rooms.iter().enumerate() {
            let name = format!("{}-{nth}", people.run);
            senders
                .push(Sender::open(target, people.of(nth), vec![room.clone()], &name, options.bytes as usize).await?);
        }
        Ok(Self { target, people, rooms, senders, faults: Faults::default() })
    }

    async fn run(&mut self, case: Case, options: &Options) -> Result<Run> {
        for (nth, sender) in self.senders.iter_mut().enumerate() {
            sender.move_to(vec![self.rooms[if case.shared_room { 0 } else { nth }].clone()]);
        }
        let before = self.heads(case.rooms()).await?;
        let (cpu, start) = (self.target.cpu_secs()?, Instant::now());
        let until = Until::Time(start + Duration::from_secs(options.seconds));
        let posting = self.senders[..case.senders].iter_mut().map(|sender| sender.windowed(case.window, until));
        let acks = try_join_all(posting).await?;
        let (secs, server_cpu_secs) = (start.elapsed().as_secs_f64(), self.target.cpu_secs()? - cpu);
        let (count, latency) = self.check(case.rooms(), &before, acks).await?;
        Ok(Run { acks_per_sec: count as f64 / secs, latency, server_cpu_secs: server_cpu_secs / count as f64 * 1e6 })
    }

    /// Open-loop at `rate`, all senders in rooms of their own.
    async fn at_rate(&mut self, rate: u32, options: &Options) -> Result<Fixed> {
        for (sender, room) in self.senders.iter_mut().zip(&self.rooms) {
            sender.move_to(vec![room.clone()]);
        }
        let before = self.heads(self.rooms.len()).await?;
        let schedule = Schedule::at_rate(Instant::now() + Duration::from_millis(100), f64::from(rate), Vec::new());
        let count = u64::from(rate) * options.seconds;
        let acks = post_on_time(&mut self.senders, &schedule, count).await?;
        let stored = self.heads(self.rooms.len()).await?.iter().sum::<u64>() - before.iter().sum::<u64>();
        self.faults.lost += count.saturating_sub(stored);
        self.faults.doubled += stored.saturating_sub(count);
        Ok(Fixed { rate, latency: acks.latency })
    }

    /// Acknowledged seqs are dense from the room's old head on, and the room's history ends where they do.
    async fn check(&mut self, rooms: usize, before: &[u64], acks: Vec<Acks>) -> Result<(usize, Latency)> {
        let (mut by_room, mut latency) = (vec![Vec::new(); rooms], Latency::default());
        for (nth, acks) in acks.into_iter().enumerate() {
            latency.add(&acks.latency);
            // One sender's posts keep their order.
            self.faults.reordered += acks.seqs.windows(2).filter(|pair| pair[0] > pair[1]).count() as u64;
            by_room[nth % rooms].extend(acks.seqs);
        }
        let count = by_room.iter().map(Vec::len).sum();
        let after = self.heads(rooms).await?;
        for ((seqs, &base), head) in by_room.into_iter().zip(before).zip(after) {
            let acknowledged = seqs.len() as u64;
            self.faults.add(&Faults::in_acks(base, seqs));
            self.faults.lost += (base + acknowledged).saturating_sub(head);
            self.faults.doubled += head.saturating_sub(base + acknowledged);
        }
        Ok((count, latency))
    }

    async fn heads(&self, rooms: usize) -> Result<Vec<u64>> {
        let heads = self.rooms[..rooms].iter().map(|room| people::head_seq(self.target, self.people.first(), room));
        try_join_all(heads).await
    }
}

async fn raw(case: Case, options: &Options, folder: &std::path::Path) -> Result<Committed> {
    let (folder, bytes) = (folder.to_owned(), options.row_bytes as usize);
    let length = Duration::from_secs(options.seconds);
    let committing = move || raw_sqlite::commit_batches(&folder, case.rooms() as i64, case.batch(), bytes, length);
    tokio::task::spawn_blocking(committing).await?
}

fn fill(report: &mut Report, cases: &[Case], runs: &[Vec<(Run, Committed)>], options: &Options, fixed: &[Fixed]) {
    let header = ["senders", "acks/s", "p50 ms", "p99 ms", "CPU s/M", "SQLite rows/s", "ratio"];
    let mut table = Table::new("durable, acknowledged posts: median (min–max)", &header);
    for (case, runs) in cases.iter().zip(runs) {
        let mut cells = vec![case.name()];
        let mut cell = |name: &str, of: &dyn Fn(&(Run, Committed)) -> f64| {
            let spread = Spread::of(runs.iter().map(of));
            cells.push(spread.to_string());
            report.figure(&format!("{}_{name}", case.key()), spread);
        };
        cell("acks_per_sec", &|(run, _)| run.acks_per_sec);
        cell("p50_ms", &|(run, _)| run.latency.millis_at(50.0));
        cell("p99_ms", &|(run, _)| run.latency.millis_at(99.0));
        cell("server_cpu_secs_per_million", &|(run, _)| run.server_cpu_secs);
        cell("sqlite_rows_per_sec", &|(_, raw)| raw.rows_per_sec);
        cell("ratio", &|(run, raw)| run.acks_per_sec / raw.rows_per_sec);
        table.row(cells);
    }
    report.table(table);
    report.note("SQLite: the same thread commits batches of as many rows as posts are in flight (at most 4,096); WAL, synchronous=FULL.");

    let header = ["posts/s", "p50 ms", "p90 ms", "p99 ms", "max ms"];
    let mut table = Table::new("open loop at fixed rates, many senders in own rooms: median (min–max)", &header);
    for rate in &options.rates {
        let mut cells = vec![figure(f64::from(*rate))];
        let mut cell = |name: &str, of: &dyn Fn(&Latency) -> f64| {
            let spread = Spread::of(fixed.iter().filter(|run| run.rate == *rate).map(|run| of(&run.latency)));
            cells.push(spread.to_string());
            report.figure(&format!("at_{rate}_per_sec_{name}"), spread);
        };
        cell("p50_ms", &|latency| latency.millis_at(50.0));
        cell("p90_ms", &|latency| latency.millis_at(90.0));
        cell("p99_ms", &|latency| latency.millis_at(99.0));
        cell("max_ms", &Latency::max_millis);
        table.row(cells);
    }
    report.table(table);
    let commits = runs.iter().flatten().map(|(_, raw)| raw.latency.millis_at(99.0));
    report.value("sqlite_commit_p99_ms_highest", json!(commits.fold(0.0, f64::max)));
}

fn plot(cases: &[Case], runs: &[Vec<(Run, Committed)>]) -> Plot {
    let series = |name: &str, of: fn(&(Run, Committed)) -> f64| Series {
        name: name.into(),
        joined: false,
        points: (0..)
            .zip(runs)
            .map(|(at, runs)| {
                let spread = Spread::of(runs.iter().map(of));
                let mut point = point(f64::from(at), spread.median);
                point.range = Some((spread.min, spread.max));
                point
            })
            .collect(),
    };
    let name = |case: &Case| {
        let room = if case.shared_room { "one room" } else { "own room" };
        format!("{} × {}, {room}", case.senders, case.window)
    };
    Plot {
        title: "Durable, acknowledged posts".into(),
        x: "senders × posts in flight".into(),
        y: "per second".into(),
        x_names: (0..).zip(cases).map(|(at, case)| (f64::from(at), name(case))).collect(),
        series: vec![
            series("natter, acknowledged posts", |(run, _)| run.acks_per_sec),
            series("bare SQLite, rows in batches", |(_, raw)| raw.rows_per_sec),
        ],
    }
}
