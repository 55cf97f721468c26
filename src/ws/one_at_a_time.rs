//! What a user may have done once at a time, over all their sockets.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::types::UserId;

type Line = Arc<tokio::sync::Mutex<()>>;

/// Those who have something done now, and who waits for that. Each connection waits for one thing at most.
#[derive(Default)]
pub(super) struct OneAtATime(Mutex<HashMap<UserId, Line>>);

/// The right to have it done, until this is dropped.
pub(super) struct Turn<'a> {
    all: &'a OneAtATime,
    user: UserId,
    line: Option<Line>,
    held: Option<tokio::sync::OwnedMutexGuard<()>>,
}

impl OneAtATime {
    pub async fn turn_of(&self, user: UserId) -> Turn<'_> {
        let line = self.0.lock().entry(user).or_default().clone();
        let mut turn = Turn { all: self, user, line: Some(line.clone()), held: None };
        turn.held = Some(line.lock_owned().await);
        turn
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut all = self.all.0.lock();
        self.held = None;
        self.line = None;
        if all.get(&self.user).is_some_and(|line| Arc::strong_count(line) == 1) {
            all.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn a_user_has_one_turn_at_a_time_others_have_theirs_and_nothing_stays() {
        let all = OneAtATime::default();
        let (ann, bob) = (UserId::fresh(), UserId::fresh());
        let first = all.turn_of(ann).await;
        let mut second = Box::pin(all.turn_of(ann));
        assert!(poll!(&mut second).is_pending());
        drop(all.turn_of(bob).await);
        let mut given_up = Box::pin(all.turn_of(ann));
        assert!(poll!(&mut given_up).is_pending());
        drop(given_up);
        drop(first);
        assert!(matches!(poll!(&mut second), Poll::Ready(_)));
        drop(second);
        drop(all.turn_of(ann).await);
        assert!(all.0.lock().is_empty());
    }
}
