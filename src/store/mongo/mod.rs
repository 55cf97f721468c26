//! The store of several machines: MongoDB.
//!
//! - `open.rs` reads the URL and looks at whose database it is; `schema.rs` has the indexes and their migrations.
//! - `base.rs` is how every operation is done: deadlines, tries, what errors mean. `codec.rs` is how our words look in
//!   documents.
//! - `users.rs`, `sessions.rs` and `tokens.rs` are accounts, logins and their refresh tokens; `attention.rs` whom they block
//!   and what they hide; `imports.rs` what moving data needs.
//! - `log.rs`, `commit.rs`, `project.rs` and `pages.rs` are the logs of rooms; `forms.rs` is what became of messages.
//! - `search/` is the index of searches.
//! - `shared.rs` is what the processes learn of each other.
//!
//! There are no transactions in it, and nothing that only a replica set has. What must be decided between processes is
//! decided by one insert under a unique index, by one delete, or by one conditional update of one document; everything
//! else follows from the order of writes, and can be done again.

mod attention;
mod audit;
mod base;
mod codec;
mod codec_log;
mod commands;
mod commit;
mod forms;
mod imports;
mod lists;
mod log;
mod marks;
mod members;
mod open;
mod pages;
mod project;
mod rooms;
mod schema;
mod search;
mod sessions;
mod shared;
mod tokens;
mod turns;
mod users;

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;

use self::{
    base::{Base, store_error},
    log::Log,
    open::Opened,
    tokens::Tokens,
    users::Users,
};
use super::{
    Appended, AuditQuery, AuditRecord, Begun, BlockSet, BlockedRecord, Device, Event, Folded, FoldedPage,
    InvitationRecord, LoginRecord, MemberRecord, NewRoom, Page, Presented, ReadMark, RefreshKey, Renewal, Result,
    RoomCreated, RoomCursor, RoomRecord, RoomSummary, Rotation, SessionRecord, Store, StoreError, UserAndSession,
    UserChange, UserChanged, UserQuery, UserRecord,
    search::{Found, Search},
    shared::{Changes, Mark, Shared},
};
use crate::{
    config,
    metrics::Metrics,
    types::{MessageId, NodeId, Ordinal, RoomId, RoomRole, Seq, SessionId, Timestamp, UserId},
};

pub use self::{open::OpenError, schema::VERSION as SCHEMA_VERSION};

pub struct MongoStore {
    base: Arc<Base>,
    users: Users,
    tokens: Tokens,
    log: Arc<Log>,
    cluster: String,
    address: String,
}

impl MongoStore {
    /// Connects, and brings the database's indexes and schema up to date. The error is a sentence for the operator.
    pub async fn connect(config: &config::Store, metrics: Arc<Metrics>) -> Result<Arc<Self>, OpenError> {
        let Opened { base, cluster, address } = open::open(config, metrics).await?;
        let base = Arc::new(base);
        let (users, tokens) = (Users::new(base.clone()), Tokens::new(base.clone()));
        let unread = |error| format!("The users of the database {:?} cannot be read: {error}.", base.db.name());
        users.note_nameless().await.map_err(unread)?;
        Ok(Arc::new(Self { users, tokens, log: Log::start(base.clone()), base, cluster, address }))
    }

    /// What can be found wrong with the settings without the servers; those of a `mongodb+srv` URL may be found later.
    pub async fn check(config: &config::Store) -> Result<(), String> {
        match open::check(config).await {
            Ok(()) | Err(OpenError::Away(_)) => Ok(()),
            Err(OpenError::Refused(sentence)) => Err(sentence),
        }
    }

    /// Names the database, whichever way it is reached: the same for every node.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Where the data is, for people: the servers and the database, no login.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The key that all nodes sign access tokens with: `fresh` where there was none.
    pub async fn signing_key(&self, fresh: &str) -> Result<String> {
        schema::signing_key(&self.base, fresh).await
    }
}

#[async_trait]
impl Shared for MongoStore {
    async fn changes(&self, mark: Mark, with_rooms: bool) -> Result<Changes> {
        shared::changes(&self.base, mark, with_rooms).await
    }

    async fn meet(&self, node: NodeId, within: Duration) -> Result<Vec<NodeId>> {
        shared::meet(&self.base, node, within).await
    }

    async fn part(&self, node: NodeId) -> Result<()> {
        shared::part(&self.base, node).await
    }
}

#[async_trait]
impl Store for MongoStore {
    fn shared(&self) -> Option<&dyn Shared> {
        Some(self)
    }

    async fn ready(&self) -> Result<()> {
        schema::probe(&self.base).await
    }

