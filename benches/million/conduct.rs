//! What is done, in which order: everybody connects, is idle, is pinged, hears a message; some drop and come back; the server
//! drains. Each step is checked by counting, and is a row of the report.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::clients::Told;
use crate::crew::Crew;
use crate::readings::{self, Kernel};
use crate::report::{Report, Sample, Step};
use crate::server::{Server, Settings};
use crate::world::World;
use crate::{Outcome, Result};

/// Parts of all people at which memory is read.
const SAMPLED_AT: [f64; 3] = [0.1, 0.5, 1.0];
/// Between two looks at how much memory is left, people connect in so many parts.
const PARTS: u32 = 20;
/// Nobody connects any more when less is left: what machine and traffic need, besides so much for each person.
const RESERVE_BYTES: i64 = 256 * 1024 * 1024;
const RESERVE_EACH: i64 = 1024;
/// Until what the last step stirred up has settled, and what comes twice has come.
const SETTLE: Duration = Duration::from_secs(1);
/// Messages in each room while some are away.
const MISSED: u32 = 2;

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    world: World,
    /// The server's program
    #[arg(long)]
    natter: PathBuf,
    /// A folder that `prepare` has made
    #[arg(long)]
    data: PathBuf,
    /// Where to write the figures as JSON
    #[arg(long)]
    json: PathBuf,
    /// People in one process of clients, which has an address of its own
    #[arg(long)]
    per_process: u32,
    /// Seconds between pings: longer than it takes until everybody is connected and was idle
    #[arg(long)]
    ping_secs: u64,
    /// Seconds for which CPU is measured while nothing happens
    #[arg(long)]
    idle_secs: u64,
    /// The server closes its sockets in half of so many seconds
    #[arg(long)]
    drain_secs: u64,
    /// Give up after so long
    #[arg(long)]
    max_minutes: u64,
    /// A setting for the server, as section.key=value
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// A run on its way.
struct Run<'a> {
    options: &'a Options,
    server: Server,
    crew: Crew,
    report: Report,
    /// What part of the people is to be connected, from 0 to 1.
    part: f64,
    deadline: Instant,
}

pub fn run(options: &Options) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(60 * options.max_minutes);
    let settings = Settings {
        world: options.world,
        ping_secs: options.ping_secs,
        drain_secs: options.drain_secs,
        set: &options.set,
    };
    let server = Server::start(&options.natter, &options.data, &settings)?;
    let crew = Crew::start(options.world, options.per_process, server.address)?;
    let report = Report::new(options.world, crew.processes());
    let mut run = Run { options, server, crew, report, part: 0.0, deadline };
    let done = run.all_but_the_end();
    let Run { server, crew, mut report, .. } = run;
    done.and_then(|()| drain(server, crew, &mut report, deadline))?;
    report.finish(&options.json)
}

