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

use bytes::{Buf, Bytes};
use slab::Slab;
use tokio::net::TcpStream;

use crate::{
    chat::room::{Pull, Room},
    metrics::Metrics,
    types::{RoomId, Seq},
};

/// Pieces of the queue that one write takes.
const PIECES: usize = 64;
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
/// - `waiting` holds each slot at most once: those whose cursor may be behind their room's head.
/// - `blocked`: the socket took less than it was given, and its task waits until it takes more.
#[derive(Default)]
pub(super) struct Outbox {
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    subscriptions: Slab<Subscription>,
    index: Option<HashMap<RoomId, u32>>,
    waiting: VecDeque<u32>,
    pub blocked: bool,
    /// A task reads from the store for one of the subscriptions.
    pub replaying: bool,
}

/// Where writing stopped.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pumped {
    Level,
    Blocked,
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
        self.queue.push_back(frame);
    }

    /// Whether a burst may go straight to the socket, ahead of nothing.
    pub fn is_clear(&self) -> bool {
        self.queue.is_empty() && self.waiting.is_empty() && !self.blocked && !self.replaying
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
        Some(removed)
    }

    pub fn take_subscriptions(&mut self) -> Vec<(u32, Subscription)> {
        self.index = None;
        self.waiting.clear();
        self.subscriptions.drain().enumerate().map(|(slot, s)| (slot as u32, s)).collect()
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
        let rooms = self.waiting.iter().filter_map(|slot| self.subscriptions.get(*slot as usize));
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

    /// Writes until the socket takes no more or everyone is level: the queue first, then the rooms in turn, at most
    /// `max` bytes a write.
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
        loop {
            if !self.queue.is_empty() {
                if self.write_queue(stream, metrics)? {
                    continue;
                }
                return Ok(Pumped::Blocked);
            }
            let pumped = SCRATCH.with_borrow_mut(|scratch| {
                scratch.clear();
                self.write_rooms(stream, only_messages, max, scratch, metrics)
            })?;
            if let Some(pumped) = pumped {
                return Ok(pumped);
            }
        }
    }

    /// `false`: the socket is full.
    fn write_queue(&mut self, stream: &TcpStream, metrics: &Metrics) -> io::Result<bool> {
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let mut count_pieces = 0;
        let mut given = 0;
        for (piece, bytes) in pieces.iter_mut().zip(&self.queue) {
            *piece = IoSlice::new(bytes);
            given += bytes.len();
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
            if front.len() > written {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.queue.pop_front();
        }
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    /// One write of what waiting rooms have. `None`: there may be more, go on.
    fn write_rooms(
        &mut self,
        stream: &TcpStream,
        only_messages: bool,
        max: usize,
        scratch: &mut Vec<u8>,
        metrics: &Metrics,
    ) -> io::Result<Option<Pumped>> {
        let mut visited = Vec::new();
        for &slot in &self.waiting {
            if scratch.len() >= max {
                break;
            }
            let pull = match self.subscriptions.get(slot as usize) {
                Some(s) => s.room.pull(s.cursor, only_messages, max, scratch),
                None => continue,
            };
            visited.push((slot, pull));
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
                    return Ok(Some(Pumped::Blocked));
                }
                Err(error) => return Err(error),
            }
        }
        let (moved, behind_ring) = self.move_cursors(visited, metrics);
        if self.blocked {
            return Ok(Some(Pumped::Blocked));
        }
        if moved && !self.waiting.is_empty() {
            return Ok(None);
        }
        Ok(Some(behind_ring.filter(|_| !self.replaying).map_or(Pumped::Level, Pumped::Replay)))
    }

    /// Takes the visited from the front of the line; who is not level yet goes to its end. Tells whether a cursor moved,
    /// and who cannot go on without the store.
    fn move_cursors(&mut self, visited: Vec<(u32, Pull)>, metrics: &Metrics) -> (bool, Option<u32>) {
        let (mut moved, mut behind_ring) = (false, None);
        self.waiting.drain(..visited.len());
        for (slot, pull) in visited {
            let Some(subscription) = self.subscriptions.get_mut(slot as usize) else { continue };
            match pull {
                Pull::Moved { cursor, events, level } => {
                    metrics.deliveries.inc_by(events as u64);
                    moved |= cursor != subscription.cursor;
                    subscription.cursor = cursor;
                    subscription.waits = !level;
                    subscription.was_level |= level;
                }
                Pull::BehindRing => behind_ring = behind_ring.or(Some(slot)),
            }
            if subscription.waits {
                self.waiting.push_back(slot);
            }
        }
        (moved, behind_ring)
    }
}

fn count(metrics: &Metrics, written: usize) {
    metrics.socket_writes.inc();
    metrics.delivered_bytes.inc_by(written as u64);
}
