//! Whether the store serves, as `/readyz` tells it: looked at once for all who ask within `limits.ready_millis`.
//!
//! A look costs the store a commit, and anybody may ask: so it is never theirs to have one made.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::{Result, Store};

#[derive(Default)]
pub struct Readiness(Mutex<Option<Look>>);

struct Look {
    /// When it was over.
    at: Instant,
    found: Result<()>,
}

impl Readiness {
    /// What the last look found, or a new one where that is longer ago than `fresh`. Who comes while one is made waits for it.
    pub async fn of(&self, store: &dyn Store, fresh: Duration) -> Result<()> {
        let mut last = self.0.lock().await;
        if let Some(look) = last.as_ref().filter(|look| look.at.elapsed() < fresh) {
            return look.found.clone();
        }
        let found = store.ready().await;
        *last = Some(Look { at: Instant::now(), found: found.clone() });
        found
    }
}
