//! What the journal has and the tables have not: the unsettled end of each room's log, in memory.
//!
//! Reading is tables and tail as one. Whoever reads looks here first and at the tables then: an event leaves the tail after the
//! tables have it, so it is found in one of them or in both, and never in neither.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::journal::Position;
use crate::{
    event::{
        Event,
        fold::{Head, ReadMark, Stretch},
    },
    metrics::Metrics,
    store::{Page, StoreError},
    types::{MessageId, Ordinal, RoomId, Seq, Timestamp, UserId},
};

/// What an event costs beside its own bytes: its place in the maps.
const BESIDE: usize = 64;
/// So much is settled in a moment: who searches waits for it.
const LITTLE: usize = 1 << 20;

pub(super) struct Tail {
    state: Mutex<State>,
    /// There is more, or less, or somebody waits.
    changed: Condvar,
    hasher: RandomState,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    rooms: HashMap<RoomId, RoomTail>,
    bytes: usize,
    /// The end of the newest commit.
    end: Position,
    /// When the first commit came that no settling has begun for.
    oldest: Option<Instant>,
    /// Why the tables take nothing.
    trouble: Option<StoreError>,
    /// Settling is wanted at once, by so many.
    hurried: usize,
    stopping: bool,
    /// From so many bytes on it settles before the time.
    many: usize,
}

impl State {
    fn ends(&self) -> Vec<(RoomId, Seq)> {
        self.rooms.iter().map(|(room, tail)| (*room, tail.all.head.seq)).collect()
    }

    /// Something up to these ends is still here.
    fn has_unsettled(&self, ends: &[(RoomId, Seq)]) -> bool {
        ends.iter().any(|(room, end)| {
            self.rooms.get(room).and_then(|tail| tail.events.front()).is_some_and(|first| first.seq <= *end)
        })
    }

    /// What the tables cannot take now they will not take in a moment.
    fn refusal(&self) -> Option<&StoreError> {
        self.trouble.as_ref().filter(|error| matches!(error, StoreError::Full(_) | StoreError::Damaged(_)))
    }
}

/// Messages alone: what changes a room or its members is never here.
struct RoomTail {
    /// Dense, at least one.
    events: VecDeque<Event>,
    /// Of everything since it was empty; older events of it may be settled.
    all: Stretch,
    /// By the hash of sender and `client_id`.
    posts: HashMap<u64, Seq>,
}

/// How a room of the tail differs from its rows.
pub(super) struct Newer {
    pub head: Head,
    pub mark: Option<ReadMark>,
    pub last_message: Bytes,
    pub last_sender: UserId,
}

