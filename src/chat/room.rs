//! A room: the live end of its log, its members, and whoever follows it.
//!
//! It knows no sockets: it hands each [`Subscriber`] what is new, and a subscriber that cannot take it comes back and
//! reads from its cursor. `writer.rs` is the only one to make the log grow.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    ChatError, Result,
    fan_out::{FanOut, Subscription},
    inbox::Inbox,
    invited::Invited,
    members::Members,
    pair::Pair,
    ring::{Ring, RingBudget},
    subscriber::{Subscriber, SubscriberId},
    touched::Touched,
    work::{News, Pending},
};
use crate::{
    event::{
        Event,
        fold::{Head, Standing, Stretch},
    },
    protocol::Frame,
    store::RoomRecord,
    types::{Ordinal, RoomId, RoomKind, RoomRole, Seq, Timestamp, UserId},
};

/// Batches that may be durable and not told of before the next one waits.
const MOST_NEWS: usize = 4;

/// The end of the log as it is known here. Changes only by [`Live::take_in`].
#[derive(Clone, Copy)]
pub(super) struct End {
    /// The seq of the latest durable event.
    pub head: Seq,
    pub messages: Ordinal,
    pub last_sent_at: Timestamp,
}

/// What waits for the room's writer, and how it stands.
#[derive(Default)]
pub(super) struct Desk {
    pub pending: VecDeque<Pending>,
    /// Somebody has the right to write, and takes from `pending`.
    pub writing: bool,
    /// The outcome of an append after this head is unknown: the log must be read from there before the next.
    pub doubtful: Option<Seq>,
    /// What is in the log and known here, in order, and has still to be told.
    pub news: VecDeque<News>,
    /// Somebody tells, and takes from `news`.
    pub telling: bool,
}

/// - `end`, `members` and `name` are what the log has come to; `fan_out` has its recent frames and who follows them.
/// - `met`: with the first event since it was loaded, its members' sockets were asked whether they know it.
pub(super) struct Live {
    pub end: End,
    pub name: Option<String>,
    pub members: Members,
    pub invited: Invited,
    /// Of a private room.
    pub pair: Option<Box<Pair>>,
    pub desk: Desk,
    pub inbox: Inbox,
    pub fan_out: FanOut,
    pub touched: Touched,
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
    pub(super) burst_taken: Notify,
    /// Another node has had its turn.
    pub(super) turn_taken: Notify,
    /// Held by whoever reads the log because others may have written to it.
    pub(super) looking: tokio::sync::Mutex<()>,
}

