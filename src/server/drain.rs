//! How a server ends: nobody is cut off who can be let go in time, and nothing acknowledged is lost in any case.
//!
//! 1. `draining` is set: `/readyz` says no, and new work is answered 503.
//! 2. No connection is accepted any more; idle ones close, requests in flight finish.
//! 3. Sockets are told, and closed with 1012, spread over the time there is.
//! 4. Posts that wait for a commit get it, and the store is closed.
//!
//! All of it within `server.drain_secs`; whatever is not done then is left, and logged.

use std::{future::Future, sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::Server;
use crate::store::Store;

/// What the last steps get of the time, at most: they are commits, and quick.
const RESERVE: Duration = Duration::from_secs(2);

impl Server {
    pub async fn drain(&self, store: &dyn Store) {
        let within = Duration::from_secs(self.app.config.server.drain_secs);
        let began = Instant::now();
        let deadline = began + within;
        let last_steps = deadline - RESERVE.min(within / 4);
        tracing::info!(seconds = within.as_secs(), "draining: no new connections");

        self.app.draining.store(true, Relaxed);
        self.stop.cancel();
        self.open.close();
        let requests = step("requests in flight have finished", last_steps, self.open.wait());
        let sockets = step("sockets are closed", last_steps, async {
            self.app.sockets.drain(last_steps.saturating_duration_since(Instant::now())).await;
        });
        tokio::join!(requests, sockets);
        step("posts are stored", deadline, self.app.chat.settle()).await;
        step("the other nodes know", deadline, self.app.chat.part()).await;
        step("the audit is written", deadline, self.app.audit.flush()).await;
        step("the store is closed", deadline, store.close()).await;
        tracing::info!(millis = began.elapsed().as_millis() as u64, "drained");
    }
}

async fn step(done: &'static str, deadline: Instant, work: impl Future<Output = ()>) {
    match timeout_at(deadline, work).await {
        Ok(()) => tracing::info!("draining: {done}"),
        Err(_) => tracing::warn!("draining: the time is up before {done}"),
    }
}
