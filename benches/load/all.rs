//! Every scenario, short: each in a process of its own, so that one that fails does not take the others along.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use clap::Args;
use futures_util::stream::{self, StreamExt};

use crate::child::Process;
use crate::stats::figure;
use crate::table::Table;
use crate::{Common, Outcome, Result};

#[derive(Args, Debug, Clone)]
pub struct Options {
    /// Tiny, one round, several at once: says whether every scenario works and nothing is lost, and nothing about speed
    #[arg(long)]
    smoke: bool,
}

/// What a scenario wants of the server.
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    Nothing,
    /// To see its memory.
    Process,
    /// To start servers itself.
    Own,
}

/// Its name, and its arguments in the short and in the tiny run.
struct Row(&'static str, Needs, &'static str, &'static str);

const SCENARIOS: [Row; 14] = [
    Row("idle", Needs::Process, "--steps 500,1000,2000", "--steps 10,20 --room-of 5 --settle-ms 100"),
    Row(
        "fanout",
        Needs::Nothing,
        "--subscribers 500 --seconds 3 --saturated-seconds 2",
        "--subscribers 10 --seconds 1 --saturated-seconds 1 --window 8",
    ),
    Row(
        "rooms",
        Needs::Nothing,
        "--rooms 200 --seconds 1 --halvings 2",
        "--rooms 4 --readers 2 --seconds 1 --from 50 --p99-ms 0 --halvings 0",
    ),
    Row(
        "posts",
        Needs::Nothing,
        "--seconds 1 --rates 2000 --rest-secs 5",
        "--senders 4 --window 4 --seconds 1 --rates 100 --rest-secs 0",
    ),
    Row(
        "big",
        Needs::Own,
        "--events 100000 --rooms 1000 --drawn 100 --senders 16 --seconds 1",
        "--events 4000 --rooms 40 --drawn 10 --senders 4 --window 4 --seconds 1",
    ),
    Row("rest", Needs::Nothing, "--seconds 2", "--connections 2 --seconds 1"),
    Row("connect", Needs::Nothing, "--connections 2000", "--connections 20 --room-of 5"),
    Row("login", Needs::Nothing, "--readers 100 --seconds 3", "--readers 5 --seconds 1 --signing-in 2 --bcrypt-cost 6"),
    Row("storm", Needs::Nothing, "--sockets 2000", "--sockets 20 --room-of 5 --missed 3 --away-ms 100"),
    Row("slow", Needs::Nothing, "--readers 100 --seconds 5", "--readers 10 --seconds 1 --stalled-percent 20"),
    Row(
        "interfere",
        Needs::Nothing,
        "--readers 100 --seconds 2",
        "--readers 5 --seconds 1 --signing-in 2 --bcrypt-cost 6 --pages 20 --lists 20",
    ),
    Row("churn", Needs::Nothing, "--readers 100 --seconds 3", "--readers 5 --seconds 1 --coming 20 --guests 5"),
    Row(
        "cluster",
        Needs::Own,
        "--store sqlite --seconds 1 --subscribers 60",
        "--store sqlite --seconds 1 --subscribers 6 --rooms 4 --in-flight 4 --window 2",
    ),
    Row(
        "soak",
        Needs::Process,
        "--cycles 500 --posts 5000 --steps 5 --level-mib 8",
        "--cycles 20 --posts 100 --steps 5 --settle-ms 100 --readers 2 --at-once 4 --level-mib 100",
    ),
];

/// Of the tiny runs: they mostly wait.
const AT_ONCE: usize = 4;

/// How one of them ended.
struct Ran {
    name: &'static str,
    secs: f64,
    failed: bool,
}

pub async fn run(common: &Common, options: &Options) -> Outcome {
    let folder = common.json.as_deref().and_then(Path::parent).unwrap_or(Path::new("target/load"));
    let can = |row: &&Row| match row.1 {
        Needs::Nothing => true,
        Needs::Process => common.url.is_none() || common.pid.is_some(),
        Needs::Own => common.url.is_none(),
    };
    let (possible, left): (Vec<&Row>, Vec<&Row>) = SCENARIOS.iter().partition(can);
    let at_once = if options.smoke { AT_ONCE } else { 1 };
    let running = stream::iter(possible).map(|row| one(common, options, row, folder)).buffered(at_once);
    let ran = running.collect::<Vec<_>>().await.into_iter().collect::<Result<Vec<Ran>>>()?;

    let mut table = Table::new("all scenarios", &["", "seconds", "outcome"]);
    for ran in &ran {
        table.row(vec![ran.name.into(), figure(ran.secs), if ran.failed { "FAILED" } else { "nothing lost" }.into()]);
    }
    left.iter()
        .for_each(|row| table.row(vec![row.0.into(), "-".into(), "left out: needs the server's process".into()]));
    table.print();
    match ran.iter().filter(|ran| ran.failed).count() {
        0 => Ok(()),
        failed => Err(format!("{failed} of {} scenarios failed: see above", ran.len()).into()),
    }
}

async fn one(common: &Common, options: &Options, row: &Row, folder: &Path) -> Result<Ran> {
    let (Row(name, _, short, tiny), start) = (row, Instant::now());
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(name).args(if options.smoke { tiny } else { short }.split_whitespace());
    command.args(arguments(common, options)).arg("--json").arg(file(folder, name));
    let mut said = tempfile::tempfile()?;
    if options.smoke {
        // Several at once: each tells what it has to say in one piece, where there is something wrong.
        command.stdout(said.try_clone()?).stderr(said.try_clone()?);
    } else {
        println!("\n== {name}");
    }
    let failed = !Process::start(command.stdin(Stdio::null()))?.ended().await?.success();
    if failed && options.smoke {
        let mut text = String::new();
        said.seek(SeekFrom::Start(0))?;
        said.read_to_string(&mut text)?;
        println!("{name}:\n{text}");
    }
    Ok(Ran { name, secs: start.elapsed().as_secs_f64(), failed })
}

fn file(folder: &Path, scenario: &str) -> PathBuf {
    folder.join(scenario).with_extension("json")
}

/// What was said to this process, for that of a scenario.
fn arguments(common: &Common, options: &Options) -> Vec<String> {
    let rounds = if options.smoke { 1 } else { common.rounds };
    let mut arguments = vec!["--per-user".into(), common.per_user.to_string(), "--rounds".into(), rounds.to_string()];
    let paths = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    for (name, value) in [
        ("--url", common.url.clone()),
        ("--pid", common.pid.map(|pid| pid.to_string())),
        ("--user", common.user.clone()),
        ("--password", common.password.clone()),
        ("--accounts", paths(&common.accounts)),
        ("--token", common.token.clone()),
    ] {
        arguments.extend(value.into_iter().flat_map(|value| [name.into(), value]));
    }
    arguments.extend(common.set.iter().flat_map(|setting| ["--set".into(), setting.clone()]));
    arguments.extend(common.strict.then(|| "--strict".into()));
    arguments
}
