//! Reads of this process that go on: while the write-ahead log is held, they are named, and a backup can be given up.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rusqlite::InterruptHandle;

#[derive(Default)]
pub(super) struct Readings(Mutex<Vec<Arc<Reading>>>);

struct Reading {
    what: &'static str,
    since: Instant,
    /// For those that may be given up.
    stop: Option<InterruptHandle>,
}

/// Goes on until this is dropped.
pub(super) struct Going<'a> {
    readings: &'a Readings,
    reading: Arc<Reading>,
}

impl Readings {
    pub(super) fn begin(&self, what: &'static str, stop: Option<InterruptHandle>) -> Going<'_> {
        let reading = Arc::new(Reading { what, since: Instant::now(), stop });
        self.0.lock().push(reading.clone());
        Going { readings: self, reading }
    }

    pub(super) fn longer_than(&self, long: Duration) -> Vec<String> {
        let readings = self.0.lock();
        let long = readings.iter().filter(|reading| reading.since.elapsed() >= long);
        long.map(|reading| format!("{} of this server, for {} s", reading.what, reading.since.elapsed().as_secs()))
            .collect()
    }

    /// Ends those that may be ended.
    pub(super) fn give_up(&self) {
        self.0.lock().iter().filter_map(|reading| reading.stop.as_ref()).for_each(InterruptHandle::interrupt);
    }
}

impl Drop for Going<'_> {
    fn drop(&mut self) {
        self.readings.0.lock().retain(|reading| !Arc::ptr_eq(reading, &self.reading));
    }
}
