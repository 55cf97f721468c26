//! Senders with a room each, who post as much as they can or on time, to a natter or to the bare echo; what is acknowledged
//! is checked for order and number.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use crate::check::Faults;
use crate::crowd::Schedule;
use crate::people::{self, Person};
use crate::sender::{Acks, Sender, Until};
use crate::server::Target;
use crate::side::post_on_time;
use crate::stats::Latency;
use crate::{Result, bare, proc};

/// How many of the crew post, where to, and how many posts each may have unacknowledged.
#[derive(Clone, Copy)]
pub struct Case {
    pub senders: usize,
    pub shared_room: bool,
    pub window: u64,
}

impl Case {
    pub fn rooms(&self) -> usize {
        if self.shared_room { 1 } else { self.senders }
    }
}

pub struct Run {
    pub acks_per_sec: f64,
    pub latency: Latency,
    /// CPU seconds per million posts.
    pub server_cpu: f64,
    pub client_cpu: f64,
}

/// A room, and a member of it who posts there.
#[derive(Clone)]
pub struct Place {
    pub person: Person,
    pub room: String,
}

/// `senders[n]` has `places[n]`; the first place's room is the shared one as well.
pub struct Crew<'a> {
    server: Server<'a>,
    places: Vec<Place>,
    senders: Vec<Sender>,
    pub faults: Faults,
}

enum Server<'a> {
    Natter(&'a Target),
    /// It has one log for all rooms, this long.
    Echo(bare::Process, u64),
}

impl<'a> Crew<'a> {
    /// `name` sets this crew's client ids apart from all others.
    pub async fn natter(target: &'a Target, places: Vec<Place>, name: &str, bytes: usize) -> Result<Self> {
        let senders = open(target.addr, &places, name, bytes).await?;
        Ok(Self { server: Server::Natter(target), places, senders, faults: Faults::default() })
    }

    /// As many sockets with the same frames, to a server that only acknowledges them.
    pub async fn echo(places: Vec<Place>, name: &str, bytes: usize) -> Result<Crew<'static>> {
        let process = bare::Process::start(&["echo"], "")?;
        let senders = open(process.addr, &places, name, bytes).await?;
        Ok(Crew { server: Server::Echo(process, 0), places, senders, faults: Faults::default() })
    }

    /// Each keeps its window full until the time is over.
    pub async fn run(&mut self, case: Case, length: Duration) -> Result<Run> {
        for (nth, sender) in self.senders.iter_mut().enumerate() {
            sender.move_to(vec![self.places[if case.shared_room { 0 } else { nth }].room.clone()]);
        }
        let before = self.heads(case.rooms()).await?;
        let (server, client, start) = (self.server_cpu()?, proc::own_cpu_secs()?, Instant::now());
        let until = Until::Time(start + length);
        let posting = self.senders[..case.senders].iter_mut().map(|sender| sender.windowed(case.window, until));
        let acks = try_join_all(posting).await?;
        let secs = start.elapsed().as_secs_f64();
        let (server, client) = (self.server_cpu()? - server, proc::own_cpu_secs()? - client);
        let (count, latency) = self.check(&before, acks).await?;
        let millions = count as f64 / 1e6;
        Ok(Run {
            acks_per_sec: count as f64 / secs,
            latency,
            server_cpu: server / millions,
            client_cpu: client / millions,
        })
    }

    /// Open-loop, at natter: `count` posts at `rate` per second, all senders in rooms of their own.
    pub async fn at_rate(&mut self, rate: u32, count: u64) -> Result<Latency> {
        for (sender, place) in self.senders.iter_mut().zip(&self.places) {
            sender.move_to(vec![place.room.clone()]);
        }
        let before = self.heads(self.places.len()).await?;
        let schedule = Schedule::at_rate(Instant::now() + Duration::from_millis(100), f64::from(rate), Vec::new());
        let acks = post_on_time(&mut self.senders, &schedule, count).await?;
        let stored = self.heads(self.places.len()).await?.iter().sum::<u64>() - before.iter().sum::<u64>();
        self.faults.lost += count.saturating_sub(stored);
        self.faults.doubled += stored.saturating_sub(count);
        Ok(acks.latency)
    }

    fn server_cpu(&self) -> Result<f64> {
        match &self.server {
            Server::Natter(target) => target.cpu_secs(),
            Server::Echo(process, _) => process.cpu_secs(),
        }
    }

    /// The last seq of each log that so many rooms have.
    async fn heads(&self, rooms: usize) -> Result<Vec<u64>> {
        match &self.server {
            Server::Natter(target) => {
                let reading = self.places[..rooms].iter();
                try_join_all(reading.map(|place| people::head_seq(target, &place.person, &place.room))).await
            }
            Server::Echo(_, head) => Ok(vec![*head]),
        }
    }

    /// Acknowledged seqs are dense from each log's old head on, and the log ends where they do.
    async fn check(&mut self, before: &[u64], acks: Vec<Acks>) -> Result<(usize, Latency)> {
        let (mut by_log, mut latency) = (vec![Vec::new(); before.len()], Latency::default());
        for (nth, acks) in acks.into_iter().enumerate() {
            latency.add(&acks.latency);
            // One sender's posts keep their order.
            self.faults.reordered += acks.seqs.windows(2).filter(|pair| pair[0] > pair[1]).count() as u64;
            by_log[nth % before.len()].extend(acks.seqs);
        }
        let count = by_log.iter().map(Vec::len).sum();
        if let Server::Echo(_, head) = &mut self.server {
            *head += count as u64;
        }
        let after = self.heads(before.len()).await?;
        for ((seqs, &base), head) in by_log.into_iter().zip(before).zip(after) {
            let acknowledged = seqs.len() as u64;
            self.faults.add(&Faults::in_acks(base, seqs));
            self.faults.lost += (base + acknowledged).saturating_sub(head);
            self.faults.doubled += head.saturating_sub(base + acknowledged);
        }
        Ok((count, latency))
    }
}

async fn open(addr: SocketAddr, places: &[Place], name: &str, bytes: usize) -> Result<Vec<Sender>> {
    let mut senders = Vec::with_capacity(places.len());
    for (nth, Place { person, room }) in places.iter().enumerate() {
        senders.push(Sender::open(addr, person, vec![room.clone()], &format!("{name}-{nth}"), bytes).await?);
    }
    Ok(senders)
}
