//! The recent frames of one room, bounded by count, by bytes, and by bytes in all rooms together.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use crate::{
    config,
    event::{Event, Kind, erased},
    metrics::Metrics,
    protocol::Frame,
    types::Seq,
};

/// What all rings share: their bounds and the bytes they hold together.
pub struct RingBudget {
    events: usize,
    bytes: usize,
    all_bytes: usize,
    used: AtomicUsize,
    metrics: Arc<Metrics>,
}

impl RingBudget {
    pub fn new(config: &config::Rooms, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            events: config.ring_events,
            bytes: config.ring_bytes,
            all_bytes: config.rings_bytes,
            used: AtomicUsize::new(0),
            metrics,
        })
    }

    fn grew(&self, bytes: usize) {
        self.used.fetch_add(bytes, Relaxed);
        self.metrics.ring_bytes.inc_by(bytes as i64);
    }

    fn shrank(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Relaxed);
        self.metrics.ring_bytes.dec_by(bytes as i64);
    }
}

/// What readers need of an event.
#[derive(Clone, Debug)]
pub struct Entry {
    pub frame: Frame,
    pub is_message: bool,
    /// Of an edit, where its message stands; 0 for all others.
    edits: Seq,
}

/// The events `next - len() .. next`, oldest first.
///
/// The latest event stays whatever its size, and what has not been handed out stays too, so that a reader who is level
/// never needs the store; the writer sees to it that this is no more than about half of the bounds.
pub struct Ring {
    entries: VecDeque<Entry>,
    next: Seq,
    bytes: usize,
    /// What is up to here goes as soon as it has been handed out.
    forget: Seq,
    budget: Arc<RingBudget>,
}

impl Ring {
    /// Empty, before the event after `head`.
    pub fn new(head: Seq, budget: Arc<RingBudget>) -> Self {
        Self { entries: VecDeque::new(), next: head + 1, bytes: 0, forget: 0, budget }
    }

    /// Takes the next event, and erases what it erases. Lets go of the oldest up to `handed_out` where the bounds ask for it.
    pub fn push(&mut self, event: &Event, handed_out: Seq) {
        if let Some(of) = event.kind.erases() {
            self.erase(of.seq);
        }
        let edits = if let Kind::Edited { of, .. } = event.kind { of.seq } else { 0 };
        let entry = Entry { frame: event.frame.clone(), is_message: event.is_message(), edits };
        self.push_entry(entry, handed_out);
    }

    /// Puts the erased form in the place of a message and its edits.
    fn erase(&mut self, message: Seq) {
        let first = self.first();
        for (entry, seq) in self.entries.iter_mut().zip(first..) {
            if seq == message || (entry.edits == message && message > 0) {
                let before = entry.frame.bytes().len();
                entry.frame = erased::frame(entry.frame.json_bytes());
                // Who gets messages alone has no use for it.
                entry.is_message = false;
                let now = entry.frame.bytes().len();
                self.bytes = self.bytes + now - before;
                self.budget.shrank(before);
                self.budget.grew(now);
            }
        }
    }

    fn push_entry(&mut self, entry: Entry, handed_out: Seq) {
        let len = entry.frame.bytes().len();
        self.entries.push_back(entry);
        self.next += 1;
        self.bytes += len;
        self.budget.grew(len);
        while self.entries.len() > 1 && self.first() <= handed_out && (self.over() || self.first() <= self.forget) {
            self.pop();
        }
    }

    /// Lets go of everything up to now, of what has not been handed out once it has: the store tells it another way.
    pub fn forget(&mut self, handed_out: Seq) {
        self.forget = self.head();
        while !self.entries.is_empty() && self.first() <= handed_out {
            self.pop();
        }
    }

    pub fn is_half_full_after(&self, cursor: Seq) -> bool {
        let events = (self.next - 1).saturating_sub(cursor) as usize;
        events > self.budget.events / 2 || (events > 1 && self.bytes_after(cursor) > self.budget.bytes / 2)
    }

    fn over(&self) -> bool {
        self.entries.len() > self.budget.events
            || self.bytes > self.budget.bytes
            || self.budget.used.load(Relaxed) > self.budget.all_bytes
    }

    fn pop(&mut self) {
        if let Some(oldest) = self.entries.pop_front() {
            let len = oldest.frame.bytes().len();
            self.bytes -= len;
            self.budget.shrank(len);
        }
    }

    /// The seq of the latest event.
    pub fn head(&self) -> Seq {
        self.next - 1
    }

    /// The seq of the oldest event held; the next event's where it holds none.
    fn first(&self) -> Seq {
        self.next - self.entries.len() as Seq
    }

    /// The events after `cursor`; `None` where the ring does not reach back so far.
    pub fn after(&self, cursor: Seq) -> Option<impl Iterator<Item = &Entry>> {
        let skip = (cursor + 1).checked_sub(self.first())?;
        Some(self.entries.iter().skip(skip as usize))
    }

