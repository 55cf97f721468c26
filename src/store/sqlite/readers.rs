//! Reads: a small pool of connections, used on the blocking threads.
//!
//! - A read begins after it was asked for, so it sees every write that was acknowledged before.
//! - One connection is there from the beginning: where the process may open no more files, reads take turns with what there is.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::{
    codec::{store_error, wants_a_new_connection},
    connection::open_reader,
    readings::Readings,
};
use crate::{
    config,
    metrics::Metrics,
    seldom::{self, Line},
    store::{Result, StoreError},
};

pub(super) struct Readers {
    path: PathBuf,
    readings: Arc<Readings>,
    /// One permit is the right to one connection.
    permits: Arc<Semaphore>,
    connections: usize,
    pool: Arc<Pool>,
    waiting: AtomicUsize,
    may_wait: usize,
    /// The last read failed: the log has it, and the next failure is no news.
    failing: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Readers {
    pub(super) fn new(path: PathBuf, readings: Arc<Readings>, config: &config::Store, metrics: Arc<Metrics>) -> Self {
        let connections = config.readers.max(1);
        // Where this fails, the first read says why.
        let idle: Vec<Connection> = open_reader(&path).into_iter().collect();
        let pool = Arc::new(Pool { open: AtomicUsize::new(idle.len()), idle: Mutex::new(idle), back: Condvar::new() });
        Self {
            path,
            readings,
            permits: Arc::new(Semaphore::new(connections)),
            connections,
            pool,
            waiting: AtomicUsize::new(0),
            may_wait: config.read_queue,
            failing: AtomicBool::new(false),
            metrics,
        }
    }

    /// Runs `read` in a read transaction: all of it sees one state of the database.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let result = match self.permit().await {
            Ok(permit) => self.run(permit, read).await,
            Err(error) => Err(error),
        };
        if result.is_err() {
            self.metrics.store_errors.inc();
        }
        result
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit> {
        match self.permits.clone().try_acquire_owned() {
            Ok(permit) => return Ok(permit),
            Err(TryAcquireError::Closed) => return Err(closed()),
            Err(TryAcquireError::NoPermits) => {}
        }
        let waiting = Waiting::begin(self)?;
        let permit = self.permits.clone().acquire_owned().await;
        drop(waiting);
        permit.map_err(|_| closed())
    }

    async fn run<T: Send + 'static>(
        &self,
        permit: OwnedSemaphorePermit,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (pool, path) = (self.pool.clone(), self.path.clone());
        let readings = self.readings.clone();
        // The permit goes along: a caller who leaves does not free a connection that is still in use.
        let task = tokio::task::spawn_blocking(move || {
            let result = pool.take(&path).and_then(|db| {
                let going = readings.begin("a read", None);
                let result = db.unchecked_transaction().and_then(|_until_the_end| read(&db));
                drop(going);
                let sound = !matches!(&result, Err(error) if wants_a_new_connection(error));
                pool.give_back((sound && db.is_autocommit()).then_some(db));
                result
            });
            drop(permit);
            result
        });
        match task.await {
            Ok(Ok(found)) => {
                self.failing.store(false, Ordering::Relaxed);
                Ok(found)
            }
            Ok(Err(error)) => {
                if !self.failing.swap(true, Ordering::Relaxed)
                    && let Some(Line { held_back }) = seldom::due("a read failed")
                {
                    tracing::error!(%error, held_back, "a read failed");
                }
                Err(store_error(&error))
            }
            Err(error) => Err(StoreError::Unavailable(format!("a read was cut off: {error}"))),
        }
    }

    /// Waits for the reads that run or wait already, and closes every connection. Later reads are turned away.
    pub(super) async fn close(&self) {
        if let Ok(_all) = self.permits.acquire_many(self.connections as u32).await {
            self.permits.close();
        }
        self.pool.idle.lock().clear();
    }
}

/// For how long a read waits for another one's connection where none can be opened.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(5);

struct Pool {
    idle: Mutex<Vec<Connection>>,
    /// So many there are, with those that are read with.
    open: AtomicUsize,
    /// One is idle again, or gone.
    back: Condvar,
}

impl Pool {
    fn take(&self, path: &Path) -> rusqlite::Result<Connection> {
        if let Some(db) = self.idle.lock().pop() {
            return Ok(db);
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        open_reader(path).or_else(|error| {
            let others = self.open.fetch_sub(1, Ordering::Relaxed) > 1;
            if !others || error.sqlite_error_code() != Some(ErrorCode::CannotOpen) {
                return Err(error);
            }
            let mut idle = self.idle.lock();
            if idle.is_empty() {
                self.back.wait_for(&mut idle, WAIT_FOR_OTHERS);
            }
            idle.pop().ok_or(error)
        })
    }

    /// `None`: it is of no use any more.
    fn give_back(&self, db: Option<Connection>) {
        match db {
            Some(db) => self.idle.lock().push(db),
            None => drop(self.open.fetch_sub(1, Ordering::Relaxed)),
        }
        self.back.notify_one();
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".into())
}

/// A place in the queue, given back also when the caller stops waiting.
struct Waiting<'a>(&'a Readers);

impl<'a> Waiting<'a> {
    fn begin(readers: &'a Readers) -> Result<Self> {
        if readers.waiting.fetch_add(1, Ordering::Relaxed) >= readers.may_wait {
            readers.waiting.fetch_sub(1, Ordering::Relaxed);
            readers.metrics.bound_hit("store.read_queue");
            return Err(StoreError::Busy);
        }
        readers.metrics.read_queue.inc();
        Ok(Self(readers))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.read_queue.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn past_the_queue_a_read_is_busy_and_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("test.db");
        Connection::open(&path).and_then(|db| db.execute_batch("CREATE TABLE t (n)")).expect("a database");
        let metrics = Arc::new(Metrics::default());
        let config = config::Store { readers: 1, read_queue: 0, ..Default::default() };
        let readers = Arc::new(Readers::new(path, Arc::default(), &config, metrics.clone()));

        let (go, wait) = mpsc::channel::<()>();
        let (inside, is_inside) = oneshot::channel();
        let held = tokio::spawn({
            let readers = readers.clone();
            async move {
                readers
                    .read(move |_| {
                        inside.send(()).expect("the test waits");
                        wait.recv().expect_err("the sender is dropped, never used");
                        Ok(())
                    })
                    .await
            }
        });
        is_inside.await.expect("the read runs");
        assert!(matches!(readers.read(|_| Ok(())).await, Err(StoreError::Busy)));
        assert!(metrics.render().contains(r#"natter_bound_hits_total{setting="store.read_queue"} 1"#));
        drop(go);
        held.await.expect("no panic").expect("no error");
        readers.read(|_| Ok(())).await.expect("there is room again");
        readers.close().await;
        assert!(matches!(readers.read(|_| Ok(())).await, Err(StoreError::Unavailable(_))));
        assert_eq!(metrics.read_queue.get(), 0);
    }
}
