//! The write path of a connection: what waits to be written, and which rooms it still has to read.
//!
//! There is no queue of events. Answers and notices wait in `queue`; of a room there is only a cursor, and what the cursor
//! has not passed is read from the room's ring when the socket can take it. So a socket that takes nothing holds nothing.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, IoSlice},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};

use super::{
    piece::{OfRoom, Piece},
    subscriptions::{Subscription, Subscriptions},
    wire::Wire,
};
use crate::{
    chat::room::{Pull, Room},
    metrics::Metrics,
    protocol::{self, Said},
    types::RoomId,
};

/// Pieces of the queue that one write takes.
const PIECES: usize = 64;
/// Answers that stand in one piece of the queue, in bytes.
const ANSWERS: usize = 16 * 1024;
/// Room for some of them.
const FEW_ANSWERS: usize = 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// - `waiting` is there while something waits.
/// - `blocked`: the socket took less than it was given, and takes more when the kernel says so.
#[derive(Default)]
pub(super) struct Outbox {
    subscriptions: Subscriptions,
    waiting: Option<Box<Waiting>>,
    pub blocked: bool,
    /// A task reads from the store for one of the subscriptions.
    pub replaying: bool,
}

/// What a connection that is level has none of.
/// - `queue` is written before anything of a room.
/// - `rooms` holds the slots whose cursor may be behind their room's head, and `behind_ring` those of them that cannot go on
///   without the store; a slot is in one of the two at most, and once.
#[derive(Default)]
struct Waiting {
    queue: VecDeque<Piece>,
    queued_bytes: usize,
    rooms: VecDeque<u32>,
    behind_ring: VecDeque<u32>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.rooms.is_empty() && self.behind_ring.is_empty()
    }
}

/// A room whose events are in what is to be written, and where they end.
struct Visited {
    slot: u32,
    pull: Pull,
    end: usize,
}

/// Where writing stopped.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pumped {
    Level,
    Blocked,
    /// There may be more to write; others may have the lock first.
    More,
    /// This subscription is behind its room's ring: somebody must read from the store for it.
    Replay(u32),
}

impl Outbox {
    fn waiting(&mut self) -> &mut Waiting {
        self.waiting.get_or_insert_default()
    }

    /// Gives back the memory of what waits no more.
    fn rest(&mut self) {
        self.waiting.take_if(|waiting| waiting.is_empty());
    }

