//! Handing out what is new in a room to everyone who follows it.
//!
//! One fan-out of a room runs at a time, and the next burst begins when the last is handed out; so bursts keep their order for
//! every reader. What comes meanwhile makes the next burst, so under load bursts grow and every socket gets more frames a
//! write. In a large room all workers of the runtime have a hand in each burst.

use std::{ops::Range, panic::resume_unwind, sync::Arc};

use tokio::runtime::Handle;

use super::{room::Room, subscriber::Burst};
use crate::types::Seq;

/// Subscribers that are handed a burst before the fan-out lets other tasks run.
const STEP: usize = 256;
/// Up to so many subscribers a fan-out is not worth a task of its own.
const INLINE: usize = 64;
/// From so many subscribers on, for each, another worker lends a hand.
const A_HAND: usize = 1_024;

impl Room {
    /// Hands out what is new, where no fan-out runs that will.
    pub(super) async fn hand_out(self: &Arc<Self>) {
        let work = self.live.lock().fan_out.begin();
        match work {
            Some(subscribers) if subscribers <= INLINE => self.clone().fan_out().await,
            Some(_) => drop(tokio::spawn(self.clone().fan_out())),
            None => {}
        }
    }

    /// Offers bursts until everyone has been offered everything.
    async fn fan_out(self: Arc<Self>) {
        let mut running = Running { room: &self, from: None };
        while let Some(burst) = self.next_burst() {
            running.from = Some(burst.first);
            self.offer(burst).await;
        }
        running.from = None;
    }

    fn next_burst(&self) -> Option<Burst> {
        let burst = self.live.lock().fan_out.next_burst(self.id);
        self.burst_taken.notify_waiters();
        burst
    }

    /// Returns when everybody has been offered the burst. Who comes meanwhile begins after it.
    async fn offer(self: &Arc<Self>, burst: Burst) {
        let slots = self.live.lock().fan_out.slots();
        let hands = (slots / A_HAND).min(Handle::current().metrics().num_workers());
        if hands <= 1 {
            return self.offer_to(&burst, 0..slots).await;
        }
        let (share, burst) = (slots.div_ceil(hands), Arc::new(burst));
        let others: Vec<_> = (1..hands)
            .map(|hand| {
                let (room, burst) = (self.clone(), burst.clone());
                tokio::spawn(async move { room.offer_to(&burst, hand * share..((hand + 1) * share).min(slots)).await })
            })
            .collect();
        self.offer_to(&burst, 0..share).await;
        for other in others {
            if let Err(error) = other.await
                && let Ok(panic) = error.try_into_panic()
            {
                resume_unwind(panic);
            }
        }
    }

    async fn offer_to(&self, burst: &Burst, slots: Range<usize>) {
        let mut step = Vec::with_capacity(slots.len().min(STEP));
        for at in slots.clone().step_by(STEP) {
            if at > slots.start {
                tokio::task::yield_now().await;
            }
            {
                let fan_out = &self.live.lock().fan_out;
                let keys = at..(at + STEP).min(slots.end);
                let there = keys.filter_map(|key| fan_out.at(key));
                step.extend(there.map(|s| (s.subscriber.clone(), s.slot)));
            }
            for (subscriber, slot) in step.drain(..) {
                subscriber.offer(slot, burst);
            }
        }
    }

    /// Waits while what has not been handed out fills half of the ring: a fan-out asks no reader to be ready, so it gets
    /// there, and nobody who is level has to read from the store.
    pub(super) async fn fan_out_near(&self) {
        loop {
            let taken = self.burst_taken.notified();
            if !self.live.lock().fan_out.is_far() {
                return;
            }
            taken.await;
        }
    }
}

/// A fan-out that ends early (its task was dropped or panicked) must not leave the room believing that one runs, nor that
/// everybody was offered its last burst: those who were will pass over it.
struct Running<'a> {
    room: &'a Room,
    /// Where the burst begins that is being handed out.
    from: Option<Seq>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(first) = self.from {
            self.room.live.lock().fan_out.stop(first);
            self.room.burst_taken.notify_waiters();
        }
    }
}
