//! Was every event seen once, and in order? One `Check` per subscriber; `Faults` is the sum over all of them.

use std::collections::{BTreeMap, BTreeSet};

/// Follows one room through one socket.
///
/// - `next` is the seq that should come now.
/// - `missing` holds the seqs below `next` that have not come; one that comes late was reordered, not lost.
/// - `gone` counts what a jump too long to remember seq by seq left out.
pub struct Check {
    next: u64,
    missing: BTreeSet<u64>,
    gone: u64,
    doubled: u64,
    reordered: u64,
}

/// What a run got wrong. All of it has to be zero.
#[derive(Debug, Default, Clone)]
pub struct Faults {
    pub lost: u64,
    pub doubled: u64,
    pub reordered: u64,
    /// Sockets that ended before the tool ended them, by the reason the server gave.
    pub closed: BTreeMap<String, u64>,
}

const LONGEST_JUMP: u64 = 100_000;

impl Check {
    pub fn starting_at(next: u64) -> Self {
        Self { next, missing: BTreeSet::new(), gone: 0, doubled: 0, reordered: 0 }
    }

    /// Whether this event is new to this subscriber.
    pub fn saw(&mut self, seq: u64) -> bool {
        if seq == self.next {
            self.next += 1;
            return true;
        }
        if seq > self.next {
            let remembered = self.next.max(seq.saturating_sub(LONGEST_JUMP));
            self.gone += remembered - self.next;
            self.missing.extend(remembered..seq);
            self.next = seq + 1;
            return true;
        }
        let late = self.missing.remove(&seq);
        if late {
            self.reordered += 1;
        } else {
            self.doubled += 1;
        }
        late
    }

    /// The last seq up to which nothing is missing.
    pub fn level(&self) -> u64 {
        self.missing.first().copied().unwrap_or(self.next).saturating_sub(1)
    }

    /// The last seq that has come.
    pub fn seen(&self) -> u64 {
        self.next - 1
    }

    /// What went wrong, given that the room's last event is `head`.
    pub fn faults(&self, head: u64) -> Faults {
        let unseen = (head + 1).saturating_sub(self.next);
        let lost = self.missing.len() as u64 + self.gone + unseen;
        Faults { lost, doubled: self.doubled, reordered: self.reordered, closed: BTreeMap::new() }
    }
}

impl Faults {
    pub fn add(&mut self, other: &Faults) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
        for (reason, count) in &other.closed {
            *self.closed.entry(reason.clone()).or_default() += count;
        }
    }

    pub fn none(&self) -> bool {
        self.lost + self.doubled + self.reordered == 0 && self.closed.is_empty()
    }

    /// The same rule for acknowledgements: `seqs` are those given to posts after `base`, by everyone who posted.
    pub fn in_acks(base: u64, mut seqs: Vec<u64>) -> Faults {
        seqs.sort_unstable();
        let mut check = Check::starting_at(base + 1);
        seqs.iter().for_each(|&seq| {
            check.saw(seq);
        });
        check.faults(base + seqs.len() as u64)
    }
}
