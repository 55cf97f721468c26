//! A database of millions of messages, beside one that holds the rooms of the measurement and a page of messages in each: how
//! long a natter takes to start on it, and how fast it takes posts and gives pages of history.
//!
//! Both are made by `natter import`. In each round both serve as many rooms, drawn at random anew, from servers that have
//! just started; history comes first, while nothing is new in any room.

mod database;
mod export;
mod pages;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use rand::seq::IteratorRandom;
use serde_json::json;

use self::database::Database;
use self::export::Shape;
use self::pages::{PAGE, Pages, Room, Which};
use crate::check::Faults;
use crate::crew::{Case, Crew, Place, Run};
use crate::people::{self, Account, PASSWORD};
use crate::report::Report;
use crate::server::Target;
use crate::stats::{Spread, figure};
use crate::svg::{Plot, Series, point};
use crate::table::Table;
use crate::{Common, Outcome, Result, proc};

#[derive(Args, Debug, Clone)]
pub struct Options {
    /// Events in the database, over all rooms
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    events: u64,
    /// Rooms with as many events each
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rooms: u64,
    /// Members of each room; everybody is in about fifty rooms
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    members: u64,
    /// Rooms that are read in a round, drawn from all; the other database has no more
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    drawn: u64,
    /// Of these, rooms that are posted to, with a sender in each
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    senders: u64,
    /// Posts a sender may have unacknowledged where it does not wait for each
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(2..=256))]
    window: u64,
    /// Keep-alive connections that read history, each one page at a time
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// Length of each measurement
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Length of a message's content
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u64).range(1..=4_000))]
    bytes: u64,
    /// Keep the database here, as it is before anything is posted, and use it again where it is there already
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
}

/// One database in one round.
struct Measured {
    start_secs: f64,
    /// Latest, middle.
    pages: [Pages; 2],
    /// One at a time, with the window.
    posts: [Run; 2],
}

pub async fn run(common: &Common, options: &Options) -> Outcome {
    if common.url.is_some() {
        return Err("this scenario starts servers on databases of its own; leave --url out".into());
    }
    let (shape, small) = shapes(options)?;
    proc::allow_open_files(u64::from(options.connections) + options.senders + 500)?;
    let big = match &options.database {
        Some(file) => Database::kept(file, &shape, &common.set).await?,
        None => Database::import(&shape, &common.set).await?,
    };
    let small = Database::import(&small, &common.set).await?;
    let (mut of_big, mut of_small, mut faults) = (Vec::new(), Vec::new(), Faults::default());
    for round in 1..=common.rounds {
        println!("round {round} of {}", common.rounds);
        for (database, rounds) in [(&big, &mut of_big), (&small, &mut of_small)] {
            let measured = measure(database, common, options, &mut faults).await?;
            println!(
                "  {} events: listening after {} s, {} pages/s, {} acks/s",
                figure(database.shape.events() as f64),
                figure(measured.start_secs),
                figure(measured.pages[0].per_sec),
                figure(measured.posts[1].acks_per_sec)
            );
            rounds.push(measured);
        }
    }

    let settings = json!({
        "events": shape.events(), "rooms": shape.rooms, "members": shape.members, "drawn": options.drawn,
        "senders": options.senders, "window": options.window, "connections": options.connections,
        "seconds": options.seconds, "bytes": shape.bytes, "rounds": common.rounds,
    });
    let mut report = Report::new("big", "natters started by this tool".into(), settings);
    fill(&mut report, options, &big, &small, &of_big, &of_small);
    report.plot = plot(&of_big, &of_small);
    report.faults = faults;
    report.finish(common)
}

/// What is in the big database, and in the other one.
fn shapes(options: &Options) -> Result<(Shape, Shape)> {
    let Options { events, rooms, members, bytes, .. } = *options;
    let big = Shape { rooms, head: events / rooms, members, bytes };
    let least = big.opening() + PAGE;
    if big.head < least {
        return Err(format!("a room needs {least} events, for its members and a page; ask for more events").into());
    }
    if !(options.senders..=rooms).contains(&options.drawn) {
        return Err("rooms drawn are at most all, and at least one for each sender".into());
    }
    let small = Shape { rooms: options.drawn, head: least, ..big.clone() };
    Ok((big, small))
}

async fn measure(database: &Database, common: &Common, options: &Options, faults: &mut Faults) -> Result<Measured> {
    let length = Duration::from_secs(options.seconds);
    let spawned = Instant::now();
    let target = Target::on(Some(&database.url()), &common.set)?;
    let start_secs = spawned.elapsed().as_secs_f64();

    let rooms = draw(&database.shape, options, &target).await?;
    let read = |which| pages::read(&target, &rooms, which, options.connections, length);
    let pages = [read(Which::Latest).await?, read(Which::Middle).await?];

    let senders = options.senders as usize;
    let places = rooms[..senders].iter();
    let places = places.map(|room| Place { person: room.reader.clone(), room: room.id.to_string() }).collect();
    let mut crew = Crew::natter(&target, places, &people::fresh_run(), options.bytes as usize).await?;
    let case = |window| Case { senders, shared_room: false, window };
    let posts = [crew.run(case(1), length).await?, crew.run(case(options.window), length).await?];
    faults.add(&crew.faults);
    drop(crew);
    target.stop()?;
    Ok(Measured { start_secs, pages, posts })
}

