//! The table of the rooms in memory. A room is loaded when somebody asks for it and leaves when nobody has for a while.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Instant,
};

use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::{Chat, ChatError, Result, invited::Invited, members::Members, pair::Pair, ring::RingBudget, room::Room};
use crate::{
    config::Config,
    metrics::Metrics,
    store::DELETED_NAME,
    types::{RoomId, RoomKind, Seq},
};

const SHARDS: usize = 64;
const MEMBERS_PAGE: usize = 1_000;

/// Where a room is, or is being loaded.
#[derive(Default)]
struct Place {
    room: OnceCell<Arc<Room>>,
    /// How far its log reaches, by what was heard while it was being loaded.
    heard: AtomicU64,
}

type Cell = Arc<Place>;

/// - There is at most one `Room` in memory for an id: it is made inside its cell, and a cell leaves the table only while the
///   table alone holds it and its room.
/// - `count` is the number of cells, at most `max` but for rooms that are being asked for at the same moment.
pub struct Rooms {
    shards: Box<[Mutex<HashMap<RoomId, Cell>>]>,
    hasher: std::hash::RandomState,
    count: AtomicUsize,
    max: usize,
    pub(super) budget: Arc<RingBudget>,
    metrics: Arc<Metrics>,
    started: Instant,
    /// When every room was in use; in seconds since `started`, from 1.
    full_at: AtomicU64,
}

impl Rooms {
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: std::hash::RandomState::new(),
            count: AtomicUsize::new(0),
            max: config.rooms.live,
            budget: RingBudget::new(&config.rooms, metrics.clone()),
            metrics,
            started: Instant::now(),
            full_at: AtomicU64::new(0),
        }
    }

    fn shard(&self, id: RoomId) -> &Mutex<HashMap<RoomId, Cell>> {
        &self.shards[self.hasher.hash_one(id) as usize % SHARDS]
    }

    /// The room where it is in memory.
    pub fn in_memory(&self, id: RoomId) -> Option<Arc<Room>> {
        self.shard(id).lock().get(&id).and_then(|cell| cell.room.get().cloned())
    }

    /// The room where it is in memory. Where it is being loaded, whoever loads it will know that its log reaches `head`.
    pub(super) fn heard(&self, id: RoomId, head: Seq) -> Option<Arc<Room>> {
        let cell = self.shard(id).lock().get(&id)?.clone();
        // Noted before the look: either we see the room here, or whoever puts it there sees our note.
        cell.heard.fetch_max(head, SeqCst);
        cell.room.get().cloned()
    }

    fn cell(&self, id: RoomId) -> Result<Cell> {
        if let Some(cell) = self.shard(id).lock().get(&id) {
            return Ok(cell.clone());
        }
        if self.count.load(Relaxed) >= self.max {
            self.make_room();
            if self.count.load(Relaxed) >= self.max {
                self.metrics.bound_hit("rooms.live");
                return Err(ChatError::Busy("rooms.live"));
            }
        }
        let mut shard = self.shard(id).lock();
        Ok(shard
            .entry(id)
            .or_insert_with(|| {
                self.count.fetch_add(1, Relaxed);
                self.metrics.rooms.inc();
                Cell::default()
            })
            .clone())
    }

    /// Lets go of every unused room. That looks at all of them, so when it was in vain it is not tried again for a second.
    fn make_room(&self) {
        let now = self.started.elapsed().as_secs() + 1;
        if self.full_at.load(Relaxed) != now && self.evict(0) == 0 {
            self.full_at.store(now, Relaxed);
        }
    }

    /// Takes a cell out that holds no room and that nobody else waits for.
    fn forget_empty(&self, id: RoomId, cell: Cell) {
        let mut shard = self.shard(id).lock();
        drop(cell);
        if shard.get(&id).is_some_and(|cell| cell.room.get().is_none() && Arc::strong_count(cell) == 1) {
            shard.remove(&id);
            self.count.fetch_sub(1, Relaxed);
            self.metrics.rooms.dec();
        }
    }

    /// Lets go of rooms that nobody has used for so long; tells how many.
    pub fn evict(&self, idle_secs: u64) -> usize {
        let now = Instant::now();
        let mut all = 0;
        for shard in &self.shards {
            let mut shard = shard.lock();
            let before = shard.len();
            shard.retain(|_, cell| {
                let unused = Arc::strong_count(cell) == 1
                    && cell.room.get().is_none_or(|room| Arc::strong_count(room) == 1 && room.is_idle(now, idle_secs));
                !unused
            });
            let gone = before - shard.len();
            self.count.fetch_sub(gone, Relaxed);
            self.metrics.rooms.dec_by(gone as i64);
            all += gone;
        }
        all
    }

    /// Every room in memory, a shard at a time.
    pub fn each(&self, mut visit: impl FnMut(Arc<Room>)) {
        for shard in &self.shards {
            let rooms: Vec<_> = shard.lock().values().filter_map(|cell| cell.room.get().cloned()).collect();
            rooms.into_iter().for_each(&mut visit);
        }
    }
}

impl Chat {
    /// By id; refuses with `NoSuchRoom`. Loads the room into memory where needed.
    pub async fn find_room(self: &Arc<Self>, id: RoomId) -> Result<Arc<Room>> {
        let cell = self.rooms.cell(id)?;
        let (mut loaded, blocks_seen) = (false, self.blocks_seen());
        let load = async || {
            loaded = true;
            self.load_room(id).await
        };
        match cell.room.get_or_try_init(load).await {
            Ok(room) => {
                room.touch();
                if loaded && cell.heard.load(SeqCst) > room.head() {
                    self.look_again(room).await;
                }
                if loaded && self.blocks_seen() != blocks_seen {
                    self.refresh_pair(room).await?;
                }
                Ok(room.clone())
            }
            Err(error) => {
                self.rooms.forget_empty(id, cell);
                Err(error)
            }
        }
    }

    async fn load_room(&self, id: RoomId) -> Result<Arc<Room>> {
        let record = self.store.room(id).await?.ok_or(ChatError::NoSuchRoom)?;
        let head = record.head_seq;
        // Two always know each other.
        let private = record.kind == RoomKind::Private;
        let named_up_to = if private { usize::MAX } else { self.config.presence.names_up_to };
        let (mut members, mut after) = (Members::new(named_up_to), None);
        let (mut wrote, mut deleted) = (Vec::new(), false);
        loop {
            let page = self.store.members(id, after, MEMBERS_PAGE).await?;
            after = page.last().map(|member| member.user_id);
            let last = page.len() < MEMBERS_PAGE;
            if private {
                wrote.extend(page.iter().filter(|member| member.wrote).map(|member| member.user_id));
            }
            for member in page {
                if private && member.username == DELETED_NAME {
                    deleted |= self.store.user(member.user_id).await?.is_some_and(|user| user.is_deleted());
                }
                members.insert(member.user_id, &member.username.into(), member.role);
            }
            if last {
                break;
            }
        }
        let invited = if private { Invited::default() } else { self.load_invited(id).await? };
        let pair = private.then(|| Box::new(Pair::new(wrote, deleted)));
        let room = Arc::new(Room::new(record, members, invited, pair, self.rooms.budget.clone()));
        if private {
            self.refresh_pair(&room).await?;
        }
        tracing::debug!(room = %id, head, "room loaded");
        Ok(room)
    }
}
