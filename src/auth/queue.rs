//! Whose password is looked at next: a queue that is fair by address.
//!
//! - Addresses take turns, however many sign-ins each has waiting.
//! - Past `auth.password_queue` who waits from the address with the most has to leave for somebody of an address with fewer, so
//!   one address can fill the queue only while nobody else wants in.
//! - Those who are known (the owner of a login, an address or a device that has signed in to the account before) and strangers
//!   take turns too, and each have a quarter of the queue that the others cannot take: many addresses cannot fill it either.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::limits::network::Network;

/// Who wants a password looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// `None`: the operator.
    pub network: Option<Network>,
    pub known: bool,
}

impl Asker {
    pub const OPERATOR: Self = Self { network: None, known: true };
}

pub(super) struct Queue {
    state: Mutex<State>,
    most: usize,
}

struct State {
    /// Threads without work; while there are any, nobody waits.
    free: usize,
    /// Strangers, and those who are known.
    classes: [Class; 2],
    next: usize,
}

/// Addresses with somebody waiting, in the order of their turns.
#[derive(Default)]
struct Class {
    lines: VecDeque<Line>,
    waiting: usize,
}

struct Line {
    network: Option<Network>,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// A thread may be used until this is dropped.
pub(super) struct Turn {
    queue: Option<Arc<Queue>>,
}

/// Nobody more can wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Queue {
    pub fn new(threads: usize, most: usize) -> Arc<Self> {
        let state = State { free: threads, classes: Default::default(), next: 0 };
        Arc::new(Self { state: Mutex::new(state), most })
    }

    pub async fn turn(self: &Arc<Self>, asker: Asker) -> Result<Turn, Full> {
        let wait = {
            let mut state = self.state.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Turn { queue: Some(self.clone()) });
            }
            state.join(asker, self.most)?
        };
        // Who has to leave is told so by the end of its sender.
        wait.await.map_err(|_| Full)
    }
}

impl State {
    fn join(&mut self, asker: Asker, most: usize) -> Result<oneshot::Receiver<Turn>, Full> {
        // Those who gave up do not count.
        self.classes.iter_mut().for_each(Class::clear);
        let (class, reserve) = (usize::from(asker.known), most / 4);
        let [strangers, known] = [0, 1].map(|class| self.classes[class].waiting);
        let has_share = self.classes[class].waiting < most - reserve;
        if !(has_share && strangers + known < most) {
            let yields = asker.known && has_share && strangers > reserve;
            let room = if yields { self.classes[0].drops_one() } else { self.classes[class].makes_room(asker.network) };
            if !room {
                return Err(Full);
            }
        }
        let (sender, wait) = oneshot::channel();
        self.classes[class].add(asker.network, sender);
        Ok(wait)
    }

    fn pop(&mut self) -> Option<oneshot::Sender<Turn>> {
        let first = self.next;
        self.next = 1 - first;
        let (one, other) = (first, 1 - first);
        self.classes[one].pop().or_else(|| self.classes[other].pop())
    }
}

impl Class {
    fn clear(&mut self) {
        for line in &mut self.lines {
            line.waiting.retain(|sender| !sender.is_closed());
        }
        self.lines.retain(|line| !line.waiting.is_empty());
        self.waiting = self.lines.iter().map(|line| line.waiting.len()).sum();
    }

    fn add(&mut self, network: Option<Network>, sender: oneshot::Sender<Turn>) {
        self.waiting += 1;
        match self.lines.iter_mut().find(|line| line.network == network) {
            Some(line) => line.waiting.push_back(sender),
            None => self.lines.push_back(Line { network, waiting: VecDeque::from([sender]) }),
        }
    }

    /// The last to come from the address with the most leaves for one of `network`, where that then has no more than it.
    fn makes_room(&mut self, network: Option<Network>) -> bool {
        let own = self.lines.iter().find(|line| line.network == network).map_or(0, |line| line.waiting.len());
        self.lines.iter().any(|line| line.waiting.len() > own + 1) && self.drops_one()
    }

    fn drops_one(&mut self) -> bool {
        let Some(longest) = (0..self.lines.len()).max_by_key(|at| self.lines[*at].waiting.len()) else { return false };
        self.lines[longest].waiting.pop_back();
        self.waiting -= 1;
        if self.lines[longest].waiting.is_empty() {
            self.lines.remove(longest);
        }
        true
    }

