//! The one thread that writes to the tables. It takes whatever has gathered, runs it in one transaction, commits, and answers all.
//!
//! While a commit waits for the disk the next batch gathers: that is the whole of group commit, and there is no timer.
//!
//! - Nobody is answered before the commit that holds their work is on disk, but the settler, whose work is in the journal; and a failed commit leaves nothing of anybody's.
//! - A failure of one op (a panic, a constraint) affects only that op: the batch runs again, each op in a savepoint.
//!   That is why ops are `Fn`: they may run twice, and must change nothing but the database.
//! - After trouble with the disk the next batch begins with a new connection, so that service comes back by itself.

use std::{
    io, iter,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::{
    batch::{Durability, Job, Need, Op, Trouble, transaction},
    codec::{store_error, wants_a_new_connection},
    connection::BUSY_TIMEOUT,
    erasures::Wanted,
    space::Space,
};
use crate::{
    config,
    metrics::Metrics,
    store::{Result, StoreError},
};

/// Without these the first to come back after a commit would have the next one to itself, and the others wait for two.
/// They cost microseconds, a commit costs hundreds.
pub(super) const GATHER_YIELDS: usize = 8;

/// So many pages (16 MB) in the write-ahead log, and they are moved into the database.
const CHECKPOINT_PAGES: i64 = 4_096;

/// Where it has grown past `store.wal_bytes`, because readers held every checkpoint back, writing waits for them once in a while.
const OVERGROWN_WAIT: Duration = Duration::from_millis(200);
const OVERGROWN_PAUSE: Duration = Duration::from_secs(2);

/// Opens the writer's connection anew.
pub(super) type Reopen = Box<dyn Fn() -> rusqlite::Result<Connection> + Send>;

/// The sending end: any task may hold it.
pub(super) struct Writer {
    /// `None` once closed.
    queue: RwLock<Option<SyncSender<Box<dyn Job>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    commits: Arc<AtomicU64>,
    log_anew: Arc<AtomicBool>,
    /// To be told when something is deleted.
    pub(super) erasing: Arc<Wanted>,
    metrics: Arc<Metrics>,
}

impl Writer {
    /// After its next commit the write-ahead log begins anew, and holds nothing of what was erased; where readers hold it, after a
    /// later one.
    pub(super) fn begin_the_log_anew(&self) {
        self.log_anew.store(true, Ordering::Release);
    }

    pub(super) fn log_is_to_begin_anew(&self) -> bool {
        self.log_anew.load(Ordering::Acquire)
    }

    /// How many commits have succeeded. Whoever was answered is counted.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Acquire)
    }

    pub(super) fn start(
        db: Connection,
        reopen: Reopen,
        space: Arc<Space>,
        config: &config::Store,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(config.write_queue.max(1));
        let commits = Arc::new(AtomicU64::new(0));
        let log_anew = Arc::new(AtomicBool::new(false));
        let thread = Thread {
            db: Some(db),
            reopen,
            space,
            full: true,
            suspect: false,
            waited: None,
            log_bytes: config.wal_bytes,
            jobs,
            commit_ops: config.commit_ops.max(1),
            failing: false,
            commits: commits.clone(),
            log_anew: log_anew.clone(),
            metrics: metrics.clone(),
        };
        let thread = thread::Builder::new().name("natter-store".into()).spawn(move || thread.run())?;
        Ok(Self {
            queue: RwLock::new(Some(queue)),
            thread: Mutex::new(Some(thread)),
            commits,
            log_anew,
            erasing: Arc::default(),
            metrics,
        })
    }

    /// Runs `op` in the next commit and returns once that is on disk. `op` may run twice; it is the second run that counts.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        need: Need,
        op: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        // Whoever asked may have gone; what they asked for is done all the same.
        self.write_then(need, op, move |result| drop(reply.send(result)));
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// As [`Writer::write`], for threads of the store; where it may be `Lazy`, it is on disk with the next commit that is not.
    pub(super) fn write_blocking<T: Send + 'static>(
        &self,
        op: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
        durability: Durability,
        need: Need,
    ) -> Result<T> {
        let (reply, answer) = sync_channel(1);
        self.submit(Box::new(Op::new(op, durability, need, move |result| drop(reply.send(result)))));
        answer.recv().unwrap_or_else(|_| Err(closed()))
    }

    /// `then` is called by the thread of the store, or at once where the write is not taken; it must not wait for anything.
    pub(super) fn write_then<T: Send + 'static>(
        &self,
        need: Need,
        op: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
        then: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        self.submit(Box::new(Op::new(op, Durability::Full, need, then)));
    }

    fn submit(&self, job: Box<dyn Job>) {
        let queue = self.queue.read().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = &*queue else {
            job.answer(&Err(closed()));
            return;
        };
        self.metrics.write_queue.inc();
        let Err(error) = queue.try_send(job) else { return };
        self.metrics.write_queue.dec();
        self.metrics.store_errors.inc();
        let (job, error) = match error {
            TrySendError::Full(job) => {
                self.metrics.bound_hit("store.write_queue");
                (job, StoreError::Busy)
            }
            TrySendError::Disconnected(job) => (job, closed()),
        };
        job.answer(&Err(error));
    }

    /// Takes no more, finishes what is queued, and waits for that. Blocks; the second call finds nothing to do.
    pub(super) fn stop(&self) {
        drop(self.queue.write().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the store's writer ended with a panic");
        }
    }
}