    async fn backup(&self, _file: &Path) -> Result<()> {
        self.base.is_open().map_err(|error| store_error(&error))?;
        Err(StoreError::Unsupported(
            "A backup file is for the embedded store. Write everything down with `natter export FILE`, or back MongoDB up \
             with mongodump or its snapshots."
                .into(),
        ))
    }

    async fn close(&self) {
        self.log.close().await;
        self.base.close().await;
    }

    async fn create_user(&self, user: UserRecord) -> Result<bool> {
        self.users.create(&user).await
    }

    async fn bring_user(&self, user: UserRecord) -> Result<bool> {
        self.users.nameless.note(&user);
        self.users.bring(&user).await
    }

    async fn user(&self, user: UserId) -> Result<Option<UserRecord>> {
        self.users.by_id(user).await
    }

    async fn user_by_name(&self, folded: &str) -> Result<Option<UserRecord>> {
        self.users.by_name(folded).await
    }

    async fn users(&self, query: UserQuery) -> Result<Vec<UserRecord>> {
        self.users.list(&query).await
    }

    async fn change_user(&self, user: UserId, change: UserChange) -> Result<UserChanged> {
        let changed = self.users.change(user, &change).await?;
        let ends = matches!(
            change,
            UserChange::Password { .. }
                | UserChange::Disable
                | UserChange::EndLogins
                | UserChange::EndOtherLogins { .. }
                | UserChange::Delete(_)
        );
        if ends && let Err(error) = sessions::sweep(&self.base, &self.users, &self.tokens, user).await {
            tracing::debug!(%error, "logins that are over are swept away once they have expired");
        }
        Ok(changed)
    }

    async fn deletions(&self, limit: usize) -> Result<Vec<UserId>> {
        self.users.deletions(limit).await
    }

    async fn create_session(&self, session: SessionRecord, first: RefreshKey, keep: usize) -> Result<Vec<SessionId>> {
        sessions::create(&self.base, &self.users, &self.tokens, &session, &first, keep).await
    }

    async fn session(&self, session: SessionId) -> Result<Option<SessionRecord>> {
        sessions::by_id(&self.base, &self.users, session).await
    }

    async fn user_and_session(&self, user: UserId, session: SessionId) -> Result<Option<UserAndSession>> {
        let Some(user) = self.users.by_id(user).await? else { return Ok(None) };
        Ok(Some((user, sessions::by_id(&self.base, &self.users, session).await?)))
    }

    async fn see_session(&self, session: SessionId, at: Timestamp, device: Device) -> Result<()> {
        sessions::see(&self.base, session, at, &device).await
    }

    async fn logins_of(&self, user: UserId) -> Result<Vec<LoginRecord>> {
        sessions::living_of(&self.base, &self.users, user).await
    }

    async fn rotate_refresh(&self, renewal: Renewal) -> Result<Rotation> {
        sessions::rotate(&self.base, &self.users, &self.tokens, &renewal).await
    }

    async fn session_of_refresh(&self, presented: Presented) -> Result<Option<SessionRecord>> {
        sessions::by_token(&self.base, &self.users, &self.tokens, &presented).await
    }

    async fn end_session(&self, session: SessionId) -> Result<bool> {
        sessions::end(&self.base, &self.users, &self.tokens, session).await
    }

    async fn purge_sessions(&self, now: Timestamp, limit: usize) -> Result<usize> {
        sessions::purge(&self.base, &self.tokens, now, limit).await
    }

    async fn create_room(&self, room: NewRoom) -> Result<RoomCreated> {
        rooms::create(&self.log, room).await
    }

    async fn room(&self, room: RoomId) -> Result<Option<RoomRecord>> {
        rooms::by_id(&self.log, room).await
    }

    async fn members(&self, room: RoomId, after: Option<UserId>, limit: usize) -> Result<Vec<MemberRecord>> {
        members::members(&self.base, room, after, limit).await
    }

    async fn member(&self, room: RoomId, user: UserId) -> Result<Option<MemberRecord>> {
        members::member(&self.base, room, user).await
    }

    async fn append(&self, room: RoomId, events: Vec<Event>) -> Result<Appended> {
        self.log.append(room, events).await
    }

    async fn repair(&self, room: RoomId) -> Result<()> {
        self.log.repair(room).await
    }

    async fn find_posts(&self, room: RoomId, ids: Vec<(UserId, Arc<str>)>) -> Result<Vec<Event>> {
        pages::find_posts(&self.base, room, ids).await
    }

    async fn events(&self, room: RoomId, page: Page) -> Result<Vec<Event>> {
        Ok(self.users.nameless.events(pages::page(&self.base, room, page).await?))
    }

    async fn messages(&self, room: RoomId, page: Page, at_least: Seq) -> Result<FoldedPage> {
        Ok(self.users.nameless.page(forms::page(&self.base, room, page, at_least).await?))
    }

