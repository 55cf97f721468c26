//! A room: the live end of its log, its members, and whoever follows it.
//!
//! It knows no sockets: it hands each [`Subscriber`] what is new, and a subscriber that cannot take it comes back and
//! reads from its cursor. `writer.rs` is the only one to make the log grow.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::Notify;

use super::{
    ChatError, Result,
    inbox::Inbox,
    ring::{Ring, RingBudget},
    work::Pending,
};
use crate::{
    event::{
        Event,
        fold::{Head, Standing, Stretch},
    },
    protocol::Frame,
    store::{MemberRecord, RoomRecord},
    types::{Ordinal, RoomId, RoomKind, RoomRole, Seq, SessionId, Timestamp, UserId},
};

/// Subscribers that are handed a burst before the fan-out lets other tasks run.
const FAN_OUT_STEP: usize = 256;
/// Up to so many subscribers a fan-out is not worth a task of its own.
const FAN_OUT_INLINE: usize = 64;
/// A burst ends with the event that makes it so long.
const BURST_BYTES: usize = 64 * 1024;

/// Somebody's connection, as rooms see it. Called without any lock of the room held; must not block.
pub trait Subscriber: Send + Sync {
    fn user(&self) -> UserId;
    fn session(&self) -> SessionId;
    /// The room's log grew. `slot` is the subscriber's own name for the subscription; by now it may be another room's.
    fn offer(&self, slot: u32, burst: &Burst);
    /// The user is no member any more; nothing of the room may reach them from now on.
    fn dropped(&self, slot: u32, room: RoomId);
    /// It follows all rooms of its user, and not this one.
    fn misses(&self, room: RoomId) -> bool;
    /// Something that is not in the log. Where the connection is behind it may be left out, unless it `matters`.
    fn notice(&self, frame: &Frame, matters: bool);
    /// The login is over.
    fn revoke(&self);
}

/// Some new events of a room, prepared once for all who are level with it.
pub struct Burst {
    pub room: RoomId,
    pub first: Seq,
    pub last: Seq,
    /// All frames in one piece.
    pub merged: Bytes,
    pub only_messages: bool,
}

#[derive(Debug, Clone)]
pub struct Membership {
    pub username: Arc<str>,
    pub role: RoomRole,
}

struct Subscription {
    subscriber: Arc<dyn Subscriber>,
    slot: u32,
}

/// - `ring` ends with `head`, and holds nothing that is not durable.
/// - `fanned ≤ head`: up to there every subscriber has been offered everything.
/// - `writing` while a task takes from `pending`, `fanning` while one hands out bursts.
/// - `met`: with the first event since it was loaded, its members' sockets were asked whether they know it.
pub(super) struct Live {
    pub head: Seq,
    pub messages: Ordinal,
    pub last_sent_at: Timestamp,
    pub name: Option<String>,
    pub members: HashMap<UserId, Membership>,
    pub pending: VecDeque<Pending>,
    pub writing: bool,
    /// The outcome of an append after this head is unknown: the log must be read from there before the next.
    pub doubtful: Option<Seq>,
    pub inbox: Inbox,
    ring: Ring,
    subscribers: Slab<Subscription>,
    fanned: Seq,
    fanning: bool,
    used: Instant,
    online_counted: Option<(Instant, usize)>,
    met: bool,
}

pub struct Room {
    pub(crate) id: RoomId,
    pub(crate) kind: RoomKind,
    pub(crate) epoch: String,
    pub(super) live: Mutex<Live>,
    /// A fan-out has taken its next burst.
    burst_taken: Notify,
    /// Another node has had its turn.
    pub(super) turn_taken: Notify,
    /// Held by whoever reads the log because others may have written to it.
    pub(super) looking: tokio::sync::Mutex<()>,
}

/// Where a new subscription stands.
pub struct Joined {
    pub key: usize,
    pub head: Seq,
}

/// What reading from a cursor gave.
pub enum Pull {
    /// The cursor is here now, after so many events; `level` with the head or not.
    Moved { cursor: Seq, events: usize, level: bool },
    /// The ring does not reach back so far: read from the store.
    BehindRing,
}

