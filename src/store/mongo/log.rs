//! Appending to the logs of rooms, and bringing what is read beside them up to date.
//!
//! - `commit.rs` stores events of many rooms at once; `project.rs` writes what they change; here is the story of one room:
//!   what must be true before its events may be stored, and what a taken key means.
//! - One task at a time works on a room in this process ([`Turns`]), so appends of a room keep their order, and servers
//!   whose updates are not atomic lose none.
//! - `ends` remembers where rooms end: the highest seq that is known to be majority durable *and projected*, as is
//!   everything before it. Whoever appends right after it needs to ask nothing first; else `heads` and the log are asked.
//!   It may forget any room at any time, and may be behind other nodes: a unique key decides.
//! - Everything here runs in tasks of its own, so that a caller who goes away leaves nothing half done, and closing can
//!   wait for the end of all of it.

use std::sync::Arc;

use mongodb::bson::{Document, doc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::{
    base::Base,
    codec::{count, time},
    codec_log::{event, event_document, event_key, is_same, once_key},
    commands,
    commit::{Commits, Inserted, Part},
    marks::Marks,
    pages,
    project::{self, Projection},
    search::feeder::Feeder,
    turns::{Turn, Turns},
};
use crate::{
    bounded::BoundedMap,
    event::Event,
    store::{Appended, Page, Result, Stopped, StoreError},
    types::{RoomId, Seq},
};

/// Events read at once to bring projections up to a log.
const REPAIR_PAGE: usize = 500;

pub(super) struct Log {
    pub base: Arc<Base>,
    pub marks: Arc<Marks>,
    pub words: Arc<Feeder>,
    commits: Arc<Commits>,
    turns: Arc<Turns>,
    ends: BoundedMap<RoomId, Seq>,
    /// Writes that may wait or be under way.
    places: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// What stands in the way of an append, if anything.
enum Start {
    Ready,
    Stopped(Stopped),
}

/// What was found where a key was taken.
enum Found {
    /// So many of our own events, stored by an earlier try whose answer was lost.
    Own(usize),
    Stopped(Stopped),
}

impl Log {
    pub fn start(base: Arc<Base>) -> Arc<Self> {
        let tasks = TaskTracker::new();
        let marks = Marks::new(base.clone(), tasks.clone());
        Arc::new(Self {
            commits: Commits::new(base.clone(), marks.clone(), tasks.clone()),
            turns: Arc::default(),
            ends: BoundedMap::new(base.config.known_rooms),
            places: Arc::new(Semaphore::new(base.config.write_queue.min(Semaphore::MAX_PERMITS))),
            marks,
            words: Feeder::start(base.clone()),
            base,
            tasks,
        })
    }

    /// Takes no more, and returns once all that was taken is done.
    pub async fn close(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.words.stop().await;
    }

    pub async fn append(self: &Arc<Self>, room: RoomId, events: Vec<Event>) -> Result<Appended> {
        let place = self.place()?;
        self.in_own_task(|log| async move {
            let _place = place;
            let turn = log.turn(room).await;
            log.append_in_turn(&turn, &events).await
        })
        .await
    }

    /// Brings a room's projections up to its log, and completes a room whose making was cut off.
    pub async fn repair(self: &Arc<Self>, room: RoomId) -> Result<()> {
        self.in_own_task(|log| async move { log.repair_here(room).await }).await
    }

    /// [`Self::repair`] within a task of ours.
    pub async fn repair_here(&self, room: RoomId) -> Result<()> {
        let turn = self.turn(room).await;
        if let Some(document) = self.base.find("rooms", &room.to_string()).await?
            && document.contains_key("opening")
        {
            self.complete(&turn, &document).await?;
        }
        self.catch_up(&turn, None).await.map(drop)
    }

    pub async fn turn(&self, room: RoomId) -> Turn {
        self.turns.take(room).await
    }

    /// A place among the writes that may wait, as long as it is kept.
    pub fn place(&self) -> Result<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().map_err(|_| {
            self.base.metrics.bound_hit("store.write_queue");
            self.base.metrics.store_errors.inc();
            StoreError::Busy
        })
    }

    pub async fn in_own_task<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(Arc<Self>) -> F,
    ) -> Result<T> {
        // Taken before looking, so that `close` waits for whoever found it open.
        let open = self.tasks.token();
        if self.tasks.is_closed() {
            return Err(StoreError::Unavailable("it is closed".into()));
        }
        let done = self.tasks.spawn(work(self.clone()));
        drop(open);
        done.await.unwrap_or_else(|error| Err(StoreError::Unavailable(format!("a write was cut off: {error}"))))
    }

    async fn append_in_turn(&self, turn: &Turn, events: &[Event]) -> Result<Appended> {
        let Some(first) = events.first().map(|event| event.seq) else { return self.append_nothing(turn).await };
        if let Start::Stopped(stopped) = self.before(turn, first).await? {
            return Ok(Appended { stored: 0, stopped: Some(stopped) });
        }
        let dense = events.iter().zip(first..).take_while(|(event, seq)| event.seq == *seq).count();
        let (stored, stopped) = self.store(turn.room, &events[..dense]).await?;
        let hole = (dense < events.len()).then_some(Stopped::SeqTaken);
        Ok(Appended { stored, stopped: stopped.or(hole) })
    }

    async fn append_nothing(&self, turn: &Turn) -> Result<Appended> {
        let there = self.end(turn.room).is_some() || self.catch_up(turn, Some(0)).await?.is_some();
        Ok(Appended { stored: 0, stopped: (!there).then_some(Stopped::NoSuchRoom) })
    }

    /// `Ready` when the log reaches `first - 1` and not further, as far as is known, and all of it is projected.
    async fn before(&self, turn: &Turn, first: Seq) -> Result<Start> {
        let Some(before) = first.checked_sub(1) else { return Ok(Start::Stopped(Stopped::SeqTaken)) };
        let end = match self.end(turn.room) {
            Some(end) if before <= end => Some(end),
            _ => self.catch_up(turn, Some(before)).await?,
        };
        Ok(match end {
            None => Start::Stopped(Stopped::NoSuchRoom),
            Some(end) if end == before => Start::Ready,
            Some(_) => Start::Stopped(Stopped::SeqTaken),
        })
    }

    /// Stores and projects the longest possible prefix of events that may follow on the log.
    async fn store(&self, room: RoomId, events: &[Event]) -> Result<(usize, Option<Stopped>)> {
        let all = Projection::of(room, events);
        let (mut stored, mut stopped, mut projected) = (0, None, false);
        while stored < events.len() && stopped.is_none() {
            let to = events.len().min(stored + self.base.config.insert_events);
            let then = all.clone().filter(|all| to == events.len() && all.is_plain());
            projected = then.is_some();
            let part =
                Part { events: events[stored..to].iter().map(|event| event_document(room, event)).collect(), then };
            match self.commits.insert(part).await {
                Ok(Inserted::All) => stored = to,
                Ok(Inserted::UpTo(count)) => {
                    (stored, projected) = (stored + count, false);
                    match self.look(room, &events[stored..]).await.map_err(left_open)? {
                        Found::Own(count) => stored += count,
                        Found::Stopped(why) => stopped = Some(why),
                    }
                }
                Err(error) => return Err(self.what_is_kept(room, &events[0], error).await),
            }
        }
        if !projected && let Some(projection) = Projection::of(room, &events[..stored]) {
            project::apply(&self.base, &self.marks, &projection).await.map_err(left_open)?;
        }
        if let Some(last) = events[..stored].last() {
            self.learn(room, last.seq);
            self.words.note(room, stored as u64);
        }
        Ok((stored, stopped))
    }

    /// A key of the first of `events` is taken. What is told of others' events a majority has, so that it stays.
    async fn look(&self, room: RoomId, events: &[Event]) -> Result<Found> {
        let new = &events[0];
        if let Some(document) = self.base.kept("events", &doc! { "_id": event_key(room, new.seq) }).await? {
            let there = event(&document)?;
            return match there.event_id == new.event_id {
                true => self.own(room, events).await,
                false => Ok(Found::Stopped(Stopped::SeqTaken)),
            };
        }
        if let Some(client_id) = &new.client_id
            && let Some(document) =
                self.base.kept("events", &doc! { "once": once_key(room, new.sender, client_id) }).await?
        {
            return Ok(Found::Stopped(Stopped::Duplicate(event(&document)?)));
        }
        Err(StoreError::Unavailable("an event met another one, which is not there any more".into()))
    }

    /// The log has our event where we wanted to put it. Where it is not the same to the last byte, it is from a try that was
    /// given up before this one was made: then whoever made both must read what stands there.
    async fn own(&self, room: RoomId, events: &[Event]) -> Result<Found> {
        let after = Some(events[0].seq - 1);
        let page = Page { after, before: None, limit: events.len(), messages_only: false };
        let there = pages::page(&self.base, room, page).await?;
        match there.iter().zip(events).take_while(|(stored, new)| is_same(stored, new)).count() {
            0 => Err(StoreError::Unavailable("an earlier try of the same events has arrived late".into())),
            count => Ok(Found::Own(count)),
        }
    }

    /// A full disk promises that nothing was kept, which a command of many events does not: look.
    async fn what_is_kept(&self, room: RoomId, first: &Event, error: StoreError) -> StoreError {
        let StoreError::Full(why) = error else { return error };
        let events = self.base.newest("events");
        match self.base.once(async { events.find_one(doc! { "_id": event_key(room, first.seq) }).await }).await {
            Ok(None) => StoreError::Full(why),
            _ => StoreError::Unavailable(why),
        }
    }

    /// Brings the projections up to the log: all of it, or at least as far as `enough`. Returns how far they are then;
    /// `None` where there is no such room.
    async fn catch_up(&self, turn: &Turn, enough: Option<Seq>) -> Result<Option<Seq>> {
        let room = turn.room;
        let mut end = match self.base.find("heads", &room.to_string()).await? {
            Some(head) => count(&head, "head_seq")?,
            None => match self.base.find("rooms", &room.to_string()).await? {
                Some(document) => self.complete(turn, &document).await?,
                None => return Ok(None),
            },
        };
        while enough.is_none_or(|enough| end < enough)
            // The one event is found faster than that there is no page.
            && self.base.find("events", &event_key(room, end + 1)).await?.is_some()
        {
            let page = Page { after: Some(end), before: None, limit: REPAIR_PAGE, messages_only: false };
            let events = pages::page(&self.base, room, page).await?;
            let Some(projection) = Projection::of(room, &events) else { break };
            project::apply(&self.base, &self.marks, &projection).await?;
            end = projection.stretch.head.seq;
            self.words.note(room, events.len() as u64);
            // That was the end of the log just now. Another node may write faster than this one reads: no race with it.
            if events.len() < REPAIR_PAGE {
                break;
            }
        }
        self.learn(room, end);
        Ok(Some(end))
    }

    /// Makes whole what the document of a room promises: its first events, and what they change. Returns where the log
    /// begins to be free. Everything in it may be done again, and by several at once.
    ///
    /// Some of the events may be another's, not yet majority durable. The heads, written after them, are: and a majority that
    /// has a write has all that the primary wrote before it.
    pub async fn complete(&self, turn: &Turn, document: &Document) -> Result<Seq> {
        let (room, created_at) = (turn.room, time(document, "created_at")?);
        let nothing = Vec::new();
        let opening = document.get_array("opening").unwrap_or(&nothing);
        let first: Vec<Document> = opening.iter().filter_map(|event| event.as_document().cloned()).collect();
        for part in first.chunks(self.base.config.insert_events) {
            commands::insert_unless_there(&self.base, "events", part).await?;
        }
        let events = first.iter().map(event).collect::<Result<Vec<_>>>()?;
        let mut projection = Projection::of(room, &events).unwrap_or_else(|| Projection::of_nothing(room, created_at));
        // It stands in the document itself.
        projection.stretch.name = None;
        project::apply(&self.base, &self.marks, &projection).await?;
        if document.contains_key("opening") {
            let done = doc! { "q": { "_id": room.to_string() }, "u": { "$unset": { "opening": true } } };
            commands::update(&self.base, "rooms", &[done]).await?;
        }
        self.learn(room, projection.stretch.head.seq);
        self.words.note(room, events.len() as u64);
        Ok(projection.stretch.head.seq)
    }

    fn end(&self, room: RoomId) -> Option<Seq> {
        self.ends.at(&room).get().copied()
    }

    fn learn(&self, room: RoomId, end: Seq) {
        let mut ends = self.ends.at(&room);
        match ends.get() {
            Some(known) => *known = end.max(*known),
            None => {
                if ends.insert(end) {
                    self.base.metrics.bound_hit("store.known_rooms");
                }
            }
        }
    }
}

/// After events may have been stored, no error is definite any more.
pub(super) fn left_open(error: StoreError) -> StoreError {
    match error {
        StoreError::Full(why) | StoreError::Damaged(why) => StoreError::Unavailable(why),
        error => error,
    }
}
