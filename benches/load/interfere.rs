//! What else a server does while people talk, one thing after the other: sign-ins, pages of history, lists of rooms. Deliveries
//! beside each, and in the same round without.

use clap::Args;
use serde_json::json;

use crate::beside::{self, Live, Traffic};
use crate::people::{self, People};
use crate::report::Report;
use crate::sender::{Sender, Until};
use crate::server::Target;
use crate::side::{Measured, percentiles};
use crate::stats::{Latency, Spread, figure};
use crate::table::Table;
use crate::{Common, Outcome, Result, proc, requests, signing_in};

#[derive(Args, Debug, Clone)]
pub struct Options {
    #[command(flatten)]
    traffic: Traffic,
    #[command(flatten)]
    signing_in: signing_in::SigningIn,
    /// Pages of history per second, of 50 messages each
    #[arg(long, default_value_t = 200.0)]
    pages: f64,
    /// Lists of a user's rooms per second, 50 rooms on each
    #[arg(long, default_value_t = 200.0)]
    lists: f64,
}

/// Messages in the room whose history is read, and rooms of the user who lists them.
const ARCHIVED: u64 = 500;
const LISTED: usize = 50;

/// Something that goes on beside the traffic.
#[derive(Default)]
struct Other {
    name: &'static str,
    beside: Vec<Measured>,
    /// How it fared itself: how many a second, and how long each took.
    per_sec: Vec<f64>,
    latency: Vec<Latency>,
}

impl Other {
    fn took_place(&mut self, measured: Measured, latency: Latency, secs: f64) {
        let p99 = figure(measured.latency.millis_at(99.0));
        println!("  beside {}: deliveries' p99 {p99} ms", self.name);
        self.beside.push(measured);
        self.per_sec.push(latency.count() as f64 / secs);
        self.latency.push(latency);
    }
}

pub async fn run(common: &Common, options: &Options) -> Outcome {
    let traffic = &options.traffic;
    proc::allow_open_files((traffic.readers + options.signing_in.signing_in) as u64 + 500)?;
    let target = Target::start(common)?;
    let people = People::gather(&target, common, traffic.readers).await?;
    let room = people.room(&target).await?;
    let archive = archive(&target, &people).await?;
    let target = target.restarted(common, &options.signing_in.setting())?;
    let accounts = people::spare_accounts(&target, common, &people, options.signing_in.signing_in).await?;
    let mut live = Live::start(&target, &people, &room, traffic).await?;
    let [mut sign_ins, mut history, mut lists] =
        ["sign_ins", "history", "lists"].map(|name| Other { name, ..Other::default() });
    let mut alone = Vec::new();
    for round in 1..=common.rounds {
        println!("round {round} of {}", common.rounds);
        alone.push(live.measure().await?);
        let (measured, others) = live.beside(signing_in::start(target.addr, accounts.clone())).await?;
        sign_ins.took_place(measured, others.latency, others.secs);
        for (other, path, rate) in [
            (&mut history, format!("/chat/{archive}?limit=50"), options.pages),
            (&mut lists, format!("/chat/my-chats?limit={LISTED}"), options.lists),
        ] {
            let asking = requests::start(target.addr, people.first(), &path, rate);
            let (measured, latency) = live.beside(asking).await?;
            let secs = measured.secs;
            other.took_place(measured, latency, secs);
        }
    }

    let mut settings = traffic.json();
    settings["signing_in"] = json!(accounts.len());
    settings["bcrypt_cost"] = json!(options.signing_in.bcrypt_cost);
    settings["pages"] = json!(options.pages);
    settings["lists"] = json!(options.lists);
    let mut report = Report::new("interfere", target.name(), settings);
    let others = [sign_ins, history, lists];
    for other in &others {
        beside::fill(
            &mut report,
            format!("{}, beside {}", traffic.title(), other.name),
            other.name,
            &other.beside,
            &alone,
        );
    }
    fill(&mut report, &others);
    let lines = others.iter().map(|other| (other.name, &other.beside[..]));
    report.plot = percentiles(format!("Deliveries, {}", traffic.title()), lines.chain([("alone", &alone[..])]));
    report.faults = live.leave();
    target.stop()?;
    report.finish(common)
}

/// Rooms of the first user alone, to be listed; one of them with a history. Its id.
async fn archive(target: &Target, people: &People) -> Result<String> {
    let mut rooms = people.alone().rooms_of_all(target, LISTED).await?;
    let archive = rooms.remove(0);
    let name = format!("{}-archive", people.run);
    let mut sender = Sender::open(target.addr, people.first(), vec![archive.clone()], &name, 128).await?;
    sender.windowed(32, Until::Posts(ARCHIVED)).await?;
    Ok(archive)
}

fn fill(report: &mut Report, others: &[Other]) {
    let mut table = Table::new("what went on beside it: median (min–max)", &["", "a second", "p50, ms", "p99, ms"]);
    for other in others {
        let spreads = [
            ("per_sec", Spread::of(other.per_sec.iter().copied())),
            ("p50_ms", Spread::of(other.latency.iter().map(|latency| latency.millis_at(50.0)))),
            ("p99_ms", Spread::of(other.latency.iter().map(|latency| latency.millis_at(99.0)))),
        ];
        let mut cells = vec![other.name.into()];
        for (name, spread) in spreads {
            cells.push(spread.to_string());
            report.figure(&format!("{}_{name}", other.name), spread);
        }
        table.row(cells);
    }
    report.table(table);
    report.note("sign-ins are as many as the server takes; pages of history and lists of rooms come at a fixed rate.");
}
