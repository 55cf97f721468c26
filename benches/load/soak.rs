//! Thousands of connect/disconnect cycles and posts, in even steps: once warm, the server's memory has to stay level.

use std::time::Duration;

use clap::Args;
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::json;

use crate::check::Faults;
use crate::crowd::Crowd;
use crate::people::People;
use crate::report::Report;
use crate::sender::{Sender, Until};
use crate::server::Target;
use crate::side::settle;
use crate::socket::Socket;
use crate::stats::{self, figure};
use crate::svg::{Plot, Series, point};
use crate::table::Table;
use crate::{Common, Outcome, Result, proc};

#[derive(Args, Debug, Clone)]
pub struct Options {
    /// Sockets that connect, subscribe and say goodbye
    #[arg(long, default_value_t = 10_000)]
    cycles: u64,
    /// Messages posted meanwhile
    #[arg(long, default_value_t = 100_000)]
    posts: u64,
    /// Times memory is read; the first fifth is warm-up
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(5..=1_000))]
    steps: u64,
    /// Sockets that stay and check every message
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    readers: u32,
    /// Cycles under way at once
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    at_once: u32,
    /// Growth after the warm-up that counts as level in any case, in MiB
    #[arg(long, default_value_t = 2.0)]
    level_mib: f64,
    /// Wait before memory is read
    #[arg(long, default_value_t = 1_000)]
    settle_ms: u64,
}

const SENDERS: u64 = 8;
const WINDOW: u64 = 32;

/// Growth over all steps after the warm-up that still counts as level, where it is more than `--level-mib`.
const LEVEL_SHARE: f64 = 0.05;

pub async fn run(common: &Common, options: &Options) -> Outcome {
    proc::allow_open_files(u64::from(options.readers + options.at_once) + 200)?;
    let target = Target::start(common)?;
    target.anon_bytes()?;
    let sockets = (options.readers + options.at_once) as usize + SENDERS as usize;
    let people = People::gather(&target, common, sockets).await?;
    let room = people.room(&target).await?;
    let crowd = Crowd::new();
    crowd.join(&target, &people, std::slice::from_ref(&room), options.readers as usize).await?;
    let head = crowd.heads(1)[0];
    let mut senders = Vec::new();
    for nth in 0..SENDERS {
        let name = format!("{}-{nth}", people.run);
        senders.push(Sender::open(target.addr, people.of(nth as usize), vec![room.clone()], &name, 128).await?);
    }

    let (mut seqs, mut memory) = (Vec::new(), Vec::new());
    for step in 1..=options.steps {
        let share = |all: u64| all * step / options.steps - all * (step - 1) / options.steps;
        let cycling = cycle(&target, &people, &room, share(options.cycles), options.at_once as usize);
        let (_, posted) = futures_util::future::try_join(cycling, post(&mut senders, share(options.posts))).await?;
        seqs.extend(posted);
        crowd.wait_for(seqs.len() as u64 * u64::from(options.readers), Duration::from_secs(30)).await;
        settle(options.settle_ms).await;
        memory.push((step as f64, target.anon_bytes()? as f64 / 1_048_576.0));
        println!("step {step} of {}: {} MiB", options.steps, figure(memory[memory.len() - 1].1));
    }

    let mut faults = crowd.faults(&[head + seqs.len() as u64]);
    faults.add(&Faults::in_acks(head, seqs));
    crowd.leave();
    drop(senders);
    let settings = json!({
        "cycles": options.cycles, "posts": options.posts, "steps": options.steps, "readers": options.readers,
        "at_once": options.at_once,
    });
    let mut report = Report::new("soak", target.name(), settings);
    report.faults = faults;
    let level = fill(&mut report, options, &memory);
    target.stop()?;
    report.finish(common)?;
    if level { Ok(()) } else { Err("the server's memory is not level: see above".into()) }
}

/// `count` sockets that come, subscribe, see the answer and go.
async fn cycle(target: &Target, people: &People, room: &str, count: u64, at_once: usize) -> Outcome {
    stream::iter(0..count as usize)
        .map(|nth| async move {
            let mut socket = Socket::open(target.addr, "/ws", people.of(nth)).await?;
            socket.subscribe(room, None).await?;
            socket.close().await
        })
        .buffer_unordered(at_once)
        .try_collect::<()>()
        .await
}

/// `count` posts, evenly over the senders; their seqs.
async fn post(senders: &mut [Sender], count: u64) -> Result<Vec<u64>> {
    let share = |nth: u64| count * (nth + 1) / SENDERS - count * nth / SENDERS;
    let posting = senders.iter_mut().zip(0..).map(|(sender, nth)| sender.windowed(WINDOW, Until::Posts(share(nth))));
    Ok(try_join_all(posting).await?.into_iter().flat_map(|acks| acks.seqs).collect())
}

/// Whether memory is level.
fn fill(report: &mut Report, options: &Options, memory: &[(f64, f64)]) -> bool {
    let warm_up = (options.steps as usize).div_ceil(5);
    let warm = &memory[warm_up..];
    let (slope, start) = stats::line(warm);
    let growth = slope * (warm.len() - 1) as f64;
    let allowed = (warm[0].1 * LEVEL_SHARE).max(options.level_mib);
    let level = growth <= allowed;

    let mut table = Table::new("server memory (anonymous) after each step", &["step", "cycles", "posts", "MiB", ""]);
    for (nth, (step, mib)) in memory.iter().enumerate() {
        let so_far = |all: u64| (all as f64 * step / options.steps as f64).round().to_string();
        let warming = if nth < warm_up { "warm-up" } else { "" };
        table.row(vec![
            step.to_string(),
            so_far(options.cycles),
            so_far(options.posts),
            format!("{mib:.1}"),
            warming.into(),
        ]);
    }
    report.table(table);
    let verdict = if level { "level" } else { "NOT level" };
    report.note(format!(
        "{verdict}: {growth:+.2} MiB over {} steps after the warm-up by least squares ({slope:+.3} MiB a step); up to {allowed:.2} MiB counts as level",
        warm.len()
    ));
    report.value("anon_mib", json!(memory.iter().map(|sample| sample.1).collect::<Vec<_>>()));
    report.value("mib_per_step", json!(slope));
    report.value("growth_mib", json!(growth));
    report.value("level", json!(level));
    let ends = [warm[0].0, warm[warm.len() - 1].0];
    report.plot = Plot {
        title: format!("Server memory over {} cycles and {} posts", options.cycles, options.posts),
        x: "step".into(),
        y: "anonymous memory, MiB".into(),
        x_names: Vec::new(),
        series: vec![
            Series {
                name: "measured".into(),
                points: memory.iter().map(|&(step, mib)| point(step, mib)).collect(),
                joined: false,
            },
            Series {
                name: "line after the warm-up".into(),
                points: ends.iter().map(|&step| point(step, start + slope * step)).collect(),
                joined: true,
            },
        ],
    };
    level
}
