//! Durable, acknowledged posts per second: few and many senders, in rooms of their own or one shared room, waiting for each
//! acknowledgement or not; beside two ceilings. A bare SQLite commits batches of as many rows as posts are in flight; a bare
//! echo reads the same frames and acknowledges them. Then fixed rates, at a server that had come to rest.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::crew::{Case, Crew, Place, Run};
use crate::people::People;
use crate::raw_sqlite::{self, Committed};
use crate::report::Report;
use crate::server::{self, Rest, Target};
use crate::stats::{Latency, Spread, figure};
use crate::svg::{Plot, Series, point};
use crate::table::Table;
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
    /// Before each fixed rate, wait at most so long until the server's /metrics say that nothing is unsettled; 0: don't wait
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    rest_secs: u64,
    /// Length of a row of the bare SQLite: an event with such a content
    #[arg(long, default_value_t = 350)]
    row_bytes: u32,
}

/// natter's largest commit (`store.commit_ops`); the bare loop does not gather more either.
const LARGEST_BATCH: u64 = 4_096;

/// One case in one round, with its ceilings.
struct Measured {
    natter: Run,
    sqlite: Committed,
    echo: Run,
}

impl Measured {
    fn of_sqlite(&self) -> f64 {
        self.natter.acks_per_sec / self.sqlite.rows_per_sec
    }

    fn of_echo(&self) -> f64 {
        self.natter.acks_per_sec / self.echo.acks_per_sec
    }
}

/// What an open loop at a fixed rate saw.
struct Fixed {
    rate: u32,
    rest: Rest,
    latency: Latency,
}

