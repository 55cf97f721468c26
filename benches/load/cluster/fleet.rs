//! Several natters as one: subscribers and posters spread over them, and one measurement of all.

use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use hyper::Method;

use super::services::{Nats, Store};
use crate::check::Faults;
use crate::crowd::{Crowd, Schedule};
use crate::http::{Body, Client};
use crate::people::{self, People};
use crate::sender::{Acks, Sender, Until};
use crate::server::Target;
use crate::side::{post_on_time, settle};
use crate::stats::Latency;
use crate::{Common, Outcome, Result};

/// How long the last deliveries may take before they count as lost.
const PATIENCE: Duration = Duration::from_secs(30);
const SETTLE_MILLIS: u64 = 2_000;
const KNOW_EACH_OTHER_SECS: u64 = 30;

/// How many of what.
#[derive(Clone)]
pub struct Shape {
    pub rooms: usize,
    /// Subscribers on each node, dealt out to the rooms in turn.
    pub readers: Vec<usize>,
    /// The node of each poster; every room has one poster, every poster as many rooms.
    pub posters: Vec<usize>,
    pub bytes: usize,
}

pub struct Fleet<'a> {
    targets: &'a [Target],
    nats: Option<&'a Nats>,
    store: &'a Store,
    crowd: Rc<Crowd>,
    people: People,
    rooms: Vec<String>,
    senders: Vec<Sender>,
    heads: Vec<u64>,
    readers: u64,
    faults: Faults,
}

/// CPU in seconds; of the nodes one by one.
pub struct Measured {
    pub messages: u64,
    pub deliveries: u64,
    pub secs: f64,
    pub nodes_cpu: Vec<f64>,
    pub nats_cpu: f64,
    pub store_cpu: f64,
    /// Of deliveries from the intended times on, where there were such; else of acknowledgements.
    pub latency: Latency,
}

struct Meter {
    nodes: Vec<f64>,
    nats: f64,
    store: f64,
    delivered: u64,
}

impl<'a> Fleet<'a> {
    pub async fn gather(
        targets: &'a [Target],
        (store, nats): (&'a Store, Option<&'a Nats>),
        common: &Common,
        shape: &Shape,
    ) -> Result<Self> {
        let count: usize = shape.readers.iter().sum();
        let people = People::gather(&targets[0], common, count + shape.posters.len()).await?;
        let rooms = people.rooms(&targets[0], shape.rooms).await?;
        let crowd = Crowd::new();
        for (target, readers) in targets.iter().zip(&shape.readers) {
            crowd.join(target, &people, &rooms, *readers).await?;
        }
        let mut senders = Vec::new();
        for (nth, node) in shape.posters.iter().enumerate() {
            let own: Vec<String> = rooms.iter().skip(nth).step_by(shape.posters.len()).cloned().collect();
            let name = format!("{}-{nth}", people.run);
            senders.push(Sender::open(targets[*node].addr, people.first(), own, &name, shape.bytes).await?);
        }
        settle(SETTLE_MILLIS).await;
        let mut fleet = Self {
            targets,
            nats,
            store,
            crowd,
            people,
            rooms,
            senders,
            heads: Vec::new(),
            // Every room has as many, or the schedule's goal would not be a product.
            readers: (count / shape.rooms) as u64,
            faults: Faults::default(),
        };
        fleet.heads = fleet.stored_heads().await?;
        let warm_up = fleet.paced(500.0, fleet.rooms.len() as u64 * 4).await?;
        match warm_up.deliveries == warm_up.messages * fleet.readers {
            true => Ok(fleet),
            false => {
                Err(format!("of the first {} messages only {} deliveries came", warm_up.messages, warm_up.deliveries)
                    .into())
            }
        }
    }

    /// Open loop at `rate` for about so long; whole turns of all rooms.
    pub async fn at_rate(&mut self, rate: f64, length: Duration) -> Result<Measured> {
        let rooms = self.rooms.len() as u64;
        let turns = (rate * length.as_secs_f64() / rooms as f64).ceil().max(1.0) as u64;
        self.paced(rate, turns * rooms).await
    }

    async fn paced(&mut self, rate: f64, messages: u64) -> Result<Measured> {
        let first_seqs = self.heads.iter().map(|head| head + 1).collect();
        let schedule = Schedule::at_rate(Instant::now() + Duration::from_millis(100), rate, first_seqs);
        self.crowd.expect(schedule.clone());
        let meter = self.meter()?;
        let acks = post_on_time(&mut self.senders, &schedule, messages).await?;
        let rooms = self.rooms.len() as u64;
        self.heads.iter_mut().for_each(|head| *head += messages / rooms);
        let mut measured = self.measure(meter, schedule.start, messages).await?;
        measured.latency = match self.readers {
            0 => acks.latency,
            _ => self.crowd.latencies(),
        };
        self.check_heads().await?;
        Ok(measured)
    }

