//! The connection engine: live sockets, from the handshake to the close frame.
//!
//! - `upgrade.rs` makes a connection of a request; `connection.rs` is one connection, `task.rs` its task.
//! - `reader.rs` turns bytes into texts, `frames.rs` texts into commands, `commands.rs` carries them out,
//!   `subscribe.rs` those that follow rooms. `asked.rs` is the shape of those texts, for the documentation.
//! - `outbox.rs` is the write path: cursors into rooms, not queues of messages.
//! - `wheel.rs` looks after pings, expiry and slowness of all of them with one timer.

pub(crate) mod asked;
pub(crate) mod close;
mod commands;
mod connection;
mod frame_rate;
mod frames;
mod outbox;
mod reader;
pub(crate) mod refusal;
mod subscribe;
mod task;
pub mod upgrade;
mod wheel;

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, Semaphore};

use self::{connection::Connection, wheel::Wheel};
use crate::{chat::subscriber::SubscriberId, config::Config, metrics::Metrics, protocol::Said};

/// How often a drain looks for connections that it has not seen.
const LATECOMERS_EVERY: Duration = Duration::from_millis(100);

/// All sockets of this process.
pub struct Sockets {
    started: Instant,
    open: Arc<Open>,
    ids: AtomicU64,
    wheel: Wheel,
    /// Reads from the store for connections that are behind their rooms' rings.
    replays: Semaphore,
    metrics: Arc<Metrics>,
}

struct Open {
    count: AtomicUsize,
    max: usize,
    all_gone: Notify,
    metrics: Arc<Metrics>,
}

/// A connection's place among those that may be open; given back when it is dropped.
struct Seat(Arc<Open>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.metrics.connections.dec();
        if self.0.count.fetch_sub(1, Relaxed) == 1 {
            self.0.all_gone.notify_waiters();
        }
    }
}

impl Sockets {
    /// Starts the wheel's task, which ends with the process.
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        let open = Open {
            count: AtomicUsize::new(0),
            max: config.sockets.connections,
            all_gone: Notify::new(),
            metrics: metrics.clone(),
        };
        let started = Instant::now();
        Self {
            started,
            open: Arc::new(open),
            ids: AtomicU64::new(0),
            wheel: Wheel::start(started),
            replays: Semaphore::new(config.sockets.replays),
            metrics,
        }
    }

    /// Seconds on the clock that all times of connections are in.
    fn now(&self) -> u32 {
        self.started.elapsed().as_secs() as u32
    }

    /// Wraps after 49 days: compare by difference.
    fn now_millis(&self) -> u32 {
        self.started.elapsed().as_millis() as u32
    }

    fn next_id(&self) -> SubscriberId {
        SubscriberId(self.ids.fetch_add(1, Relaxed))
    }

    /// `None` where as many are open as may be (`sockets.connections`).
    fn take_seat(&self) -> Option<Seat> {
        let taken = self.open.count.fetch_update(Relaxed, Relaxed, |open| (open < self.open.max).then_some(open + 1));
        if taken.is_err() {
            self.metrics.bound_hit("sockets.connections");
            return None;
        }
        self.metrics.connections.inc();
        self.metrics.connections_opened.inc();
        Some(Seat(self.open.clone()))
    }

    /// From now on the wheel looks at it.
    fn look_after(&self, connection: &Arc<Connection>) {
        self.wheel.add(connection, self.now() + 1);
    }

    fn watch(&self, connection: Weak<Connection>) {
        self.wheel.watch(connection, self.now() + 1);
    }

    /// Tells every client that the server goes, closes them one after the other over half of `within`, so that they do not
    /// come back all at once, and returns when the last has gone or the time is up.
    pub async fn drain(&self, within: Duration) {
        let deadline = tokio::time::Instant::now() + within;
        let connections = self.wheel.connections();
        let draining = Said::Draining;
        for connection in &connections {
            if !connection.only_messages() {
                connection.send(&draining);
            }
        }
        let pause = within.div_f64(2.0 * connections.len().max(1) as f64);
        let mut next = tokio::time::Instant::now();
        for connection in connections {
            connection.drain();
            next += pause;
            if next > tokio::time::Instant::now() {
                tokio::time::sleep_until(next).await;
            }
        }
        while tokio::time::Instant::now() < deadline {
            let gone = self.open.all_gone.notified();
            if self.open.count.load(Relaxed) == 0 {
                return;
            }
            // Those whose handshake was under way, or that the wheel had in its hands, a moment ago.
            self.wheel.connections().iter().for_each(|connection| connection.drain());
            let look_again = (tokio::time::Instant::now() + LATECOMERS_EVERY).min(deadline);
            if tokio::time::timeout_at(look_again, gone).await.is_ok() {
                return;
            }
        }
        tracing::warn!(open = self.open.count.load(Relaxed), "sockets did not close in time");
    }
}
