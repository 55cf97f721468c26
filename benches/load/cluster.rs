//! Several natters that share a MongoDB and a NATS server, all started here: what one gets from 1, 2 and 3 of them, what the bus
//! costs for each message, and what a store costs that is far away.
//!
//! Everything is on one machine, so that more nodes share its cores rather than add to them: the first part shows what
//! spreading costs, not what it gains.

mod at_once;
mod bus;
mod fleet;
mod nodes;
mod services;
mod slow;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use serde_json::json;

use self::services::{Nats, Store};
use crate::report::Report;
use crate::server::Target;
use crate::{Common, Outcome, Result, proc};

#[derive(Args, Debug, Clone)]
pub struct Options {
    /// Where the nodes' data is; with sqlite there is one node, no bus and no delay
    #[arg(long, value_enum, default_value_t = Kind::Mongodb)]
    store: Kind,
    /// The FerretDB to start in place of a MongoDB; tests/run builds it there
    #[arg(long, default_value = "target/services/ferretdb", value_name = "PATH")]
    ferretdb: PathBuf,
    /// A MongoDB that runs already; databases natter_load_… are made there, and dropped at the end
    #[arg(long, value_name = "URL")]
    mongodb: Option<String>,
    /// Measure only this [default: all parts]
    #[arg(long, value_enum)]
    part: Vec<Part>,
    /// Sockets, spread over the nodes and six rooms
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(6..=9_000))]
    subscribers: u32,
    /// Messages per second of the open loop, over the nodes and six rooms
    #[arg(long, default_value_t = 60.0)]
    rate: f64,
    /// Posts without acknowledgement of each of the six posters in the saturated runs
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=256))]
    window: u64,
    /// Messages per second while the bus is measured
    #[arg(long, default_value_t = 200.0)]
    bus_rate: f64,
    /// Round trips to the store, in milliseconds; the first is what the others are compared with
    #[arg(long, default_values_t = [0, 5, 50], value_delimiter = ',')]
    delays: Vec<u64>,
    /// Rooms with a poster each while the store is slow
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rooms: u32,
    /// Posts in flight of each of these posters
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=256))]
    in_flight: u64,
    /// Length of each measurement
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Length of a message's content
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    bytes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Mongodb,
    Sqlite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Deliveries with 1, 2 and 3 nodes
    Nodes,
    /// CPU of the bus for each message
    Bus,
    /// Posts with a delay before the store, and before one that answers at once
    Store,
}

impl Options {
    fn sqlite(&self) -> bool {
        self.store == Kind::Sqlite
    }

    fn wants(&self, part: Part) -> bool {
        self.part.is_empty() || self.part.contains(&part)
    }
}

/// What the nodes of all parts stand on.
struct Place<'a> {
    common: &'a Common,
    options: &'a Options,
    store: Store,
    /// `None` with SQLite, which belongs to one node.
    nats: Option<Nats>,
    run: String,
}

impl Place<'_> {
    /// So many nodes with a database of their own, `name` apart from all others; they know each other when this returns.
    async fn nodes(
        &self,
        count: usize,
        name: &str,
        with_bus: bool,
        before_the_store: Option<SocketAddr>,
    ) -> Result<Vec<Target>> {
        let database = format!("natter_load_{}_{name}", self.run);
        let url = self.store.url(&database);
        let url = match (&url, before_the_store) {
            (Some(url), Some(addr)) => Some(services::through(url, addr)),
            _ => url,
        };
        let mut set = self.common.set.clone();
        set.push(format!("store.db_name={database}"));
        if let Some(nats) = self.nats.as_ref().filter(|_| with_bus) {
            set.push(format!("bus.url={}", nats.url()));
        }
        let targets = (0..count).map(|_| Target::on(url.as_deref(), &set)).collect::<Result<Vec<_>>>()?;
        if count > 1 {
            fleet::know_each_other(&targets).await?;
        }
        Ok(targets)
    }

    fn has_bus(&self) -> bool {
        self.nats.is_some()
    }
}

fn stop(targets: Vec<Target>) -> Outcome {
    targets.into_iter().try_for_each(Target::stop)
}

pub async fn run(common: &Common, options: &Options) -> Outcome {
    if common.url.is_some() {
        return Err(
            "this scenario starts its own natters; --mongodb URL lets them use a database that runs already".into()
        );
    }
    if options.delays.is_empty() {
        return Err("--delays wants at least one round trip in milliseconds, as in --delays 0,5,50".into());
    }
    proc::allow_open_files(2 * u64::from(options.subscribers.max(options.rooms)) + 400)?;
    let nats = if options.sqlite() { None } else { Some(Nats::start()?) };
    let run = format!("{:x}", SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis()));
    let place = Place { common, options, store: Store::start(options)?, nats, run };

    let settings = json!({
        "store": place.store.name(), "subscribers": options.subscribers, "rate": options.rate, "window": options.window,
        "bus_rate": options.bus_rate, "delays_ms": options.delays, "rooms": options.rooms, "in_flight": options.in_flight,
        "seconds": options.seconds, "bytes": options.bytes, "rounds": common.rounds,
    });
    let mut report =
        Report::new("cluster", format!("natters on {}, started by this tool", place.store.name()), settings);
    if options.wants(Part::Nodes) {
        nodes::measure(&place, &mut report).await?;
    }
    if options.wants(Part::Bus) && place.has_bus() {
        bus::measure(&place, &mut report).await?;
    }
    if options.wants(Part::Store) {
        slow::measure(&place, &mut report).await?;
    }
    place.store.stop().await?;
    report.finish(common)
}