/// Rooms of all, in no order, with somebody signed in for each.
async fn draw(shape: &Shape, options: &Options, target: &Target) -> Result<Vec<Room>> {
    let mut random = rand::rng();
    let numbers = (0..shape.rooms).sample(&mut random, options.drawn as usize);
    let readers = numbers.iter().filter_map(|&room| shape.members_of(room).choose(&mut random));
    let accounts = readers.map(|reader| Account { username: export::username(reader), password: PASSWORD.into() });
    let readers = people::sign_in_all(target, accounts.collect()).await?;
    let rooms = numbers.iter().zip(readers);
    Ok(rooms
        .map(|(&room, reader)| Room { id: export::room_id(room), reader, first: shape.opening() + 1, last: shape.head })
        .collect())
}

fn fill(
    report: &mut Report,
    options: &Options,
    big: &Database,
    small: &Database,
    of_big: &[Measured],
    of_small: &[Measured],
) {
    let heads = [big, small].map(|database| format!("{} events", figure(database.shape.events() as f64)));
    let mut table = Table::new("median (min–max)", &["", &heads[0], &heads[1], "× slower"]);
    let mut row = |label: String, name: &str, is_time: bool, of: &dyn Fn(&Measured) -> f64| {
        let spread = |rounds: &[Measured]| Spread::of(rounds.iter().map(of));
        let slower = Spread::of(of_big.iter().zip(of_small).map(|(big, small)| match is_time {
            true => of(big) / of(small),
            false => of(small) / of(big),
        }));
        table.row(vec![label, spread(of_big).to_string(), spread(of_small).to_string(), slower.to_string()]);
        report.figure(name, spread(of_big));
        report.figure(&format!("{name}_small"), spread(of_small));
        report.figure(&format!("{name}_slower"), slower);
    };
    row("start until it listens, s".into(), "start_secs", true, &|round| round.start_secs);
    for (nth, which) in ["latest", "middle"].into_iter().enumerate() {
        let name = |figure: &str| format!("{which}_page{figure}");
        row(format!("{which} pages/s"), &name("s_per_sec"), false, &|round| round.pages[nth].per_sec);
        for percentile in [50, 99] {
            let millis = |round: &Measured| round.pages[nth].latency.millis_at(f64::from(percentile));
            row(format!("{which} page p{percentile}, ms"), &name(&format!("_p{percentile}_ms")), true, &millis);
        }
        let label = format!("{which} pages, server CPU s/M");
        row(label, &name("s_server_cpu_secs_per_million"), true, &|round| round.pages[nth].server_cpu);
    }
    for (nth, (window, name)) in [(1, "one_at_a_time"), (options.window, "windowed")].into_iter().enumerate() {
        let label = format!("acks/s, {} × {window} in flight", options.senders);
        row(label, &format!("{name}_acks_per_sec"), false, &|round| round.posts[nth].acks_per_sec);
        let p99 = |round: &Measured| round.posts[nth].latency.millis_at(99.0);
        row(format!("{window}: p99, ms"), &format!("{name}_p99_ms"), true, &p99);
    }
    report.table(table);
    for (name, database) in [("big", big), ("small", small)] {
        let (mib, secs) = (database.bytes as f64 / 1_048_576.0, database.import_secs);
        let Shape { rooms, head, .. } = database.shape;
        report.note(format!(
            "{} rooms of {} events: {} MiB, imported in {} s, {} events/s",
            figure(rooms as f64),
            figure(head as f64),
            figure(mib),
            figure(secs),
            figure(database.shape.events() as f64 / secs)
        ));
        report.value(&format!("{name}_database_bytes"), json!(database.bytes));
        report.value(&format!("{name}_import_secs"), json!(secs));
    }
    report.note(format!(
        "{} rooms are read in each round, drawn from all; a page has {PAGE} messages.",
        figure(options.drawn as f64)
    ));
}

fn plot(big: &[Measured], small: &[Measured]) -> Plot {
    let names = ["latest pages", "middle pages", "posts, one at a time", "posts"];
    let rates = |round: &Measured| {
        let [latest, middle] = &round.pages;
        let [one_at_a_time, windowed] = &round.posts;
        [latest.per_sec, middle.per_sec, one_at_a_time.acks_per_sec, windowed.acks_per_sec]
    };
    let series = |name: &str, rounds: &[Measured]| Series {
        name: name.into(),
        joined: false,
        points: (0..names.len())
            .map(|at| {
                let spread = Spread::of(rounds.iter().map(|round| rates(round)[at]));
                let mut point = point(at as f64, spread.median);
                point.range = Some((spread.min, spread.max));
                point
            })
            .collect(),
    };
    Plot {
        title: "A big database beside a small one".into(),
        x: "what is done".into(),
        y: "per second".into(),
        x_names: (0..).zip(names).map(|(at, name)| (f64::from(at), name.into())).collect(),
        series: vec![series("big", big), series("small", small)],
    }
}
