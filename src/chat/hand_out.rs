//! Handing out what is new in a room to everyone who follows it.
//!
//! One fan-out of a room runs at a time, and the next burst begins when the last is handed out; so bursts keep their order for
//! every reader. What comes meanwhile makes the next burst, so under load bursts grow and every socket gets more frames a
//! write. In a large room all workers of the runtime have a hand in each burst.

use std::{ops::Range, panic::resume_unwind, sync::Arc};

use tokio::runtime::Handle;

use super::{
    room::Room,
    subscriber::{Burst, Subscriber},
};
use crate::types::Seq;

/// Subscribers that are handed a burst before the fan-out lets other tasks run.
const STEP: usize = 256;
/// Up to so many slots a fan-out is not worth a task of its own.
const INLINE: usize = 64;
/// From so many subscribers on, for each, another worker lends a hand.
const A_HAND: usize = 1_024;

impl Room {
    /// Hands out what is new, where no fan-out runs that will.
    pub(super) fn hand_out(self: &Arc<Self>) {
        let work = self.live.lock().fan_out.begin();
        match work {
            Some(slots) if slots <= INLINE => self.fan_out_now(),
            Some(_) => drop(tokio::spawn(self.clone().fan_out())),
            None => {}
        }
    }

    /// Offers bursts until everyone has been offered everything: to so few that nobody waits for it.
    fn fan_out_now(&self) {
        let mut running = Running { room: self, from: None };
        let mut subscribers = Vec::with_capacity(INLINE);
        while let Some(burst) = self.next_burst() {
            running.from = Some(burst.first);
            // Who comes meanwhile begins after it.
            self.those_at(0..usize::MAX, &mut subscribers);
            for (subscriber, slot) in subscribers.drain(..) {
                subscriber.offer(slot, &burst);
            }
        }
        running.from = None;
    }

    /// The same in a task, for many.
    async fn fan_out(self: Arc<Self>) {
        let mut running = Running { room: &self, from: None };
        while let Some(burst) = self.next_burst() {
            running.from = Some(burst.first);
            self.offer(burst).await;
        }
        running.from = None;
    }

    fn those_at(&self, slots: Range<usize>, subscribers: &mut Vec<(Arc<dyn Subscriber>, u32)>) {
        let fan_out = &self.live.lock().fan_out;
        let there = (slots.start..slots.end.min(fan_out.slots())).filter_map(|key| fan_out.at(key));
        subscribers.extend(there.map(|s| (s.subscriber.clone(), s.slot)));
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
            self.those_at(at..(at + STEP).min(slots.end), &mut step);
            for (subscriber, slot) in step.drain(..) {
                subscriber.offer(slot, burst);
            }
        }
    }

    /// Waits while what has not been handed out fills half of the ring, or several batches have still to be told of: neither asks a
    /// reader to be ready, so they get there, and nobody who is level has to read from the store.
    pub(super) async fn fan_out_near(&self) {
        loop {
            let taken = self.burst_taken.notified();
            if !self.live.lock().is_behind() {
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