/// Where a new subscription stands.
pub struct Joined {
    pub key: u32,
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
    pub(super) fn new(
        record: RoomRecord,
        members: Members,
        invited: Invited,
        pair: Option<Box<Pair>>,
        budget: Arc<RingBudget>,
    ) -> Self {
        let live = Live {
            end: End { head: record.head_seq, messages: record.messages, last_sent_at: record.active_at },
            name: record.name,
            members,
            invited,
            pair,
            desk: Desk::default(),
            inbox: Inbox::default(),
            fan_out: FanOut::new(Ring::new(record.head_seq, budget)),
            touched: Touched::new(record.head_seq),
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
        self.live.lock().members.role_of(&user)
    }

    /// The seq of the latest durable event.
    pub fn head(&self) -> Seq {
        self.live.lock().end.head
    }

    /// The head, and how many messages the log holds.
    pub(super) fn head_and_messages(&self) -> (Seq, Ordinal) {
        let live = self.live.lock();
        (live.end.head, live.end.messages)
    }

    pub fn member_count(&self) -> usize {
        self.live.lock().members.len()
    }

    pub(super) fn has_subscribers(&self) -> bool {
        !self.live.lock().fan_out.is_idle()
    }

    /// Members' ids and names; `None` where they are many (`presence.names_up_to`).
    pub(super) fn names(&self) -> Option<Vec<(UserId, Arc<str>)>> {
        self.live.lock().members.names()
    }

    /// When the members online were counted last, and how many they were.
    pub(super) fn online_counted(&self) -> Option<(Instant, usize)> {
        self.live.lock().online_counted
    }

    pub(super) fn set_online_counted(&self, at: Instant, online: usize) {
        self.live.lock().online_counted = Some((at, online));
    }

    pub(super) fn member_ids(&self) -> Vec<UserId> {
        self.live.lock().members.ids()
    }

    /// `true` once: from then on its members are told of it as they come.
    pub(super) fn meets_its_members(&self) -> bool {
        !std::mem::replace(&mut self.live.lock().met, true)
    }

    /// `None` where they are no member, or there are many.
    pub(super) fn name_of(&self, user: UserId) -> Option<Arc<str>> {
        self.live.lock().members.name_of(&user)
    }

    /// Nobody follows it, nobody writes, and nobody has asked for it for `secs`.
    pub(super) fn is_idle(&self, now: Instant, secs: u64) -> bool {
        let live = self.live.lock();
        live.fan_out.is_idle() && !live.desk.writing && now.saturating_duration_since(live.used).as_secs() >= secs
    }

    pub(super) fn touch(&self) {
        self.live.lock().touch();
    }

    /// Follows the log from now on: every event after the returned head will be offered. Refuses who is not a member.
    pub fn subscribe(&self, subscriber: Arc<dyn Subscriber>, slot: u32) -> Result<Joined> {
        let mut live = self.live.lock();
        if !live.members.contains(&subscriber.user()) {
            return Err(ChatError::NoSuchRoom);
        }
        let key = live.fan_out.add(subscriber, slot);
        Ok(Joined { key, head: live.end.head })
    }

    /// Does nothing where the room dropped the subscription before, and `key` is another's now.
    pub fn unsubscribe(&self, key: u32, subscriber: SubscriberId, slot: u32) {
        let mut live = self.live.lock();
        if live.fan_out.remove(key, subscriber, slot) {
            live.used = Instant::now();
        }
    }

    /// Copies frames after `cursor` to `out` until it holds `max` bytes or more, at least one where there is one.
    pub fn pull(&self, cursor: Seq, only_messages: bool, max: usize, out: &mut Vec<u8>) -> Pull {
        let live = self.live.lock();
        let Some(entries) = live.fan_out.ring.after(cursor) else { return Pull::BehindRing };
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
        if cursor >= live.end.head { 0 } else { live.fan_out.ring.bytes_after(cursor) }
    }

    /// Everyone who follows the room.
    pub(super) fn subscribers(&self) -> Vec<Arc<dyn Subscriber>> {
        self.live.lock().fan_out.subscribers()
    }

    /// Hands something that is not in the log to everyone who follows the room and is to hear it.
    pub(super) fn notify(&self, frame: &Frame, hears: impl Fn(UserId) -> bool) {
        for subscriber in self.subscribers().iter().filter(|subscriber| hears(subscriber.user())) {
            subscriber.notice(frame, false);
        }
    }

    /// Takes durable events in, drops subscribers who are no members any more, and hands the news out.
    pub(super) fn advance(self: &Arc<Self>, events: &[Event]) {
        self.take_in(events);
        self.hand_out();
    }

    /// The same without handing out.
    pub(super) fn take_in(&self, events: &[Event]) {
        let dropped = self.live.lock().take_in(events);
        for gone in dropped {
            gone.subscriber.dropped(gone.slot, self.id);
        }
    }
}

impl Live {
    /// Somebody here uses the room.
    pub fn touch(&mut self) {
        self.used = Instant::now();
    }

    /// Something else comes first: a fan-out that is far behind, another node's turn, or reading back what was stored.
    pub fn must_wait(&self) -> bool {
        self.desk.doubtful.is_some() || self.is_behind() || self.inbox.others_first.is_some()
    }

    /// Much of what is durable has not been told or handed out.
    pub fn is_behind(&self) -> bool {
        self.desk.news.len() >= MOST_NEWS || self.fan_out.is_far(self.desk.telling)
    }

    /// Takes in the events that follow on the head; what is in already is passed over, so that whoever read the log twice does
    /// no harm. Gives the subscriptions of those who are gone.
    fn take_in(&mut self, events: &[Event]) -> Vec<Subscription> {
        let next = self.end.head + 1;
        let old = events.iter().take_while(|event| event.seq < next).count();
        let follow = events[old..].iter().zip(next..).take_while(|(event, seq)| event.seq == *seq).count();
        let events = &events[old..old + follow];
        let Some(Stretch { head, marks: _, members, name, changed: _ }) = Stretch::without_marks(events) else {
            return Vec::new();
        };
        for event in events {
            let may_forget = self.fan_out.may_forget(event.seq);
            self.fan_out.ring.push(event, may_forget);
            self.touched.note(event);
            if let Some(pair) = &mut self.pair {
                pair.note(event);
            }
        }
        let Head { seq: head, messages, sent_at: last_sent_at, active_at: _, last_message: _ } = head;
        self.end = End { head, messages, last_sent_at };
        if let Some((_, name)) = name {
            self.name = Some(name);
        }
        members.into_iter().flat_map(|(user, standing)| self.stand(user, standing)).collect()
    }

    /// Gives the subscriptions of somebody who is gone.
    fn stand(&mut self, user: UserId, standing: Standing) -> Vec<Subscription> {
        self.invited.take_in(user, &standing);
        if let Some(joining) = &standing.joined {
            self.members.insert(user, &joining.username, standing.role_or(joining));
        } else if let Some(role) = standing.role {
            self.members.set_role(&user, role);
        }
        if !standing.gone {
            return Vec::new();
        }
        self.members.remove(&user);
        self.fan_out.remove_user(user)
    }
}
