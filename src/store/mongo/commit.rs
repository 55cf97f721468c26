//! The group commit: events of many rooms in one `insert`, and then what they change in one round of updates.
//!
//! Each room has at most one part here at a time. Parts wait in a queue; up to `store.inserts` commands are under way at
//! once, and each takes whole parts from the queue's front, up to `store.insert_events` events. There is no timer: what
//! waits goes as soon as a command is free, and meanwhile the next gathers. A command of parts that are plain (messages alone)
//! costs two round trips: the `insert`, then heads and read marks side by side.
//!
//! # What an insert leaves behind
//!
//! It is *ordered*: the server stores one event after the other and stops at the first whose key is taken. So of each
//! part a prefix is stored, and no part that follows is touched:
//! - before the taken key: all of it;
//! - the part with the taken key: what stands ahead of that. Its room then reads back what was stored; here it only learns how far it came;
//! - after it: nothing, and these parts are at the front of the queue again.
//!
//! Any other error, also one about the write concern alone, leaves the outcome of the whole command open
//! ([`StoreError::Unavailable`]): its rooms settle that by reading back.
//!
//! # Why a command that comes late does no harm
//!
//! We give up on a command that is not answered in time, and the server may carry it out much later, after its rooms
//! have gone on. Let such a command hold the events `n..=m` of a room.
//! - *No hole.* It was sent when `n - 1` was majority durable, and it stores `n`, `n + 1`, … in this order or stops. What
//!   it stores follows on what is there, whenever that happens.
//! - *No second order.* A seq is a unique key. From the first seq that somebody else has filled on, it stops.
//! - *No event twice.* Before a room's writer sends an event again, it has read the log up to the seq just ahead of it,
//!   and dropped those of its events that it found there. Its next try begins at the very seq that the late command must
//!   fill next to go on: either the late command is first, then the try stops at once, stores nothing, and its writer reads
//!   again; or the try is first, then the late command stops for good. (And with a client_id, `once` is unique.)
//! - *No other room's harm.* The same holds for each room in it; a room at which it stops only keeps it from the next.
//! - *What it stored, and nobody projected,* is found by whoever looks at the room next: they look for an event after the
//!   head that they know, and bring the projections up to the log. Late updates change nothing: see `project.rs`.
//! - *Those whose post it was* were told that its outcome is unknown, which a post that appears later is a case of.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use mongodb::bson::RawDocumentBuf;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::{
    base::{Base, store_error},
    commands::taken,
    marks::Marks,
    project::{self, Projection},
};
use crate::store::{Result, StoreError};

/// Consecutive events of one room.
pub(super) struct Part {
    /// At most `store.insert_events`, and at least one.
    pub events: Vec<RawDocumentBuf>,
    /// What they change, if that is no more than counters: then this is written as well.
    pub then: Option<Projection>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inserted {
    /// All of it, and `then` is written.
    All,
    /// So many; a key of the next is taken. `then` is not written.
    UpTo(usize),
}

/// An error leaves it open what was stored.
type Answer = Result<Inserted>;

struct Job {
    part: Part,
    answer: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    commands: usize,
}

pub(super) struct Commits {
    base: Arc<Base>,
    marks: Arc<Marks>,
    tasks: TaskTracker,
    queue: Mutex<Queue>,
    /// The last command failed: the log has it, and the next failure is no news.
    failing: AtomicBool,
}

impl Commits {
    /// `tasks` does the work, whether or not those who asked still wait.
    pub fn new(base: Arc<Base>, marks: Arc<Marks>, tasks: TaskTracker) -> Arc<Self> {
        Arc::new(Self { base, marks, tasks, queue: Mutex::default(), failing: AtomicBool::new(false) })
    }

    pub async fn insert(self: &Arc<Self>, part: Part) -> Answer {
        let (answer, inserted) = oneshot::channel();
        self.base.metrics.write_queue.inc();
        self.queue.lock().waiting.push_back(Job { part, answer });
        self.start();
        inserted.await.unwrap_or_else(|_| Err(StoreError::Unavailable("a commit was cut off".into())))
    }

    fn start(self: &Arc<Self>) {
        let mut queue = self.queue.lock();
        if queue.commands < self.base.config.inserts && !queue.waiting.is_empty() {
            queue.commands += 1;
            self.tasks.spawn(Command(self.clone()).run());
        }
    }

    fn take(&self) -> Vec<Job> {
        let most = self.base.config.insert_events;
        let (mut jobs, mut events) = (Vec::new(), 0);
        let mut queue = self.queue.lock();
        while let Some(next) = queue.waiting.front() {
            events += next.part.events.len();
            if events > most && !jobs.is_empty() {
                break;
            }
            jobs.extend(queue.waiting.pop_front());
        }
        self.base.metrics.write_queue.dec_by(jobs.len() as i64);
        jobs
    }