    /// As many posts as acknowledgements allow, with `window` of each poster's outstanding; every poster has one room.
    pub async fn saturated(&mut self, window: u64, length: Duration) -> Result<Measured> {
        let (start, meter) = (Instant::now(), self.meter()?);
        let until = Until::Time(start + length);
        let posting = self.senders.iter_mut().map(|sender| sender.windowed(window, until));
        let all: Vec<Acks> = try_join_all(posting).await?;
        let (mut messages, mut latency) = (0, Latency::default());
        for (head, acks) in self.heads.iter_mut().zip(all) {
            messages += acks.seqs.len() as u64;
            latency.add(&acks.latency);
            self.faults.reordered += acks.seqs.windows(2).filter(|pair| pair[0] > pair[1]).count() as u64;
            let base = *head;
            *head += acks.seqs.len() as u64;
            self.faults.add(&Faults::in_acks(base, acks.seqs));
        }
        let mut measured = self.measure(meter, start, messages).await?;
        measured.latency = latency;
        self.check_heads().await?;
        Ok(measured)
    }

    /// Nothing at all for so long: what it costs to be there.
    pub async fn idle(&mut self, length: Duration) -> Result<Measured> {
        let (start, meter) = (Instant::now(), self.meter()?);
        tokio::time::sleep(length).await;
        let mut measured = self.measure(meter, start, 0).await?;
        measured.secs = start.elapsed().as_secs_f64();
        Ok(measured)
    }

    /// The rooms' logs end where the acknowledgements do, on every node.
    async fn check_heads(&mut self) -> Outcome {
        for (head, stored) in self.heads.clone().into_iter().zip(self.stored_heads().await?) {
            self.faults.lost += head.saturating_sub(stored);
            self.faults.doubled += stored.saturating_sub(head);
        }
        Ok(())
    }

    async fn stored_heads(&self) -> Result<Vec<u64>> {
        let reading = self.rooms.iter().map(|room| people::head_seq(&self.targets[0], self.people.first(), room));
        try_join_all(reading).await
    }

    fn meter(&self) -> Result<Meter> {
        Ok(Meter {
            nodes: self.targets.iter().map(Target::cpu_secs).collect::<Result<_>>()?,
            nats: self.nats.map_or(Ok(f64::NAN), Nats::cpu_secs)?,
            store: self.store.cpu_secs()?,
            delivered: self.crowd.delivered(),
        })
    }

    /// Waits for the last delivery and reads the meters again.
    async fn measure(&mut self, before: Meter, start: Instant, messages: u64) -> Result<Measured> {
        let goal = before.delivered + messages * self.readers;
        let last = self.crowd.wait_for(goal, PATIENCE).await;
        let after = self.meter()?;
        Ok(Measured {
            messages,
            deliveries: after.delivered - before.delivered,
            secs: last.saturating_duration_since(start).as_secs_f64(),
            nodes_cpu: after.nodes.iter().zip(&before.nodes).map(|(after, before)| after - before).collect(),
            nats_cpu: after.nats - before.nats,
            store_cpu: after.store - before.store,
            latency: Latency::default(),
        })
    }

    /// Ends everybody and says what went wrong.
    pub fn leave(self) -> Faults {
        let mut faults = self.faults.clone();
        faults.add(&self.crowd.faults(&self.heads));
        self.crowd.leave();
        faults
    }
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        self.crowd.leave();
    }
}

/// Waits until each node says that it knows all of them.
pub async fn know_each_other(targets: &[Target]) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(KNOW_EACH_OTHER_SECS);
    for target in targets {
        let mut client = Client::connect(target.addr).await?;
        loop {
            let answer = client.call(Method::GET, "/metrics", None, Body::None).await?;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let nodes = text.lines().find_map(|line| line.strip_prefix("natter_nodes ")?.parse::<f64>().ok());
            if nodes == Some(targets.len() as f64) {
                break;
            }
            if Instant::now() > deadline {
                let heard = nodes.unwrap_or(0.0);
                let secs = KNOW_EACH_OTHER_SECS;
                return Err(
                    format!("{}: knows {heard} of {} nodes after {secs} s", target.name(), targets.len()).into()
                );
            }
            settle(50).await;
        }
    }
    Ok(())
}