    pub fn queued_bytes(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.queued_bytes)
    }

    pub fn push(&mut self, frame: Bytes) {
        let waiting = self.waiting();
        waiting.queued_bytes += frame.len();
        waiting.queue.push_back(Piece::Shared(frame));
    }

    /// Puts an answer in line.
    pub fn say(&mut self, said: &Said<'_>) {
        protocol::encoded(said, |frame, _| self.put(frame));
    }

    /// Puts a copy of a frame in line.
    pub fn put(&mut self, frame: &[u8]) {
        let waiting = self.waiting();
        waiting.queued_bytes += frame.len();
        if let Some(Piece::Own(answers)) = waiting.queue.back_mut()
            && answers.len() < ANSWERS
        {
            return answers.extend_from_slice(frame);
        }
        let mut answers = BytesMut::with_capacity(frame.len().max(FEW_ANSWERS));
        answers.extend_from_slice(frame);
        waiting.queue.push_back(Piece::Own(answers));
    }

    /// Puts events of a room in line, of which so many bytes are out already.
    pub fn push_events(&mut self, slot: u32, frames: Bytes, written: usize) {
        let waiting = self.waiting();
        waiting.queued_bytes += frames.len() - written;
        waiting.queue.push_back(Piece::Room(OfRoom::of(slot, frames, written)));
    }

    pub fn push_first(&mut self, frame: Bytes) {
        let waiting = self.waiting();
        waiting.queued_bytes += frame.len();
        waiting.queue.push_front(Piece::Shared(frame));
    }

    /// Whether a burst may go straight to the socket, ahead of nothing.
    pub fn is_clear(&self) -> bool {
        !self.blocked
            && self.waiting.as_ref().is_none_or(|waiting| waiting.queue.is_empty() && waiting.rooms.is_empty())
    }

    pub fn slot_of(&self, room: RoomId) -> Option<u32> {
        self.subscriptions.slot_of(room)
    }

    pub fn get(&mut self, slot: u32) -> Option<&mut Subscription> {
        self.subscriptions.get_mut(slot)
    }

    pub fn room(&self, id: RoomId) -> Option<&Arc<Room>> {
        self.slot_of(id).and_then(|slot| self.subscriptions.get(slot)).map(|subscription| &subscription.room)
    }

    /// The room of a socket that follows one alone.
    pub fn first_room(&self) -> Option<&Arc<Room>> {
        self.subscriptions.get(0).map(|subscription| &subscription.room)
    }

    pub fn subscription_count(&self) -> usize {
        self.subscriptions.len()
    }

    pub fn vacant_slot(&self) -> u32 {
        self.subscriptions.vacant_slot()
    }

    /// Into the slot that `vacant_slot` named.
    pub fn insert(&mut self, subscription: Subscription) {
        self.subscriptions.insert(subscription);
    }

    /// Nothing more of the room is written, but for the end of a frame that was begun.
    pub fn remove(&mut self, slot: u32) -> Option<Subscription> {
        let removed = self.subscriptions.remove(slot)?;
        if let Some(waiting) = &mut self.waiting {
            waiting.forget(slot);
        }
        Some(removed)
    }

    pub fn take_subscriptions(&mut self) -> Vec<(u32, Subscription)> {
        if let Some(waiting) = &mut self.waiting {
            waiting.rooms.clear();
            waiting.behind_ring.clear();
        }
        std::mem::take(&mut self.subscriptions).into_all()
    }

    /// Notes that the room of this slot has something its cursor has not passed.
    pub fn wait(&mut self, slot: u32) {
        if let Some(subscription) = self.subscriptions.get_mut(slot)
            && !subscription.waits
            && !subscription.held
        {
            subscription.waits = true;
            self.waiting().rooms.push_back(slot);
        }
    }

    /// About how many bytes this connection is behind; replays of the past do not count.
    pub fn bytes_behind(&self) -> usize {
        let Some(waiting) = &self.waiting else { return 0 };
        let rooms = waiting.rooms.iter().chain(&waiting.behind_ring).filter_map(|slot| self.subscriptions.get(*slot));
        let behind: usize = rooms.filter(|s| s.was_level).map(|s| s.room.bytes_behind(s.cursor)).sum();
        behind + waiting.queued_bytes
    }

    /// Writes a notice, or a burst for the subscription of `slot` that is level with it. `Ok(false)`: the socket took nothing,
    /// and nothing is kept.
    pub fn write_through(
        &mut self,
        wire: &Wire,
        bytes: &Bytes,
        slot: Option<u32>,
        metrics: &Metrics,
    ) -> io::Result<bool> {
        match wire.write(bytes) {
            Ok(written) => {
                count(metrics, written);
                if written < bytes.len() {
                    match slot {
                        Some(slot) => self.push_events(slot, bytes.clone(), written),
                        None => self.push(bytes.slice(written..)),
                    }
                }
                self.blocked = written < bytes.len() || !wire.flush()?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.blocked = true;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// One write: of the queue where it holds something, else of the rooms in turn, at most `max` bytes.
    pub fn pump(&mut self, wire: &Wire, only_messages: bool, max: usize, metrics: &Metrics) -> io::Result<Pumped> {
        if self.blocked {
            return Ok(Pumped::Blocked);
        }
        if !wire.flush()? {
            self.blocked = true;
            return Ok(Pumped::Blocked);
        }
        let Some(waiting) = &mut self.waiting else { return Ok(Pumped::Level) };
        if waiting.queue.is_empty() {
            return SCRATCH.with_borrow_mut(|scratch| {
                scratch.clear();
                self.write_rooms(wire, only_messages, max, scratch, metrics)
            });
        }
        self.blocked = !waiting.write_queue(wire, metrics)?;
        self.rest();
        Ok(if self.blocked { Pumped::Blocked } else { Pumped::More })
    }

    fn write_rooms(
        &mut self,
        wire: &Wire,
        only_messages: bool,
        max: usize,
        scratch: &mut Vec<u8>,
        metrics: &Metrics,
    ) -> io::Result<Pumped> {
        let mut visited = Vec::new();
        for &slot in self.waiting.iter().flat_map(|waiting| &waiting.rooms) {
            if scratch.len() >= max {
                break;
            }
            if let Some(s) = self.subscriptions.get(slot) {
                let pull = s.room.pull(s.cursor, only_messages, max, scratch);
                visited.push(Visited { slot, pull, end: scratch.len() });
            }
        }
        if !scratch.is_empty() {
            match wire.write(scratch) {
                Ok(written) => {
                    count(metrics, written);
                    let mut begin = 0;
                    for &Visited { slot, end, .. } in &visited {
                        if written < end {
                            let frames = Bytes::copy_from_slice(&scratch[begin..end]);
                            self.push_events(slot, frames, written.saturating_sub(begin));
                        }
                        begin = end;
                    }
                    self.blocked = written < scratch.len() || !wire.flush()?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Ok(Pumped::Blocked);
                }
                Err(error) => return Err(error),
            }
        }
        self.move_cursors(visited, metrics);
        self.rest();
        let behind_ring = self.waiting.as_ref().and_then(|waiting| waiting.behind_ring.front());
        Ok(match behind_ring {
            _ if self.blocked => Pumped::Blocked,
            _ if self.waiting.as_ref().is_some_and(|waiting| !waiting.rooms.is_empty()) => Pumped::More,
            Some(slot) if !self.replaying => Pumped::Replay(*slot),
            _ => Pumped::Level,
        })
    }

    /// Takes the visited from the front of the line: who is not level yet goes to its end, who is behind the ring to the
    /// other line.
    fn move_cursors(&mut self, visited: Vec<Visited>, metrics: &Metrics) {
        let Some(waiting) = &mut self.waiting else { return };
        waiting.rooms.drain(..visited.len());
        for Visited { slot, pull, .. } in visited {
            let Some(subscription) = self.subscriptions.get_mut(slot) else { continue };
            match pull {
                Pull::Moved { cursor, events, level } => {
                    metrics.deliveries.inc_by(events as u64);
                    subscription.cursor = cursor;
                    subscription.waits = !level;
                    subscription.was_level |= level;
                    if !level {
                        waiting.rooms.push_back(slot);
                    }
                }
                Pull::BehindRing => waiting.behind_ring.push_back(slot),
            }
        }
    }

    /// The store was read for this subscription: it goes back into line, and finds out whether that was enough.
    pub fn replayed(&mut self, slot: u32) {
        self.replaying = false;
        let Some(waiting) = &mut self.waiting else { return };
        if let Some(at) = waiting.behind_ring.iter().position(|behind| *behind == slot) {
            waiting.behind_ring.remove(at);
            waiting.rooms.push_back(slot);
        }
    }
}

fn count(metrics: &Metrics, written: usize) {
    metrics.socket_writes.inc();
    metrics.delivered_bytes.inc_by(written as u64);
}

impl Waiting {
    fn forget(&mut self, slot: u32) {
        self.rooms.retain(|waiting| *waiting != slot);
        self.behind_ring.retain(|behind| *behind != slot);
        for piece in &mut self.queue {
            if let Piece::Room(room) = piece
                && room.slot == slot
            {
                *piece = Piece::Shared(room.end_of_frame());
            }
        }
        self.queue.retain(|piece| !piece.bytes().is_empty());
        self.queued_bytes = self.queue.iter().map(|piece| piece.bytes().len()).sum();
    }

    /// `false`: the socket is full.
    fn write_queue(&mut self, wire: &Wire, metrics: &Metrics) -> io::Result<bool> {
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let mut count_pieces = 0;
        let mut given = 0;
        for (piece, bytes) in pieces.iter_mut().zip(&self.queue) {
            *piece = IoSlice::new(bytes.bytes());
            given += bytes.bytes().len();
            count_pieces += 1;
        }
        match wire.write_vectored(&pieces[..count_pieces]) {
            Ok(written) => {
                count(metrics, written);
                self.written(written);
                Ok(written == given && wire.flush()?)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn written(&mut self, mut written: usize) {
        self.queued_bytes -= written;
        while written > 0 {
            let Some(front) = self.queue.front_mut() else { return };
            let length = front.bytes().len();
            if length > written {
                front.advance(written);
                return;
            }
            written -= length;
            self.queue.pop_front();
        }
    }
}
