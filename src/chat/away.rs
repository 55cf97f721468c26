//! Whether the store is known to be away: every append has failed for `rooms.away_millis`. Posts are then refused at once, not
//! after `rooms.post_secs` each, until the store answers somebody.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::Chat;

/// So often a store that fails is asked whether it could serve.
const ASK_EVERY: Duration = Duration::from_millis(250);

pub(super) struct Away {
    failing: Mutex<Failing>,
    known_after: Duration,
}

#[derive(Default)]
struct Failing {
    /// When the first append began that failed, after the last one that did not; `None` while appends succeed.
    since: Option<Instant>,
    answered: Option<Instant>,
    /// A task asks the store.
    asked: bool,
}

impl Away {
    pub fn new(known_after: Duration) -> Self {
        Self { failing: Mutex::default(), known_after }
    }

    /// An append that began then came to nothing. `true`: somebody must ask the store from now on.
    fn failed(&self, began: Instant) -> bool {
        let mut failing = self.failing.lock();
        // One room may have trouble of its own, and fail late, while others are stored.
        let began = failing.answered.map_or(began, |answered| answered.max(began));
        failing.since.get_or_insert(began);
        !std::mem::replace(&mut failing.asked, true)
    }

    pub fn answered(&self) {
        let mut failing = self.failing.lock();
        failing.since = None;
        failing.answered = Some(Instant::now());
    }

    pub fn is_known(&self) -> bool {
        self.failing.lock().since.is_some_and(|since| since.elapsed() >= self.known_after)
    }

    /// `true`: it fails still, and is to be asked.
    fn goes_on(&self) -> bool {
        let mut failing = self.failing.lock();
        failing.asked = failing.since.is_some();
        failing.asked
    }
}

impl Chat {
    /// An append that began then failed because the store could not be reached.
    pub(super) fn store_failed(self: &Arc<Self>, began: Instant) {
        if !self.away.failed(began) {
            return;
        }
        let chat = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(ASK_EVERY).await;
                let Some(chat) = chat.upgrade().filter(|chat| chat.away.goes_on()) else { return };
                if chat.store.ready().await.is_ok() {
                    chat.away.answered();
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_once_appends_have_failed_for_so_long_and_until_the_first_success() {
        let away = Away::new(Duration::from_secs(60));
        let minute_ago = Instant::now().checked_sub(Duration::from_secs(60)).expect("the machine is older");
        away.failed(Instant::now());
        assert!(!away.is_known());
        away.failing.lock().since = Some(minute_ago);
        away.failed(Instant::now());
        assert!(away.is_known());
        away.answered();
        assert!(!away.is_known());
        away.failed(minute_ago);
        assert!(!away.is_known(), "another append has succeeded since");
    }

    #[test]
    fn one_task_asks_until_the_store_answers() {
        let away = Away::new(Duration::ZERO);
        assert!(away.failed(Instant::now()));
        assert!(!away.failed(Instant::now()), "it is asked already");
        assert!(away.goes_on());
        away.answered();
        assert!(!away.goes_on());
        assert!(away.failed(Instant::now()), "the next time, another one");
    }
}
