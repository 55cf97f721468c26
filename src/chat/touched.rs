//! Which messages of a room have been changed lately.
//!
//! Whoever wants to change a message reads it first, and the room's writer decides later. In between others may have changed
//! it, on this node or on another; then what was read is worth nothing, and it is read again.

use std::collections::{HashMap, VecDeque};

use crate::{event::Event, types::Seq};

/// Changed messages that are remembered. Who was slower than so many changes reads once more.
const MOST: usize = 1_024;

/// - Of every message that an event after `since` is about it is known where the last such event stands.
pub(super) struct Touched {
    since: Seq,
    last: HashMap<Seq, Seq>,
    /// The message of each event that is remembered, and where that stands, oldest first.
    order: VecDeque<(Seq, Seq)>,
}

impl Touched {
    /// Nothing is known of what stands before this.
    pub fn new(since: Seq) -> Self {
        Self { since, last: HashMap::new(), order: VecDeque::new() }
    }

    /// Takes in the next event of the log.
    pub fn note(&mut self, event: &Event) {
        let Some(of) = event.kind.target() else { return };
        self.last.insert(of.seq, event.seq);
        self.order.push_back((of.seq, event.seq));
        if self.order.len() > MOST
            && let Some((message, at)) = self.order.pop_front()
        {
            self.since = at;
            if self.last.get(&message) == Some(&at) {
                self.last.remove(&message);
            }
        }
    }

    /// Whether a message, read when the log reached `judged_at`, may have been changed since.
    pub fn is_touched(&self, message: Seq, judged_at: Seq) -> bool {
        judged_at < self.since || self.last.get(&message).is_some_and(|at| *at > judged_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Place, Saying, Target},
        types::{MessageId, RoomId, Timestamp, UserId},
    };

    fn delete(seq: Seq, message: Seq) -> Event {
        let (room, event_id, by) = (RoomId::fresh(), MessageId::fresh(), UserId::fresh());
        let place = Place { room, seq, ordinal: 1, sent_at: Timestamp(0), event_id, by, by_name: "ann" };
        Event::new(place, Saying::Deleted { of: Target { message: MessageId::fresh(), seq: message, ordinal: 1 } })
    }

    #[test]
    fn a_message_is_touched_by_what_came_after_it_was_read() {
        let mut touched = Touched::new(10);
        touched.note(&delete(11, 3));
        assert!(touched.is_touched(3, 10));
        assert!(!touched.is_touched(3, 11));
        assert!(!touched.is_touched(4, 10));
        assert!(touched.is_touched(4, 9), "of what came before it was loaded nothing is known");
    }

    #[test]
    fn what_is_forgotten_counts_as_touched() {
        let mut touched = Touched::new(0);
        (1..=MOST as Seq + 1).for_each(|seq| touched.note(&delete(seq, 1_000_000 + seq)));
        assert!(touched.is_touched(7, 0));
        assert!(!touched.is_touched(7, 1));
        assert_eq!((touched.last.len(), touched.order.len()), (MOST, MOST));
    }
}