impl Run<'_> {
    fn all_but_the_end(&mut self) -> Outcome {
        self.ask("status")?;
        let held = self.connect()?;
        self.idle()?;
        self.pings(held)?;
        self.one_message(held)?;
        self.reconnects(held)?;
        let after = self.sample(held)?;
        self.report.after_traffic = Some(after);
        Ok(())
    }

    fn ask(&mut self, what: &str) -> Result<Told> {
        self.crew.ask(what, self.deadline)
    }

    fn sample(&self, connections: u64) -> Result<Sample> {
        thread::sleep(SETTLE);
        Ok(Sample {
            connections,
            rss_anon: readings::rss_anon(self.server.pid())?,
            huge_pages: readings::huge_pages(self.server.pid())?,
            clients_anon: self.crew.rss_anon(),
            kernel: Kernel::now()?,
        })
    }

    /// How many are connected in the end: all, or as many as there is memory for.
    fn connect(&mut self) -> Result<u64> {
        let before = self.sample(0)?;
        self.report.samples.push(before);
        let mut step = self.begin("connect")?;
        let (mut held, mut sampled) = (0, 0);
        let reserve = RESERVE_BYTES + RESERVE_EACH * i64::from(self.options.world.people);
        for part in (1..=PARTS).map(|nth| f64::from(nth) / f64::from(PARTS)) {
            if Kernel::now()?.available < reserve {
                eprintln!("no memory for more than {held} connections");
                break;
            }
            self.part = part;
            let told = self.crew.connect(part, self.deadline)?;
            (held, self.report.told) = (told.open, told);
            eprintln!("{held} are connected after {:.0?}", step.began.elapsed());
            if SAMPLED_AT.get(sampled).is_some_and(|at| part >= *at - f64::EPSILON) {
                sampled += 1;
                let sample = self.sample(held)?;
                self.report.samples.push(sample);
                // Nobody connects meanwhile.
                step.began += SETTLE;
            }
        }
        self.end(step, held, u64::from(self.options.world.people))?;
        if sampled < SAMPLED_AT.len() {
            let sample = self.sample(held)?;
            self.report.samples.push(sample);
        }
        Ok(held)
    }

    fn idle(&mut self) -> Outcome {
        let before = self.ask("status")?;
        let step = self.begin("idle")?;
        thread::sleep(Duration::from_secs(self.options.idle_secs));
        let after = self.ask("status")?;
        self.end(step, after.pings - before.pings, 0)
    }

    /// Waits until everybody has been pinged once since the beginning.
    fn pings(&mut self, held: u64) -> Outcome {
        let step = self.begin("pings")?;
        let told = self.ask("pinged")?;
        self.end(step, told.pings.min(held), held)
    }

    fn one_message(&mut self, held: u64) -> Outcome {
        let before = self.ask("status")?;
        let step = self.begin("one message to everybody")?;
        self.ask("post 1")?;
        self.ask("had 1")?;
        self.delivered(step, &before, held)
    }

    /// Some drop, others go on talking, they come back and get what they have missed, and once more everybody hears one message.
    fn reconnects(&mut self, held: u64) -> Outcome {
        let step = self.begin("drop")?;
        let left = self.ask("drop")?.open;
        let back = held - left;
        self.end(step, back, back)?;

        let before = self.ask("status")?;
        let step = self.begin("messages to those who stayed")?;
        self.ask(&format!("post {MISSED}"))?;
        self.ask(&format!("had {}", 1 + MISSED))?;
        self.delivered(step, &before, left * u64::from(MISSED))?;

        let before = self.ask("status")?;
        let step = self.begin("reconnect with since")?;
        let connected = self.crew.connect(self.part, self.deadline)?;
        self.end(step, connected.open - left, back)?;
        let step = self.begin("what they missed")?;
        self.ask(&format!("had {}", 1 + MISSED))?;
        self.delivered(step, &before, back * u64::from(MISSED))?;

        let before = self.ask("status")?;
        let step = self.begin("one more message to everybody")?;
        self.ask("post 1")?;
        self.ask(&format!("had {}", 2 + MISSED))?;
        self.delivered(step, &before, held)
    }

    fn begin(&self, name: &'static str) -> Result<Begun> {
        eprintln!("{name} …");
        Ok(Begun { name, began: Instant::now(), cpu: readings::cpu_secs(self.server.pid())? })
    }

    fn end(&mut self, begun: Begun, count: u64, expected: u64) -> Outcome {
        let Begun { name, began, cpu } = begun;
        let (secs, cpu_secs) = (began.elapsed().as_secs_f64(), readings::cpu_secs(self.server.pid())? - cpu);
        self.report.steps.push(Step { name, secs, cpu_secs, count, expected });
        Ok(())
    }

    /// Ends a step that delivers, and waits for what is delivered twice.
    fn delivered(&mut self, begun: Begun, before: &Told, expected: u64) -> Outcome {
        let after = self.ask("status")?;
        self.end(begun, after.delivered - before.delivered, expected)?;
        thread::sleep(SETTLE);
        self.report.told = self.ask("status")?;
        Ok(())
    }
}

struct Begun {
    name: &'static str,
    began: Instant,
    cpu: f64,
}

/// SIGTERM: everybody is told, and the server ends well.
fn drain(server: Server, mut crew: Crew, report: &mut Report, deadline: Instant) -> Outcome {
    let (began, open) = (Instant::now(), crew.ask("status", deadline)?.open);
    let cpu = readings::cpu_secs(server.pid())?;
    eprintln!("drain …");
    server.terminate()?;
    report.told = crew.ask("gone", deadline)?;
    // The server may be gone already.
    let cpu_secs = readings::cpu_secs(server.pid()).map_or(f64::NAN, |now| now - cpu);
    let secs = began.elapsed().as_secs_f64();
    report.steps.push(Step { name: "drain", secs, cpu_secs, count: report.told.drained, expected: open });
    server.ended(deadline)
}
