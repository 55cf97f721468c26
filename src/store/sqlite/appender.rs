//! The thread that makes posts durable: it takes the appends that have gathered, of all rooms, judges each by the end of its
//! room's log, and commits what may stand there to the journal at once.
//!
//! - A room has one append in a commit; its next one is judged when that is durable.
//! - What changes a room or its members goes to the tables, by way of the store's other thread, together with what of the room
//!   is not settled yet. Until that is done the room's next append waits.
//! - Past `store.unsettled_bytes` everybody waits for the settler.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io, iter, mem,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rusqlite::Connection;

use super::{
    batch::{Durability, Need},
    codec::{store_error, wants_a_new_connection},
    completions::Completions,
    journal::{Journal, Position},
    log, settled,
    snapshot::Tables,
    space::Space,
    tail::Tail,
    writer::{GATHER_YIELDS, Writer, closed, gather},
};
use crate::{
    config,
    event::{Event, Kind},
    metrics::Metrics,
    store::{Appended, Done, Result, Stopped, StoreError},
    types::{RoomId, Seq},
};

/// Bytes in the tables for each byte of a post, at the worst: pages are half full after a split.
const GROWTH: u64 = 3;

/// After a commit of no more appends than these, the next one does not wait for others to gather.
const FEW: usize = 4;

/// Events that are to follow on a room's log.
struct Append {
    room: RoomId,
    events: Arc<[Event]>,
    done: Done,
}

enum Task {
    Append(Append),
    /// The tables have a change of this room, or have refused it, or nobody knows.
    Released {
        room: RoomId,
        known: bool,
    },
    Settled(Position),
    Scrub(Box<dyn FnOnce(Result<()>) + Send>),
    Probe(Box<dyn FnOnce(Result<()>) + Send>),
    Stop,
}

/// The sending end: any task may hold it.
pub(super) struct Appender {
    /// `None` once closed.
    tasks: Mutex<Option<Sender<Task>>>,
    waiting: Arc<AtomicUsize>,
    may_wait: usize,
    thread: Mutex<Option<JoinHandle<Journal>>>,
    completions: Completions,
    metrics: Arc<Metrics>,
}

impl Appender {
    pub(super) fn start(
        journal: Journal,
        database: PathBuf,
        tail: Arc<Tail>,
        writer: Arc<Writer>,
        space: Arc<Space>,
        config: &config::Store,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let (sender, tasks) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let completions = Completions::here();
        let thread = Thread {
            journal,
            completions: completions.clone(),
            tables: Tables::new(database),
            space,
            tail,
            writer,
            own: sender.clone(),
            stopping: false,
            doubtful: None,
            busy: false,
            next: VecDeque::new(),
            later: VecDeque::new(),
            rooms: HashSet::new(),
            known: Vec::new(),
            held: HashMap::new(),
            waiting: waiting.clone(),
            commit_ops: config.commit_ops.max(1),
            unsettled_bytes: config.unsettled_bytes,
            patience: Duration::from_millis(config.unsettled_millis),
            failing: false,
            metrics: metrics.clone(),
        };
        let thread = thread::Builder::new().name("natter-journal".into()).spawn(move || thread.run(tasks))?;
        Ok(Self {
            tasks: Mutex::new(Some(sender)),
            waiting,
            may_wait: config.write_queue.max(1),
            thread: Mutex::new(Some(thread)),
            completions,
            metrics,
        })
    }

