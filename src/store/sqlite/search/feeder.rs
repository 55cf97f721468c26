//! The thread that takes what has been settled into the index, in small transactions that leave room for others' between them.
//!
//! Its cursor is in the tables, moved in the transaction of what it took in: it can be cut off at any moment.

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use super::{
    index,
    steps::{self, Step},
};
use crate::{
    metrics::Metrics,
    seldom::{self, Line},
    store::{
        StoreError,
        sqlite::{
            batch::{Durability, Need},
            codec::store_error,
            connection::open_reader,
            readings::Readings,
            writer::Writer,
        },
    },
    types::RoomId,
    words,
};

/// Messages in one transaction.
const STEP: usize = 2_000;
/// After a transaction it rests for so many times as long, unless somebody waits.
const REST: u32 = 2;
/// How long it waits after the tables have refused something.
const RETRY: Duration = Duration::from_millis(500);
/// It looks by itself after so long: not everything that makes a log grow tells it.
const LOOK: Duration = Duration::from_secs(5);
/// While it has much to do, it counts what is left so often.
const COUNT: Duration = Duration::from_secs(1);

pub(in crate::store::sqlite) struct Feeder {
    state: Arc<State>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    asked: Mutex<Asked>,
    changed: Condvar,
}

#[derive(Default)]
struct Asked {
    /// How often there was something to look for, and how much of that is done.
    asked: u64,
    done: u64,
    /// So many wait for it.
    waiting: usize,
    stopping: bool,
}

impl Feeder {
    pub(in crate::store::sqlite) fn start(
        database: PathBuf,
        writer: Arc<Writer>,
        readings: Arc<Readings>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let state = Arc::new(State::default());
        let thread =
            Thread { database, db: None, writer, readings, metrics, state: state.clone(), after: None, counted: None };
        let thread = thread::Builder::new().name("natter-words".into()).spawn(move || thread.run())?;
        Ok(Self { state, thread: Mutex::new(Some(thread)) })
    }

    /// There is something new in the tables.
    pub(in crate::store::sqlite) fn wake(&self) {
        self.state.asked.lock().asked += 1;
        self.state.changed.notify_all();
    }

    /// Waits until the index has what the tables have now, but no longer than until then.
    pub(in crate::store::sqlite) fn catch_up(&self, until: Instant) {
        let mut asked = self.state.asked.lock();
        asked.asked += 1;
        asked.waiting += 1;
        let mine = asked.asked;
        self.state.changed.notify_all();
        while asked.done < mine && !asked.stopping {
            if self.state.changed.wait_until(&mut asked, until).timed_out() {
                break;
            }
        }
        asked.waiting -= 1;
    }

    /// Ends after the transaction that it is at. Blocks; the second call finds nothing to do. To be called while the writer still
    /// takes something.
    pub(in crate::store::sqlite) fn stop(&self) {
        self.state.asked.lock().stopping = true;
        self.state.changed.notify_all();
        let thread = self.thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that fills the index of searches ended with a panic");
        }
    }
}

struct Thread {
    database: PathBuf,
    /// It reads by itself, so that it takes no connection from people.
    db: Option<Connection>,
    writer: Arc<Writer>,
    readings: Arc<Readings>,
    metrics: Arc<Metrics>,
    state: Arc<State>,
    /// The room where the last step ended: every room has its turn.
    after: Option<RoomId>,
    counted: Option<Instant>,
}

impl Thread {
    fn run(mut self) {
        let mut current = false;
        while let Some(asked) = self.next_look() {
            let looked = match current {
                true => Ok(()),
                false => self.make_current(),
            };
            let looked = looked.and_then(|()| {
                current = true;
                self.catch_up()
            });
            match looked {
                Ok(true) => {
                    self.metrics.search_behind.set(0);
                    self.state.asked.lock().done = asked;
                    self.state.changed.notify_all();
                }
                Ok(false) => return,
                Err(error) => {
                    if let Some(Line { held_back }) = seldom::due("the index of searches") {
                        tracing::warn!(%error, held_back, "the index of searches stays behind");
                    }
                    self.db = None;
                    self.rest(RETRY, true);
                }
            }
        }
    }

    /// Waits until there is something to look for, or for a while; gives how often it was asked. `None`: stop.
    fn next_look(&self) -> Option<u64> {
        let mut asked = self.state.asked.lock();
        while !asked.stopping && asked.asked == asked.done {
            if self.state.changed.wait_for(&mut asked, LOOK).timed_out() {
                break;
            }
        }
        (!asked.stopping).then_some(asked.asked)
    }

    /// An index that was made by another way of cutting texts is made anew.
    fn make_current(&mut self) -> Result<(), StoreError> {
        let version = self.read(index::version)?;
        if version == words::version() {
            return Ok(());
        }
        if !version.is_empty() {
            tracing::info!("texts are cut into words in a new way: the index of searches is made anew");
        }
        self.writer.write_blocking(index::empty, Durability::Lazy, Need::Room)
    }

    /// `false`: stop.
    fn catch_up(&mut self) -> Result<bool, StoreError> {
        loop {
            let after = self.after.take();
            let (step, began) = (self.read(|db| steps::next(db, after, STEP))?, Instant::now());
            let Some(step) = step else {
                if after.is_none() {
                    return Ok(true);
                }
                // Those before it.
                continue;
            };
            self.after = step.last_room();
            self.count()?;
            self.take_in(step)?;
            if !self.rest(began.elapsed() * REST, false) {
                return Ok(false);
            }
        }
    }

    fn take_in(&self, step: Step) -> Result<(), StoreError> {
        let events = step.events();
        let step = Arc::new(step);
        self.writer.write_blocking(move |db| steps::take_in(db, &step), Durability::Lazy, Need::Room)?;
        self.metrics.search_behind.dec_by(i64::try_from(events).unwrap_or(i64::MAX));
        Ok(())
    }

    fn count(&mut self) -> Result<(), StoreError> {
        if self.counted.is_none_or(|counted| counted.elapsed() >= COUNT) {
            let behind = self.read(index::behind)?;
            self.metrics.search_behind.set(i64::try_from(behind).unwrap_or(i64::MAX));
            self.counted = Some(Instant::now());
        }
        Ok(())
    }

    fn read<T>(&mut self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        if self.db.is_none() {
            self.db = Some(open_reader(&self.database).map_err(|error| store_error(&error))?);
        }
        let db = self.db.as_ref().expect("it was opened just now");
        let _going = self.readings.begin("the index of searches", None);
        let result = db.unchecked_transaction().and_then(|_until_the_end| read(db));
        result.map_err(|error| store_error(&error))
    }

    /// Leaves the time to others, unless somebody waits and it may be cut short. `false`: stop.
    fn rest(&self, rest: Duration, wholly: bool) -> bool {
        let until = Instant::now() + rest;
        let mut asked = self.state.asked.lock();
        while !asked.stopping && (wholly || asked.waiting == 0) {
            if self.state.changed.wait_until(&mut asked, until).timed_out() {
                break;
            }
        }
        !asked.stopping
    }
}
