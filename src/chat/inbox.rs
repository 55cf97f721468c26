//! What a room has heard of its log from other nodes, and whose turn it is to write there.
//!
//! What is heard waits here until the one task that takes it in has come to it (`hearing.rs`), so that the order of the bus
//! is kept. Where two nodes write to one room, a distant one would lose the race for every seq; a node that keeps losing asks
//! the others to yield once.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{event::Event, types::Seq};

/// - `head` is how far the log reaches by what was heard; `busy` while a task takes it in.
/// - `others_first`: another node writes before this one, until then at most.
#[derive(Default)]
pub(super) struct Inbox {
    lists: VecDeque<Vec<Event>>,
    bytes: usize,
    head: Seq,
    busy: bool,
    pub others_first: Option<Instant>,
    /// How often in a row this node has lost the race for the next seq.
    pub lost_races: u32,
}

impl Inbox {
    /// Keeps what was heard until it is taken in; `true` where a task to do so must be started. `known` is the head of the
    /// log as the room knows it. Past `most` bytes of events only the head is kept, and the rest is read from the store.
    pub fn note(&mut self, known: Seq, head: Seq, events: Vec<Event>, most: usize) -> bool {
        if head <= known || (events.is_empty() && head <= self.head) {
            return false;
        }
        self.head = self.head.max(head);
        self.bytes += size(&events);
        if self.bytes > most {
            self.lists.clear();
            self.bytes = 0;
        } else if !events.is_empty() {
            self.lists.push_back(events);
        }
        !std::mem::replace(&mut self.busy, true)
    }

    /// What was heard next; where nothing is left, the task that asks is over.
    pub fn next(&mut self, known: Seq) -> Option<(Seq, Vec<Event>)> {
        if let Some(events) = self.lists.pop_front() {
            self.bytes -= size(&events);
            let head = events.last().map_or(0, |last| last.seq);
            return Some((head, events));
        }
        let head = std::mem::take(&mut self.head);
        if head > known {
            return Some((head, Vec::new()));
        }
        self.busy = false;
        None
    }

    /// The task that took in what was heard has failed.
    pub fn stop(&mut self) {
        self.busy = false;
    }

    /// A node that loses races itself does not wait for another that does: they would wait for each other.
    pub fn let_others_first(&mut self, at_most: Duration) {
        if self.lost_races == 0 {
            self.others_first = Some(Instant::now() + at_most);
        }
    }
}

/// Of events in memory, about.
fn size(events: &[Event]) -> usize {
    events.iter().map(Event::bytes_in_memory).sum()
}
