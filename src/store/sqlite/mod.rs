//! The embedded store: one SQLite database that belongs to one process, and a journal in front of it.
//!
//! Log first, then repairable projections, as in MongoDB:
//! - A post is durable, and acknowledged, once it is in the journal (`journal/`): one write at the end of a file and one sync
//!   for all that were posted meanwhile (`appender.rs`).
//! - The tables people query are projections of it. The settler (`settler.rs`) brings them up in the background, in small
//!   transactions, and says in them how far it has come.
//! - What is not settled yet is in memory too (`tail.rs`), at most `store.unsettled_bytes` of it. Every read is tables and tail
//!   as one.
//! - What changes a room, its members, a user or a login is written to the tables at once, behind what of the room is unsettled.
//! - A start reads what the journal holds beyond the tables and settles it before anything is served (`recovery.rs`).
//!
//! - `writer.rs` is the one thread that writes to the tables, in group commits (`batch.rs`); `readers.rs` the pool that reads.
//! - `start.rs` puts it together; `open.rs` looks at what is there before anything is served; `connection.rs` has the settings that make it durable.
//! - `users.rs`, `sessions.rs`, `rooms.rs`, `attention.rs`, `log.rs`, `forms.rs` and `imports.rs` are plain functions on a connection: what each
//!   method does.
//! - `search/` is the index of searches, which follows on the tables.
//! - `schema.rs` holds the tables and their migrations, `codec.rs` how our words look as values on disk.
//! - `eraser.rs` takes what was deleted out of the journal and the write-ahead log too, and out of an older database that comes back.
//! - `lock.rs` keeps a second process away; `backup.rs` and `restore.rs` copy everything out and back in.
//!
//! Every commit is on disk (`synchronous=FULL`) before anybody hears of it.

mod appender;
mod attention;
mod audit;
mod backup;
mod batch;
mod codec;
mod completions;
mod connection;
mod eraser;
mod erasures;
mod forms;
mod imports;
mod journal;
mod lock;
mod log;
mod modes;
mod open;
mod readers;
mod readings;
mod recovery;
mod restore;
mod rooms;
mod schema;
mod search;
mod sessions;
mod settled;
mod settler;
mod snapshot;
mod space;
mod start;
mod tail;
mod threads;
mod users;
mod watch;
mod writer;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::{Mutex, oneshot};

use self::{batch::Need, lock::FolderLock, readers::Readers, readings::Readings, tail::Tail, threads::Threads};
use super::{
    Appended, AuditQuery, AuditRecord, Begun, BlockSet, BlockedRecord, Device, Done, Event, Folded, FoldedPage,
    InvitationRecord, LoginRecord, MemberRecord, NewRoom, Page, Presented, ReadMark, RefreshKey, Renewal, Result,
    RoomCreated, RoomCursor, RoomRecord, RoomSummary, Rotation, SessionRecord, Store, StoreError, UserAndSession,
    UserChange, UserChanged, UserQuery, UserRecord,
    deletion::Nameless,
    search::{Found, Search},
    shared::Shared,
};
use crate::types::{MessageId, Ordinal, RoomId, RoomRole, Seq, SessionId, Timestamp, UserId};

pub use self::schema::VERSION as SCHEMA_VERSION;
pub use self::{
    journal::recovery::JournalError,
    open::{OpenError, path_of},
    restore::{RestoreError, RestoreReport, restore},
};

pub struct SqliteStore {
    path: PathBuf,
    readers: Readers,
    readings: Arc<Readings>,
    tail: Arc<Tail>,
    nameless: Arc<Nameless>,
    /// Shared with the blocking thread that waits for them on closing.
    threads: Arc<Threads>,
    /// Taken by the first `close`, which waits for a backup that holds it. `None` once closed.
    lock: Arc<Mutex<Option<FolderLock>>>,
}

impl SqliteStore {
    /// What makes the data grow: refused while no more than the reserve is free.
    async fn write<T: Send + 'static>(
        &self,
        op: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.threads.writer.write(Need::Room, op).await
    }

    /// What must be possible while the disk is full: stopping somebody, and deleting.
    async fn write_in_reserve<T: Send + 'static>(
        &self,
        op: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.threads.writer.write(Need::Reserve, op).await
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.readers.read(read).await
    }
}