    /// `done` is called in a task of the runtime, with those of the same commit, when the outcome is known.
    pub(super) fn append(&self, room: RoomId, events: Arc<[Event]>, done: Done) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.may_wait {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.metrics.bound_hit("store.write_queue");
            self.metrics.store_errors.inc();
            return self.completions.call(vec![(done, Err(StoreError::Busy))]);
        }
        self.metrics.write_queue.inc();
        let append = Append { room, events, done };
        if let Err(Task::Append(append)) = self.send(Task::Append(append)) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.metrics.write_queue.dec();
            self.completions.call(vec![(append.done, Err(closed()))]);
        }
    }

    /// Whether the journal takes a commit.
    pub(super) fn probe(&self, reply: impl FnOnce(Result<()>) + Send + 'static) {
        if let Err(Task::Probe(reply)) = self.send(Task::Probe(Box::new(reply))) {
            reply(Err(closed()));
        }
    }

    /// Settles everything and removes the journal's files. Blocks.
    pub(super) fn scrub(&self) -> Result<()> {
        let (reply, answer) = sync_channel(1);
        match self.send(Task::Scrub(Box::new(move |result| drop(reply.send(result))))) {
            Ok(()) => answer.recv().unwrap_or_else(|_| Err(closed())),
            // Closing it does the same.
            Err(_) => Ok(()),
        }
    }

    /// The tables have everything before this, on disk.
    pub(super) fn settled(&self, end: Position) {
        // Once it has stopped there is nothing to use again.
        drop(self.send(Task::Settled(end)));
    }

    fn send(&self, task: Task) -> Result<(), Task> {
        match &*self.tasks.lock() {
            Some(tasks) => tasks.send(task).map_err(|error| error.0),
            None => Err(task),
        }
    }

    /// Takes no more, finishes what is queued, and gives the journal. Blocks; the second call finds nothing to do.
    pub(super) fn stop(&self) -> Option<Journal> {
        if let Some(tasks) = self.tasks.lock().take() {
            // Where the thread is gone already, joining it says so.
            drop(tasks.send(Task::Stop));
        }
        let thread = self.thread.lock().take()?;
        let journal = thread.join();
        if journal.is_err() {
            tracing::error!("the thread of the journal ended with a panic");
        }
        journal.ok()
    }
}

struct Thread {
    journal: Journal,
    completions: Completions,
    tables: Tables,
    space: Arc<Space>,
    tail: Arc<Tail>,
    writer: Arc<Writer>,
    /// For changes on their way, who tell that they are done.
    own: Sender<Task>,
    stopping: bool,
    /// So many commits the tables had when a change had no known outcome.
    doubtful: Option<u64>,
    /// The last commit had many appends, and the next may gather some more.
    busy: bool,
    /// Appends for this commit and the next ones.
    next: VecDeque<Append>,
    /// Kept for their memory: what `next_batch` passes over, the rooms that it has taken, and what the tail says of them.
    later: VecDeque<Append>,
    rooms: HashSet<RoomId>,
    known: Vec<Known>,
    /// Rooms with a change on its way, and what waits for that.
    held: HashMap<RoomId, VecDeque<Append>>,
    waiting: Arc<AtomicUsize>,
    commit_ops: usize,
    unsettled_bytes: usize,
    patience: Duration,
    /// The last commit failed: the log has it, and the next failure is no news.
    failing: bool,
    metrics: Arc<Metrics>,
}

impl Thread {
    fn run(mut self, tasks: Receiver<Task>) -> Journal {
        while !self.stopping || !self.held.is_empty() {
            let Ok(first) = tasks.recv() else { break };
            self.take(first);
            let patience = if self.busy { GATHER_YIELDS } else { 1 };
            for task in gather(&tasks, self.commit_ops, patience) {
                self.take(task);
            }
            self.busy = self.next.len() > FEW;
            while !self.next.is_empty() {
                let batch = self.next_batch();
                if !batch.is_empty() {
                    self.serve(batch);
                }
            }
        }
        self.journal
    }

    fn take(&mut self, task: Task) {
        match task {
            Task::Append(append) => match self.held.get_mut(&append.room) {
                Some(waiting) => waiting.push_back(append),
                None => self.next.push_back(append),
            },
            Task::Released { room, known } => {
                if !known {
                    self.doubtful = Some(self.writer.commits());
                }
                self.next.extend(self.held.remove(&room).unwrap_or_default());
            }
            Task::Settled(end) => self.journal.release(end),
            Task::Scrub(reply) => reply(self.scrub()),
            Task::Probe(reply) => {
                let committed = self.commit(iter::empty());
                reply(committed.map(drop));
            }
            Task::Stop => self.stopping = true,
        }
    }

    /// What may be committed together. Sends changes on their way, and leaves the second append of a room for later.
    fn next_batch(&mut self) -> Vec<Append> {
        let mut batch = Vec::with_capacity(self.next.len().min(self.commit_ops));
        self.rooms.clear();
        while batch.len() < self.commit_ops
            && let Some(append) = self.next.pop_front()
        {
            if let Some(waiting) = self.held.get_mut(&append.room) {
                waiting.push_back(append);
            } else if !self.rooms.insert(append.room) {
                self.later.push_back(append);
            } else if append.events.iter().all(Event::is_message) {
                batch.push(append);
            } else {
                self.change(append);
            }
        }
        self.later.append(&mut self.next);
        mem::swap(&mut self.later, &mut self.next);
        batch
    }

