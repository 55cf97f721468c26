//! Whether the store is known to be away: every append has failed for `rooms.away_millis`. Posts are then refused at once, not
//! after `rooms.post_secs` each; now and then one is let through, and the first that is stored ends it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// So often a post is let through to a store that is away.
const TRY_EVERY: Duration = Duration::from_millis(250);

pub(super) struct Away {
    /// `None` while appends succeed.
    failing: Mutex<Option<Failing>>,
    known_after: Duration,
}

#[derive(Clone, Copy)]
struct Failing {
    since: Instant,
    tried: Instant,
}

impl Away {
    pub fn new(known_after: Duration) -> Self {
        Self { failing: Mutex::new(None), known_after }
    }

    pub fn failed(&self) {
        let now = Instant::now();
        self.failing.lock().get_or_insert(Failing { since: now, tried: now });
    }

    pub fn answered(&self) {
        *self.failing.lock() = None;
    }

    pub fn is_known(&self) -> bool {
        self.failing.lock().is_some_and(|failing| failing.since.elapsed() >= self.known_after)
    }

    /// Whether a post may be tried now.
    pub fn lets_through(&self) -> bool {
        let mut failing = self.failing.lock();
        let Some(failing) = failing.as_mut().filter(|failing| failing.since.elapsed() >= self.known_after) else {
            return true;
        };
        let due = failing.tried.elapsed() >= TRY_EVERY;
        if due {
            failing.tried = Instant::now();
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_once_it_has_failed_for_so_long_and_until_the_first_success() {
        let soon = Away::new(Duration::ZERO);
        assert!(!soon.is_known() && soon.lets_through());
        soon.failed();
        assert!(soon.is_known() && !soon.lets_through());
        soon.answered();
        assert!(!soon.is_known() && soon.lets_through());

        let late = Away::new(Duration::MAX);
        late.failed();
        assert!(!late.is_known() && late.lets_through());
    }

    #[test]
    fn now_and_then_one_is_let_through() {
        let away = Away::new(Duration::ZERO);
        away.failed();
        away.failing.lock().as_mut().expect("failing").tried -= TRY_EVERY;
        assert!(away.lets_through());
        assert!(!away.lets_through());
    }
}