/// The lock goes after the threads, also where nobody called `close`.
impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.threads.stop();
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn shared(&self) -> Option<&dyn Shared> {
        None
    }

    async fn repair(&self, _room: RoomId) -> Result<()> {
        Ok(())
    }

    async fn rooms(&self, after: Option<RoomId>, limit: usize) -> Result<Vec<RoomRecord>> {
        let newer = self.tail.heads();
        let rooms = self.read(move |db| rooms::list(db, after, limit)).await?;
        let with_head = |room: RoomRecord| {
            let newer = newer.get(&room.room_id);
            rooms::with_head(room, newer)
        };
        Ok(rooms.into_iter().map(with_head).collect())
    }

    async fn append_audit(&self, entries: Vec<AuditRecord>) -> Result<()> {
        self.write_in_reserve(move |db| audit::append(db, &entries)).await
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRecord>> {
        self.read(move |db| audit::list(db, &query)).await
    }

    async fn purge_audit(&self, before: Timestamp, keep: usize, limit: usize) -> Result<usize> {
        self.write_in_reserve(move |db| audit::purge(db, before, keep, limit)).await
    }

    async fn begin_import(&self, import: &str) -> Result<Begun> {
        let import = import.to_owned();
        self.write(move |db| imports::begin(db, &import)).await
    }

    async fn end_import(&self) -> Result<()> {
        self.write_in_reserve(imports::end).await
    }

    async fn unfinished_import(&self) -> Result<Option<String>> {
        self.read(imports::unfinished).await
    }

    async fn ready(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.threads.appender.probe(move |result| drop(reply.send(result)));
        let has_room = self.write(space::probe).await?;
        answer.await.unwrap_or_else(|_| Err(writer::closed()))?;
        if has_room { Ok(()) } else { Err(StoreError::Full("it has reached store.max_bytes".into())) }
    }

    async fn backup(&self, file: &Path) -> Result<()> {
        // Goes along, so that closing waits for the copy also where nobody waits for it any more.
        let lock = self.lock.clone().lock_owned().await;
        if lock.is_none() {
            return Err(StoreError::Unavailable("it is closed".into()));
        }
        let (database, file, tail) = (self.path.clone(), file.to_owned(), self.tail.clone());
        let readings = self.readings.clone();
        let copying = tokio::task::spawn_blocking(move || {
            let result = tail.wait_until_settled().and_then(|()| backup::backup(&database, &file, &readings));
            drop(lock);
            result
        });
        copying.await.unwrap_or_else(|error| Err(StoreError::Unavailable(format!("the backup was cut off: {error}"))))
    }

    async fn close(&self) {
        let mut lock = self.lock.lock().await;
        let Some(held) = lock.take() else { return };
        self.readers.close().await;
        let threads = self.threads.clone();
        // The lock goes along: a caller who leaves does not let the next owner in before the threads have ended.
        let stopping = move || {
            threads.stop();
            drop(held);
        };
        if let Err(error) = tokio::task::spawn_blocking(stopping).await {
            tracing::error!(%error, "closing the store was cut off");
        }
    }

    async fn create_user(&self, user: UserRecord) -> Result<bool> {
        self.write(move |db| users::create(db, &user)).await
    }

    async fn bring_user(&self, user: UserRecord) -> Result<bool> {
        self.nameless.note(&user);
        self.write(move |db| users::bring(db, &user)).await
    }

    async fn user(&self, user: UserId) -> Result<Option<UserRecord>> {
        self.read(move |db| users::by_id(db, user)).await
    }

    async fn user_by_name(&self, folded: &str) -> Result<Option<UserRecord>> {
        let folded = folded.to_owned();
        self.read(move |db| users::by_name(db, &folded)).await
    }

    async fn users(&self, query: UserQuery) -> Result<Vec<UserRecord>> {
        self.read(move |db| users::list(db, &query)).await
    }

    async fn change_user(&self, user: UserId, change: UserChange) -> Result<UserChanged> {
        let grows = matches!(change, UserChange::DisplayName(_));
        let op = move |db: &Connection| users::change(db, user, &change);
        let changed = match grows {
            true => self.write(op).await,
            false => self.write_in_reserve(op).await,
        };
        if let Ok(UserChanged::Done(user)) = &changed {
            self.nameless.note(user);
        }
        changed
    }

    async fn deletions(&self, limit: usize) -> Result<Vec<UserId>> {
        self.read(move |db| users::deletions(db, limit)).await
    }

    async fn create_session(&self, session: SessionRecord, first: RefreshKey, keep: usize) -> Result<Vec<SessionId>> {
        self.write(move |db| sessions::create(db, &session, &first, keep)).await
    }

    async fn session(&self, session: SessionId) -> Result<Option<SessionRecord>> {
        self.read(move |db| sessions::by_id(db, session)).await
    }

    async fn user_and_session(&self, user: UserId, session: SessionId) -> Result<Option<UserAndSession>> {
        let both = move |db: &Connection| {
            let Some(user) = users::by_id(db, user)? else { return Ok(None) };
            Ok(Some((user, sessions::by_id(db, session)?)))
        };
        self.read(both).await
    }

    async fn see_session(&self, session: SessionId, at: Timestamp, device: Device) -> Result<()> {
        self.write(move |db| sessions::see(db, session, at, &device)).await
    }

    async fn logins_of(&self, user: UserId) -> Result<Vec<LoginRecord>> {
        self.read(move |db| sessions::of_user(db, user)).await
    }

    async fn rotate_refresh(&self, renewal: Renewal) -> Result<Rotation> {
        self.write(move |db| sessions::rotate(db, &renewal)).await
    }

    async fn session_of_refresh(&self, presented: Presented) -> Result<Option<SessionRecord>> {
        self.read(move |db| sessions::by_token(db, &presented)).await
    }

    async fn end_session(&self, session: SessionId) -> Result<bool> {
        self.write_in_reserve(move |db| sessions::end(db, session)).await
    }

    async fn purge_sessions(&self, now: Timestamp, limit: usize) -> Result<usize> {
        self.write_in_reserve(move |db| sessions::purge(db, now, limit)).await
    }

    async fn create_room(&self, room: NewRoom) -> Result<RoomCreated> {
        self.write(move |db| rooms::create(db, &room)).await
    }

    async fn room(&self, room: RoomId) -> Result<Option<RoomRecord>> {
        let newer = self.tail.head(room);
        let found = self.read(move |db| rooms::by_id(db, room)).await?;
        Ok(found.map(|room| rooms::with_head(room, newer.as_ref())))
    }

    async fn members(&self, room: RoomId, after: Option<UserId>, limit: usize) -> Result<Vec<MemberRecord>> {
        let newer = self.tail.marks(room);
        let members = self.read(move |db| rooms::members(db, room, after, limit)).await?;
        let with_mark = |member: MemberRecord| {
            let newer = newer.get(&member.user_id).copied();
            rooms::with_mark(member, newer)
        };
        Ok(members.into_iter().map(with_mark).collect())
    }

    async fn member(&self, room: RoomId, user: UserId) -> Result<Option<MemberRecord>> {
        let newer = self.tail.mark(room, user);
        let found = self.read(move |db| rooms::member(db, room, user)).await?;
        Ok(found.map(|member| rooms::with_mark(member, newer)))
    }

    async fn append(&self, room: RoomId, events: Vec<Event>) -> Result<Appended> {
        let (reply, answer) = oneshot::channel();
        // Whoever asked may have gone; what they asked for is done all the same.
        self.threads.appender.append(room, events.into(), Box::new(move |result| drop(reply.send(result))));
        answer.await.unwrap_or_else(|_| Err(writer::closed()))
    }

    fn append_then(self: Arc<Self>, room: RoomId, events: Arc<[Event]>, done: Done) {
        self.threads.appender.append(room, events, done);
    }

    async fn find_posts(&self, room: RoomId, mut ids: Vec<(UserId, Arc<str>)>) -> Result<Vec<Event>> {
        let mut found = Vec::new();
        ids.retain(|(sender, client_id)| {
            let newer = self.tail.post(room, *sender, client_id);
            let is_older = newer.is_none();
            found.extend(newer);
            is_older
        });
        if !ids.is_empty() {
            found.extend(self.read(move |db| log::find_posts(db, room, &ids)).await?);
        }
        Ok(found)
    }

    async fn events(&self, room: RoomId, page: Page) -> Result<Vec<Event>> {
        let newer = self.tail.page(room, page);
        let Some(rest) = log::rest_of(page, &newer) else { return Ok(self.nameless.events(newer)) };
        let older = self.read(move |db| log::page(db, room, rest)).await?;
        Ok(self.nameless.events(log::as_one(page, older, newer)))
    }

    /// Messages of the tail have never been changed: what changes one goes to the tables, behind the tail.
    async fn messages(&self, room: RoomId, page: Page, _at_least: Seq) -> Result<FoldedPage> {
        let (end, newer) = self.tail.messages(room, page);
        if let Some(end) = end.filter(|_| log::rest_of(page, &newer).is_none()) {
            let messages = newer.into_iter().map(Folded::plain).collect();
            return Ok(self.nameless.page(FoldedPage { head: end.seq, count: end.messages, messages }));
        }
        let settled = self.read(move |db| forms::page(db, room, page)).await?;
        Ok(self.nameless.page(forms::with_tail(settled, end, newer, page)))
    }

    async fn message(&self, room: RoomId, message: MessageId, _at_least: Seq) -> Result<Option<Folded>> {
        if let Some(newer) = self.tail.message(room, message) {
            return Ok(Some(self.nameless.folded(Folded::plain(newer))));
        }
        let found = self.read(move |db| forms::by_id(db, room, message)).await?;
        Ok(found.map(|message| self.nameless.folded(message)))
    }

    async fn texts(&self, room: RoomId, message: Seq, after: Seq, limit: usize) -> Result<Vec<Event>> {
        let newer = self.tail.event(room, message);
        let found = self.read(move |db| forms::texts(db, room, message, after, limit)).await?;
        Ok(if found.is_empty() { newer.into_iter().filter(|event| event.seq > after).collect() } else { found })
    }

    async fn deleted_after(&self, room: RoomId, ordinal: Ordinal) -> Result<Ordinal> {
        self.read(move |db| forms::deleted_after(db, room, ordinal)).await
    }

    async fn set_read(&self, room: RoomId, user: UserId, seq: Seq) -> Result<Option<ReadMark>> {
        let tail = self.tail.clone();
        self.write(move |db| rooms::set_read(db, &tail, room, user, seq)).await
    }

    async fn rooms_of(
        &self,
        user: UserId,
        after: Option<RoomCursor>,
        limit: usize,
        usernames: usize,
    ) -> Result<Vec<RoomSummary>> {
        // Whoever joins after this finds everything that was posted before in the tables.
        let newer = match self.tail.is_empty() {
            true => HashMap::new(),
            false => self.tail.newer(user, &self.room_ids_of(user, None, usize::MAX).await?),
        };
        let nameless = self.nameless.clone();
        self.read(move |db| rooms::list_of(db, &nameless, user, &newer, after, limit, usernames)).await
    }

    async fn room_count_of(&self, user: UserId) -> Result<usize> {
        self.read(move |db| rooms::count_of(db, user)).await
    }

    async fn room_ids_of(&self, user: UserId, after: Option<RoomId>, limit: usize) -> Result<Vec<RoomId>> {
        self.read(move |db| rooms::ids_of(db, user, after, limit)).await
    }

    async fn search(&self, search: Search) -> Result<Found> {
        self.threads.catch_up(self.tail.clone(), Instant::now() + search.patience()).await?;
        let nameless = self.nameless.clone();
        self.read(move |db| search::walk::search(db, &nameless, &search)).await
    }

    async fn search_behind(&self) -> Result<u64> {
        let unsettled = self.tail.count();
        Ok(unsettled + self.read(search::index::behind).await?)
    }

    async fn reindex(&self) -> Result<()> {
        self.write(search::index::empty).await?;
        self.threads.feeder.wake();
        Ok(())
    }

    async fn check_search(&self) -> Result<Vec<String>> {
        self.read(search::index::check).await
    }

    async fn private_room(&self, pair: &str) -> Result<Option<RoomId>> {
        let pair = pair.to_owned();
        self.read(move |db| attention::private_room(db, &pair)).await
    }

    async fn set_hidden(&self, room: RoomId, user: UserId, hidden: bool) -> Result<bool> {
        let tail = self.tail.clone();
        self.write(move |db| attention::set_hidden(db, &tail, room, user, hidden)).await
    }

    async fn invited_to(&self, room: RoomId, after: Option<UserId>, limit: usize) -> Result<Vec<(UserId, RoomRole)>> {
        self.read(move |db| attention::invited_to(db, room, after, limit)).await
    }

    async fn invitations_of(
        &self,
        user: UserId,
        after: Option<RoomCursor>,
        limit: usize,
    ) -> Result<Vec<InvitationRecord>> {
        self.read(move |db| attention::invitations_of(db, user, after, limit)).await
    }

    async fn has_left(&self, room: RoomId, user: UserId) -> Result<bool> {
        self.read(move |db| attention::has_left(db, room, user)).await
    }

    async fn know_each_other(&self, user: UserId, other: UserId) -> Result<bool> {
        let shared = self.read(move |db| attention::shared_rooms(db, user, other)).await?;
        Ok(shared.into_iter().any(|private| private.is_none_or(|room| self.tail.mark(room, user).is_some())))
    }

    async fn set_block(&self, user: UserId, other: UserId, blocked: bool, most: usize) -> Result<BlockSet> {
        self.write(move |db| attention::set_block(db, user, other, blocked, most)).await
    }

    async fn blocks_of(&self, user: UserId, after: Option<UserId>, limit: usize) -> Result<Vec<BlockedRecord>> {
        self.read(move |db| attention::blocks_of(db, user, after, limit)).await
    }

    async fn blocks_between(&self, one: UserId, other: UserId) -> Result<Vec<UserId>> {
        self.read(move |db| attention::between(db, one, other)).await
    }

    async fn apart_from(&self, user: UserId) -> Result<Vec<UserId>> {
        self.read(move |db| attention::apart_from(db, user)).await
    }
}