    /// Has the tables take a change, right behind everything of the room that is acknowledged.
    fn change(&mut self, append: Append) {
        let Append { room, events, done } = append;
        self.done(1);
        // What the last failed commit has left in the journal must be void before somebody else stands in its place.
        if self.failing
            && let Err(error) = self.commit(iter::empty())
        {
            return self.completions.call(vec![(done, Err(error))]);
        }
        // Who is put out of a room must be out of it, and what is deleted be gone.
        let goes = events.iter().all(|event| matches!(event.kind, Kind::Gone { .. } | Kind::Deleted { .. }));
        let need = if goes { Need::Reserve } else { Need::Room };
        self.held.insert(room, VecDeque::new());
        let (tail, own) = (self.tail.clone(), self.own.clone());
        let erasing = events.iter().any(|event| event.kind.erases().is_some()).then(|| self.writer.erasing.clone());
        let op = {
            let tail = tail.clone();
            move |db: &Connection| {
                let unsettled = tail.unsettled(room, 0, usize::MAX);
                log::settle(db, room, &unsettled)?;
                let upto = unsettled.last().map(|event| event.seq);
                Ok((log::append(db, room, &events)?, upto))
            }
        };
        let completions = self.completions.clone();
        self.writer.write_then(need, op, move |result: Result<(Appended, Option<Seq>)>| {
            let result = result.map(|(appended, upto)| {
                upto.into_iter().for_each(|upto| tail.settled(room, upto));
                appended
            });
            if let Some(erasing) = erasing {
                erasing.want();
            }
            let known = !matches!(result, Err(StoreError::Unavailable(_)));
            // A thread that has ended holds nothing back.
            drop(own.send(Task::Released { room, known }));
            completions.call(vec![(done, result)]);
        });
    }

    /// All that was acknowledged is in the tables then, and nothing of it in the journal's files.
    fn scrub(&mut self) -> Result<()> {
        self.tail.wait_until_settled()?;
        let end = self.journal.end();
        self.writer.write_blocking(move |db| settled::write(db, &[], Some(end)), Durability::Full, Need::Promised)?;
        self.journal.clear().map_err(|error| StoreError::Unavailable(format!("the journal: {error}")))
    }

    /// So many appends have left the queue.
    fn done(&self, appends: usize) {
        self.waiting.fetch_sub(appends, Ordering::Relaxed);
        self.metrics.write_queue.dec_by(appends as i64);
    }

    fn serve(&mut self, batch: Vec<Append>) {
        self.done(batch.len());
        let began = Instant::now();
        let replies = match self.no_doubt().and_then(|()| self.room_for(&batch)) {
            Ok(()) => self.append(batch),
            Err(error) => refuse(batch, &error),
        };
        self.metrics.commit_ops.observe(replies.len() as f64);
        self.metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
        if replies.iter().any(|(_, result)| result.is_ok()) {
            self.metrics.store_up.set(1);
        } else if replies.iter().any(|(_, result)| matches!(result, Err(StoreError::Unavailable(_)))) {
            self.metrics.store_up.set(0);
        }
        self.metrics.store_errors.inc_by(replies.iter().filter(|(_, result)| result.is_err()).count() as u64);
        self.completions.call(replies);
    }

    /// After a change of unknown outcome: until the tables have taken something else, it may come back with a restart, and nothing may
    /// stand in its place.
    fn no_doubt(&mut self) -> Result<()> {
        let Some(commits) = self.doubtful else { return Ok(()) };
        if self.writer.commits() == commits {
            self.writer.write_blocking(super::space::probe, Durability::Full, Need::Promised)?;
        }
        self.doubtful = None;
        Ok(())
    }

    /// Waits for the settler where it must, so that whatever is acknowledged can be settled.
    fn room_for(&mut self, batch: &[Append]) -> Result<()> {
        self.tail.wait_for_room(self.unsettled_bytes, self.patience).inspect_err(|error| {
            if matches!(error, StoreError::Busy) {
                self.metrics.bound_hit("store.unsettled_bytes");
            }
        })?;
        let bytes: usize = batch.iter().flat_map(|append| &*append.events).map(Event::bytes_in_memory).sum();
        if self.fits(bytes).is_ok() {
            return Ok(());
        }
        self.tail.wait_until_settled()?;
        self.fits(bytes)
    }

    /// Whether so much may be posted and will find its place, after everything that is not settled yet.
    fn fits(&mut self, bytes: usize) -> Result<()> {
        let growth = GROWTH * (self.tail.bytes() + bytes) as u64;
        if self.space.tables_are_limited() && growth > self.tables.read(|db| self.space.bytes_left(db))? {
            return Err(self.space.no_room_in_tables());
        }
        // In the journal, then in the write-ahead log, and then in the database.
        self.space.admit(bytes as u64 + 2 * growth)
    }

