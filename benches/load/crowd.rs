//! Subscribers: tasks that read their sockets, check every seq and note when it came.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::check::{Check, Faults};
use crate::people::People;
use crate::progress::Phase;
use crate::scan::Hint;
use crate::server::Target;
use crate::socket::{self, Ended, Since, Socket};
use crate::stats::Latency;
use crate::{Outcome, Result};

/// Handshakes at once, which keeps every accept queue short.
const CONNECTING: usize = 64;

/// When each event was meant to be sent: rooms take turns, so the k-th event of room r is message `k * rooms + r`.
#[derive(Clone)]
pub struct Schedule {
    pub start: Instant,
    pub period: Duration,
    /// Of each room, the seq that its first scheduled message gets.
    pub first_seqs: Vec<u64>,
}

/// What all subscribers share. One thread, hence cells.
///
/// - `delivered` counts events that were new to whoever received them, over all subscribers.
/// - A slot outlives its socket: what a closed socket missed counts as lost.
pub struct Crowd {
    slots: RefCell<Vec<Slot>>,
    delivered: Cell<u64>,
    goal: Cell<u64>,
    reached: Notify,
    last: Cell<Instant>,
    schedule: RefCell<Option<Schedule>>,
    latency: RefCell<Latency>,
    event_bytes: Cell<usize>,
    closed: RefCell<BTreeMap<String, u64>>,
    tasks: RefCell<Vec<JoinHandle<()>>>,
    /// Of each room's log.
    epochs: RefCell<BTreeMap<usize, String>>,
}

struct Slot {
    /// The number of its socket, by which its user is found.
    nth: usize,
    room: usize,
    check: Check,
}