impl Room {
    pub(super) fn new(record: RoomRecord, members: Vec<MemberRecord>, budget: Arc<RingBudget>) -> Self {
        let members = members
            .into_iter()
            .map(|m| (m.user_id, Membership { username: m.username.into(), role: m.role }))
            .collect();
        let live = Live {
            head: record.head_seq,
            messages: record.messages,
            last_sent_at: record.active_at,
            name: record.name,
            members,
            pending: VecDeque::new(),
            writing: false,
            doubtful: None,
            inbox: Inbox::default(),
            ring: Ring::new(record.head_seq, budget),
            subscribers: Slab::new(),
            fanned: record.head_seq,
            fanning: false,
            used: Instant::now(),
            online_counted: None,
            met: false,
        };
        Self {
            id: record.room_id,
            kind: record.kind,
            epoch: record.epoch,
            live: Mutex::new(live),
            burst_taken: Notify::new(),
            turn_taken: Notify::new(),
            looking: tokio::sync::Mutex::default(),
        }
    }

    pub fn role_of(&self, user: UserId) -> Option<RoomRole> {
        self.live.lock().members.get(&user).map(|member| member.role)
    }

    /// The seq of the latest durable event.
    pub fn head(&self) -> Seq {
        self.live.lock().head
    }

    /// The head, and how many messages the log holds.
    pub(super) fn head_and_messages(&self) -> (Seq, Ordinal) {
        let live = self.live.lock();
        (live.head, live.messages)
    }

    pub fn member_count(&self) -> usize {
        self.live.lock().members.len()
    }

    pub(super) fn has_subscribers(&self) -> bool {
        !self.live.lock().subscribers.is_empty()
    }

    /// Members' ids and names; large rooms give many.
    pub(super) fn members_now(&self) -> Vec<(UserId, Arc<str>)> {
        self.live.lock().members.iter().map(|(id, member)| (*id, member.username.clone())).collect()
    }

    /// When the members online were counted last, and how many they were.
    pub(super) fn online_counted(&self) -> Option<(Instant, usize)> {
        self.live.lock().online_counted
    }

    pub(super) fn set_online_counted(&self, at: Instant, online: usize) {
        self.live.lock().online_counted = Some((at, online));
    }

    pub(super) fn member_ids(&self) -> Vec<UserId> {
        self.live.lock().members.keys().copied().collect()
    }

    /// `true` once: from then on its members are told of it as they come.
    pub(super) fn meets_its_members(&self) -> bool {
        !std::mem::replace(&mut self.live.lock().met, true)
    }

    pub(super) fn username_of(&self, user: UserId) -> Option<Arc<str>> {
        self.live.lock().members.get(&user).map(|member| member.username.clone())
    }

    /// Nobody follows it, nobody writes, and nobody has asked for it for `secs`.
    pub(super) fn is_idle(&self, now: Instant, secs: u64) -> bool {
        let live = self.live.lock();
        live.subscribers.is_empty() && !live.writing && now.saturating_duration_since(live.used).as_secs() >= secs
    }

    pub(super) fn touch(&self) {
        self.live.lock().touch();
    }

    /// Follows the log from now on: every event after the returned head will be offered. Refuses who is not a member.
    pub fn subscribe(&self, subscriber: Arc<dyn Subscriber>, slot: u32) -> Result<Joined> {
        let mut live = self.live.lock();
        if !live.members.contains_key(&subscriber.user()) {
            return Err(ChatError::NoSuchRoom);
        }
        let key = live.subscribers.insert(Subscription { subscriber, slot });
        Ok(Joined { key, head: live.head })
    }

    /// Does nothing where the room dropped the subscription before. `subscriber` is told apart by where it is in memory.
    pub fn unsubscribe(&self, key: usize, subscriber: *const (), slot: u32) {
        let mut live = self.live.lock();
        let is_mine = |s: &Subscription| s.slot == slot && std::ptr::addr_eq(Arc::as_ptr(&s.subscriber), subscriber);
        let mine = live.subscribers.get(key).is_some_and(is_mine);
        if mine {
            live.subscribers.remove(key);
            live.used = Instant::now();
        }
    }