    fn append(&mut self, batch: Vec<Append>) -> Vec<(Done, Result<Appended>)> {
        let judged = self.judge(&batch);
        let stored = |outcome: &Result<Appended>| outcome.as_ref().map_or(0, |appended| appended.stored);
        let commit = batch.iter().zip(&judged).filter_map(|(append, outcome)| {
            let events = &append.events[..stored(outcome)];
            (!events.is_empty()).then_some((append.room, events))
        });
        let failed = match commit.clone().next() {
            None => None,
            Some(_) => match self.commit(commit.clone()) {
                Ok(end) => {
                    self.tail.add(commit, end);
                    None
                }
                Err(error) => Some(error),
            },
        };
        let outcome = |outcome: Result<Appended>| match &failed {
            Some(error) if stored(&outcome) > 0 => Err(error.clone()),
            _ => outcome,
        };
        batch.into_iter().zip(judged).map(|(append, judged)| (append.done, outcome(judged))).collect()
    }

    fn commit<'a>(&mut self, commit: impl Iterator<Item = (RoomId, &'a [Event])>) -> Result<Position> {
        let events = commit.flat_map(|(room, events)| events.iter().map(move |event| (room, event)));
        let committed = self.journal.commit(events);
        match &committed {
            Err(error) if !self.failing => tracing::error!(%error, "the journal took no commit"),
            Ok(_) if self.failing => tracing::info!("the journal commits again"),
            _ => {}
        }
        self.failing = committed.is_err();
        committed.map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                StoreError::Full(error.to_string())
            }
            _ => StoreError::Unavailable(error.to_string()),
        })
    }

    /// What of each append may follow on its room's log. Looks at the whole tail before the tables: what leaves the one is in
    /// the other before.
    fn judge(&mut self, batch: &[Append]) -> Vec<Result<Appended>> {
        let mut known = mem::take(&mut self.known);
        known.extend(batch.iter().map(|append| self.tail.judge(append.room, &append.events)));
        let judged = self.tables.read(|db| {
            let (mut posts, mut judged) = (log::Posts::of(db)?, Vec::with_capacity(batch.len()));
            for (append, known) in batch.iter().zip(known.drain(..)) {
                judged.push(match judge(db, &mut posts, append, known) {
                    Err(error) if wants_a_new_connection(&error) => return Err(error),
                    other => other.map_err(|error| store_error(&error)),
                });
            }
            Ok(judged)
        });
        known.clear();
        self.known = known;
        judged.unwrap_or_else(|error| {
            tracing::error!(%error, "the tables cannot be read");
            batch.iter().map(|_| Err(error.clone())).collect()
        })
    }
}

/// The head and the first repeat in the tail.
type Known = Option<(Seq, Option<(usize, Event)>)>;

fn judge(db: &Connection, posts: &mut log::Posts, append: &Append, known: Known) -> rusqlite::Result<Appended> {
    let Append { room, events, .. } = append;
    let stop = |stored, stopped| Ok(Appended { stored, stopped: Some(stopped) });
    let (head, mut repeat) = match known {
        Some(known) => known,
        None => match log::sound_head(db, *room)? {
            Some(head) => (head, None),
            None => return stop(0, Stopped::NoSuchRoom),
        },
    };
    let mut ids = HashSet::new();
    for (at, event) in events.iter().enumerate() {
        if event.seq != head + 1 + at as Seq {
            return stop(at, Stopped::SeqTaken);
        }
        if let Some((_, original)) = repeat.take_if(|(first, _)| *first == at) {
            return stop(at, Stopped::Duplicate(original));
        }
        let Some(client_id) = &event.client_id else { continue };
        if events.len() > 1 && !ids.insert((event.sender, client_id)) {
            let original =
                events[..at].iter().find(|e| e.sender == event.sender && e.client_id.as_ref() == Some(client_id));
            return stop(at, original.cloned().map_or(Stopped::SeqTaken, Stopped::Duplicate));
        }
        if posts.have(*room, event.sender, client_id)? {
            let original = log::post(db, *room, event.sender, client_id)?;
            return stop(at, original.map_or(Stopped::SeqTaken, Stopped::Duplicate));
        }
    }
    Ok(Appended { stored: events.len(), stopped: None })
}

fn refuse(batch: Vec<Append>, error: &StoreError) -> Vec<(Done, Result<Appended>)> {
    batch.into_iter().map(|append| (append.done, Err(error.clone()))).collect()
}
