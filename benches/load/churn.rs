//! Connections that come and go at a steady rate, as they do all day, beside steady traffic: each signs in by its token, follows
//! a room, and says goodbye. What it costs the traffic, and whether memory stays.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::apart::{self, Apart};
use crate::beside::{self, Live, Traffic};
use crate::people::{People, Person};
use crate::report::Report;
use crate::server::Target;
use crate::side::percentiles;
use crate::socket::Socket;
use crate::stats::{Latency, Spread, figure};
use crate::table::Table;
use crate::{Common, Outcome, at_least_one, proc};

#[derive(Args, Debug, Clone)]
pub struct Options {
    #[command(flatten)]
    traffic: Traffic,
    /// Connections that come per second; as many go
    #[arg(long, default_value_t = 200.0)]
    coming: f64,
    /// How long each stays
    #[arg(long, default_value_t = 500)]
    stay_ms: u64,
    /// Users whose connections come and go
    #[arg(long, default_value_t = 100, value_parser = at_least_one)]
    guests: usize,
}

/// Those that came and went.
struct Visits {
    /// From the intended time of coming to the answer to the subscription.
    latency: Latency,
    secs: f64,
}

pub async fn run(common: &Common, options: &Options) -> Outcome {
    let traffic = &options.traffic;
    let at_once = options.coming * options.stay_ms as f64 / 1_000.0;
    proc::allow_open_files(traffic.readers as u64 + 4 * at_once as u64 + 500)?;
    let target = Target::start(common)?;
    let people = People::gather(&target, common, traffic.readers + options.guests).await?;
    let room = people.room(&target).await?;
    let guests: Vec<Person> = (0..options.guests).map(|nth| people.of(traffic.readers + nth).clone()).collect();
    let mut live = Live::start(&target, &people, &room, traffic).await?;
    let (mut alone, mut beside, mut visits, mut memory) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 1..=common.rounds {
        println!("round {round} of {}", common.rounds);
        alone.push(live.measure().await?);
        let before = target.anon_bytes().map_or(f64::NAN, |bytes| bytes as f64);
        let (measured, came) = live.beside(come_and_go(target.addr, guests.clone(), room.clone(), options)).await?;
        println!("  {} came and went", came.latency.count());
        memory.push((target.anon_bytes().map_or(f64::NAN, |bytes| bytes as f64) - before) / 1_048_576.0);
        beside.push(measured);
        visits.push(came);
    }

    let mut settings = traffic.json();
    settings["coming"] = json!(options.coming);
    settings["stay_ms"] = json!(options.stay_ms);
    settings["guests"] = json!(options.guests);
    let mut report = Report::new("churn", target.name(), settings);
    let title = format!("{}, beside {} connections a second", traffic.title(), figure(options.coming));
    beside::fill(&mut report, title.clone(), "churn", &beside, &alone);
    fill(&mut report, &visits, &memory);
    report.plot = percentiles(title, [("beside churn", &beside[..]), ("without it", &alone)]);
    report.faults = live.leave();
    target.stop()?;
    report.finish(common)
}

/// Open-loop, until it is told to stop; those that are there then stay their time.
fn come_and_go(addr: SocketAddr, guests: Vec<Person>, room: String, options: &Options) -> Apart<Visits> {
    let (rate, stay) = (options.coming, Duration::from_millis(options.stay_ms));
    apart::start(move |stop| async move {
        let start = Instant::now();
        let (latency, failed) = (Rc::new(RefCell::new(Latency::default())), Rc::new(Cell::new(None)));
        let mut visits = Vec::new();
        for (nth, guest) in (0..).zip(guests.iter().cycle()) {
            let due = start + Duration::from_secs_f64(f64::from(nth) / rate);
            tokio::time::sleep_until(due.into()).await;
            if stop.is_set() {
                break;
            }
            let (guest, room, latency, failed) = (guest.clone(), room.clone(), latency.clone(), failed.clone());
            visits.push(tokio::task::spawn_local(async move {
                let visiting = async {
                    let mut socket = Socket::open(addr, "/ws", &guest).await?;
                    socket.subscribe(&room, None).await?;
                    latency.borrow_mut().record(due.elapsed());
                    tokio::time::sleep(stay).await;
                    socket.close().await
                };
                visiting.await.unwrap_or_else(|error| failed.set(Some(error)));
            }));
        }
        for visit in visits {
            visit.await?;
        }
        match failed.take() {
            Some(error) => Err(error),
            None => Ok(Visits { latency: latency.take(), secs: start.elapsed().as_secs_f64() }),
        }
    })
}

fn fill(report: &mut Report, visits: &[Visits], memory: &[f64]) {
    let mut table = Table::new("the connections that came and went", &["", "median (min–max)"]);
    let mut row = |label: &str, name: &str, spread: Spread| {
        table.row(vec![label.into(), spread.to_string()]);
        report.figure(name, spread);
    };
    let of = |of: fn(&Visits) -> f64| Spread::of(visits.iter().map(of));
    row("connections/s", "connections_per_sec", of(|visits| visits.latency.count() as f64 / visits.secs));
    row("to the subscription: p50, ms", "subscribed_p50_ms", of(|visits| visits.latency.millis_at(50.0)));
    row("p99, ms", "subscribed_p99_ms", of(|visits| visits.latency.millis_at(99.0)));
    row("server memory more than before, MiB", "grown_mib", Spread::of(memory.iter().copied()));
    report.table(table);
}