    /// Copies frames after `cursor` to `out` until it holds `max` bytes or more, at least one where there is one.
    pub fn pull(&self, cursor: Seq, only_messages: bool, max: usize, out: &mut Vec<u8>) -> Pull {
        let live = self.live.lock();
        let Some(entries) = live.ring.after(cursor) else { return Pull::BehindRing };
        let (mut at, mut events) = (cursor, 0);
        for entry in entries {
            if out.len() >= max {
                return Pull::Moved { cursor: at, events, level: false };
            }
            at += 1;
            if entry.is_message || !only_messages {
                out.extend_from_slice(entry.frame.bytes());
                events += 1;
            }
        }
        Pull::Moved { cursor: at, events, level: true }
    }

    /// About how many bytes a reader at `cursor` has still to get.
    pub fn bytes_behind(&self, cursor: Seq) -> usize {
        let live = self.live.lock();
        if cursor >= live.head { 0 } else { live.ring.bytes_after(cursor) }
    }

    /// Hands something that is not in the log to everyone who follows the room but `except`.
    pub(super) fn notify(&self, frame: &Frame, except: Option<UserId>) {
        let all: Vec<_> = {
            let live = self.live.lock();
            live.subscribers.iter().map(|(_, s)| s.subscriber.clone()).collect()
        };
        for subscriber in all.iter().filter(|s| Some(s.user()) != except) {
            subscriber.notice(frame, false);
        }
    }

    /// Takes durable events in, drops subscribers who are no members any more, and hands the news out.
    pub(super) async fn advance(self: &Arc<Self>, events: &[Event]) {
        let (dropped, work) = {
            let mut live = self.live.lock();
            (live.take_in(events), live.begin_fan_out())
        };
        for gone in dropped {
            gone.subscriber.dropped(gone.slot, self.id);
        }
        match work {
            Some(subscribers) if subscribers <= FAN_OUT_INLINE => self.clone().fan_out().await,
            Some(_) => drop(tokio::spawn(self.clone().fan_out())),
            None => {}
        }
    }

    /// Offers bursts until everyone has been offered everything. What comes while it runs makes the next burst, so
    /// under load bursts grow and every socket gets more frames a write.
    async fn fan_out(self: Arc<Self>) {
        let mut running = FanOutGuard { room: &self, from: None };
        let mut step = Vec::new();
        while let Some(burst) = self.next_burst() {
            running.from = Some(burst.first);
            let mut at = 0;
            while let Some(next) = self.collect_step(at, &mut step) {
                for (subscriber, slot) in step.drain(..) {
                    subscriber.offer(slot, &burst);
                }
                at = next;
                if at % FAN_OUT_STEP == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
        running.from = None;
    }

    /// What has not been handed out yet; `None`, and the fan-out is over, where there is nothing.
    fn next_burst(&self) -> Option<Burst> {
        let mut live = self.live.lock();
        let burst = live.next_burst(self.id);
        if burst.is_none() {
            live.fanned = live.head;
            live.fanning = false;
        }
        drop(live);
        self.burst_taken.notify_waiters();
        burst
    }

    /// Waits while what has not been handed out fills half of the ring: a fan-out asks no reader to be ready, so it gets
    /// there, and nobody who is level has to read from the store.
    pub(super) async fn fan_out_near(&self) {
        loop {
            let taken = self.burst_taken.notified();
            if !self.live.lock().fan_out_is_far() {
                return;
            }
            taken.await;
        }
    }

    /// The subscribers in the next slots from `at`; where to go on, or `None` at the end.
    fn collect_step(&self, at: usize, to: &mut Vec<(Arc<dyn Subscriber>, u32)>) -> Option<usize> {
        let live = self.live.lock();
        let slots = live.subscribers.capacity();
        if at >= slots {
            return None;
        }
        let end = (at + FAN_OUT_STEP).min(slots);
        to.extend((at..end).filter_map(|key| live.subscribers.get(key)).map(|s| (s.subscriber.clone(), s.slot)));
        Some(end)
    }
}

/// A fan-out that ends early (its task was dropped or panicked) must not leave the room believing that one runs, nor that
/// everybody was offered its last burst: those who were will pass over it.
struct FanOutGuard<'a> {
    room: &'a Room,
    /// Where the burst begins that is being handed out.
    from: Option<Seq>,
}

impl Drop for FanOutGuard<'_> {
    fn drop(&mut self) {
        if let Some(first) = self.from {
            let mut live = self.room.live.lock();
            live.fanned = live.fanned.min(first - 1);
            live.fanning = false;
            drop(live);
            self.room.burst_taken.notify_waiters();
        }
    }
}

