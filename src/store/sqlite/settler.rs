//! The thread that moves posts from the journal into the tables, in small transactions that leave room for others' between them.
//!
//! It goes room by room, so that a page of the tables is written once for many posts of one room and not once for each. When
//! everything that was in the journal at its beginning is in the tables, it says so there, in the transaction of the last of
//! it; what the journal holds before that is needed no more.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    appender::Appender,
    batch::{Durability, Need},
    journal::Position,
    search::feeder::Feeder,
    settled,
    tail::Tail,
    writer::Writer,
};
use crate::{
    config,
    event::Event,
    metrics::Metrics,
    types::{RoomId, Seq},
};

/// Events in one transaction.
const SLICE: usize = 2_000;
/// Of what may be unsettled, this part makes it begin before its time.
const MANY: usize = 2;
/// The longest pause after a transaction, in its own lengths.
const LONGEST_PAUSE: f64 = 8.0;
/// How long it waits after the tables have refused something.
const RETRY: Duration = Duration::from_millis(500);

pub(super) struct Settler {
    tail: Arc<Tail>,
    thread: Mutex<Option<JoinHandle<bool>>>,
}

impl Settler {
    pub(super) fn start(
        tail: Arc<Tail>,
        writer: Arc<Writer>,
        appender: Arc<Appender>,
        feeder: Arc<Feeder>,
        config: &config::Store,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let thread = Thread {
            tail: tail.clone(),
            writer,
            appender,
            feeder,
            after: Duration::from_secs(config.settle_secs),
            most: config.unsettled_bytes,
            metrics,
        };
        let thread = thread::Builder::new().name("natter-settler".into()).spawn(move || thread.run())?;
        Ok(Self { tail, thread: Mutex::new(Some(thread)) })
    }

    /// Settles everything, as far as the tables take it, and ends; `true`: they have everything, on disk. Blocks; the second call
    /// finds nothing to do.
    pub(super) fn stop(&self) -> bool {
        self.tail.stop();
        let Some(thread) = self.thread.lock().take() else { return false };
        thread.join().unwrap_or_else(|_| {
            tracing::error!("the thread that settles ended with a panic");
            false
        })
    }
}

struct Thread {
    tail: Arc<Tail>,
    writer: Arc<Writer>,
    appender: Arc<Appender>,
    feeder: Arc<Feeder>,
    after: Duration,
    /// Bytes that may be unsettled.
    most: usize,
    metrics: Arc<Metrics>,
}

/// Of one or several rooms.
type Slice = Vec<(RoomId, Vec<Event>)>;

impl Thread {
    /// `true`: everything is settled, and on disk.
    fn run(self) -> bool {
        while let Some((end, rooms)) = self.tail.next_settling(self.after, self.most / MANY) {
            if !self.settle(end, rooms) {
                return false;
            }
        }
        true
    }

    /// `false`: the store closes, and the tables do not take it; the journal keeps it for the next start.
    fn settle(&self, end: Position, mut rooms: Vec<(RoomId, Seq)>) -> bool {
        rooms.sort_unstable();
        let (mut slice, mut events) = (Slice::new(), 0);
        for (room, upto) in rooms {
            let mut after = 0;
            while after < upto {
                let mut next = self.tail.unsettled(room, after, SLICE - events);
                next.truncate(next.partition_point(|event| event.seq <= upto));
                let Some(last) = next.last() else { break };
                after = last.seq;
                events += next.len();
                slice.push((room, next));
                if events >= SLICE {
                    if !self.write(std::mem::take(&mut slice), None) {
                        return false;
                    }
                    events = 0;
                }
            }
        }
        if !self.write(slice, Some(end)) {
            return false;
        }
        self.tail.settling_ended();
        self.appender.settled(end);
        true
    }

    /// Again and again until the tables have it.
    fn write(&self, slice: Slice, end: Option<Position>) -> bool {
        let slice = Arc::new(slice);
        // Only what lets go of the journal must be on disk, with everything before it.
        let durability = if end.is_some() { Durability::Full } else { Durability::Lazy };
        loop {
            let began = Instant::now();
            let written = {
                let slice = slice.clone();
                self.writer.write_blocking(move |db| settled::write(db, &slice, end), durability, Need::Promised)
            };
            let Err(error) = written else {
                self.tail.tell(None);
                for (room, events) in &*slice {
                    self.metrics.settled_events.inc_by(events.len() as u64);
                    if let Some(last) = events.last() {
                        self.tail.settled(*room, last.seq);
                    }
                }
                self.feeder.wake();
                self.tail.pause(self.yielding(began.elapsed()));
                return true;
            };
            tracing::warn!(%error, "posts stay in the journal, as the tables do not take them");
            if self.tail.is_stopping() {
                return false;
            }
            self.tail.tell(Some(error));
            self.tail.pause_before_retry(RETRY);
        }
    }

    /// The less there is, the more of the time belongs to others: nearly all of it, or half of it at half of the bound.
    fn yielding(&self, worked: Duration) -> Duration {
        let part = self.most as f64 / 2.0 / self.tail.bytes().max(1) as f64;
        worked.mul_f64(part.min(LONGEST_PAUSE))
    }
}
