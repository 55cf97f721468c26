//! The task that takes what this node has stored into the index, room by room, behind the commits.
//!
//! Every write here may be repeated, or come from several nodes at once: what is there is passed over, and the cursor of a room is
//! moved only from where it was when its events were read. What a node stored and had no time to take in is found by the others,
//! who look for it from time to time, and by its next start.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::{
    bson::{DateTime, Document, doc},
    options::FindOptions,
};
use parking_lot::Mutex;
use tokio::{sync::Notify, task::JoinHandle, time::timeout};

use super::{
    super::{forms, pages},
    document, put,
};
use crate::{
    event::{Event, folded::Folded},
    seldom::{self, Line},
    store::{
        Page, Result, StoreError,
        mongo::{
            base::Base,
            codec::{count, int, room_id, text},
            codec_log::log_range,
            commands::{find_all, find_each, insert_unless_there, update},
            imports::room_ids,
        },
    },
    types::{RoomId, Seq},
    words,
};

/// Events taken in at once, of one room, and rooms at once.
const STEP: usize = 500;
const AT_ONCE: usize = 4;
/// Rooms asked for at once.
const ROOMS: usize = 500;
/// Documents removed at once.
const REMOVED: usize = 1_000;
/// It looks for what nobody has taken in so often, and so far back.
const LOOK: Duration = Duration::from_secs(60);
const LOOK_BACK: Duration = Duration::from_secs(600);
/// How long it waits after the database has refused something.
const RETRY: Duration = Duration::from_millis(500);
/// So many events are taken in in a moment: who searches waits for them.
const LITTLE: u64 = 1_000;

pub(in crate::store::mongo) struct Feeder {
    base: Arc<Base>,
    state: Mutex<State>,
    /// There is more.
    more: Notify,
    /// There is nothing left.
    done: Notify,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    /// Rooms with something new, and about how many events.
    rooms: HashMap<RoomId, u64>,
    /// Taken from these and not done yet.
    under_way: u64,
    stopping: bool,
}

impl State {
    fn behind(&self) -> u64 {
        self.rooms.values().sum::<u64>() + self.under_way
    }
}

impl Feeder {
    pub fn start(base: Arc<Base>) -> Arc<Self> {
        let (more, done) = (Notify::new(), Notify::new());
        let feeder = Arc::new(Self { base, state: Mutex::default(), more, done, task: Mutex::new(None) });
        let task = tokio::spawn(feeder.clone().run());
        *feeder.task.lock() = Some(task);
        feeder
    }

    /// A room's log has grown by so many events.
    pub fn note(&self, room: RoomId, events: u64) {
        let mut state = self.state.lock();
        *state.rooms.entry(room).or_default() += events;
        self.tell(&state);
        self.more.notify_one();
    }

    /// Waits until what was noted is taken in, where that is little, and no longer than so.
    pub async fn catch_up(&self, patience: Duration) {
        let waiting = async {
            loop {
                let done = self.done.notified();
                let behind = self.state.lock().behind();
                if behind == 0 || behind > LITTLE {
                    return;
                }
                done.await;
            }
        };
        // What is late is found by a later search.
        timeout(patience, waiting).await.unwrap_or_default();
    }

    /// Ends after what it is at.
    pub async fn stop(&self) {
        self.state.lock().stopping = true;
        self.more.notify_one();
        let task = self.task.lock().take();
        if let Some(task) = task
            && task.await.is_err()
        {
            tracing::error!("the task that fills the index of searches ended with a panic");
        }
    }

    fn tell(&self, state: &State) {
        self.base.metrics.search_behind.set(i64::try_from(state.behind()).unwrap_or(i64::MAX));
    }