impl Live {
    /// Somebody here uses the room.
    pub fn touch(&mut self) {
        self.used = Instant::now();
    }

    /// Takes in the events that follow on the head; what is in already is passed over, so that whoever read the log twice does
    /// no harm. Gives the subscriptions of those who are gone.
    fn take_in(&mut self, events: &[Event]) -> Vec<Subscription> {
        let mut next = self.head + 1;
        let follows = |event: &&Event| {
            let follows = event.seq == next;
            next += Seq::from(follows);
            follows
        };
        let events: Vec<&Event> = events.iter().filter(follows).collect();
        let Some(Stretch { head, marks: _, members, name }) = Stretch::of(events.iter().copied()) else {
            return Vec::new();
        };
        for event in events {
            let handed_out = if self.subscribers.is_empty() { event.seq } else { self.fanned };
            self.ring.push(event, handed_out);
        }
        let Head { seq, messages, active_at, last_message: _ } = head;
        (self.head, self.messages, self.last_sent_at) = (seq, messages, active_at);
        if let Some((_, name)) = name {
            self.name = Some(name);
        }
        members.into_iter().flat_map(|(user, standing)| self.stand(user, standing)).collect()
    }

    /// Gives the subscriptions of somebody who is gone.
    fn stand(&mut self, user: UserId, standing: Standing) -> Vec<Subscription> {
        if let Some(joining) = &standing.joined {
            let (username, role) = (joining.username.clone(), standing.role_or(joining));
            self.members.insert(user, Membership { username, role });
        } else if let (Some(member), Some(role)) = (self.members.get_mut(&user), standing.role) {
            member.role = role;
        }
        if !standing.gone {
            return Vec::new();
        }
        self.members.remove(&user);
        let keys: Vec<usize> =
            self.subscribers.iter().filter(|(_, s)| s.subscriber.user() == user).map(|(key, _)| key).collect();
        keys.into_iter().map(|key| self.subscribers.remove(key)).collect()
    }

    fn next_burst(&mut self, room: RoomId) -> Option<Burst> {
        if self.fanned == self.head || self.subscribers.is_empty() {
            return None;
        }
        let first = self.fanned + 1;
        let mut only_messages = true;
        let mut frames = Vec::new();
        let mut bytes = 0;
        for entry in self.ring.after(self.fanned)? {
            only_messages &= entry.is_message;
            bytes += entry.frame.bytes().len();
            frames.push(entry.frame.bytes());
            if bytes >= BURST_BYTES {
                break;
            }
        }
        let last = self.fanned + frames.len() as Seq;
        let merged = match frames[..] {
            [one] => one.clone(),
            _ => frames
                .into_iter()
                .fold(BytesMut::with_capacity(bytes), |mut all, frame| {
                    all.extend_from_slice(frame);
                    all
                })
                .freeze(),
        };
        self.fanned = last;
        Some(Burst { room, first, last, merged, only_messages })
    }

    fn fan_out_is_far(&self) -> bool {
        self.fanning && self.ring.is_half_full_after(self.fanned)
    }

    /// For how many subscribers a fan-out should start now; `None` where none should, or one runs.
    fn begin_fan_out(&mut self) -> Option<usize> {
        if self.subscribers.is_empty() {
            self.fanned = self.head;
            return None;
        }
        if self.fanning || self.fanned == self.head {
            return None;
        }
        self.fanning = true;
        Some(self.subscribers.len())
    }
}