    async fn message(&self, room: RoomId, message: MessageId, at_least: Seq) -> Result<Option<Folded>> {
        let found = forms::message(&self.base, room, message, at_least).await?;
        Ok(found.map(|message| self.users.nameless.folded(message)))
    }

    async fn texts(&self, room: RoomId, message: Seq, after: Seq, limit: usize) -> Result<Vec<Event>> {
        forms::texts(&self.base, room, message, after, limit).await
    }

    async fn deleted_after(&self, room: RoomId, ordinal: Ordinal) -> Result<Ordinal> {
        forms::deleted_after(&self.base, room, ordinal).await
    }

    async fn set_read(&self, room: RoomId, user: UserId, seq: Seq) -> Result<Option<ReadMark>> {
        members::set_read(&self.log, room, user, seq).await
    }

    async fn rooms_of(
        &self,
        user: UserId,
        after: Option<RoomCursor>,
        limit: usize,
        usernames: usize,
    ) -> Result<Vec<RoomSummary>> {
        lists::list_of(&self.base, &self.users.nameless, user, after, limit, usernames).await
    }

    async fn room_count_of(&self, user: UserId) -> Result<usize> {
        lists::count_of(&self.base, user).await
    }

    async fn room_ids_of(&self, user: UserId, after: Option<RoomId>, limit: usize) -> Result<Vec<RoomId>> {
        lists::ids_of(&self.base, user, after, limit).await
    }

    async fn rooms(&self, after: Option<RoomId>, limit: usize) -> Result<Vec<RoomRecord>> {
        rooms::records(&self.log, imports::room_ids(&self.base, after, limit).await?).await
    }

    async fn search(&self, search: Search) -> Result<Found> {
        self.log.words.catch_up(search.patience()).await;
        search::walk::search(&self.base, &self.users.nameless, &search).await
    }

    async fn search_behind(&self) -> Result<u64> {
        search::feeder::behind(&self.base).await
    }

    async fn reindex(&self) -> Result<()> {
        search::feeder::empty(&self.base).await?;
        self.log.words.begin_anew().await
    }

    async fn check_search(&self) -> Result<Vec<String>> {
        search::feeder::check(&self.base).await
    }

    async fn append_audit(&self, entries: Vec<AuditRecord>) -> Result<()> {
        audit::append(&self.base, &entries).await
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRecord>> {
        audit::list(&self.base, &query).await
    }

    async fn purge_audit(&self, before: Timestamp, keep: usize, limit: usize) -> Result<usize> {
        audit::purge(&self.base, before, keep, limit).await
    }

    async fn begin_import(&self, import: &str) -> Result<Begun> {
        imports::begin(&self.base, import).await
    }

    async fn end_import(&self) -> Result<()> {
        imports::end(&self.base).await
    }

    async fn unfinished_import(&self) -> Result<Option<String>> {
        imports::unfinished(&self.base).await
    }

    async fn private_room(&self, pair: &str) -> Result<Option<RoomId>> {
        attention::private_room(&self.base, pair).await
    }

    async fn set_hidden(&self, room: RoomId, user: UserId, hidden: bool) -> Result<bool> {
        attention::set_hidden(&self.base, room, user, hidden).await
    }

    async fn invited_to(&self, room: RoomId, after: Option<UserId>, limit: usize) -> Result<Vec<(UserId, RoomRole)>> {
        attention::invited_to(&self.base, room, after, limit).await
    }

    async fn invitations_of(
        &self,
        user: UserId,
        after: Option<RoomCursor>,
        limit: usize,
    ) -> Result<Vec<InvitationRecord>> {
        attention::invitations_of(&self.base, user, after, limit).await
    }

    async fn has_left(&self, room: RoomId, user: UserId) -> Result<bool> {
        attention::has_left(&self.base, room, user).await
    }

    async fn know_each_other(&self, user: UserId, other: UserId) -> Result<bool> {
        attention::know_each_other(&self.base, user, other).await
    }

    async fn set_block(&self, user: UserId, other: UserId, blocked: bool, most: usize) -> Result<BlockSet> {
        attention::set_block(&self.base, &self.users, user, other, blocked, most).await
    }

    async fn blocks_of(&self, user: UserId, after: Option<UserId>, limit: usize) -> Result<Vec<BlockedRecord>> {
        attention::blocks_of(&self.base, user, after, limit).await
    }

    async fn blocks_between(&self, one: UserId, other: UserId) -> Result<Vec<UserId>> {
        attention::between(&self.base, one, other).await
    }

    async fn apart_from(&self, user: UserId) -> Result<Vec<UserId>> {
        attention::apart_from(&self.base, user).await
    }
}