/// What has queued up, and what those who were just answered queue while the processor is theirs for a moment.
pub(super) fn gather<T>(queue: &Receiver<T>, most: usize, patience: usize) -> impl Iterator<Item = T> {
    let next = move || {
        for _ in 0..patience {
            match queue.try_recv() {
                Ok(job) => return Some(job),
                Err(_) => thread::yield_now(),
            }
        }
        None
    };
    iter::from_fn(next).take(most)
}

pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".into())
}

struct Thread {
    /// `None` after trouble with the disk, until the next batch.
    db: Option<Connection>,
    reopen: Reopen,
    space: Arc<Space>,
    /// The connection syncs every commit.
    full: bool,
    /// A write or a sync has failed: of commits that were not synced yet nobody knows whether the write-ahead log will have them.
    suspect: bool,
    /// When it last waited for readers to let go of the log.
    waited: Option<Instant>,
    /// `store.wal_bytes`.
    log_bytes: u64,
    jobs: Receiver<Box<dyn Job>>,
    commit_ops: usize,
    /// The last commit failed: the log has it, and the next failure is no news.
    failing: bool,
    commits: Arc<AtomicU64>,
    /// Something was erased that the log still has.
    log_anew: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

impl Thread {
    fn run(mut self) {
        while let Ok(first) = self.jobs.recv() {
            let mut batch = vec![first];
            batch.extend(gather(&self.jobs, self.commit_ops - 1, GATHER_YIELDS));
            self.metrics.write_queue.dec_by(batch.len() as i64);
            self.serve(batch);
        }
        if let Some(db) = self.db.take()
            && let Err(error) = checkpoint(&db, "TRUNCATE")
        {
            tracing::warn!(%error, "the last checkpoint failed; the next start does it");
        }
    }

    fn serve(&mut self, batch: Vec<Box<dyn Job>>) {
        let mut batch = self.admit(batch);
        if batch.is_empty() {
            return;
        }
        let mut committed = self.commit_in_time(&mut batch);
        if matches!(committed, Err(StoreError::Full(_))) && batch.iter().any(|job| job.need() == Need::Reserve) {
            let (urgent, others) = batch.into_iter().partition(|job| job.need() == Need::Reserve);
            self.answer(others, &committed);
            self.space.give_up_ballast();
            batch = urgent;
            committed = self.commit_in_time(&mut batch);
        }
        self.answer(batch, &committed);
        if committed.is_ok() {
            self.keep_the_log_short();
        }
    }

    /// Refuses what there is no room for, and gives the others.
    fn admit(&mut self, batch: Vec<Box<dyn Job>>) -> Vec<Box<dyn Job>> {
        if batch.iter().all(|job| job.need() != Need::Room) {
            return batch;
        }
        let Err(error) = self.space.admit_write(self.db.as_ref()) else { return batch };
        let (refused, taken) = batch.into_iter().partition(|job| job.need() == Need::Room);
        self.answer(refused, &Err(error));
        taken
    }

    fn commit_in_time(&mut self, batch: &mut [Box<dyn Job>]) -> Result<()> {
        let began = Instant::now();
        let committed = self.commit(batch);
        self.tell(&committed);
        if committed.is_ok() {
            self.commits.fetch_add(1, Ordering::Release);
        }
        self.metrics.commit_ops.observe(batch.len() as f64);
        self.metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
        committed
    }

