//! Reads: a small pool of connections, used on the blocking threads.
//!
//! A read begins after it was asked for, so it sees every write that was acknowledged before.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::{
    codec::{store_error, wants_a_new_connection},
    connection::open_reader,
};
use crate::{
    config,
    metrics::Metrics,
    seldom::{self, Line},
    store::{Result, StoreError},
};

pub(super) struct Readers {
    path: PathBuf,
    /// One permit is the right to one connection.
    permits: Arc<Semaphore>,
    connections: usize,
    idle: Arc<Mutex<Vec<Connection>>>,
    waiting: AtomicUsize,
    may_wait: usize,
    /// The last read failed: the log has it, and the next failure is no news.
    failing: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Readers {
    pub(super) fn new(path: PathBuf, config: &config::Store, metrics: Arc<Metrics>) -> Self {
        let connections = config.readers.max(1);
        Self {
            path,
            permits: Arc::new(Semaphore::new(connections)),
            connections,
            idle: Arc::default(),
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
        let (idle, path) = (self.idle.clone(), self.path.clone());
        // The permit goes along: a caller who leaves does not free a connection that is still in use.
        let task = tokio::task::spawn_blocking(move || {
            let pooled = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let db = pooled.map_or_else(|| open_reader(&path), Ok);
            let result = db.and_then(|db| {
                let result = db.unchecked_transaction().and_then(|_until_the_end| read(&db));
                let sound = !matches!(&result, Err(error) if wants_a_new_connection(error));
                if sound && db.is_autocommit() {
                    idle.lock().unwrap_or_else(PoisonError::into_inner).push(db);
                }
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
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
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
        let readers = Arc::new(Readers::new(path, &config, metrics.clone()));

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
