//! What a room's fan-out works on: the recent frames, who follows them, and how far they were offered. It knows no room.

use std::sync::Arc;

use bytes::BytesMut;
use slab::Slab;

use super::{
    ring::Ring,
    subscriber::{Burst, Subscriber, SubscriberId},
};
use crate::types::{RoomId, Seq, UserId};

/// A burst ends with the event that makes it so long.
const BURST_BYTES: usize = 64 * 1024;
/// Room is made for this part of the subscribers there are, where it is full.
const GROWTH: usize = 8;

pub(super) struct Subscription {
    pub subscriber: Arc<dyn Subscriber>,
    pub slot: u32,
    /// Some bits of the user's id: who goes is found without a look at every subscriber.
    tag: u32,
}

fn tag(user: UserId) -> u32 {
    user.0
        .as_bytes()
        .rchunks_exact(4)
        .next()
        .map_or(0, |bytes| u32::from_le_bytes(bytes.try_into().unwrap_or_default()))
}

/// - `ring` ends with the head of the log, and holds nothing that is not durable.
/// - `handed_out ≤ head`: up to there every subscriber has been offered everything.
/// - `running` while a task hands out bursts.
pub(super) struct FanOut {
    pub ring: Ring,
    subscribers: Slab<Subscription>,
    handed_out: Seq,
    running: bool,
}

impl FanOut {
    pub fn new(ring: Ring) -> Self {
        let handed_out = ring.head();
        Self { ring, subscribers: Slab::new(), handed_out, running: false }
    }

    pub fn is_idle(&self) -> bool {
        self.subscribers.is_empty()
    }

    pub fn add(&mut self, subscriber: Arc<dyn Subscriber>, slot: u32) -> u32 {
        if self.is_idle() {
            // What came while nobody followed is nobody's.
            self.handed_out = self.ring.head();
        }
        if self.subscribers.len() == self.subscribers.capacity() {
            // Doubling would leave a quarter of the memory empty.
            self.subscribers.reserve_exact((self.subscribers.len() / GROWTH).max(1));
        }
        let tag = tag(subscriber.user());
        self.subscribers.insert(Subscription { subscriber, slot, tag }) as u32
    }

    /// `false`: the subscription is gone, and its key may be another's now.
    pub fn remove(&mut self, key: u32, subscriber: SubscriberId, slot: u32) -> bool {
        let is_mine = |s: &Subscription| s.slot == slot && s.subscriber.id() == subscriber;
        let mine = self.subscribers.get(key as usize).is_some_and(is_mine);
        if mine {
            self.subscribers.remove(key as usize);
        }
        mine
    }

    pub fn remove_user(&mut self, user: UserId) -> Vec<Subscription> {
        let tag = tag(user);
        let is_theirs = |s: &Subscription| s.tag == tag && s.subscriber.user() == user;
        let keys: Vec<usize> = self.subscribers.iter().filter(|(_, s)| is_theirs(s)).map(|(key, _)| key).collect();
        keys.into_iter().map(|key| self.subscribers.remove(key)).collect()
    }

    /// How many slots there are to go through; some may be empty.
    pub fn slots(&self) -> usize {
        self.subscribers.capacity()
    }

    pub fn at(&self, slot: usize) -> Option<&Subscription> {
        self.subscribers.get(slot)
    }

    pub fn subscribers(&self) -> Vec<Arc<dyn Subscriber>> {
        self.subscribers.iter().map(|(_, s)| s.subscriber.clone()).collect()
    }

    /// Up to which event the ring may let go of frames once this one is in it.
    pub fn may_forget(&self, seq: Seq) -> Seq {
        if self.is_idle() { seq } else { self.handed_out }
    }

    /// Through how many slots a fan-out should go that starts now; `None` where none should, or one runs.
    pub fn begin(&mut self) -> Option<usize> {
        if self.is_idle() {
            self.handed_out = self.ring.head();
            return None;
        }
        if self.running || self.handed_out == self.ring.head() {
            return None;
        }
        self.running = true;
        Some(self.slots())
    }

    /// What has not been handed out yet; `None`, and the fan-out is over, where there is nothing.
    pub fn next_burst(&mut self, room: RoomId) -> Option<Burst> {
        let burst = self.burst(room);
        if burst.is_none() {
            (self.handed_out, self.running) = (self.ring.head(), false);
        }
        burst
    }

    fn burst(&mut self, room: RoomId) -> Option<Burst> {
        if self.handed_out == self.ring.head() || self.is_idle() {
            return None;
        }
        let first = self.handed_out + 1;
        let mut only_messages = true;
        let (mut frames, mut bytes) = (0, 0);
        for entry in self.ring.after(self.handed_out)? {
            only_messages &= entry.is_message;
            bytes += entry.frame.bytes().len();
            frames += 1;
            if bytes >= BURST_BYTES {
                break;
            }
        }
        let last = self.handed_out + frames as Seq;
        let mut entries = self.ring.after(self.handed_out)?.take(frames);
        let merged = if frames == 1 {
            entries.next()?.frame.shared()
        } else {
            let mut all = BytesMut::with_capacity(bytes);
            entries.for_each(|entry| all.extend_from_slice(entry.frame.bytes()));
            all.freeze()
        };
        self.handed_out = last;
        Some(Burst { room, first, last, merged, only_messages })
    }

    /// Somebody hands out, or is `about_to`, and is half a ring behind.
    pub fn is_far(&self, about_to: bool) -> bool {
        (self.running || about_to) && !self.is_idle() && self.ring.is_half_full_after(self.handed_out)
    }

    /// The fan-out has failed: everything from `first` on is to be offered once more.
    pub fn stop(&mut self, first: Seq) {
        self.handed_out = self.handed_out.min(first - 1);
        self.running = false;
    }
}
