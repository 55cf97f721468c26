//! The write path of a connection: what waits to be written, and which rooms it still has to read.
//!
//! There is no queue of events. Answers and notices wait in `queue`; of a room there is only a cursor, and what the cursor
//! has not passed is read from the room's ring when the socket can take it. So a socket that takes nothing holds nothing.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    io::{self, IoSlice},
    sync::Arc,
};

use bytes::{Buf, Bytes, BytesMut};
use slab::Slab;
use tokio::net::TcpStream;

use crate::{
    chat::room::{Pull, Room},
    metrics::Metrics,
    protocol::{self, Said},
    types::{RoomId, Seq},
};

/// Pieces of the queue that one write takes.
const PIECES: usize = 64;
/// Answers that stand in one piece of the queue, in bytes.
const ANSWERS: usize = 16 * 1024;
/// Room for some of them.
const FEW_ANSWERS: usize = 1024;
/// A line longer than this is given back when it is empty.
const IDLE_CAPACITY: usize = 64;
/// From so many subscriptions on they are found by a map.
const INDEXED: usize = 16;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// One room as this connection follows it.
pub(super) struct Subscription {
    pub room: Arc<Room>,
    /// The room's name for it.
    pub key: usize,
    /// Everything up to here is written or waits in `queue`.
    pub cursor: Seq,
    /// The `subscribed` answer is not out yet: no event may go before it.
    pub held: bool,
    /// It has been level with the head once; from then on it may be told to be too slow.
    pub was_level: bool,
    /// On the sockets' clock of milliseconds.
    pub typed_at: Option<u32>,
    waits: bool,
}

/// - `queue` is written before anything of a room.
/// - `waiting` holds the slots whose cursor may be behind their room's head, and `behind_ring` those of them that cannot go on
///   without the store; a slot is in one of the two at most, and once.
/// - `blocked`: the socket took less than it was given, and its task waits until it takes more.
#[derive(Default)]
pub(super) struct Outbox {
    queue: VecDeque<Piece>,
    queued_bytes: usize,
    subscriptions: Slab<Subscription>,
    index: Option<HashMap<RoomId, u32>>,
    waiting: VecDeque<u32>,
    behind_ring: VecDeque<u32>,
    pub blocked: bool,
    /// A task reads from the store for one of the subscriptions.
    pub replaying: bool,
}

/// What waits in line.
enum Piece {
    /// Others have it too.
    Shared(Bytes),
    /// Answers, one behind the other.
    Own(BytesMut),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Piece::Shared(bytes) => bytes,
            Piece::Own(bytes) => bytes,
        }
    }

    fn advance(&mut self, written: usize) {
        match self {
            Piece::Shared(bytes) => bytes.advance(written),
            Piece::Own(bytes) => bytes.advance(written),
        }
    }
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

impl Subscription {
    pub fn new(room: Arc<Room>, key: usize, cursor: Seq) -> Self {
        Self { room, key, cursor, held: true, was_level: false, typed_at: None, waits: false }
    }
}

impl Outbox {
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    pub fn push(&mut self, frame: Bytes) {
        self.queued_bytes += frame.len();
        self.queue.push_back(Piece::Shared(frame));
    }

    /// Puts an answer in line.
    pub fn say(&mut self, said: &Said<'_>) {
        protocol::encoded(said, |frame, _| self.put(frame));
    }

    /// Puts a copy of a frame in line.
    pub fn put(&mut self, frame: &[u8]) {
        self.queued_bytes += frame.len();
        if let Some(Piece::Own(answers)) = self.queue.back_mut()
            && answers.len() < ANSWERS
        {
            return answers.extend_from_slice(frame);
        }
        let mut answers = BytesMut::with_capacity(frame.len().max(FEW_ANSWERS));
        answers.extend_from_slice(frame);
        self.queue.push_back(Piece::Own(answers));
    }

    pub fn push_first(&mut self, frame: Bytes) {
        self.queued_bytes += frame.len();
        self.queue.push_front(Piece::Shared(frame));
    }

    /// Whether a burst may go straight to the socket, ahead of nothing.
    pub fn is_clear(&self) -> bool {
        self.queue.is_empty() && self.waiting.is_empty() && !self.blocked
    }

    pub fn slot_of(&self, room: RoomId) -> Option<u32> {
        match &self.index {
            Some(index) => index.get(&room).copied(),
            None => self.subscriptions.iter().find(|(_, s)| s.room.id == room).map(|(slot, _)| slot as u32),
        }
    }

    pub fn get(&mut self, slot: u32) -> Option<&mut Subscription> {
        self.subscriptions.get_mut(slot as usize)
    }

    pub fn room(&self, id: RoomId) -> Option<&Arc<Room>> {
        self.slot_of(id).map(|slot| &self.subscriptions[slot as usize].room)
    }

    pub fn subscription_count(&self) -> usize {
        self.subscriptions.len()
    }

    pub fn vacant_slot(&self) -> u32 {
        self.subscriptions.vacant_key() as u32
    }

    /// Into the slot that `vacant_slot` named.
    pub fn insert(&mut self, subscription: Subscription) {
        let room = subscription.room.id;
        if self.subscriptions.capacity() == 0 {
            // Most connections follow one room, and a slab would make room for four.
            self.subscriptions = Slab::with_capacity(1);
        }
        let slot = self.subscriptions.insert(subscription) as u32;
        if let Some(index) = &mut self.index {
            index.insert(room, slot);
        } else if self.subscriptions.len() > INDEXED {
            self.index = Some(self.subscriptions.iter().map(|(slot, s)| (s.room.id, slot as u32)).collect());
        }
    }

