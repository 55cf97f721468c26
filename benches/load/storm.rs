//! A storm of reconnects: all sockets are cut at once, messages are posted while nobody is there and while everybody comes back,
//! each from where it was. How long until all are live and have caught up; every seq is counted, over the cut.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::try_join;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::json;

use crate::crowd::Crowd;
use crate::people::People;
use crate::report::Report;
use crate::sender::{Sender, Until};
use crate::server::Target;
use crate::side::{SETTLE_MILLIS, settle};
use crate::socket::Socket;
use crate::stats::{Spread, figure};
use crate::svg::{Plot, Series, point};
use crate::table::Table;
use crate::{Common, Outcome, Result, at_least_one, bare, proc};

#[derive(Args, Debug, Clone)]
pub struct Options {
    /// Sockets, all of which are cut
    #[arg(long, default_value_t = 18_000, value_parser = at_least_one)]
    sockets: usize,
    /// Users in each room
    #[arg(long, default_value_t = 500, value_parser = at_least_one)]
    room_of: usize,
    /// Messages posted to each room while nobody is there
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    missed: u64,
    /// Length of a message's content
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    bytes: u32,
    /// Time between the cut and the first that comes back
    #[arg(long, default_value_t = 1_000)]
    away_ms: u64,
    /// Sockets that come back at the same time
    #[arg(long, default_value_t = 256, value_parser = at_least_one)]
    at_once: usize,
}

/// Posts without acknowledgement, over all rooms.
const WINDOW: u64 = 64;
/// Between two turns of posts while sockets come back.
const TURN_MILLIS: u64 = 100;
/// What has not come by then is lost.
const PATIENCE: Duration = Duration::from_secs(60);

struct Round {
    /// From the first that comes back to the last one's subscription, and to the last event that anybody had missed.
    back_secs: f64,
    caught_up_secs: f64,
    /// After that, from a post to each room to the last of its deliveries.
    reached_all_millis: f64,
    events: u64,
    server_cpu: f64,
    /// As many handshakes at a server that does nothing else.
    bare_secs: f64,
}

pub async fn run(common: &Common, options: &Options) -> Outcome {
    proc::allow_open_files(options.sockets as u64 + 500)?;
    let target = Target::start(common)?;
    let people = People::gather(&target, common, options.sockets).await?;
    let rooms = people.rooms(&target, options.sockets.div_ceil(options.room_of)).await?;
    let mut storm = Storm::gather(&target, people, rooms, options).await?;
    let mut rounds = Vec::new();
    for nth in 1..=common.rounds {
        println!("round {nth} of {}", common.rounds);
        let round = storm.round(options).await?;
        println!("  all back in {} s, caught up in {}", figure(round.back_secs), figure(round.caught_up_secs));
        rounds.push(round);
    }

    let settings = json!({
        "sockets": options.sockets, "room_of": options.room_of, "missed": options.missed, "bytes": options.bytes,
        "away_ms": options.away_ms, "at_once": options.at_once, "per_user": common.per_user,
    });
    let mut report = Report::new("storm", target.name(), settings);
    fill(&mut report, options, &rounds);
    report.faults = storm.crowd.faults(&storm.heads);
    report.plot = plot(options, &rounds);
    storm.crowd.leave();
    drop(storm);
    target.stop()?;
    report.finish(common)
}

struct Storm<'a> {
    target: &'a Target,
    people: People,
    rooms: Vec<String>,
    crowd: Rc<Crowd>,
    sender: Sender,
    heads: Vec<u64>,
}

impl<'a> Storm<'a> {
    async fn gather(target: &'a Target, people: People, rooms: Vec<String>, options: &Options) -> Result<Self> {
        let crowd = Crowd::new();
        crowd.join(target, &people, &rooms, options.sockets).await?;
        settle(SETTLE_MILLIS).await;
        let heads = crowd.heads(rooms.len());
        let (bytes, first) = (options.bytes as usize, people.first());
        let sender = Sender::open(target.addr, first, rooms.clone(), &people.run, bytes).await?;
        Ok(Self { target, people, rooms, crowd, sender, heads })
    }

