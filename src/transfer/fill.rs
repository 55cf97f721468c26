//! Writes rooms and users into a store that an import is filling: many at once, and each write so that doing it again
//! changes nothing. A room goes on after its head, wherever an earlier attempt stopped.

use std::{future::Future, sync::Arc, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};

use super::{
    format::{MemberLine, RoomLine},
    progress::Progress,
    survey::sentence,
};
use crate::{
    chat::commands::new_epoch,
    event::Event,
    store::{NewRoom, RoomCreated, Stopped, Store, StoreError, UserRecord},
    types::{RoomId, Seq, Timestamp},
};

/// Rooms that are written at once, and batches that may wait in each.
const ROOMS: usize = 32;
const BATCHES: usize = 4;
/// Events in one append.
pub(super) const BATCH: usize = 100;
/// Read marks and users written at once.
const AT_ONCE: usize = 64;
/// A store that is away or busy is asked again so often, with so long between.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// The writing of one import.
pub(super) struct Filling {
    store: Arc<dyn Store>,
    progress: Arc<Progress>,
    permits: Arc<Semaphore>,
    rooms: JoinSet<Result<(), String>>,
}

/// Where the parts of one room go, in their order. It is complete once its marks are in.
pub(super) struct RoomSink {
    parts: mpsc::Sender<Part>,
}

enum Part {
    Events(Vec<Event>),
    Members(Vec<MemberLine>),
}

impl Filling {
    pub(super) fn new(store: Arc<dyn Store>, progress: Arc<Progress>) -> Self {
        Self { store, progress, permits: Arc::new(Semaphore::new(ROOMS)), rooms: JoinSet::new() }
    }

    /// Begins a room, once there is a place for one more.
    pub(super) async fn room(&mut self, room: RoomLine) -> Result<RoomSink, String> {
        let permit = self.permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        while let Some(done) = self.rooms.try_join_next() {
            joined(done)?;
        }
        let (parts, queue) = mpsc::channel(BATCHES);
        let (store, progress) = (self.store.clone(), self.progress.clone());
        self.rooms.spawn(async move { fill_room(store, progress, room, queue, permit).await });
        Ok(RoomSink { parts })
    }

    /// Waits for every room.
    pub(super) async fn rooms_done(&mut self) -> Result<(), String> {
        while let Some(done) = self.rooms.join_next().await {
            joined(done)?;
        }
        Ok(())
    }

    pub(super) async fn users(&self, users: Vec<UserRecord>) -> Result<(), String> {
        let count = users.len() as u64;
        let store = self.store.as_ref();
        let each = users.into_iter().map(|user| fill_user(store, user));
        stream::iter(each).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        self.progress.add(count);
        Ok(())
    }
}

fn joined(done: Result<Result<(), String>, tokio::task::JoinError>) -> Result<(), String> {
    done.unwrap_or_else(|error| Err(format!("a chat was cut off: {error}")))
}

impl RoomSink {
    pub(super) async fn events(&self, events: Vec<Event>) {
        self.send(Part::Events(events)).await;
    }

    pub(super) async fn members(self, members: Vec<MemberLine>) {
        self.send(Part::Members(members)).await;
    }

    /// A room that failed takes no more, and its task says why.
    async fn send(&self, part: Part) {
        if self.parts.send(part).await.is_err() {
            tracing::debug!("a chat takes no more parts");
        }
    }
}

async fn fill_room(
    store: Arc<dyn Store>,
    progress: Arc<Progress>,
    line: RoomLine,
    mut parts: mpsc::Receiver<Part>,
    _place: OwnedSemaphorePermit,
) -> Result<(), String> {
    let id = line.id;
    let mut head = None;
    while let Some(part) = parts.recv().await {
        let at = match head {
            Some(head) => head,
            None => begin(store.as_ref(), &line, &part).await?,
        };
        head = Some(match part {
            Part::Events(events) => {
                let count = events.len() as u64;
                let at = append(store.as_ref(), id, at, events).await?;
                progress.add(count);
                at
            }
            Part::Members(members) => {
                let each = members.into_iter().map(|member| mark(store.as_ref(), id, member));
                stream::iter(each).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
                at
            }
        });
    }
    Ok(())
}

