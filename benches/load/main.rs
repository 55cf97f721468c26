//! natter's load tool: every figure natter publishes is a scenario of it.
//!
//!     cargo bench --bench load -- idle
//!     cargo bench --bench load -- fanout --subscribers 1000 --rounds 5
//!     cargo bench --bench load -- posts --url http://127.0.0.1:8000
//!     cargo bench --bench load -- compare before.json after.json
//!     cargo bench --bench load -- --help
//!
//! It speaks the wire contract and knows nothing of natter's inside, so that it measures any natter. What keeps its
//! figures honest:
//! - every subscriber checks every seq, and the run fails where one was lost, doubled or reordered;
//! - steady loads are open-loop: latency counts from when a message was meant to be sent, not from when it could be;
//! - the ceiling (a bare write loop, a bare SQLite, a bare echo, a bare hyper) is measured in the same run, on the same machine;
//! - CPU of server and client are told apart, and figures are medians of rounds with their range;
//! - what others did meanwhile is recorded, and a run that they disturbed is marked.
//!
//! Bottom up: `frames` and `scan` (bytes), `check` (order), `socket`, `crowd` (subscribers), `sender`, `pacer` and `crew` (posts),
//! `keep_alive` and `requests`, `signing_in`, `url`, `server` and `people` (what is under load, and from whom), `bare` (what it is compared with),
//! `side` and `beside` (steady traffic, next to the bare loop or to something else), `delay` (a far-away store), `stats`, `svg`, `table`,
//! `watch` and `report` (what is shown), `compare` (two reports), and a file per scenario. Everything runs on one thread but the pacer
//! and what is `apart`.

mod all;
mod apart;
mod bare;
mod beside;
mod big;
mod check;
mod child;
mod churn;
mod cluster;
mod compare;
mod connect;
mod crew;
mod crowd;
mod delay;
mod export_file;
mod fanout;
mod frames;
mod http;
mod idle;
mod interfere;
mod keep_alive;
mod login;
mod pacer;
mod people;
mod posts;
mod proc;
mod progress;
mod raw_sqlite;
mod report;
mod requests;
mod rest;
mod rooms;
mod scan;
mod sender;
mod server;
mod side;
mod signing_in;
mod slow;
mod soak;
mod socket;
mod stats;
mod storm;
mod svg;
mod table;
mod url;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use self::watch::Watch;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
pub type Outcome = Result<()>;

/// Puts a natter under load and says what it did: tables here, JSON, CSV and an SVG plot in target/load
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
    /// A natter that runs already, as http://host:port or https://host:port; its limits.rates hold
    #[arg(long, global = true)]
    url: Option<String>,
    /// Certificates that vouch for an https URL [default: the system's]
    #[arg(long, global = true, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,
    /// Its process, for memory and CPU, where it runs on this machine
    #[arg(long, global = true, requires = "url")]
    pid: Option<u32>,
    /// Use this account for everything instead of signing up new ones
    #[arg(long, global = true, requires = "password")]
    user: Option<String>,
    /// The account's password
    #[arg(long, global = true, requires = "user")]
    password: Option<String>,
    /// Accounts that are there already, a line name:password for each
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "user")]
    accounts: Option<PathBuf>,
    /// Use the account of this access token for everything
    #[arg(long, global = true, value_name = "JWT", conflicts_with_all = ["user", "accounts"])]
    token: Option<String>,
    /// Sockets that share one user
    #[arg(long, global = true, default_value_t = 1, value_parser = at_least_one)]
    per_user: usize,
    /// Times each measurement is made; medians are reported, with the range
    #[arg(long, global = true, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Give up after so long
    #[arg(long, global = true, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1_440))]
    max_minutes: u64,
    /// Where to write the figures; CSV and plot go beside it [default: target/load/<scenario>.json]
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fail where others disturbed the run beyond the bounds that it prints
    #[arg(long, global = true)]
    strict: bool,
    /// A setting for the natter that is started, as section.key=value
    #[arg(long, global = true, value_name = "KEY=VALUE", conflicts_with = "url")]
    set: Vec<String>,
    #[arg(skip)]
    watch: Watch,
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
    /// WebSocket upgrades per second, with token and membership, beside a bare responder to handshakes
    Connect(connect::Options),
    /// Sign-ins per second, beside what one core can verify, and what sockets feel of them
    Login(login::Options),
    /// All sockets are cut and come back from where they were: seconds until all are live and have caught up
    Storm(storm::Options),
    /// Some of a room's readers stall: latency of the others beside them and without, and the memory that they cost
    Slow(slow::Options),
    /// Latency of deliveries beside sign-ins, pages of history and lists of rooms, and without
    Interfere(interfere::Options),
    /// Latency of deliveries while connections come and go, and without
    Churn(churn::Options),
    /// Several natters on one MongoDB and one NATS server: deliveries with 1 to 3 of them, what the bus costs, what a slow store costs
    Cluster(cluster::Options),
    /// Memory over thousands of connect/disconnect cycles and posts: it has to stay level
    Soak(soak::Options),
    /// All of these, short, one after the other
    All(all::Options),
    /// What has changed between two runs of a scenario, beyond noise
    Compare(compare::Options),
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
        Some(Scenario::Compare(options)) => compare::run(&options),
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
    let common =
        &Common { watch: Watch::start(common.pid, common.url.is_some() && common.pid.is_none()), ..common.clone() };
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
                Scenario::Connect(options) => connect::run(common, options).await,
                Scenario::Login(options) => login::run(common, options).await,
                Scenario::Storm(options) => storm::run(common, options).await,
                Scenario::Slow(options) => slow::run(common, options).await,
                Scenario::Interfere(options) => interfere::run(common, options).await,
                Scenario::Churn(options) => churn::run(common, options).await,
                Scenario::Cluster(options) => cluster::run(common, options).await,
                Scenario::Soak(options) => soak::run(common, options).await,
                Scenario::All(options) => all::run(common, options).await,
                Scenario::Bare { .. } | Scenario::Compare(_) => Ok(()),
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