impl Crowd {
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            slots: RefCell::default(),
            delivered: Cell::new(0),
            goal: Cell::new(u64::MAX),
            reached: Notify::new(),
            last: Cell::new(Instant::now()),
            schedule: RefCell::default(),
            latency: RefCell::default(),
            event_bytes: Cell::new(0),
            closed: RefCell::default(),
            tasks: RefCell::default(),
            epochs: RefCell::default(),
        })
    }

    /// Opens `count` sockets more, the n-th of all subscribed to `rooms[n % rooms.len()]`.
    pub async fn join(self: &Rc<Self>, target: &Target, people: &People, rooms: &[String], count: usize) -> Outcome {
        let (have, phase) = (self.slots.borrow().len(), Phase::new("sockets", count));
        let phase = &phase;
        stream::iter(have..have + count)
            .map(|nth| async move {
                let mut socket = Socket::open(target.addr, "/ws", people.of(nth)).await?;
                let room = nth % rooms.len();
                let subscribed = socket.subscribe(&rooms[room], None).await?;
                self.epochs.borrow_mut().insert(room, subscribed.epoch);
                self.follow(socket, (nth, room), subscribed.next, &subscribed.early);
                phase.one_more();
                Result::Ok(())
            })
            .buffer_unordered(CONNECTING)
            .try_collect::<()>()
            .await
    }

    /// Opens all sockets again after they have left, `at_once` at a time, each from where its last one was.
    pub async fn come_back(
        self: &Rc<Self>,
        target: &Target,
        people: &People,
        rooms: &[String],
        at_once: usize,
    ) -> Outcome {
        let (count, epochs) = (self.slots.borrow().len(), self.epochs.borrow().clone());
        let epochs = &epochs;
        stream::iter(0..count)
            .map(|slot| async move {
                let (nth, room, seq) = {
                    let slot = &self.slots.borrow()[slot];
                    (slot.nth, slot.room, slot.check.level())
                };
                let mut socket = Socket::open(target.addr, "/ws", people.of(nth)).await?;
                let subscribed = socket.subscribe(&rooms[room], Some(Since { seq, epoch: &epochs[&room] })).await?;
                self.read(slot, socket, &subscribed.early);
                Result::Ok(())
            })
            .buffer_unordered(at_once)
            .try_collect::<()>()
            .await
    }

    /// Takes over the n-th socket, which follows a room and whose next event is `next`.
    pub fn follow(self: &Rc<Self>, socket: Socket, (nth, room): (usize, usize), next: u64, early: &[u64]) {
        let slot = self.slots.borrow().len();
        self.slots.borrow_mut().push(Slot { nth, room, check: Check::starting_at(next) });
        self.read(slot, socket, early);
    }

    fn read(self: &Rc<Self>, slot: usize, mut socket: Socket, early: &[u64]) {
        early.iter().for_each(|&seq| self.arrived(slot, seq, Instant::now(), 0));
        let crowd = Rc::clone(self);
        let task = tokio::task::spawn_local(async move {
            let mut hint = Hint::default();
            loop {
                let mut now = None;
                let received = socket.receive(|text| {
                    if let Some(seq) = socket::event_seq(text, &mut hint) {
                        crowd.arrived(slot, seq, *now.get_or_insert_with(Instant::now), text.len());
                    }
                });
                if let Err(Ended(reason)) = received.await {
                    *crowd.closed.borrow_mut().entry(reason).or_default() += 1;
                    return;
                }
            }
        });
        self.tasks.borrow_mut().push(task);
    }

    fn arrived(&self, slot: usize, seq: u64, now: Instant, bytes: usize) {
        let slot = &mut self.slots.borrow_mut()[slot];
        if !slot.check.saw(seq) {
            return;
        }
        self.event_bytes.set(bytes);
        if let Some(schedule) = &*self.schedule.borrow()
            && let Some(intended) = schedule.intended(slot.room, seq)
        {
            self.latency.borrow_mut().record(now.saturating_duration_since(intended));
        }
        self.last.set(now);
        self.delivered.set(self.delivered.get() + 1);
        if self.delivered.get() >= self.goal.get() {
            self.goal.set(u64::MAX);
            self.reached.notify_one();
        }
    }

    pub fn delivered(&self) -> u64 {
        self.delivered.get()
    }

    /// Of each room, the last seq that somebody there has seen everything up to.
    pub fn heads(&self, rooms: usize) -> Vec<u64> {
        let mut heads = vec![0; rooms];
        for slot in &*self.slots.borrow() {
            heads[slot.room] = slot.check.level().max(heads[slot.room]);
        }
        heads
    }

    /// Length of the event received last, as JSON.
    pub fn event_bytes(&self) -> usize {
        self.event_bytes.get()
    }

    /// From here on latencies count from the schedule's times.
    pub fn expect(&self, schedule: Schedule) {
        *self.latency.borrow_mut() = Latency::default();
        *self.schedule.borrow_mut() = Some(schedule);
    }

    /// The latencies since `expect`; nothing is noted from now on.
    pub fn latencies(&self) -> Latency {
        *self.schedule.borrow_mut() = None;
        self.latency.take()
    }

    /// Waits until `goal` events have been delivered in all, or `patience` is over; then what is missing is lost.
    /// Returns when the last one came.
    pub async fn wait_for(&self, goal: u64, patience: Duration) -> Instant {
        if self.delivered.get() < goal {
            self.goal.set(goal);
            if timeout(patience, self.reached.notified()).await.is_err() {
                self.goal.set(u64::MAX);
                return Instant::now();
            }
            return self.last.get();
        }
        Instant::now()
    }

    /// When the last event came that was new to somebody.
    pub fn last_arrival(&self) -> Instant {
        self.last.get()
    }

    /// What every subscriber got wrong, given the last seq of each room.
    pub fn faults(&self, heads: &[u64]) -> Faults {
        let mut faults = Faults { closed: self.closed.borrow().clone(), ..Faults::default() };
        for slot in &*self.slots.borrow() {
            faults.add(&slot.check.faults(heads[slot.room]));
        }
        faults
    }

    /// Ends all sockets, without a word. Also breaks the circle of crowd, task, crowd.
    pub fn leave(&self) {
        self.tasks.borrow_mut().drain(..).for_each(|task| task.abort());
    }
}

impl Schedule {
    pub fn at_rate(start: Instant, rate: f64, first_seqs: Vec<u64>) -> Self {
        Self { start, period: Duration::from_secs_f64(1.0 / rate), first_seqs }
    }

    fn intended(&self, room: usize, seq: u64) -> Option<Instant> {
        let turn = seq.checked_sub(self.first_seqs[room])?;
        Some(self.due(turn * self.first_seqs.len() as u64 + room as u64))
    }

    /// When the n-th message of all is to be sent.
    pub fn due(&self, message: u64) -> Instant {
        self.start + self.period.mul_f64(message as f64)
    }
}