/// Makes the room with the events that come before its first message, or finds it as an earlier attempt left it;
/// returns its head.
async fn begin(store: &dyn Store, line: &RoomLine, first: &Part) -> Result<Seq, String> {
    let opening = match first {
        Part::Events(events) => events.iter().take_while(|event| !event.is_message()).cloned().collect(),
        Part::Members(_) => Vec::new(),
    };
    let made = persist(|| async {
        store
            .create_room(NewRoom {
                room_id: line.id,
                kind: line.kind,
                epoch: new_epoch(),
                created_at: Timestamp(line.created_at),
                pair: line.pair.map(|[one, other]| format!("{one}:{other}")),
                events: opening.clone(),
            })
            .await
    });
    match made.await.map_err(|error| about(line.id, &error))? {
        RoomCreated::Exists(other) if other != line.id => {
            Err(format!("chat {}: the same two people have chat {other} in the store already", line.id))
        }
        RoomCreated::Created | RoomCreated::Exists(_) => head(store, line.id).await,
    }
}

async fn head(store: &dyn Store, room: RoomId) -> Result<Seq, String> {
    let settled = persist(|| async {
        store.repair(room).await?;
        store.room(room).await
    });
    let record = settled.await.map_err(|error| about(room, &error))?;
    record.map(|record| record.head_seq).ok_or_else(|| format!("chat {room} was made and is gone"))
}

/// Appends what lies beyond `at`; returns the new head.
async fn append(store: &dyn Store, room: RoomId, mut at: Seq, mut events: Vec<Event>) -> Result<Seq, String> {
    let mut tries = 0;
    loop {
        events.retain(|event| event.seq > at);
        if events.is_empty() {
            return Ok(at);
        }
        let appended = store.append(room, events.to_vec()).await;
        match appended {
            Ok(appended) => {
                at += appended.stored as Seq;
                match appended.stopped {
                    None => {}
                    Some(Stopped::SeqTaken) if tries < TRIES => at = head(store, room).await?.max(at),
                    Some(stopped) => return Err(format!("chat {room}: seq {}: {}", at + 1, why(&stopped))),
                }
            }
            Err(error) if tries < TRIES && may_pass(&error) => {
                tokio::time::sleep(PAUSE).await;
                at = head(store, room).await?;
            }
            Err(error) => return Err(about(room, &error)),
        }
        tries += 1;
    }
}

fn why(stopped: &Stopped) -> &'static str {
    match stopped {
        Stopped::SeqTaken => "somebody else writes into the store",
        Stopped::Duplicate(_) => "its client_id was used by the same sender before",
        Stopped::NoSuchRoom => "the chat was made and is gone",
    }
}

async fn mark(store: &dyn Store, room: RoomId, member: MemberLine) -> Result<(), String> {
    let set = persist(|| store.set_read(room, member.user, member.read_seq));
    let mark = set.await.map_err(|error| about(room, &error))?;
    match mark {
        Some(mark) if mark == member.mark() => Ok(()),
        Some(mark) => Err(format!(
            "chat {room}: user {} has read up to seq {} here, and up to seq {} in the file",
            member.user, mark.seq, member.read_seq
        )),
        None => Err(format!("chat {room}: user {} is a member in the file, and the log says otherwise", member.user)),
    }
}

async fn fill_user(store: &dyn Store, user: UserRecord) -> Result<(), String> {
    let about = |error: StoreError| format!("user {:?}: {}", user.username, sentence(&error));
    if persist(|| store.bring_user(user.clone())).await.map_err(about)? {
        return Ok(());
    }
    match persist(|| store.user(user.user_id)).await.map_err(about)? {
        Some(there) if there == user => Ok(()),
        _ => Err(format!("user {:?}: the store has another user of this name or id already", user.username)),
    }
}

fn about(room: RoomId, error: &StoreError) -> String {
    format!("chat {room}: {}", sentence(error))
}

/// Whether the same call may succeed a moment later.
fn may_pass(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_) | StoreError::Busy)
}

/// Asks again while the store is away or busy; for what may be done twice.
async fn persist<T, F: Future<Output = Result<T, StoreError>>>(mut call: impl FnMut() -> F) -> Result<T, StoreError> {
    let mut tries = 0;
    loop {
        match call().await {
            Err(error) if tries < TRIES && may_pass(&error) => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            other => return other,
        }
    }
}
