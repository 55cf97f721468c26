//! `natter reindex`: makes the index of searches anew, and waits until everything is in it.

use std::time::Duration;

use super::{progress::Progress, survey::sentence};
use crate::store::Store;

/// It looks so often how far that is.
const LOOK: Duration = Duration::from_millis(100);
/// While people write, a few events are always on their way: so few, so many looks in a row, are enough.
const FEW: u64 = 500;
const LOOKS: u32 = 20;

/// Gives how many events there were. The store may be serving meanwhile; searches find what is in again.
pub async fn reindex(store: &dyn Store, progress: &Progress) -> Result<u64, String> {
    store.reindex().await.map_err(|error| sentence(&error))?;
    let total = store.search_behind().await.map_err(|error| sentence(&error))?;
    progress.begin("indexing", "events", total);
    let (mut behind, mut nearly) = (total, 0);
    while behind > 0 && nearly < LOOKS {
        tokio::time::sleep(LOOK).await;
        behind = store.search_behind().await.map_err(|error| sentence(&error))?;
        progress.reach(total.saturating_sub(behind));
        nearly = if behind <= FEW { nearly + 1 } else { 0 };
    }
    Ok(total)
}
