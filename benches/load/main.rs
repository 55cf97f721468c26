//! natter's load tool: every figure natter publishes is a scenario of it.
//!
//!     cargo bench --bench load -- idle
//!     cargo bench --bench load -- fanout --subscribers 1000 --rounds 5
//!     cargo bench --bench load -- posts --url http://127.0.0.1:8000
//!     cargo bench --bench load -- --help
//!
//! It speaks the wire contract and knows nothing of natter's inside, so that it measures any natter. What keeps its
//! figures honest:
//! - every subscriber checks every seq, and the run fails where one was lost, doubled or reordered;
//! - steady loads are open-loop: latency counts from when a message was meant to be sent, not from when it could be;
//! - the ceiling (a bare write loop, a bare SQLite, a bare echo, a bare hyper) is measured in the same run, on the same machine;
//! - CPU of server and client are told apart, and figures are medians of rounds with their range.
//!
//! Bottom up: `frames` and `scan` (bytes), `check` (order), `socket`, `crowd` (subscribers), `sender`, `pacer` and `crew` (posts),
//! `keep_alive` (requests), `server` and `people` (what is under load, and from whom), `bare` (what it is compared with), `delay` (a far-away store),
//! `stats`, `svg` and `report` (what is shown), and a file per scenario. Everything runs on one thread but the pacer.

mod bare;
mod big;
mod check;
mod cluster;
mod crew;
mod crowd;
mod delay;
mod fanout;
mod frames;
mod http;
mod idle;
mod keep_alive;
mod pacer;
mod people;
mod posts;
mod proc;
mod raw_sqlite;
mod report;
mod rest;
mod rooms;
mod scan;
mod sender;
mod server;
mod side;
mod soak;
mod socket;
mod stats;
mod svg;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
pub type Outcome = Result<()>;

/// Puts a natter under load and says what it did: tables here, JSON and an SVG plot in target/load
///
/// Without --url the tool starts a natter itself, on a free port of 127.0.0.1 with a throw-away data folder and request
/// rates off, and stops it at the end. The exit code is 1 where an event was lost, doubled or reordered.
#[derive(Parser)]
#[command(name = "load", bin_name = "cargo bench --bench load --")]
struct Cli {
    #[command(subcommand)]
    scenario: Option<Scenario>,
    #[command(flatten)]
    common: Common,
    /// Cargo says this to every benchmark
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Args, Debug, Clone)]
pub struct Common {
    /// A natter that runs already, as http://host:port (it wants limits.rates = "off")
    #[arg(long, global = true)]
    url: Option<String>,
    /// Its process, for memory and CPU, where it runs on this machine
    #[arg(long, global = true, requires = "url")]
    pid: Option<u32>,
    /// Use this account for everything instead of signing up new ones
    #[arg(long, global = true, requires = "password")]
    user: Option<String>,
    /// The account's password
    #[arg(long, global = true, requires = "user")]
    password: Option<String>,
    /// Sockets that share one signed-up user
    #[arg(long, global = true, default_value_t = 90, value_parser = at_least_one)]
    per_user: usize,
    /// Times each measurement is made; medians are reported, with the range
    #[arg(long, global = true, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Give up after so long
    #[arg(long, global = true, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1_440))]
    max_minutes: u64,
    /// Where to write the figures; the plot goes beside it [default: target/load/<scenario>.json]
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A setting for the natter that is started, as section.key=value
    #[arg(long, global = true, value_name = "KEY=VALUE", conflicts_with = "url")]
    set: Vec<String>,
}

#[derive(Subcommand)]
enum Scenario {
    /// Memory per idle connection, at 1,000 to 18,000 of them
    Idle(idle::Options),
    /// One room, many subscribers: latency and CPU at a steady rate, deliveries/s at saturation, beside bare write loops
    Fanout(fanout::Options),
    /// Many small rooms: the highest rate with p99 under a bound, beside a bare write loop
    Rooms(rooms::Options),
    /// Durable, acknowledged posts per second, beside a bare SQLite that commits batches and a bare echo that acknowledges
    Posts(posts::Options),
    /// A database of millions of messages: how fast a natter starts on it, takes posts and gives pages of history, beside one that
    /// is all but empty
    Big(big::Options),
    /// GET /users/me with a JWT over keep-alive connections, beside a bare hyper that answers the same bytes
    Rest(rest::Options),
    /// Several natters on one MongoDB and one NATS server: deliveries with 1 to 3 of them, what the bus costs, what a slow store costs
    Cluster(cluster::Options),
    /// Memory over thousands of connect/disconnect cycles and posts: it has to stay level
    Soak(soak::Options),
    /// The servers that natter is compared with
    #[command(hide = true)]
    Bare {
        #[command(subcommand)]
        bare: bare::Bare,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.scenario {
        // What `cargo bench` and `cargo test --all-targets` ask of every benchmark, without naming a scenario.
        None => Cli::command().print_long_help().map_err(Into::into),
        Some(Scenario::Bare { bare }) => bare::run(bare),
        Some(scenario) => measure(&cli.common, &scenario),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(common: &Common, scenario: &Scenario) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = LocalSet::new().block_on(&runtime, async {
        let running = async {
            match scenario {
                Scenario::Idle(options) => idle::run(common, options).await,
                Scenario::Fanout(options) => fanout::run(common, options).await,
                Scenario::Rooms(options) => rooms::run(common, options).await,
                Scenario::Posts(options) => posts::run(common, options).await,
                Scenario::Big(options) => big::run(common, options).await,
                Scenario::Rest(options) => rest::run(common, options).await,
                Scenario::Cluster(options) => cluster::run(common, options).await,
                Scenario::Soak(options) => soak::run(common, options).await,
                Scenario::Bare { .. } => Ok(()),
            }
        };
        // Dropping a scenario ends the processes it has started, so every way out leads through here.
        let mut terminated = signal(SignalKind::terminate())?;
        tokio::select! {
            outcome = running => outcome,
            _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
            _ = terminated.recv() => Err("terminated".into()),
            () = tokio::time::sleep(Duration::from_secs(60 * common.max_minutes)) => {
                Err(format!("not done after {} minutes; --max-minutes allows more", common.max_minutes).into())
            }
        }
    });
    // A pacer that still sleeps is not waited for.
    runtime.shutdown_background();
    outcome
}

fn at_least_one(text: &str) -> std::result::Result<usize, String> {
    text.parse().ok().filter(|&count| count > 0).ok_or_else(|| "a number from 1 on".into())
}
