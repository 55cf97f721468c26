//! Sign-ins per second while passwords are verified as slowly as they have to be, beside what one core can verify; and what the
//! same server's sockets feel of it.

use clap::Args;
use serde_json::json;

use crate::beside::{self, Live, Traffic};
use crate::people::{self, People};
use crate::report::Report;
use crate::server::Target;
use crate::side::percentiles;
use crate::signing_in::{self, SignIns};
use crate::stats::{Spread, figure};
use crate::table::{Ceiling, Table, compare_all};
use crate::{Common, Outcome, proc};

#[derive(Args, Debug, Clone)]
pub struct Options {
    #[command(flatten)]
    signing_in: signing_in::SigningIn,
    #[command(flatten)]
    traffic: Traffic,
}

pub async fn run(common: &Common, options: &Options) -> Outcome {
    let (traffic, cost) = (&options.traffic, options.signing_in.bcrypt_cost);
    proc::allow_open_files((traffic.readers + options.signing_in.signing_in) as u64 + 500)?;
    let target = Target::start(common)?;
    let people = People::gather(&target, common, traffic.readers).await?;
    let room = people.room(&target).await?;
    let target = target.restarted(common, &options.signing_in.setting())?;
    let accounts = people::spare_accounts(&target, common, &people, options.signing_in.signing_in).await?;
    let mut live = Live::start(&target, &people, &room, traffic).await?;
    let (mut alone, mut beside, mut sign_ins, mut bare) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 1..=common.rounds {
        println!("round {round} of {}", common.rounds);
        bare.push(signing_in::bare_per_sec(cost).await?);
        alone.push(live.measure().await?);
        let (measured, signed_in) = live.beside(signing_in::start(target.addr, accounts.clone())).await?;
        println!(
            "  {} sign-ins/s, one core alone verifies {}",
            figure(signed_in.per_sec()),
            figure(bare[bare.len() - 1])
        );
        beside.push(measured);
        sign_ins.push(signed_in);
    }

    let mut settings = traffic.json();
    settings["signing_in"] = json!(accounts.len());
    settings["bcrypt_cost"] = json!(cost);
    let mut report = Report::new("login", target.name(), settings);
    let title = format!("{} at a time sign in, bcrypt cost {cost}", accounts.len());
    let mut table = Table::new(title, &["median (min–max)", "natter", "bcrypt, one core", "ratio"]);
    let per_sec: Vec<f64> = sign_ins.iter().map(SignIns::per_sec).collect();
    compare_all(&mut report, &mut table, "sign-ins/s", "sign_ins_per_sec", &per_sec, &[Ceiling::bare(&bare)], |rate| {
        *rate
    });
    for (label, name, place) in [("p50, ms", "sign_in_p50_ms", 50.0), ("p99, ms", "sign_in_p99_ms", 99.0)] {
        let spread = Spread::of(sign_ins.iter().map(|sign_ins| sign_ins.latency.millis_at(place)));
        table.row(vec![label.into(), spread.to_string()]);
        report.figure(name, spread);
    }
    report.table(table);
    let title = format!("meanwhile {}", traffic.title());
    beside::fill(&mut report, title.clone(), "sign_ins", &beside, &alone);
    report.note("the ratio is the number of cores that the server spends on passwords (auth.password_threads), where the costs are the same.");
    report.plot = percentiles(title, [("beside sign-ins", &beside[..]), ("without them", &alone)]);
    report.faults = live.leave();
    target.stop()?;
    report.finish(common)
}
