//! The threads of the store that write, and the order in which they end.

use std::sync::Arc;

use super::{appender::Appender, settler::Settler, watch::Watch, writer::Writer};

/// Those that write.
pub(super) struct Threads {
    pub writer: Arc<Writer>,
    pub appender: Arc<Appender>,
    pub settler: Settler,
    pub watch: Watch,
}

impl Threads {
    /// Finishes what is queued and settles it. Where the tables take everything, no journal is left. Blocks; the second call
    /// finds nothing to do.
    pub fn stop(&self) {
        self.watch.stop();
        let journal = self.appender.stop();
        let settled = self.settler.stop();
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
}