    fn pop(&mut self) -> Option<oneshot::Sender<Turn>> {
        let mut line = self.lines.pop_front()?;
        let first = line.waiting.pop_front();
        self.waiting -= usize::from(first.is_some());
        if !line.waiting.is_empty() {
            self.lines.push_back(line);
        }
        first
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(queue) = self.queue.take() else { return };
        loop {
            let next = {
                let mut state = queue.state.lock();
                let next = state.pop();
                state.free += usize::from(next.is_none());
                next
            };
            let Some(next) = next else { return };
            match next.send(Turn { queue: Some(queue.clone()) }) {
                Ok(()) => return,
                // It gave up waiting: the turn is another's, and ends nothing.
                Err(mut turn) => turn.queue = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn asker(address: u8, known: bool) -> Asker {
        Asker { network: Some(Network::of([192, 0, 2, address].into())), known }
    }

    type Waiting = std::pin::Pin<Box<dyn Future<Output = Result<Turn, Full>>>>;

    /// One who waits now, unless it is told to leave or has its turn at once.
    fn wait(queue: &Arc<Queue>, asker: Asker) -> Waiting {
        let queue = queue.clone();
        let mut waiting: Waiting = Box::pin(async move { queue.turn(asker).await });
        match waiting.as_mut().now_or_never() {
            Some(done) => Box::pin(std::future::ready(done)),
            None => waiting,
        }
    }

    fn is_full(waiting: &mut Waiting) -> bool {
        matches!(waiting.now_or_never(), Some(Err(Full)))
    }

    #[test]
    fn addresses_take_turns_however_many_wait_from_one() {
        let queue = Queue::new(1, 64);
        let mut turn = wait(&queue, asker(1, false)).now_or_never().and_then(Result::ok);
        let mut many: Vec<Waiting> = (0..10).map(|_| wait(&queue, asker(1, false))).collect();
        let mut other = wait(&queue, asker(2, false));
        drop(turn.take());
        let first = many.remove(0).now_or_never().expect("the first of the first address").ok();
        drop(first);
        assert!((&mut other).now_or_never().is_some_and(|turn| turn.is_ok()), "then the other address");
    }

    #[test]
    fn one_address_fills_the_queue_only_while_nobody_else_wants_in() {
        let queue = Queue::new(1, 8);
        let turn = wait(&queue, asker(1, false));
        let mut many: Vec<Waiting> = (0..10).map(|_| wait(&queue, asker(1, false))).collect();
        assert_eq!(
            many.iter_mut().map(is_full).filter(|full| *full).count(),
            4,
            "a quarter is for those who are known"
        );
        let mut many: Vec<Waiting> = many.drain(..6).collect();
        let mut other = wait(&queue, asker(2, false));
        assert!(!is_full(&mut other) && is_full(&mut many[5]), "the last of the many has to leave");
        assert!(is_full(&mut wait(&queue, asker(1, false))), "and none of them comes instead");
        drop(turn);
    }

    #[test]
    fn strangers_from_many_addresses_never_keep_out_who_is_known() {
        let queue = Queue::new(1, 8);
        let turn = wait(&queue, asker(0, false)).now_or_never().and_then(Result::ok);
        let mut strangers: Vec<Waiting> = (1..20).map(|address| wait(&queue, asker(address, false))).collect();
        strangers.retain_mut(|stranger| !is_full(stranger));
        assert_eq!(strangers.len(), 6);
        let mut known: Vec<Waiting> = (1..=6).map(|address| wait(&queue, asker(address, true))).collect();
        assert!(!known.iter_mut().any(is_full));
        strangers.retain_mut(|stranger| !is_full(stranger));
        assert_eq!(strangers.len(), 2, "they keep their quarter");
        assert!(is_full(&mut wait(&queue, asker(9, true))), "past the whole queue nobody waits");
        drop(turn);
    }

    #[test]
    fn who_gives_up_takes_no_turn_and_no_place() {
        let queue = Queue::new(1, 2);
        let turn = wait(&queue, asker(1, true)).now_or_never().and_then(Result::ok);
        let (gone, stays) = (wait(&queue, asker(2, true)), wait(&queue, asker(3, true)));
        drop(gone);
        let mut next = wait(&queue, asker(4, true));
        drop(turn);
        let had_turn = stays.now_or_never().is_some_and(|turn| turn.is_ok());
        assert!(had_turn && (&mut next).now_or_never().is_some_and(|turn| turn.is_ok()));
        assert_eq!(queue.state.lock().free, 1, "every turn came back");
    }
}