impl Tail {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), hasher: RandomState::new(), metrics }
    }

    /// Takes in what a commit has made durable.
    pub(super) fn add<'a>(&self, commit: impl Iterator<Item = (RoomId, &'a [Event])>, end: Position) {
        let mut state = self.state.lock();
        let before = state.bytes;
        for (room, events) in commit {
            state.bytes += events.iter().map(bytes_of).sum::<usize>();
            state.rooms.entry(room).or_default().add(events, &self.hasher);
        }
        state.end = end;
        self.metrics.unsettled_bytes.set(state.bytes as i64);
        if state.oldest.is_none() {
            state.oldest = Some(Instant::now());
            if self.metrics.unsettled_since.get() == 0 {
                self.metrics.unsettled_since.set(Timestamp::now().0 / 1_000);
            }
            self.changed.notify_all();
        } else if state.bytes >= state.many && before < state.many {
            self.changed.notify_all();
        }
    }

    /// The tables have a room's events up to and with this seq.
    pub(super) fn settled(&self, room: RoomId, upto: Seq) {
        let mut state = self.state.lock();
        let Some(tail) = state.rooms.get_mut(&room) else { return };
        let mut freed = 0;
        while let Some(event) = tail.events.pop_front_if(|event| event.seq <= upto) {
            freed += bytes_of(&event);
            if let Some(key) = key_of(&event, &self.hasher)
                && tail.posts.get(&key) == Some(&event.seq)
            {
                tail.posts.remove(&key);
            }
        }
        if tail.events.is_empty() {
            state.rooms.remove(&room);
        }
        state.bytes -= freed;
        self.metrics.unsettled_bytes.set(state.bytes as i64);
        if state.hurried > 0 {
            self.changed.notify_all();
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    pub(super) fn head(&self, room: RoomId) -> Option<Head> {
        self.state.lock().rooms.get(&room).map(|tail| tail.all.head)
    }

    pub(super) fn heads(&self) -> HashMap<RoomId, Head> {
        self.state.lock().rooms.iter().map(|(room, tail)| (*room, tail.all.head)).collect()
    }

    pub(super) fn post(&self, room: RoomId, sender: UserId, client_id: &str) -> Option<Event> {
        let state = self.state.lock();
        state.rooms.get(&room)?.post(sender, client_id, &self.hasher).cloned()
    }

    /// The end of a room's log as appending needs it: its head, and the first of `events` whose `client_id` is taken.
    pub(super) fn judge(&self, room: RoomId, events: &[Event]) -> Option<(Seq, Option<(usize, Event)>)> {
        let state = self.state.lock();
        let tail = state.rooms.get(&room)?;
        let taken = events.iter().enumerate().find_map(|(at, event)| {
            let original = tail.post(event.sender, event.client_id.as_deref()?, &self.hasher)?;
            Some((at, original.clone()))
        });
        Some((tail.all.head.seq, taken))
    }

    /// What the page has of the tail; the tables are asked for the rest of it.
    pub(super) fn page(&self, room: RoomId, page: Page) -> Vec<Event> {
        self.state.lock().rooms.get(&room).map_or_else(Vec::new, |tail| tail.page(page))
    }

    /// The end of a room that has something here, and what the page has of it, both of one moment.
    pub(super) fn messages(&self, room: RoomId, page: Page) -> (Option<Head>, Vec<Event>) {
        let state = self.state.lock();
        match state.rooms.get(&room) {
            Some(tail) => (Some(tail.all.head), tail.page(page)),
            None => (None, Vec::new()),
        }
    }

    /// An event by where it stands.
    pub(super) fn event(&self, room: RoomId, seq: Seq) -> Option<Event> {
        self.state.lock().rooms.get(&room)?.get(seq).cloned()
    }

    /// A message by its id: most that are asked for have just been posted.
    pub(super) fn message(&self, room: RoomId, message: MessageId) -> Option<Event> {
        let state = self.state.lock();
        state.rooms.get(&room)?.events.iter().rev().find(|event| event.event_id == message).cloned()
    }

    pub(super) fn marks(&self, room: RoomId) -> HashMap<UserId, ReadMark> {
        self.state.lock().rooms.get(&room).map(|tail| tail.all.marks.clone()).unwrap_or_default()
    }

    pub(super) fn mark(&self, room: RoomId, user: UserId) -> Option<ReadMark> {
        self.state.lock().rooms.get(&room)?.all.marks.get(&user).copied()
    }

    /// A room's head, and how many messages there are up to `seq` or the head, where the tail reaches back to that.
    pub(super) fn ordinal_at(&self, room: RoomId, seq: Seq) -> Option<(Seq, Option<Ordinal>)> {
        let state = self.state.lock();
        let tail = state.rooms.get(&room)?;
        let head = tail.all.head.seq;
        Some((head, tail.get(seq.min(head)).map(|event| event.ordinal)))
    }

    /// Those of a user's rooms that have something here.
    pub(super) fn newer(&self, user: UserId, rooms: &[RoomId]) -> HashMap<RoomId, Newer> {
        let state = self.state.lock();
        let newer = |room: &RoomId| {
            let tail = state.rooms.get(room)?;
            let last = tail.events.back()?;
            let (last_message, last_sender) = (Bytes::copy_from_slice(last.body()), last.sender);
            let mark = tail.all.marks.get(&user).copied();
            Some((*room, Newer { head: tail.all.head, mark, last_message, last_sender }))
        };
        rooms.iter().filter_map(newer).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().rooms.is_empty()
    }

    /// Events that are not settled.
    pub(super) fn count(&self) -> u64 {
        self.state.lock().rooms.values().map(|tail| tail.events.len() as u64).sum()
    }

    /// A room's first `limit` events after this seq.
    pub(super) fn unsettled(&self, room: RoomId, after: Seq, limit: usize) -> Vec<Event> {
        let state = self.state.lock();
        let Some(tail) = state.rooms.get(&room) else { return Vec::new() };
        let settled = tail.events.partition_point(|event| event.seq <= after);
        tail.events.range(settled..).take(limit).cloned().collect()
    }
}

/// What the appender and the settler say to each other.
impl Tail {
    /// Waits until less than `most` bytes are here. `Err`: that took too long, or the tables will take nothing for a while.
    pub(super) fn wait_for_room(&self, most: usize, patience: Duration) -> Result<(), StoreError> {
        let until = Instant::now() + patience;
        let mut state = self.state.lock();
        let hurries = state.bytes >= most;
        if hurries {
            state.hurried += 1;
            self.changed.notify_all();
        }
        while state.bytes >= most && state.refusal().is_none() {
            if self.changed.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        state.hurried -= usize::from(hurries);
        match state.refusal() {
            Some(refusal) => Err(refusal.clone()),
            None if state.bytes >= most => Err(StoreError::Busy),
            None => Ok(()),
        }
    }

    /// Waits until everything that is here now is settled.
    pub(super) fn wait_until_settled(&self) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let ends = state.ends();
        // Looked into again by the settler before it says anything of it.
        state.trouble = None;
        state.hurried += 1;
        self.changed.notify_all();
        while state.has_unsettled(&ends) && state.trouble.is_none() {
            self.changed.wait(&mut state);
        }
        state.hurried -= 1;
        match &state.trouble {
            Some(trouble) if state.has_unsettled(&ends) => Err(trouble.clone()),
            _ => Ok(()),
        }
    }

    /// Has what is here now settled, where that is little and done by then. `false`: that takes longer.
    pub(super) fn is_nearly_settled(&self, until: Instant) -> bool {
        let mut state = self.state.lock();
        if state.rooms.is_empty() {
            return true;
        }
        if state.bytes > LITTLE {
            return false;
        }
        let ends = state.ends();
        state.hurried += 1;
        self.changed.notify_all();
        let mut in_time = true;
        while in_time && state.has_unsettled(&ends) && state.trouble.is_none() {
            in_time = !self.changed.wait_until(&mut state, until).timed_out();
        }
        state.hurried -= 1;
        !state.has_unsettled(&ends)
    }

    /// Waits for the next settling: when the oldest has waited for `after`, when there are `many` bytes, or in a hurry. Gives
    /// the end of what is to be settled, also of each room; `None`: stop.
    pub(super) fn next_settling(&self, after: Duration, many: usize) -> Option<(Position, Vec<(RoomId, Seq)>)> {
        let mut state = self.state.lock();
        state.many = many;
        loop {
            let hurried = state.hurried > 0 || state.stopping || state.bytes >= many;
            match state.oldest {
                Some(oldest) if hurried || oldest.elapsed() >= after => {
                    state.oldest = None;
                    return Some((state.end, state.ends()));
                }
                None if state.stopping => return None,
                Some(oldest) => drop(self.changed.wait_until(&mut state, oldest + after)),
                None => self.changed.wait(&mut state),
            }
        }
    }

    /// Everything that was here when the settling began is in the tables.
    pub(super) fn settling_ended(&self) {
        let since =
            self.state.lock().oldest.map_or(0, |oldest| Timestamp::now().0 / 1_000 - oldest.elapsed().as_secs() as i64);
        self.metrics.unsettled_since.set(since);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.state.lock().stopping
    }

    /// A pause that ends early where somebody is in a hurry.
    pub(super) fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut state = self.state.lock();
        while state.hurried == 0 && !state.stopping && !self.changed.wait_until(&mut state, until).timed_out() {}
    }

    /// A pause that the end alone cuts short.
    pub(super) fn pause_before_retry(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut state = self.state.lock();
        while !state.stopping && !self.changed.wait_until(&mut state, until).timed_out() {}
    }

    /// Whether the tables take what they are given.
    pub(super) fn tell(&self, trouble: Option<StoreError>) {
        self.state.lock().trouble = trouble;
        self.changed.notify_all();
    }

    /// Settle what is here, then stop.
    pub(super) fn stop(&self) {
        self.state.lock().stopping = true;
        self.changed.notify_all();
    }
}

