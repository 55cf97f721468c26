//! Stalled readers: a share of a room's sockets stop reading, as a phone in a tunnel does. What that costs the others, and what
//! server and kernel keep for them; then they read on, and what they get has to go on where they were.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::timeout;

use crate::beside::{self, Live, Traffic};
use crate::check::{Check, Faults};
use crate::people::People;
use crate::report::Report;
use crate::scan::Hint;
use crate::server::Target;
use crate::side::percentiles;
use crate::socket::{Ended, Socket, event_seq};
use crate::stats::Spread;
use crate::table::Table;
use crate::{Common, Outcome, Result, proc};

#[derive(Args, Debug, Clone)]
pub struct Options {
    // Long messages at a high rate, or all that comes would fit into the kernel's buffers.
    /// Sockets in the room that read
    #[arg(long, default_value_t = 200, value_parser = crate::at_least_one)]
    readers: usize,
    /// Sockets beside them that do not, in percent of them
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    stalled_percent: u32,
    /// Messages per second
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// Length of each measurement; a server may close who is behind for longer than it allows
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Length of a message's content
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    bytes: u32,
}

/// A stalled reader that reads on may take so long to reach the end of the room.
const PATIENCE: Duration = Duration::from_secs(60);
/// How the server ends who is too far behind; the reader may come back with `since`.
const TOO_SLOW: &str = "closed 1013";

struct Stalled {
    socket: Socket,
    check: Check,
}

/// What stalled readers have cost in one round, beside the same traffic without them.
struct Cost {
    server_bytes_each: f64,
    /// Of this machine: of other servers' and of clients' sockets too.
    kernel_bytes_each: f64,
    closed: usize,
}

/// Memory after a measurement, before anybody leaves.
struct Memory {
    server: f64,
    kernel: f64,
}

pub async fn run(common: &Common, options: &Options) -> Outcome {
    let count = (options.readers * options.stalled_percent as usize).div_ceil(100);
    proc::allow_open_files((options.readers + count) as u64 + 500)?;
    let target = Target::start(common)?;
    let people = People::gather(&target, common, options.readers + count).await?;
    let room = people.room(&target).await?;
    let traffic =
        Traffic { readers: options.readers, rate: options.rate, seconds: options.seconds, bytes: options.bytes };
    let mut live = Live::start(&target, &people, &room, &traffic).await?;
    let (mut alone, mut beside, mut costs, mut faults) = (Vec::new(), Vec::new(), Vec::new(), Faults::default());
    for round in 1..=common.rounds {
        println!("round {round} of {}", common.rounds);
        alone.push(live.measure().await?);
        let before = memory(&target)?;
        let mut stalled = Vec::new();
        for nth in options.readers..options.readers + count {
            let mut socket = Socket::open(target.addr, "/ws", people.of(nth)).await?;
            let subscribed = socket.subscribe(&room, None).await?;
            stalled.push(Stalled { socket, check: Check::starting_at(subscribed.next) });
        }
        beside.push(live.measure().await?);
        let after = memory(&target)?;
        let closed = read_on(stalled, live.head(), &mut faults).await?;
        costs.push(Cost {
            server_bytes_each: (after.server - before.server) / count as f64,
            kernel_bytes_each: (after.kernel - before.kernel) / count as f64,
            closed,
        });
    }

    let mut settings = traffic.json();
    settings["stalled"] = json!(count);
    let mut report = Report::new("slow", target.name(), settings);
    let title = format!("{}, {count} more of which stalled", traffic.title());
    beside::fill(&mut report, title.clone(), "stalled", &beside, &alone);
    fill(&mut report, &costs);
    report.plot = percentiles(title, [("beside stalled readers", &beside[..]), ("without them", &alone)]);
    report.faults = live.leave();
    report.faults.add(&faults);
    target.stop()?;
    report.finish(common)
}

fn memory(target: &Target) -> Result<Memory> {
    let server = target.anon_bytes().map_or(f64::NAN, |bytes| bytes as f64);
    Ok(Memory { server, kernel: proc::tcp_bytes()? as f64 })
}

/// Everyone reads on, up to the room's end or to where the server has cut them off: in order, without a gap. How many it has.
async fn read_on(stalled: Vec<Stalled>, head: u64, faults: &mut Faults) -> Result<usize> {
    let mut closed = 0;
    for Stalled { mut socket, mut check } in stalled {
        let mut hint = Hint::default();
        let reading = async {
            while check.level() < head {
                socket
                    .receive(|text| {
                        if let Some(seq) = event_seq(text, &mut hint) {
                            check.saw(seq);
                        }
                    })
                    .await?;
            }
            std::result::Result::<(), Ended>::Ok(())
        };
        let ended = timeout(PATIENCE, reading).await.map_err(|_| "a stalled reader that read on did not catch up")?;
        match ended {
            Ok(()) => faults.add(&check.faults(head)),
            // What it has not seen is not lost, as it may come back for it.
            Err(Ended(reason)) if reason.starts_with(TOO_SLOW) => {
                closed += 1;
                faults.add(&check.faults(check.seen()));
            }
            Err(Ended(reason)) => *faults.closed.entry(reason).or_default() += 1,
        }
    }
    Ok(closed)
}

fn fill(report: &mut Report, costs: &[Cost]) {
    let mut table = Table::new("what a stalled reader costs, at the end of the measurement", &["", "median (min–max)"]);
    let mut row = |label: &str, name: &str, of: &dyn Fn(&Cost) -> f64| {
        let spread = Spread::of(costs.iter().map(of));
        table.row(vec![label.into(), spread.to_string()]);
        report.figure(name, spread);
    };
    row("server memory (anonymous), bytes each", "server_bytes_each", &|cost| cost.server_bytes_each);
    row("kernel memory of sockets, bytes each", "kernel_bytes_each", &|cost| cost.kernel_bytes_each);
    row("closed as too slow (1013)", "closed_too_slow", &|cost| cost.closed as f64);
    report.table(table);
    report.note("each: what the machine had more than at the end of the same traffic without stalled readers. The kernel's is for both ends of all connections of this machine.");
}
