//! The processes of clients, led all at once: each is told the same, and what they answer is added up.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::clients::Told;
use crate::readings;
use crate::world::World;
use crate::{Outcome, Result};

/// How long processes may take to say how it stands.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Crew {
    processes: Vec<Process>,
    /// `None`: that process has ended.
    told: Receiver<(usize, Option<Told>)>,
    orders: u64,
}

/// Ends with its standard input, which is dropped with it.
struct Process {
    child: Child,
    orders: Option<ChildStdin>,
    people: u32,
}

impl Crew {
    /// Processes of at most `most` people, each with a source address of its own.
    pub fn start(world: World, most: u32, server: SocketAddr) -> Result<Self> {
        let (tell, told) = mpsc::channel();
        let mut processes = Vec::new();
        for from in (0..world.people).step_by(most as usize) {
            let (nth, to) = (processes.len(), (from + most).min(world.people));
            let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 1, 1)) + nth as u32);
            let mut child = Command::new(std::env::current_exe()?)
                .arg("clients")
                .args(["--people", &world.people.to_string(), "--members", &world.members.to_string()])
                .args(["--from", &from.to_string(), "--to", &to.to_string()])
                .args(["--server", &server.to_string(), "--source", &source.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let (orders, stdout) = (child.stdin.take(), child.stdout.take());
            processes.push(Process { child, orders, people: to - from });
            let (tell, stdout) = (tell.clone(), stdout.ok_or("a process of clients has no output")?);
            thread::spawn(move || {
                let lines = BufReader::new(stdout).lines().map_while(std::io::Result::ok);
                for said in lines.map_while(|line| serde_json::from_str(&line).ok()).map(Some).chain([None]) {
                    // Nobody may be waiting any more.
                    tell.send((nth, said)).unwrap_or_default();
                }
            });
        }
        Ok(Self { processes, told, orders: 0 })
    }

    pub fn processes(&self) -> usize {
        self.processes.len()
    }

    pub fn rss_anon(&self) -> u64 {
        self.processes.iter().filter_map(|process| readings::rss_anon(process.child.id()).ok()).sum()
    }

    /// Has this part of the people connected, from 0 to 1.
    pub fn connect(&mut self, part: f64, deadline: Instant) -> Result<Told> {
        self.each(|process| format!("connect {}", (f64::from(process.people) * part).ceil()))?;
        self.hear(deadline)
    }

    /// Asks the same of all and waits until it is so, or else says how it stands.
    pub fn ask(&mut self, what: &str, deadline: Instant) -> Result<Told> {
        self.each(|_| what.to_owned())?;
        self.hear(deadline)
    }

    fn each(&mut self, what: impl Fn(&Process) -> String) -> Outcome {
        self.orders += 1;
        for process in &mut self.processes {
            let line = format!("{} {}\n", self.orders, what(process));
            let orders = process.orders.as_mut().ok_or("a process of clients has no input")?;
            orders.write_all(line.as_bytes()).map_err(|error| format!("a process of clients has ended: {error}"))?;
        }
        Ok(())
    }

    fn hear(&mut self, deadline: Instant) -> Result<Told> {
        if let Some(told) = self.all_told(deadline)? {
            return Ok(told);
        }
        self.each(|_| "status".to_owned())?;
        self.all_told(Instant::now() + PATIENCE)?.ok_or_else(|| "a process of clients does not answer".into())
    }

    /// The sum of all answers to the last order; `None` where some do not come in time.
    fn all_told(&mut self, deadline: Instant) -> Result<Option<Told>> {
        let mut all: Vec<Option<Told>> = self.processes.iter().map(|_| None).collect();
        while all.iter().any(Option::is_none) {
            match self.told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((nth, Some(said))) if said.order == self.orders => all[nth] = Some(said),
                Ok((_, Some(_))) => {}
                Ok((nth, None)) => return Err(format!("process {nth} of the clients has ended").into()),
                Err(_) => return Ok(None),
            }
        }
        let mut sum = Told { order: self.orders, ..Told::default() };
        for told in all.into_iter().flatten() {
            sum.open += told.open;
            sum.delivered += told.delivered;
            sum.lost += told.lost;
            sum.doubled += told.doubled;
            sum.pings += told.pings;
            sum.drained += told.drained;
            sum.refused += told.refused;
            sum.cut += told.cut;
            sum.why = sum.why.or(told.why);
        }
        Ok(Some(sum))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.orders = None;
        if let Err(error) = self.child.wait() {
            eprintln!("million: a process of clients: {error}");
        }
    }
}