impl Default for RoomTail {
    fn default() -> Self {
        Self { events: VecDeque::new(), all: Stretch::of_nothing(Timestamp(0)), posts: HashMap::new() }
    }
}

impl RoomTail {
    fn add(&mut self, events: &[Event], hasher: &RandomState) {
        for event in events {
            self.all.add(event);
            if let Some(key) = key_of(event, hasher) {
                self.posts.insert(key, event.seq);
            }
            self.events.push_back(event.clone());
        }
    }

    fn page(&self, page: Page) -> Vec<Event> {
        match (page.after, page.before) {
            (Some(after), _) => {
                let older = self.events.partition_point(|event| event.seq <= after);
                self.events.range(older..).take(page.limit).cloned().collect()
            }
            (None, before) => {
                let end = before.map_or(self.events.len(), |before| self.events.partition_point(|e| e.seq < before));
                let mut events: Vec<Event> = self.events.range(..end).rev().take(page.limit).cloned().collect();
                events.reverse();
                events
            }
        }
    }

    fn get(&self, seq: Seq) -> Option<&Event> {
        let first = self.events.front()?.seq;
        self.events.get(usize::try_from(seq.checked_sub(first)?).ok()?)
    }

    fn post(&self, sender: UserId, client_id: &str, hasher: &RandomState) -> Option<&Event> {
        let is_it = |event: &&Event| event.sender == sender && event.client_id.as_deref() == Some(client_id);
        let found = self.get(*self.posts.get(&hasher.hash_one((sender, client_id)))?)?;
        // Two of one hash: the map has the later one.
        Some(found).filter(is_it).or_else(|| self.events.iter().find(is_it))
    }
}

fn key_of(event: &Event, hasher: &RandomState) -> Option<u64> {
    Some(hasher.hash_one((event.sender, event.client_id.as_deref()?)))
}

fn bytes_of(event: &Event) -> usize {
    event.bytes_in_memory() + event.client_id.as_ref().map_or(0, |id| id.len()) + BESIDE
}
