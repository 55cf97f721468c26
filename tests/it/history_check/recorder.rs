//! The one clock of a run, and the list that everybody writes what happens to.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::history::{self, Micros, Record};

pub struct Recorder {
    start: Instant,
    records: Mutex<Vec<Record>>,
    /// Logins and sockets; from 1 on.
    ids: AtomicU64,
    /// Cancelled when the run is over, whatever is still planned.
    over: CancellationToken,
    /// Where the history goes if the run breaks off.
    path: PathBuf,
}

impl Recorder {
    pub fn new(path: PathBuf) -> Self {
        let (records, ids, over) = (Mutex::default(), AtomicU64::new(1), CancellationToken::new());
        Self { start: Instant::now(), records, ids, over, path }
    }

    pub fn now(&self) -> Micros {
        Micros::try_from(self.start.elapsed().as_micros()).expect("a run is shorter than an age")
    }

    pub fn add(&self, record: Record) {
        self.records.lock().push(record);
    }

    pub fn id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// When the plan's time has come; `false`: the run is over before that.
    pub async fn comes(&self, millis: u64) -> bool {
        timeout_at(self.start + Duration::from_millis(millis), self.over.cancelled()).await.is_err()
    }

    pub fn take(&self) -> Vec<Record> {
        std::mem::take(&mut *self.records.lock())
    }
}

impl Drop for Recorder {
    /// A run that panics leaves its history too.
    fn drop(&mut self) {
        let records = self.records.get_mut();
        if records.is_empty() {
            return;
        }
        match history::write(records, &self.path) {
            Ok(()) => eprintln!("the run broke off; its history is in {}", self.path.display()),
            Err(error) => eprintln!("the run broke off, and {} cannot be written: {error}", self.path.display()),
        }
    }
}
