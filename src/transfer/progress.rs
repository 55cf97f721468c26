//! How far a long command is: counted by whoever works, looked at from time to time by whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// What a long command does at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// What it is doing, such as `exporting`; empty before it begins.
    pub stage: String,
    /// What is counted, such as `events`.
    pub unit: String,
    pub done: u64,
    /// 0 where nobody knows.
    pub total: u64,
}

#[derive(Debug, Default)]
pub struct Progress {
    stage: Mutex<(&'static str, &'static str)>,
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    pub(crate) fn begin(&self, stage: &'static str, unit: &'static str, total: u64) {
        let mut now = self.stage.lock();
        *now = (stage, unit);
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    pub(super) fn add(&self, done: u64) {
        self.done.fetch_add(done, Ordering::Relaxed);
    }

    pub(crate) fn reach(&self, done: u64) {
        self.done.fetch_max(done, Ordering::Relaxed);
    }

    pub fn snapshot(&self) -> Snapshot {
        let stage = self.stage.lock();
        Snapshot {
            stage: stage.0.into(),
            unit: stage.1.into(),
            done: self.done.load(Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
        }
    }
}
