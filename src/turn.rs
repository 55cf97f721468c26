//! A turn: much that is done at once by one thread. What each part of it would do at its own end, such as writing to a socket, is
//! done once at the end of the turn.

use std::{cell::RefCell, sync::Arc};

/// Somebody who has something to do at the end of a turn.
pub trait AtTheEnd: Send + Sync {
    fn turn_ended(&self);
}

thread_local! {
    /// The memory of the last turn's list, empty.
    static KEPT: RefCell<Vec<Arc<dyn AtTheEnd>>> = const { RefCell::new(Vec::new()) };
    /// `None`: there is no turn.
    static LATER: RefCell<Option<Vec<Arc<dyn AtTheEnd>>>> = const { RefCell::new(None) };
}

/// Does all of `work` as one turn; within a turn it is part of that.
pub fn take(work: impl FnOnce()) {
    if is_on() {
        return work();
    }
    LATER.set(Some(KEPT.take()));
    // However the work ends, those who rely on the end of the turn have it.
    let _ending = Ending;
    work();
}

struct Ending;

impl Drop for Ending {
    fn drop(&mut self) {
        let mut all = LATER.take().unwrap_or_default();
        all.drain(..).for_each(|later| later.turn_ended());
        KEPT.set(all);
    }
}

/// `false`: there is no turn, and nothing will be done.
pub fn later(who: impl FnOnce() -> Option<Arc<dyn AtTheEnd>>) -> bool {
    LATER.with_borrow_mut(|later| match (later, who) {
        (Some(later), who) => who().map(|who| later.push(who)).is_some(),
        (None, _) => false,
    })
}

pub fn is_on() -> bool {
    LATER.with_borrow(Option::is_some)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    impl AtTheEnd for AtomicU32 {
        fn turn_ended(&self) {
            self.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn what_is_put_off_is_done_once_at_the_end() {
        let ends = Arc::new(AtomicU32::new(0));
        let who = || Some(ends.clone() as Arc<dyn AtTheEnd>);
        assert!(!later(who), "there is no turn yet");
        take(|| {
            take(|| assert!(is_on() && later(who)));
            assert_eq!(ends.load(Relaxed), 0);
        });
        assert_eq!(ends.load(Relaxed), 1);
        assert!(!is_on());
    }

    #[test]
    fn a_turn_that_panics_has_its_end_too() {
        let ends = Arc::new(AtomicU32::new(0));
        let turn = std::panic::catch_unwind(|| {
            take(|| {
                later(|| Some(ends.clone() as Arc<dyn AtTheEnd>));
                panic!("in a turn, as the test wants it");
            });
        });
        assert!(turn.is_err());
        assert_eq!(ends.load(Relaxed), 1);
    }
}
