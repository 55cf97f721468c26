//! One timer for all connections: a wheel of one-second slots, turned by one task.
//!
//! Every connection stands in it once, at the second when it next wants to be looked at; one that is blocked or closing
//! stands in it a second time, and is looked at every second. Connections that have gone leave by themselves when their second comes.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::connection::Connection;
use crate::types::Timestamp;

const SLOTS: usize = 64;
/// Connections looked at before other tasks may run.
const STEP: usize = 1024;

struct Entry {
    due: u32,
    connection: Weak<Connection>,
    watch: bool,
}

pub(super) struct Wheel {
    slots: Arc<[Mutex<Vec<Entry>>]>,
}

impl Wheel {
    /// `started` is the zero of the clock that due times are on.
    pub fn start(started: Instant) -> Self {
        let slots: Arc<[Mutex<Vec<Entry>>]> = (0..SLOTS).map(|_| Mutex::default()).collect();
        tokio::spawn(turn(slots.clone(), started));
        Self { slots }
    }

    pub fn add(&self, connection: &Arc<Connection>, due: u32) {
        put(&self.slots, Entry { due, connection: Arc::downgrade(connection), watch: false });
    }

    pub fn watch(&self, connection: Weak<Connection>, due: u32) {
        put(&self.slots, Entry { due, connection, watch: true });
    }

    /// All that live now.
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        let mut all = Vec::new();
        for slot in self.slots.iter() {
            all.extend(slot.lock().iter().filter(|entry| !entry.watch).filter_map(|entry| entry.connection.upgrade()));
        }
        all
    }
}

fn put(slots: &[Mutex<Vec<Entry>>], entry: Entry) {
    slots[entry.due as usize % SLOTS].lock().push(entry);
}

async fn turn(slots: Arc<[Mutex<Vec<Entry>>]>, started: Instant) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let mut done: u32 = 0;
    loop {
        ticks.tick().await;
        let now = started.elapsed().as_secs() as u32;
        // A tick that came late makes up for the seconds it missed.
        let from = done.max(now.saturating_sub(SLOTS as u32 - 1));
        for second in from..=now {
            look(&slots, second, now).await;
        }
        done = now + 1;
    }
}

/// Looks at everything in a second's slot that is due; later turns of the wheel stay where they are.
async fn look(slots: &[Mutex<Vec<Entry>>], second: u32, now: u32) {
    let unix = Timestamp::now().unix_secs();
    let due: Vec<Entry> = {
        let mut slot = slots[second as usize % SLOTS].lock();
        let (due, later) = std::mem::take(&mut *slot).into_iter().partition(|entry| entry.due <= now);
        *slot = later;
        due
    };
    for (i, mut entry) in due.into_iter().enumerate() {
        if let Some(connection) = entry.connection.upgrade() {
            let next = match entry.watch {
                true => connection.watch_tick(now).then_some(now + 1),
                false => connection.tick(now, unix),
            };
            if let Some(next) = next {
                entry.due = next.max(now + 1);
                put(slots, entry);
            }
        }
        if i % STEP == STEP - 1 {
            tokio::task::yield_now().await;
        }
    }
}
