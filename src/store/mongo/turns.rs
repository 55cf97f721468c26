//! Who may work on a room now: one at a time, in the order they came. It knows nothing of what they do.
//!
//! A [`Turn`] ends when it is dropped, wherever that happens; then it is the next one's. Those who stopped waiting are
//! passed over. There is an entry for a room only while somebody has its turn.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::types::RoomId;

#[derive(Default)]
pub(super) struct Turns {
    waiting: Mutex<HashMap<RoomId, VecDeque<oneshot::Sender<Turn>>>>,
}

pub(super) struct Turn {
    pub room: RoomId,
    /// `None` once it has nothing to hand on.
    turns: Option<Arc<Turns>>,
}

impl Turns {
    pub async fn take(self: &Arc<Self>, room: RoomId) -> Turn {
        let mut turn = match self.waiting.lock().entry(room) {
            Entry::Vacant(free) => {
                free.insert(VecDeque::new());
                return Turn { room, turns: Some(self.clone()) };
            }
            Entry::Occupied(mut taken) => {
                let (tell, turn) = oneshot::channel();
                taken.get_mut().push_back(tell);
                turn
            }
        };
        // A sender leaves the queue only by being sent to, and the queue stays as long as somebody is in it.
        (&mut turn).await.expect("whoever has the turn hands it on")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.turns.take() else { return };
        loop {
            let next = {
                let mut waiting = turns.waiting.lock();
                let next = waiting.get_mut(&self.room).and_then(VecDeque::pop_front);
                if next.is_none() {
                    waiting.remove(&self.room);
                }
                next
            };
            let Some(next) = next else { return };
            match next.send(Turn { room: self.room, turns: Some(turns.clone()) }) {
                Ok(()) => return,
                Err(mut gone) => gone.turns = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::{FutureExt, poll};

    use super::*;

    #[tokio::test]
    async fn turns_come_in_order_and_skip_who_stopped_waiting() {
        let turns = Arc::new(Turns::default());
        let (room, other) = (RoomId::fresh(), RoomId::fresh());
        let first = turns.take(room).await;
        let mut second = Box::pin(turns.take(room));
        let mut gone = Box::pin(turns.take(room));
        let mut third = pin!(turns.take(room));
        for waiting in [&mut second, &mut gone] {
            assert!(poll!(waiting).is_pending());
        }
        assert!(poll!(&mut third).is_pending());
        turns.take(other).now_or_never().expect("another room is free");
        drop(gone);
        drop(first);
        assert!(poll!(&mut third).is_pending());
        drop(second.await);
        drop(third.await);
        assert!(turns.waiting.lock().is_empty());
    }

    #[tokio::test]
    async fn a_turn_that_was_handed_to_somebody_who_left_goes_on() {
        let turns = Arc::new(Turns::default());
        let room = RoomId::fresh();
        let first = turns.take(room).await;
        let mut second = Box::pin(turns.take(room));
        assert!(poll!(&mut second).is_pending());
        drop(first);
        // It is theirs already, and they never look.
        drop(second);
        turns.take(room).now_or_never().expect("the room is free");
    }
}