pub async fn run(common: &Common, options: &Options) -> Outcome {
    let many = options.senders as usize;
    proc::allow_open_files(2 * many as u64 + 200)?;
    let folder = server::scratch_folder()?;
    let target = Target::start(common)?;
    let people = People::gather(&target, common, many).await?;
    let rooms = people.rooms_of_all(&target, many).await?.into_iter().enumerate();
    let places: Vec<Place> = rooms.map(|(nth, room)| Place { person: people.of(nth).clone(), room }).collect();
    let mut echo = Crew::echo(places.clone(), &people.run, options.bytes as usize).await?;
    let mut natter = Crew::natter(&target, places, &people.run, options.bytes as usize).await?;
    let (cases, length) = (cases(options), Duration::from_secs(options.seconds));
    let mut runs: Vec<Vec<Measured>> = cases.iter().map(|_| Vec::new()).collect();
    let mut fixed = Vec::new();
    for round in 1..=common.rounds {
        println!("round {round} of {}", common.rounds);
        for (case, runs) in cases.iter().zip(&mut runs) {
            let run = natter.run(*case, length).await?;
            println!("  {}: {} acks/s", name(case), figure(run.acks_per_sec));
            let sqlite = raw(*case, options, folder.path()).await?;
            runs.push(Measured { natter: run, sqlite, echo: echo.run(*case, length).await? });
        }
        for &rate in &options.rates {
            let rest = target.rest(Duration::from_secs(options.rest_secs)).await?;
            let latency = natter.at_rate(rate, u64::from(rate) * options.seconds).await?;
            let (posts, p99) = (figure(f64::from(rate)), figure(latency.millis_at(99.0)));
            println!("  {posts} posts/s, open loop: p99 {p99} ms, after {} s of rest", figure(rest.waited_secs));
            fixed.push(Fixed { rate, rest, latency });
        }
    }

    let settings = json!({
        "senders": many, "window": options.window, "seconds": options.seconds, "bytes": options.bytes,
        "row_bytes": options.row_bytes, "rates": options.rates, "rest_secs": options.rest_secs, "rounds": common.rounds,
    });
    let mut report = Report::new("posts", target.name(), settings);
    closed_loops(&mut report, &cases, &runs);
    ceilings(&mut report, &cases, &runs);
    fixed_rates(&mut report, options, &fixed);
    report.plot = plot(&cases, &runs);
    report.faults.add(&natter.faults);
    report.faults.add(&echo.faults);
    drop((natter, echo));
    target.stop()?;
    report.finish(common)
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

fn name(case: &Case) -> String {
    let rooms = match (case.senders, case.shared_room) {
        (1, _) => "1 sender".into(),
        (many, true) => format!("{many} senders, one room"),
        (many, false) => format!("{many} senders, own rooms"),
    };
    format!("{rooms}, {} in flight each", case.window)
}

fn key(case: &Case) -> String {
    let rooms = if case.shared_room { "one_room" } else { "own_rooms" };
    format!("{}_senders_{rooms}_window_{}", case.senders, case.window)
}

async fn raw(case: Case, options: &Options, folder: &Path) -> Result<Committed> {
    let (folder, bytes) = (folder.to_owned(), options.row_bytes as usize);
    let (length, batch) =
        (Duration::from_secs(options.seconds), (case.senders as u64 * case.window).min(LARGEST_BATCH));
    let committing = move || raw_sqlite::commit_batches(&folder, case.rooms() as i64, batch, bytes, length);
    tokio::task::spawn_blocking(committing).await?
}

/// A column: its header, the name of its figure, and the figure itself.
type Column<T> = (&'static str, &'static str, fn(&T) -> f64);

/// A table with a row for each case.
fn by_case(report: &mut Report, title: &str, columns: &[Column<Measured>], cases: &[Case], runs: &[Vec<Measured>]) {
    let header: Vec<&str> = ["senders"].into_iter().chain(columns.iter().map(|(header, ..)| *header)).collect();
    let mut table = Table::new(title, &header);
    for (case, runs) in cases.iter().zip(runs) {
        let mut cells = vec![name(case)];
        for (_, figure, of) in columns {
            let spread = Spread::of(runs.iter().map(of));
            cells.push(spread.to_string());
            report.figure(&format!("{}_{figure}", key(case)), spread);
        }
        table.row(cells);
    }
    report.table(table);
}

fn closed_loops(report: &mut Report, cases: &[Case], runs: &[Vec<Measured>]) {
    let columns: [Column<Measured>; 5] = [
        ("acks/s", "acks_per_sec", |run| run.natter.acks_per_sec),
        ("p50 ms", "p50_ms", |run| run.natter.latency.millis_at(50.0)),
        ("p99 ms", "p99_ms", |run| run.natter.latency.millis_at(99.0)),
        ("server CPU s/M", "server_cpu_secs_per_million", |run| run.natter.server_cpu),
        ("client CPU s/M", "client_cpu_secs_per_million", |run| run.natter.client_cpu),
    ];
    by_case(report, "durable, acknowledged posts: median (min–max)", &columns, cases, runs);
}

fn ceilings(report: &mut Report, cases: &[Case], runs: &[Vec<Measured>]) {
    let columns: [Column<Measured>; 7] = [
        ("SQLite rows/s", "sqlite_rows_per_sec", |run| run.sqlite.rows_per_sec),
        ("× SQLite", "ratio", Measured::of_sqlite),
        ("echo answers/s", "echo_answers_per_sec", |run| run.echo.acks_per_sec),
        ("× echo", "echo_ratio", Measured::of_echo),
        ("× min", "min_ratio", |run| run.of_sqlite().max(run.of_echo())),
        ("echo CPU s/M", "echo_server_cpu_secs_per_million", |run| run.echo.server_cpu),
        ("its client's", "echo_client_cpu_secs_per_million", |run| run.echo.client_cpu),
    ];
    by_case(report, "acks/s beside two ceilings, round by round", &columns, cases, runs);
    report.note("SQLite: the same thread commits batches of as many rows as posts are in flight (at most 4,096); WAL, synchronous=FULL.");
    report.note("echo: a WebSocket server on all cores that parses each post and answers it at once; nothing stored, no rooms, nobody authenticated.");
    report.note("× min: natter beside the lower of the two.");
    let commits = runs.iter().flatten().map(|run| run.sqlite.latency.millis_at(99.0));
    report.value("sqlite_commit_p99_ms_highest", json!(commits.fold(0.0, f64::max)));
}

fn fixed_rates(report: &mut Report, options: &Options, fixed: &[Fixed]) {
    let columns: [Column<Fixed>; 6] = [
        ("p50 ms", "p50_ms", |run| run.latency.millis_at(50.0)),
        ("p90 ms", "p90_ms", |run| run.latency.millis_at(90.0)),
        ("p99 ms", "p99_ms", |run| run.latency.millis_at(99.0)),
        ("max ms", "max_ms", |run| run.latency.max_millis()),
        ("rest before, s", "rest_secs", |run| run.rest.waited_secs),
        ("unsettled then, bytes", "unsettled_bytes", |run| run.rest.unsettled_bytes.unwrap_or(f64::NAN)),
    ];
    let header: Vec<&str> = ["posts/s"].into_iter().chain(columns.iter().map(|(header, ..)| *header)).collect();
    let mut table = Table::new("open loop at fixed rates, many senders in own rooms: median (min–max)", &header);
    for rate in &options.rates {
        let mut cells = vec![figure(f64::from(*rate))];
        for (_, name, of) in columns {
            let spread = Spread::of(fixed.iter().filter(|run| run.rate == *rate).map(of));
            cells.push(spread.to_string());
            report.figure(&format!("at_{rate}_per_sec_{name}"), spread);
        }
        table.row(cells);
    }
    report.table(table);
}

fn plot(cases: &[Case], runs: &[Vec<Measured>]) -> Plot {
    let series = |name: &str, of: fn(&Measured) -> f64| Series {
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
            series("natter, acknowledged posts", |run| run.natter.acks_per_sec),
            series("bare SQLite, rows in batches", |run| run.sqlite.rows_per_sec),
            series("bare echo, answers", |run| run.echo.acks_per_sec),
        ],
    }
}