    pub fn remove(&mut self, slot: u32) -> Option<Subscription> {
        let removed = self.subscriptions.try_remove(slot as usize)?;
        if let Some(index) = &mut self.index {
            index.remove(&removed.room.id);
        }
        self.waiting.retain(|waiting| *waiting != slot);
        self.behind_ring.retain(|behind| *behind != slot);
        Some(removed)
    }

    pub fn take_subscriptions(&mut self) -> Vec<(u32, Subscription)> {
        self.index = None;
        self.waiting = VecDeque::new();
        self.behind_ring = VecDeque::new();
        std::mem::take(&mut self.subscriptions).into_iter().map(|(slot, s)| (slot as u32, s)).collect()
    }

    /// Notes that the room of this slot has something its cursor has not passed.
    pub fn wait(&mut self, slot: u32) {
        if let Some(subscription) = self.subscriptions.get_mut(slot as usize)
            && !subscription.waits
            && !subscription.held
        {
            subscription.waits = true;
            self.waiting.push_back(slot);
        }
    }

    /// About how many bytes this connection is behind; replays of the past do not count.
    pub fn bytes_behind(&self) -> usize {
        let rooms =
            self.waiting.iter().chain(&self.behind_ring).filter_map(|slot| self.subscriptions.get(*slot as usize));
        let behind: usize = rooms.filter(|s| s.was_level).map(|s| s.room.bytes_behind(s.cursor)).sum();
        behind + self.queued_bytes
    }

    /// Writes a burst for a subscription that is level with it. `Ok(false)`: the socket took nothing, and nothing is kept.
    pub fn write_through(&mut self, stream: &TcpStream, bytes: &Bytes, metrics: &Metrics) -> io::Result<bool> {
        match stream.try_write(bytes) {
            Ok(written) => {
                count(metrics, written);
                if written < bytes.len() {
                    self.push(bytes.slice(written..));
                    self.blocked = true;
                }
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
    pub fn pump(
        &mut self,
        stream: &TcpStream,
        only_messages: bool,
        max: usize,
        metrics: &Metrics,
    ) -> io::Result<Pumped> {
        if self.blocked {
            return Ok(Pumped::Blocked);
        }
        if !self.queue.is_empty() {
            let taken = self.write_queue(stream, metrics)?;
            return Ok(if taken { Pumped::More } else { Pumped::Blocked });
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            self.write_rooms(stream, only_messages, max, scratch, metrics)
        })
    }

    /// `false`: the socket is full.
    fn write_queue(&mut self, stream: &TcpStream, metrics: &Metrics) -> io::Result<bool> {
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let mut count_pieces = 0;
        let mut given = 0;
        for (piece, bytes) in pieces.iter_mut().zip(&self.queue) {
            *piece = IoSlice::new(bytes.bytes());
            given += bytes.bytes().len();
            count_pieces += 1;
        }
        match stream.try_write_vectored(&pieces[..count_pieces]) {
            Ok(written) => {
                count(metrics, written);
                self.written(written);
                self.blocked = written < given;
                Ok(!self.blocked)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.blocked = true;
                Ok(false)
            }
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
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    fn write_rooms(
        &mut self,
        stream: &TcpStream,
        only_messages: bool,
        max: usize,
        scratch: &mut Vec<u8>,
        metrics: &Metrics,
    ) -> io::Result<Pumped> {
        let mut visited = Vec::new();
        for &slot in &self.waiting {
            if scratch.len() >= max {
                break;
            }
            if let Some(s) = self.subscriptions.get(slot as usize) {
                visited.push((slot, s.room.pull(s.cursor, only_messages, max, scratch)));
            }
        }
        if !scratch.is_empty() {
            match stream.try_write(scratch) {
                Ok(written) => {
                    count(metrics, written);
                    if written < scratch.len() {
                        self.push(Bytes::copy_from_slice(&scratch[written..]));
                        self.blocked = true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Ok(Pumped::Blocked);
                }
                Err(error) => return Err(error),
            }
        }
        self.move_cursors(visited, metrics);
        Ok(match self.behind_ring.front() {
            _ if self.blocked => Pumped::Blocked,
            _ if !self.waiting.is_empty() => Pumped::More,
            Some(slot) if !self.replaying => Pumped::Replay(*slot),
            _ => Pumped::Level,
        })
    }

    /// Takes the visited from the front of the line: who is not level yet goes to its end, who is behind the ring to the
    /// other line.
    fn move_cursors(&mut self, visited: Vec<(u32, Pull)>, metrics: &Metrics) {
        self.waiting.drain(..visited.len());
        for (slot, pull) in visited {
            let Some(subscription) = self.subscriptions.get_mut(slot as usize) else { continue };
            match pull {
                Pull::Moved { cursor, events, level } => {
                    metrics.deliveries.inc_by(events as u64);
                    subscription.cursor = cursor;
                    subscription.waits = !level;
                    subscription.was_level |= level;
                    if !level {
                        self.waiting.push_back(slot);
                    }
                }
                Pull::BehindRing => self.behind_ring.push_back(slot),
            }
        }
        if self.waiting.is_empty() && self.waiting.capacity() > IDLE_CAPACITY {
            self.waiting = VecDeque::new();
        }
    }

    /// The store was read for this subscription: it goes back into line, and finds out whether that was enough.
    pub fn replayed(&mut self, slot: u32) {
        self.replaying = false;
        if let Some(at) = self.behind_ring.iter().position(|behind| *behind == slot) {
            self.behind_ring.remove(at);
            self.waiting.push_back(slot);
        }
    }
}

fn count(metrics: &Metrics, written: usize) {
    metrics.socket_writes.inc();
    metrics.delivered_bytes.inc_by(written as u64);
}
