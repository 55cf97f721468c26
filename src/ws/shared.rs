//! What all connections share: what they need of the rest of the server, their clock, and how many there may be.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use tokio::sync::{Notify, Semaphore};

use super::one_at_a_time::OneAtATime;
use crate::{
    auth::token::Tokens,
    chat::{Chat, subscriber::SubscriberId},
    config::Config,
    limits::{Limiters, budget::Budgets, connections::Connections},
    metrics::Metrics,
};

/// What a connection asks of the rest of the server.
pub struct Needs {
    pub config: Arc<Config>,
    pub metrics: Arc<Metrics>,
    pub chat: Arc<Chat>,
    pub tokens: Arc<Tokens>,
    pub limiters: Arc<Limiters>,
    pub budgets: Arc<Budgets>,
    pub connections: Arc<Connections>,
}

pub(super) struct Shared {
    needs: Needs,
    /// Reads from the store for connections that are behind their rooms' rings.
    pub replays: Semaphore,
    pub subscribing: OneAtATime,
    started: Instant,
    ids: AtomicU64,
    open: AtomicUsize,
    pub all_gone: Notify,
    /// Whoever comes now goes at once.
    pub draining: AtomicBool,
}

/// A seat among the connections that may be open, for one to come; given back when it is dropped.
pub(super) struct Seat(Option<Arc<Shared>>);

impl Seat {
    /// From now on the connection has it, which gives it back itself.
    pub fn fill(mut self) {
        self.0 = None;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.give_back_seat();
        }
    }
}

impl Deref for Shared {
    type Target = Needs;

    fn deref(&self) -> &Needs {
        &self.needs
    }
}

impl Shared {
    pub fn new(needs: Needs) -> Self {
        Self {
            replays: Semaphore::new(needs.config.sockets.replays),
            subscribing: OneAtATime::default(),
            started: Instant::now(),
            ids: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            all_gone: Notify::new(),
            draining: AtomicBool::new(false),
            needs,
        }
    }

    /// Seconds on the clock that all times of connections are in; never 0.
    pub fn now(&self) -> u32 {
        self.started.elapsed().as_secs() as u32 + 1
    }

    pub fn next_id(&self) -> SubscriberId {
        SubscriberId(self.ids.fetch_add(1, Relaxed))
    }

    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// `None` where as many are open as may be (`sockets.connections`).
    pub fn take_seat(self: &Arc<Self>) -> Option<Seat> {
        let max = self.config.sockets.connections;
        let taken = self.open.fetch_update(Relaxed, Relaxed, |open| (open < max).then_some(open + 1));
        if taken.is_err() {
            self.metrics.bound_hit("sockets.connections");
            return None;
        }
        self.metrics.connections.inc();
        self.metrics.connections_opened.inc();
        Some(Seat(Some(self.clone())))
    }

    pub fn give_back_seat(&self) {
        self.metrics.connections.dec();
        if self.open.fetch_sub(1, Relaxed) == 1 {
            self.all_gone.notify_waiters();
        }
    }
}