    async fn round(&mut self, options: &Options) -> Result<Round> {
        let before = self.crowd.delivered();
        self.crowd.leave();
        let away = Instant::now();
        let rooms = self.rooms.len() as u64;
        self.sender.windowed(WINDOW, Until::Posts(options.missed * rooms)).await?;
        let rest = Duration::from_millis(options.away_ms).saturating_sub(away.elapsed());
        tokio::time::sleep(rest).await;

        let (start, cpu, back) = (Instant::now(), self.target.cpu_secs()?, Cell::new(None));
        let coming = async {
            self.crowd.come_back(self.target, &self.people, &self.rooms, options.at_once).await?;
            back.set(Some(Instant::now()));
            Result::Ok(())
        };
        let posting = async {
            let mut turns = options.missed;
            while back.get().is_none() {
                self.sender.windowed(WINDOW, Until::Posts(rooms)).await?;
                turns += 1;
                settle(TURN_MILLIS).await;
            }
            Result::Ok(turns)
        };
        let ((), turns) = try_join(coming, posting).await?;
        let events = turns * options.sockets as u64;
        self.crowd.wait_for(before + events, PATIENCE).await;
        let caught_up = self.crowd.last_arrival();
        let server_cpu = self.target.cpu_secs()? - cpu;

        let posted = Instant::now();
        self.sender.windowed(WINDOW, Until::Posts(rooms)).await?;
        let last = self.crowd.wait_for(before + events + options.sockets as u64, PATIENCE).await;
        self.heads.iter_mut().for_each(|head| *head += turns + 1);
        let secs = |until: Instant| until.saturating_duration_since(start).as_secs_f64();
        Ok(Round {
            back_secs: back.get().map_or(f64::NAN, secs),
            // Whoever came last had perhaps nothing left to catch up with.
            caught_up_secs: secs(back.get().map_or(caught_up, |back| caught_up.max(back))),
            reached_all_millis: last.saturating_duration_since(posted).as_secs_f64() * 1_000.0,
            events,
            server_cpu,
            bare_secs: bare_handshakes(&self.people, options).await?,
        })
    }
}

/// How long this tool takes for as many sockets where the server only shakes hands. It has room for them, if it lets go of the
/// others' ends as they come: so these leave at once.
async fn bare_handshakes(people: &People, options: &Options) -> Result<f64> {
    let bare = bare::Process::start(&["handshake"], "")?;
    let (addr, start): (SocketAddr, _) = (bare.addr, Instant::now());
    stream::iter(0..options.sockets)
        .map(|nth| async move { Socket::open(addr, "/ws", people.of(nth)).await.map(drop) })
        .buffer_unordered(options.at_once)
        .try_collect::<()>()
        .await?;
    Ok(start.elapsed().as_secs_f64())
}

fn fill(report: &mut Report, options: &Options, rounds: &[Round]) {
    let title = format!("{} sockets cut, {} messages missed in each room", options.sockets, options.missed);
    let mut table = Table::new(title, &["", "median (min–max)"]);
    let mut row = |label: &str, name: &str, of: &dyn Fn(&Round) -> f64| {
        let spread = Spread::of(rounds.iter().map(of));
        table.row(vec![label.into(), spread.to_string()]);
        report.figure(name, spread);
    };
    row("all subscribed again, s", "back_secs", &|round| round.back_secs);
    row("all live and caught up, s", "caught_up_secs", &|round| round.caught_up_secs);
    row("sockets/s", "sockets_per_sec", &|round| options.sockets as f64 / round.caught_up_secs);
    row("bare handshakes of as many, s", "bare_handshakes_secs", &|round| round.bare_secs);
    row("× bare handshakes", "ratio", &|round| round.caught_up_secs / round.bare_secs);
    row("events caught up with", "events", &|round| round.events as f64);
    row("server CPU, s", "server_cpu_secs", &|round| round.server_cpu);
    row("then a message to each room has reached all, ms", "reached_all_ms", &|round| round.reached_all_millis);
    report.table(table);
    report.note(
        "messages go on while sockets come back. bare handshakes: no token, no subscription, nothing to catch up with.",
    );
}

fn plot(options: &Options, rounds: &[Round]) -> Plot {
    let series = |name: &str, of: fn(&Round) -> f64| Series {
        name: name.into(),
        joined: true,
        points: (1..).zip(rounds).map(|(at, round)| point(f64::from(at), of(round))).collect(),
    };
    Plot {
        title: format!("{} sockets come back", options.sockets),
        x: "round".into(),
        y: "seconds".into(),
        x_names: (1..).zip(rounds).map(|(at, _)| (f64::from(at), at.to_string())).collect(),
        series: vec![
            series("live and caught up", |round| round.caught_up_secs),
            series("subscribed", |round| round.back_secs),
            series("bare handshakes", |round| round.bare_secs),
        ],
    }
}