    fn answer(&self, batch: Vec<Box<dyn Job>>, committed: &Result<()>) {
        for job in batch {
            if !job.answer(committed) {
                self.metrics.store_errors.inc();
            }
        }
    }

    fn tell(&mut self, committed: &Result<()>) {
        match committed {
            Err(error) if !self.failing => tracing::error!(%error, "a commit failed, and nothing of it is kept"),
            Ok(()) if self.failing => tracing::info!("the store commits again"),
            _ => {}
        }
        self.failing = committed.is_err();
        self.metrics.store_up.set(committed.is_ok().into());
    }

    fn commit(&mut self, batch: &mut [Box<dyn Job>]) -> Result<()> {
        let db = match self.db.take() {
            Some(db) => db,
            None => {
                self.full = true;
                (self.reopen)().map_err(|error| store_error(&error))?
            }
        };
        if self.suspect {
            begin_anew(&db)?;
            self.suspect = false;
        }
        self.sync_as(&db, batch).map_err(|error| store_error(&error))?;
        let result = match transaction(&db, batch, false) {
            Err(Trouble::OfOne) => transaction(&db, batch, true),
            other => other,
        };
        match result {
            Ok(()) => {
                self.db = Some(db);
                Ok(())
            }
            Err(Trouble::OfOne) => Err(StoreError::Unavailable("a write failed".into())),
            Err(Trouble::OfAll(error)) => {
                self.suspect |= error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
                if !wants_a_new_connection(&error) && db.is_autocommit() {
                    self.db = Some(db);
                }
                Err(store_error(&error))
            }
        }
    }

    /// A commit of what is safe in the journal needs no sync of its own.
    fn sync_as(&mut self, db: &Connection, batch: &[Box<dyn Job>]) -> rusqlite::Result<()> {
        let full = batch.iter().any(|job| job.durability() == Durability::Full);
        if full != self.full {
            db.pragma_update(None, "synchronous", if full { "FULL" } else { "NORMAL" })?;
            self.full = full;
        }
        Ok(())
    }

    /// After the answers, so that nobody waits for it who is not writing just then.
    fn keep_the_log_short(&mut self) {
        let Some(db) = &self.db else { return };
        let anew = self.log_anew.load(Ordering::Acquire);
        let overgrown = self.space.look().is_some_and(|disk| disk.log > self.log_bytes || disk.wants_the_log_back());
        let wanted_back = anew || overgrown;
        let result = checkpoint(db, "NOOP").and_then(|(pages, done)| {
            if !wanted_back {
                return if pages - done < CHECKPOINT_PAGES { Ok((pages, done)) } else { checkpoint(db, "PASSIVE") };
            }
            let may_wait = self.waited.is_none_or(|waited| waited.elapsed() >= OVERGROWN_PAUSE);
            db.busy_timeout(if may_wait { OVERGROWN_WAIT } else { Duration::ZERO })?;
            let result = checkpoint(db, "TRUNCATE");
            if anew && matches!(result, Ok((0, _))) {
                self.log_anew.store(false, Ordering::Release);
            }
            if may_wait {
                self.waited = Some(Instant::now());
            }
            db.busy_timeout(BUSY_TIMEOUT)?;
            result
        });
        if let Err(error) = result {
            tracing::warn!(%error, "a checkpoint failed; it is tried again after the next commit");
            self.suspect |= error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
            if wants_a_new_connection(&error) {
                self.db = None;
            }
        }
    }
}

/// Brings everything into the database, on disk there, and begins the write-ahead log anew.
fn begin_anew(db: &Connection) -> Result<()> {
    let busy = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
    match busy {
        Ok(false) => Ok(()),
        Ok(true) => Err(StoreError::Unavailable("readers hold what a failed write has left open".into())),
        Err(error) => Err(store_error(&error)),
    }
}

/// Pages in the write-ahead log, and how many of them are in the database already.
fn checkpoint(db: &Connection, mode: &str) -> rusqlite::Result<(i64, i64)> {
    db.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?.query_row([], |row| Ok((row.get(1)?, row.get(2)?)))
}

#[cfg(test)]
mod tests;