    /// For parts of which nothing was stored: they are the next.
    fn put_back(self: &Arc<Self>, jobs: Vec<Job>) {
        self.base.metrics.write_queue.inc_by(jobs.len() as i64);
        {
            let mut queue = self.queue.lock();
            for job in jobs.into_iter().rev() {
                queue.waiting.push_front(job);
            }
        }
        self.start();
    }
}

/// One of the commands that may be under way at once. Ends, also by a panic, with its place free again.
struct Command(Arc<Commits>);

impl Command {
    async fn run(self) {
        loop {
            // Those who were just answered, and all who are about to ask, come along.
            tokio::task::yield_now().await;
            let jobs = self.0.take();
            if jobs.is_empty() {
                return;
            }
            let metrics = &self.0.base.metrics;
            metrics.commit_ops.observe(jobs.len() as f64);
            let began = Instant::now();
            self.commit(jobs).await;
            metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
        }
    }

    async fn commit(&self, jobs: Vec<Job>) {
        let events = jobs.iter().flat_map(|job| &job.part.events);
        let collection = self.0.base.collection("events").clone_with_type::<RawDocumentBuf>();
        let inserted = self.0.base.once(async { collection.insert_many(events).ordered(true).await }).await;
        let reached = match inserted {
            Ok(_) => usize::MAX,
            Err(error) => match taken(&error).as_deref() {
                Some(&[first, ..]) => first,
                _ => return self.fail(jobs, &store_error(&error)),
            },
        };
        if self.0.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the store commits again");
        }
        let Split { whole, stopped, untouched } = split(jobs, reached);
        self.0.put_back(untouched);
        if let Some((job, stored)) = stopped {
            tell(job, Ok(Inserted::UpTo(stored)));
        }
        self.project(whole).await;
    }

    /// Writes what the stored parts change, and answers them.
    async fn project(&self, mut jobs: Vec<Job>) {
        let projections: Vec<Projection> = jobs.iter_mut().filter_map(|job| job.part.then.take()).collect();
        let written = match &projections[..] {
            [] => Ok(()),
            _ => project::counters(&self.0.base, &self.0.marks, &projections).await,
        };
        for job in jobs {
            tell(job, written.clone().map(|()| Inserted::All));
        }
    }

    fn fail(&self, jobs: Vec<Job>, error: &StoreError) {
        if !self.0.failing.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "a commit failed; its rooms read back what is kept of it");
        }
        for job in jobs {
            self.0.base.metrics.store_errors.inc();
            tell(job, Err(error.clone()));
        }
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        self.0.queue.lock().commands -= 1;
        self.0.start();
    }
}

/// Whoever asked may have gone; what they asked for is done all the same.
fn tell(job: Job, answer: Answer) {
    drop(job.answer.send(answer));
}

/// The parts of a command by what became of them.
struct Split {
    whole: Vec<Job>,
    /// With how many of its events are stored.
    stopped: Option<(Job, usize)>,
    untouched: Vec<Job>,
}

/// Of all events of the command, the first `reached` are stored.
fn split(jobs: Vec<Job>, reached: usize) -> Split {
    let mut split = Split { whole: Vec::new(), stopped: None, untouched: Vec::new() };
    let mut begin = 0;
    for job in jobs {
        let end = begin + job.part.events.len();
        if end <= reached {
            split.whole.push(job);
        } else if begin <= reached {
            split.stopped = Some((job, reached - begin));
        } else {
            split.untouched.push(job);
        }
        begin = end;
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(jobs: &[Job]) -> Vec<usize> {
        jobs.iter().map(|job| job.part.events.len()).collect()
    }

    /// Splits parts of 2, 3 and 4 events.
    fn outcome(reached: usize) -> (Vec<usize>, Option<(usize, usize)>, Vec<usize>) {
        let job = |size| {
            let part = Part { events: vec![RawDocumentBuf::new(); size], then: None };
            Job { part, answer: oneshot::channel().0 }
        };
        let Split { whole, stopped, untouched } = split([2, 3, 4].map(job).into(), reached);
        (sizes(&whole), stopped.map(|(job, stored)| (job.part.events.len(), stored)), sizes(&untouched))
    }

    #[test]
    fn of_each_part_a_prefix_is_stored_and_what_follows_is_untouched() {
        assert_eq!(outcome(usize::MAX), (vec![2, 3, 4], None, vec![]));
        assert_eq!(outcome(0), (vec![], Some((2, 0)), vec![3, 4]));
        assert_eq!(outcome(1), (vec![], Some((2, 1)), vec![3, 4]));
        assert_eq!(outcome(2), (vec![2], Some((3, 0)), vec![4]));
        assert_eq!(outcome(4), (vec![2], Some((3, 2)), vec![4]));
        assert_eq!(outcome(8), (vec![2, 3], Some((4, 3)), vec![]));
    }
}
