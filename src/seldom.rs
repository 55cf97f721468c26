//! Log lines about what anybody can cause again and again: one in ten seconds of each cause, with how many were held back.
//!
//! A log is the process's, and so is this memory of it; it has one entry for each cause that the program names.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

const EVERY: Duration = Duration::from_secs(10);

/// A line that is due.
pub(crate) struct Line {
    /// How many of the same were not written since the last one.
    pub held_back: Option<u64>,
}

struct Told {
    at: Instant,
    held_back: u64,
}

impl Told {
    fn take_held_back(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.held_back)).filter(|held_back| *held_back > 0)
    }
}

#[derive(Default)]
struct Causes(BTreeMap<&'static str, Told>);

static CAUSES: Mutex<Causes> = Mutex::new(Causes(BTreeMap::new()));

/// `None`: a line about this cause was written a moment ago, and this one is only counted.
pub(crate) fn due(cause: &'static str) -> Option<Line> {
    CAUSES.lock().due(cause, Instant::now())
}

/// Writes how many were held back of causes that have come to an end; to be called from time to time.
pub(crate) fn tell_the_rest() {
    let ended = CAUSES.lock().ended(Instant::now());
    for (cause, held_back) in ended {
        tracing::warn!(cause, held_back, "the same happened again since it was told");
    }
}

impl Causes {
    fn due(&mut self, cause: &'static str, now: Instant) -> Option<Line> {
        let Some(told) = self.0.get_mut(cause) else {
            self.0.insert(cause, Told { at: now, held_back: 0 });
            return Some(Line { held_back: None });
        };
        if now.duration_since(told.at) < EVERY {
            told.held_back += 1;
            return None;
        }
        told.at = now;
        Some(Line { held_back: told.take_held_back() })
    }

    fn ended(&mut self, now: Instant) -> Vec<(&'static str, u64)> {
        let over = self.0.iter_mut().filter(|(_, told)| now.duration_since(told.at) >= EVERY);
        let rest = over.filter_map(|(cause, told)| {
            told.at = now;
            Some((*cause, told.take_held_back()?))
        });
        rest.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_ten_seconds_says_how_many_were_held_back() {
        let (mut causes, start) = (Causes::default(), Instant::now());
        let mut due = |cause, secs| causes.due(cause, start + Duration::from_secs(secs)).map(|line| line.held_back);
        assert_eq!(due("full", 0), Some(None));
        assert_eq!((due("full", 1), due("full", 9)), (None, None));
        assert_eq!(due("other", 9), Some(None), "each cause has its own");
        assert_eq!(due("full", 10), Some(Some(2)));
        assert_eq!((due("full", 11), due("full", 30)), (None, Some(Some(1))));
    }

    #[test]
    fn what_was_held_back_last_is_told_too() {
        let (mut causes, start) = (Causes::default(), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        assert!(causes.due("full", at(0)).is_some() && causes.due("full", at(1)).is_none());
        assert_eq!(causes.ended(at(9)), []);
        assert_eq!(causes.ended(at(10)), [("full", 1)]);
        assert_eq!(causes.ended(at(30)), []);
    }
}
