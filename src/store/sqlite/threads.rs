//! The threads of the embedded store, and the order in which they end.

use std::{sync::Arc, time::Instant};

use super::{
    appender::Appender, eraser::Eraser, search::feeder::Feeder, settler::Settler, tail::Tail, watch::Watch,
    writer::Writer,
};
use crate::store::{Result, StoreError};

/// Those that write.
pub(super) struct Threads {
    pub writer: Arc<Writer>,
    pub appender: Arc<Appender>,
    pub settler: Settler,
    pub eraser: Eraser,
    pub feeder: Arc<Feeder>,
    pub watch: Watch,
}

impl Threads {
    /// Finishes what is queued and settles it. Where the tables take everything, no journal is left. Blocks; the second call
    /// finds nothing to do.
    pub(super) fn stop(&self) {
        self.watch.stop();
        self.eraser.stop();
        let journal = self.appender.stop();
        let settled = self.settler.stop();
        self.feeder.stop();
        match journal {
            Some(mut journal) if settled => {
                if let Err(error) = journal.clear() {
                    tracing::warn!(%error, "the journal's files could not be removed; the next start does it");
                }
            }
            Some(_) => tracing::warn!("posts stay in the journal for the next start"),
            None => {}
        }
        self.writer.stop();
    }

    /// Waits until searches find what has been said, where that is little and done by then.
    pub(super) async fn catch_up(self: &Arc<Self>, tail: Arc<Tail>, until: Instant) -> Result<()> {
        let threads = self.clone();
        let waiting = tokio::task::spawn_blocking(move || {
            if tail.is_nearly_settled(until) {
                threads.feeder.catch_up(until);
            }
        });
        waiting.await.map_err(|error| StoreError::Unavailable(format!("a search was cut off: {error}")))
    }
}
