//! All sockets of this process: their pollers, their timer, and the drain.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::runtime::Handle;

pub use super::shared::Needs;
use super::{
    connection::{Connection, Mode, unix_secs},
    poller::Poller,
    shared::{Seat, Shared},
    wire::Wire,
};
use crate::{chat::Caller, limits::connections::SocketPlace, protocol::Said, types::Timestamp};

/// Connections that the timer looks at before other tasks may run.
const STEP: usize = 1_024;

pub struct Engine {
    pub(super) shared: Arc<Shared>,
    pollers: Box<[Arc<Poller<Connection>>]>,
    /// Where the next connection rests.
    next: AtomicUsize,
}

impl Engine {
    /// Starts a poller for each worker of the runtime, and the timer.
    pub fn start(needs: Needs) -> io::Result<Arc<Self>> {
        let shared = Arc::new(Shared::new(needs));
        let workers = Handle::current().metrics().num_workers();
        let pollers = (0..workers).map(|_| Poller::start(shared.clone())).collect::<io::Result<_>>()?;
        let engine = Arc::new(Self { shared, pollers, next: AtomicUsize::new(0) });
        tokio::spawn(engine.clone().look_after_all());
        Ok(engine)
    }

    /// Makes a connection of a socket, and has it looked after.
    pub(super) fn open(
        &self,
        seat: (Seat, SocketPlace),
        caller: &Caller,
        mode: Mode,
        wire: Wire,
    ) -> io::Result<Arc<Connection>> {
        let poller = &self.pollers[self.next.fetch_add(1, Relaxed) % self.pollers.len()];
        let due = self.shared.now() + 1;
        let opened =
            poller.settle(wire, due, |place, wire| Connection::new(seat, poller.clone(), place, caller, mode, wire));
        // Its handshake was under way when the drain began, which has not seen it perhaps.
        if self.shared.draining.load(Relaxed)
            && let Ok(connection) = &opened
        {
            connection.drain();
        }
        opened
    }

    /// The timer: every second it looks at those who are due.
    async fn look_after_all(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            ticks.tick().await;
            let (now, unix) = (self.shared.now(), unix_secs(Timestamp::now().unix_secs()));
            for poller in &self.pollers {
                let mut next = Some(0);
                while let Some(from) = next {
                    let (due, on) = poller.places.lock().due(from, now, STEP);
                    due.iter().for_each(|connection| connection.tick(now, unix));
                    next = on;
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    fn connections(&self) -> Vec<Arc<Connection>> {
        self.pollers.iter().flat_map(|poller| poller.places.lock().all().cloned().collect::<Vec<_>>()).collect()
    }

    /// Tells every client that the server goes, closes them one after the other over half of `within`, so that they do not
    /// come back all at once, and returns when the last has gone or the time is up.
    pub async fn drain(&self, within: Duration) {
        let deadline = tokio::time::Instant::now() + within;
        // Before the list is made: whoever comes into it later sees this, by the lock of the places.
        self.shared.draining.store(true, Relaxed);
        let connections = self.connections();
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
        loop {
            let gone = self.shared.all_gone.notified();
            if self.shared.open() == 0 {
                return;
            }
            if tokio::time::timeout_at(deadline, gone).await.is_err() {
                break;
            }
        }
        tracing::warn!(open = self.shared.open(), "sockets did not close in time");
    }
}