    async fn run(self: Arc<Self>) {
        let mut looked = None;
        loop {
            let due = looked.is_none_or(|looked: Instant| looked.elapsed() >= LOOK);
            let worked = async {
                if due {
                    self.look_around(looked.is_none()).await?;
                }
                self.take_in().await
            };
            match worked.await {
                Ok(()) if due => looked = Some(Instant::now()),
                Ok(()) => {}
                Err(error) => {
                    if self.state.lock().stopping {
                        return;
                    }
                    if let Some(Line { held_back }) = seldom::due("the index of searches") {
                        tracing::warn!(%error, held_back, "the index of searches stays behind");
                    }
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
            let left = looked.map_or(Duration::ZERO, |looked| LOOK.saturating_sub(looked.elapsed()));
            if self.state.lock().rooms.is_empty() && timeout(left, self.more.notified()).await.is_err() {
                continue;
            }
            if self.state.lock().stopping {
                return;
            }
        }
    }

    /// Notes the rooms that the index is behind of: of all, or of those that were written to lately.
    async fn look_around(&self, all: bool) -> Result<()> {
        if all {
            make_current(&self.base).await?;
        }
        let since = DateTime::from_millis(DateTime::now().timestamp_millis() - LOOK_BACK.as_millis() as i64);
        let filter = if all {
            doc! {}
        } else {
            doc! { "touched": { "$gte": since } }
        };
        each_behind(&self.base, filter, |room, behind| self.note(room, behind)).await
    }

    /// Everything that was noted.
    async fn take_in(&self) -> Result<()> {
        loop {
            let rooms = {
                let mut state = self.state.lock();
                if state.stopping {
                    return Ok(());
                }
                let rooms = std::mem::take(&mut state.rooms);
                state.under_way = rooms.values().sum();
                rooms
            };
            if rooms.is_empty() {
                self.done.notify_waiters();
                return Ok(());
            }
            let taken = stream::iter(rooms.keys().copied())
                .map(|room| self.take_in_room(room))
                .buffer_unordered(AT_ONCE)
                .try_collect::<()>()
                .await;
            let mut state = self.state.lock();
            state.under_way = 0;
            if taken.is_err() {
                for (room, events) in rooms {
                    *state.rooms.entry(room).or_default() += events;
                }
            }
            self.tell(&state);
            drop(state);
            taken?;
        }
    }

    async fn take_in_room(&self, room: RoomId) -> Result<()> {
        while !self.state.lock().stopping {
            let from = cursor(&self.base, room).await?;
            // Up to the head, what became of messages is in their forms.
            let head = self.base.find("heads", &room.to_string()).await?;
            let head = head.as_ref().map_or(Ok(0), |head| count(head, "head_seq"))?;
            let page = Page { after: Some(from.unwrap_or(0)), before: None, limit: STEP, messages_only: false };
            let mut events = pages::page(&self.base, room, page).await?;
            events.truncate(events.partition_point(|event| event.seq <= head));
            let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(()) };
            let (first, last, is_all) = (first.seq, last.seq, events.len() < STEP);
            let mut changed: BTreeSet<Seq> =
                events.iter().filter_map(|event| event.kind.target()).map(|of| of.seq).collect();
            let said = events.into_iter().filter(Event::is_message).map(Folded::plain);
            let documents: Vec<_> = said.filter_map(|message| document(room, &message)).collect();
            if !documents.is_empty() {
                insert_unless_there(&self.base, "words", &documents).await?;
            }
            // Asked for after that: what changes later puts it anew itself, or is an event that comes later.
            changed.extend(forms::changed_between(&self.base, room, first, last).await?);
            put(&self.base, room, changed.into_iter().collect()).await?;
            if move_cursor(&self.base, room, from, last).await? && is_all {
                return Ok(());
            }
        }
        Ok(())
    }
}

async fn cursor(base: &Base, room: RoomId) -> Result<Option<Seq>> {
    base.find("searched", &room.to_string()).await?.map(|found| count(&found, "seq")).transpose()
}

/// `false`: another has moved it, or the index was emptied. (Or it was this very command, whose answer was lost.)
async fn move_cursor(base: &Base, room: RoomId, from: Option<Seq>, to: Seq) -> Result<bool> {
    let Some(from) = from else {
        return base.insert("searched", &doc! { "_id": room.to_string(), "seq": int(to) }).await;
    };
    let (searched, filter) = (base.collection("searched"), doc! { "_id": room.to_string(), "seq": int(from) });
    let change = doc! { "$set": { "seq": int(to) } };
    // Of one document; why not `update_one`, says `commands::update`.
    let op = || async { searched.update_many(filter.clone(), change.clone()).await };
    Ok(base.again(op).await?.matched_count == 1)
}

/// Rooms whose logs go on after what the index has, and by how many events.
async fn each_behind(base: &Base, filter: Document, mut each: impl FnMut(RoomId, u64)) -> Result<()> {
    let mut after = String::new();
    loop {
        let mut page = filter.clone();
        page.insert("_id", doc! { "$gt": &after });
        let options = FindOptions::builder()
            .sort(doc! { "_id": 1 })
            .projection(doc! { "head_seq": 1 })
            .limit(ROOMS as i64)
            .build();
        let heads = find_all(base, "heads", page, options).await?;
        let Some(last) = heads.last() else { return Ok(()) };
        after = text(last, "_id")?.to_owned();
        let ids = heads.iter().map(|head| text(head, "_id").map(str::to_owned)).collect::<Result<Vec<_>>>()?;
        let searched: HashMap<RoomId, Seq> = find_each(base, "searched", ids, None)
            .await?
            .iter()
            .map(|found| Ok((room_id(found, "_id")?, count(found, "seq")?)))
            .collect::<Result<_>>()?;
        for head in &heads {
            let room = room_id(head, "_id")?;
            let behind = count(head, "head_seq")?.saturating_sub(searched.get(&room).copied().unwrap_or(0));
            if behind > 0 {
                each(room, behind);
            }
        }
        if heads.len() < ROOMS {
            return Ok(());
        }
    }
}

/// Events of all nodes that the index has not.
pub(in crate::store::mongo) async fn behind(base: &Base) -> Result<u64> {
    let mut all = 0;
    each_behind(base, doc! {}, |_, behind| all += behind).await?;
    Ok(all)
}

/// An index that was made by another way of cutting texts is made anew.
async fn make_current(base: &Base) -> Result<()> {
    let version = base.find("meta", "words").await?;
    let version = version.as_ref().map(|version| text(version, "version")).transpose()?;
    if version == Some(&*words::version()) {
        return Ok(());
    }
    if version.is_some() {
        tracing::info!("texts are cut into words in a new way: the index of searches is made anew");
    }
    empty(base).await
}

/// First what was taken in, then the cursors: whoever takes in meanwhile either does it after this, or finds no cursor to move.
pub(in crate::store::mongo) async fn empty(base: &Base) -> Result<()> {
    for name in ["words", "searched"] {
        let collection = base.collection(name);
        loop {
            let options = FindOptions::builder().projection(doc! { "_id": 1 }).limit(REMOVED as i64).build();
            let found = find_all(base, name, doc! {}, options).await?;
            if found.is_empty() {
                break;
            }
            let ids = found.iter().map(|found| text(found, "_id")).collect::<Result<Vec<_>>>()?;
            base.again(|| async { collection.delete_many(doc! { "_id": { "$in": &ids } }).await }).await?;
        }
    }
    let version = doc! { "q": { "_id": "words" }, "u": { "$set": { "version": words::version() } }, "upsert": true };
    update(base, "meta", &[version]).await
}

impl Feeder {
    /// After [`empty`]: takes everything in again.
    pub async fn begin_anew(&self) -> Result<()> {
        each_behind(&self.base, doc! {}, |room, behind| self.note(room, behind)).await
    }
}

/// What is wrong with the index, in sentences. Of what it has not taken in yet nothing is said.
pub(in crate::store::mongo) async fn check(base: &Base) -> Result<Vec<String>> {
    let (mut wrong, mut after) = (Vec::new(), None);
    loop {
        let rooms = room_ids(base, after, ROOMS).await?;
        let Some(last) = rooms.last() else { return Ok(wrong) };
        after = Some(*last);
        for room in rooms {
            wrong.extend(check_room(base, room).await?);
        }
    }
}

async fn check_room(base: &Base, room: RoomId) -> Result<Option<String>> {
    let Some(upto) = cursor(base, room).await? else { return Ok(None) };
    let (words, events) = (base.collection("words"), base.collection("events"));
    let taken = log_range(room, None, Some(upto + 1));
    let (mut said, mut gone, forms) = (taken.clone(), taken.clone(), base.collection("forms"));
    said.insert("effect", doc! { "$exists": false });
    gone.insert("deleted", doc! { "$exists": true });
    let there = base.again(|| async { words.count_documents(taken.clone()).await }).await?;
    let due = base.again(|| async { events.count_documents(said.clone()).await }).await?;
    let gone = base.again(|| async { forms.count_documents(gone.clone()).await }).await?;
    let due = due.saturating_sub(gone);
    Ok((there != due).then(|| format!("it has {there} messages of chat {room}, and should have {due}")))
}

/// Of an error that ends a search.
pub(in crate::store::mongo) fn unreadable(what: &str) -> StoreError {
    StoreError::Damaged(format!("the index of searches holds {what}"))
}