    /// About how many bytes stand after `cursor`: exact within the ring, by the ring's average beyond it.
    pub fn bytes_after(&self, cursor: Seq) -> usize {
        match self.after(cursor) {
            Some(entries) => entries.map(|entry| entry.frame.bytes().len()).sum(),
            None => {
                let average = self.bytes / self.entries.len().max(1);
                (self.next - 1 - cursor) as usize * average.max(1)
            }
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.budget.shrank(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(seq: Seq, len: usize) -> Entry {
        Entry { frame: Frame::of(format!("{seq}:{}", "x".repeat(len)).as_bytes()), is_message: true, edits: 0 }
    }

    fn seq_of(entry: &Entry) -> Seq {
        let body = entry.frame.body();
        let text = std::str::from_utf8(&body).unwrap();
        text.split(':').next().unwrap().parse().unwrap()
    }

    fn budget(events: usize, bytes: usize, all_bytes: usize) -> Arc<RingBudget> {
        let rooms =
            config::Rooms { ring_events: events, ring_bytes: bytes, rings_bytes: all_bytes, ..Default::default() };
        RingBudget::new(&rooms, Arc::default())
    }

    proptest! {
        /// Against a plain list of everything: what the ring gives after a cursor is exactly what the list gives, or the
        /// ring says that it does not reach back; it never goes over its bounds but for the latest event.
        #[test]
        fn the_ring_agrees_with_a_list(
            head in 0u64..100,
            lens in prop::collection::vec(0usize..60, 1..80),
            events in 1usize..20,
            bytes in 1usize..600,
        ) {
            let budget = budget(events, bytes, usize::MAX);
            let mut ring = Ring::new(head, budget.clone());
            for (i, len) in lens.iter().enumerate() {
                ring.push_entry(entry(head + 1 + i as u64, *len), Seq::MAX);
                prop_assert!(ring.entries.len() == 1 || (ring.entries.len() <= events && ring.bytes <= bytes));
                prop_assert_eq!(budget.used.load(Relaxed), ring.bytes);
            }
            let last = head + lens.len() as u64;
            for cursor in head..=last {
                let want: Vec<Seq> = (cursor + 1..=last).collect();
                match ring.after(cursor) {
                    Some(got) => prop_assert_eq!(got.map(seq_of).collect::<Vec<_>>(), want),
                    None => prop_assert!(cursor + 1 < ring.first()),
                }
            }
            drop(ring);
            prop_assert_eq!(budget.used.load(Relaxed), 0);
        }
    }

    #[test]
    fn what_is_deleted_is_erased_with_its_edits_and_nothing_else() {
        use crate::{
            event::{Place, Saying, Target},
            types::{MessageId, RoomId, Timestamp, UserId},
        };
        let budget = budget(100, usize::MAX, usize::MAX);
        let mut ring = Ring::new(6, budget.clone());
        let (room, by, message) = (RoomId::fresh(), UserId::fresh(), MessageId::fresh());
        let of = Target { message, seq: 8, ordinal: 2 };
        let said = |content| Saying::Message { content, client_id: None };
        let all = [
            said("kept"),
            said("secret 1"),
            Saying::Edited { of, content: "secret 2", client_id: None, erases: false },
        ];
        for (saying, seq) in all.into_iter().chain([said("also kept"), Saying::Deleted { of }]).zip(7..) {
            let sent_at = Timestamp(0);
            let place = Place { room, seq, ordinal: 1, sent_at, event_id: message, by, by_name: "ann" };
            ring.push(&Event::new(place, saying), 0);
        }
        let bodies: Vec<_> = ring.after(6).unwrap().map(|entry| entry.frame.body()).collect();
        let text = |at: usize| std::str::from_utf8(&bodies[at]).unwrap();
        assert!(text(0).contains("kept") && text(3).contains("also kept"));
        assert!(text(1).ends_with(r#""content":"","deleted":true}"#) && text(1).contains("\"sender\":\"ann\""));
        assert!(text(2).ends_with(r#""content":"","deleted":true}"#) && text(2).contains("\"type\":\"edit\""));
        let bytes: usize = ring.after(6).unwrap().map(|entry| entry.frame.bytes().len()).sum();
        assert_eq!((ring.bytes, budget.used.load(Relaxed)), (bytes, bytes));
    }

    #[test]
    fn what_has_not_been_handed_out_stays() {
        let mut ring = Ring::new(0, budget(3, usize::MAX, usize::MAX));
        for seq in 1..=10 {
            ring.push_entry(entry(seq, 10), 4);
        }
        assert_eq!(ring.after(4).unwrap().map(seq_of).collect::<Vec<_>>(), [5, 6, 7, 8, 9, 10]);
        assert!(ring.after(3).is_none());
        ring.push_entry(entry(11, 10), 10);
        assert_eq!(ring.after(8).unwrap().count(), 3);
    }

    #[test]
    fn all_rings_together_stay_within_their_budget() {
        let budget = budget(1000, usize::MAX, 1000);
        let mut rings: Vec<Ring> = (0..4).map(|_| Ring::new(0, budget.clone())).collect();
        for seq in 1..=100 {
            for ring in &mut rings {
                ring.push_entry(entry(seq, 50), Seq::MAX);
            }
        }
        assert!(budget.used.load(Relaxed) <= 1000 + 4 * 60, "{}", budget.used.load(Relaxed));
        assert!(rings.iter().all(|ring| !ring.entries.is_empty()));
    }
}
