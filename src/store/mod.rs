//! Where everything that must survive lives: users, logins, rooms and their logs.
//!
//! [`Store`] is the contract, and one suite of tests (`tests/it/store.rs`) holds every implementation to it.
//! A store knows no HTTP, no sockets and no live rooms: it makes records durable and gives them back.
//!
//! The log of a room is its truth. `head_seq`, `messages`, members, names and read marks are projections of it that a
//! store keeps beside the log so that reading is cheap, and that it could rebuild.

mod audit;
mod deletion;
pub mod mongo;
mod prefix;
pub mod readiness;
mod refresh;
pub mod search;
pub mod shared;
pub mod sqlite;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

pub use self::{
    audit::{AuditQuery, AuditRecord},
    deletion::{DELETED_NAME, Deletion},
    refresh::{Presented, RefreshHash, RefreshKey, Renewal},
};
use self::{
    search::{Found, Search},
    shared::Shared,
};
use crate::{
    event::{
        Event,
        fold::ReadMark,
        folded::{Folded, FoldedPage},
    },
    types::{MessageId, Ordinal, Role, RoomId, RoomKind, RoomRole, Seq, SessionId, Timestamp, UserId},
};

/// Why a store could not do what was asked. None of these is the caller's fault; all answer 503 at the edge.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Nothing is known to have happened: the work may be on disk or may not. Settle it by reading back.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    /// The disk (or the configured maximum size) is full. Nothing of the request was kept.
    #[error("the store's disk is full: {0}")]
    Full(String),
    /// The data is damaged, or written by a newer natter. Nothing of the request was kept.
    #[error("the store's data is damaged: {0}")]
    Damaged(String),
    /// More requests wait than `store.*_queue` allows. Nothing of the request was kept.
    #[error("the store is too busy")]
    Busy,
    /// This kind of store cannot do that.
    #[error("{0}")]
    Unsupported(String),
}

impl StoreError {
    /// The word for it on the wire.
    pub fn code(&self) -> &'static str {
        match self {
            StoreError::Unavailable(_) => "store_unavailable",
            StoreError::Full(_) => "store_full",
            StoreError::Damaged(_) => "store_damaged",
            StoreError::Busy => "store_busy",
            StoreError::Unsupported(_) => "store_unsupported",
        }
    }

    /// What a client is told; the error itself is for the operator's log.
    pub fn advice(&self) -> &'static str {
        match self {
            StoreError::Unavailable(_) => "The server cannot reach its data; try again in a moment.",
            StoreError::Full(_) => "The server's disk is full; try again once its operator has made room.",
            StoreError::Damaged(_) => "The server's data is damaged; its operator must restore it.",
            StoreError::Busy => "The server is busy; try again in a moment.",
            StoreError::Unsupported(_) => "The server's store cannot do that.",
        }
    }
}

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    pub user_id: UserId,
    /// As its owner wrote it, after NFKC.
    pub username: String,
    /// The case-folded form, unique.
    pub folded: String,
    pub display_name: String,
    /// bcrypt, `$2b$…`. Never leaves the server.
    pub password_hash: String,
    /// Sorted, without repeats.
    pub roles: Vec<Role>,
    pub created_at: Timestamp,
    pub disabled: bool,
    /// Part of every access token (`ver`): raising it ends them all.
    pub token_epoch: u64,
    /// Where their account is being deleted or was.
    pub deletion: Option<Deletion>,
}

/// A change of one user, applied as a whole or not at all.
#[derive(Debug, Clone)]
pub enum UserChange {
    DisplayName(String),
    /// Ends every login but `keep`.
    Password {
        hash: String,
        keep: Option<SessionId>,
    },
    /// Another hash of the same password, where `from` is still the one: nothing else changes.
    Rehash {
        from: String,
        to: String,
    },
    AddRole(Role),
    /// Refused with [`UserChanged::LastAdmin`] when nobody enabled would be admin any more.
    RemoveRole(Role),
    /// Raises the token epoch and ends every login; refused for the last enabled admin.
    Disable,
    /// Changes nothing of an account that is being deleted or was.
    Enable,
    /// Raises the token epoch and ends every login.
    EndLogins,
    /// Ends every login but `keep`, as a new password does; one that has ended does not come back by it.
    EndOtherLogins {
        keep: SessionId,
    },
    /// Notes that the account is to be deleted, and disables it as [`UserChange::Disable`] does. Again with less or as much
    /// asked than is noted, it changes nothing.
    Delete(Deletion),
    /// Ends a deletion: name, password and roles are gone, with whom they block, who blocks them and what they answered to
    /// invitations. Changes nothing where no deletion goes on.
    Deleted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserChanged {
    /// The user as it is now (also when the change changed nothing).
    Done(UserRecord),
    NoSuchUser,
    LastAdmin,
}

/// Users in order of their folded name.
#[derive(Debug, Clone, Default)]
pub struct UserQuery {
    /// Only folded names that start with this.
    pub prefix: String,
    /// Only folded names after this one.
    pub after: Option<String>,
    pub limit: usize,
    pub with_disabled: bool,
    /// Also those who have no name any more.
    pub with_deleted: bool,
    /// Only those who are in a room with this user, themselves included.
    pub sharing_with: Option<UserId>,
}

/// One login. Access tokens name it (`sid`) and live no longer than it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    pub session_id: SessionId,
    pub user_id: UserId,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// A user with a login, which may have ended.
pub type UserAndSession = (UserRecord, Option<SessionRecord>);

/// What signed in, or renewed its login, as far as it said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    pub address: Option<String>,
    /// Its `User-Agent`.
    pub agent: Option<String>,
}

/// A login as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginRecord {
    pub session: SessionRecord,
    /// When it was begun or renewed last, and by what.
    pub seen_at: Timestamp,
    pub device: Device,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    Rotated(SessionRecord),
    /// The presented token had been rotated away, and not just now: somebody holds a stolen copy. The login is ended now.
    Reused(SessionRecord),
    /// No such token, one that was overtaken by another answer just now, or its login has ended or expired.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomRecord {
    pub room_id: RoomId,
    pub kind: RoomKind,
    /// Groups only.
    pub name: Option<String>,
    /// Names this life of the log. A restored log gets a new one, and cursors of another epoch are worth nothing.
    pub epoch: String,
    pub head_seq: Seq,
    /// How many messages the log holds: the ordinal of its head.
    pub messages: Ordinal,
    pub created_at: Timestamp,
    /// `sent_at` of the last event that moves a room up in a list of rooms: of all but changes of messages.
    pub active_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRecord {
    pub user_id: UserId,
    pub username: String,
    pub role: RoomRole,
    pub read: ReadMark,
    /// They have said something there.
    pub wrote: bool,
}

/// Somebody whom a user has blocked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockedRecord {
    pub user_id: UserId,
    pub username: String,
}

/// An invitation as who was invited sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationRecord {
    pub room_id: RoomId,
    pub name: Option<String>,
    pub role: RoomRole,
    /// Who invited them.
    pub by: String,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockSet {
    /// So it is now.
    Done,
    /// The user blocks as many as they may.
    TooMany,
}

#[derive(Debug, Clone)]
pub struct NewRoom {
    pub room_id: RoomId,
    pub kind: RoomKind,
    pub epoch: String,
    pub created_at: Timestamp,
    /// Private rooms only: the same text for the same two people, whoever asks. Unique.
    pub pair: Option<String>,
    /// The first events of the log, from seq 1: its name (groups), then a `Joined` for each member.
    pub events: Vec<Event>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomCreated {
    Created,
    /// The pair has this room already; nothing was made.
    Exists(RoomId),
}

/// How much of a batch became durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The first so many events are on disk, and nothing of the others is.
    pub stored: usize,
    /// Why it stopped before the end; `None` when everything was stored.
    pub stopped: Option<Stopped>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// Another writer holds the next seq: read the log from there and try again.
    SeqTaken,
    /// The next event's `(room, sender, client_id)` is in the log already, as this.
    Duplicate(Event),
    /// There is no such room.
    NoSuchRoom,
}

/// A stretch of a log. At most one of `after` and `before` is given; with neither, the latest.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// The first `limit` events with a greater seq.
    pub after: Option<Seq>,
    /// The last `limit` events with a smaller seq.
    pub before: Option<Seq>,
    pub limit: usize,
    pub messages_only: bool,
}

/// A room as its member sees it in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSummary {
    pub room: RoomRecord,
    pub role: RoomRole,
    pub read: ReadMark,
    /// Messages after that, without deleted ones.
    pub unread: Ordinal,
    /// The latest message that is not deleted, in its latest form.
    pub last_message: Option<Bytes>,
    /// In order of joining, at most as many as were asked for.
    pub usernames: Vec<String>,
}

/// Where a list of rooms, latest activity first, goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomCursor {
    pub active_at: Timestamp,
    pub room_id: RoomId,
}

/// How an import found the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Empty, and marked now.
    Anew,
    /// Marked by the same import before, which did not end.
    Again,
    /// Marked by another import that did not end; its name.
    Other(String),
    /// There are users or rooms in it.
    InUse,
}

/// What follows on an append.
pub type Done = Box<dyn FnOnce(Result<Appended>) + Send>;

/// Every method is atomic and durable when it returns `Ok`. Methods may be called from any task at once; what many of
/// them write at once shares commits.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Where other processes may serve the same data: how to learn what they do.
    fn shared(&self) -> Option<&dyn Shared>;

    /// Fails when the store could not serve a write now.
    async fn ready(&self) -> Result<()>;

    /// Writes a consistent copy of everything to `file`, which must not exist, while the store serves.
    async fn backup(&self, file: &Path) -> Result<()>;

    /// Finishes what is queued and lets go of the data. Later calls fail with `Unavailable`.
    async fn close(&self);

    /// `false`: the folded name is taken, or somebody has one that cannot be told from it ([`names::skeleton`]); nothing was made.
    ///
    /// [`names::skeleton`]: crate::names::skeleton
    async fn create_user(&self, user: UserRecord) -> Result<bool>;
    /// The same for somebody who had the name before, elsewhere, and keeps it whatever it looks like.
    async fn bring_user(&self, user: UserRecord) -> Result<bool>;
    async fn user(&self, user: UserId) -> Result<Option<UserRecord>>;
    async fn user_by_name(&self, folded: &str) -> Result<Option<UserRecord>>;
    async fn users(&self, query: UserQuery) -> Result<Vec<UserRecord>>;
    async fn change_user(&self, user: UserId, change: UserChange) -> Result<UserChanged>;
    /// Some of those whose deletion goes on.
    async fn deletions(&self, limit: usize) -> Result<Vec<UserId>>;

    /// Begins a login with its first refresh token; where the user has more than `keep` then, the oldest are ended and
    /// returned.
    async fn create_session(&self, session: SessionRecord, first: RefreshKey, keep: usize) -> Result<Vec<SessionId>>;
    /// `None` once it has ended. Expiry is the caller's to compare.
    async fn session(&self, session: SessionId) -> Result<Option<SessionRecord>>;
    /// A user, and a login of theirs or of somebody else, which was read no earlier than the user.
    async fn user_and_session(&self, user: UserId, session: SessionId) -> Result<Option<UserAndSession>>;
    /// Notes when and by what a login was begun or renewed last.
    async fn see_session(&self, session: SessionId, at: Timestamp, device: Device) -> Result<()>;
    /// A user's logins that have not ended, in any order. Expiry is the caller's to compare.
    async fn logins_of(&self, user: UserId) -> Result<Vec<LoginRecord>>;
    /// Replaces a login's current refresh token and moves its expiry, where the current one is presented, or the
    /// one used last a short time after its use. No more is kept of a login's tokens than these two.
    async fn rotate_refresh(&self, renewal: Renewal) -> Result<Rotation>;
    /// The login that a refresh token, used or not, is one of.
    async fn session_of_refresh(&self, presented: Presented) -> Result<Option<SessionRecord>>;
    /// `false`: it had ended before.
    async fn end_session(&self, session: SessionId) -> Result<bool>;
    /// Forgets logins that expired before `now`, and what versions before kept of refresh tokens whose time was over; at most
    /// `limit` in all. Returns how many.
    async fn purge_sessions(&self, now: Timestamp, limit: usize) -> Result<usize>;

    async fn create_room(&self, room: NewRoom) -> Result<RoomCreated>;
    async fn room(&self, room: RoomId) -> Result<Option<RoomRecord>>;
    /// Members in order of joining: the first `limit` after `after`.
    async fn members(&self, room: RoomId, after: Option<UserId>, limit: usize) -> Result<Vec<MemberRecord>>;
    async fn member(&self, room: RoomId, user: UserId) -> Result<Option<MemberRecord>>;
    /// Makes the longest possible prefix of `events` (dense from `events[0].seq`) durable, with what they change. A deletion
    /// erases: what was said is nowhere in the store's records any more.
    /// Never leaves a hole, never stores a second event for one (room, sender, client_id).
    async fn append(&self, room: RoomId, events: Vec<Event>) -> Result<Appended>;
    /// The same without waiting: `done` is called once the outcome is known, by a task that serves others too. It may be called
    /// before this returns. What is appended to one room by several calls comes in their order.
    fn append_then(self: Arc<Self>, room: RoomId, events: Arc<[Event]>, done: Done) {
        tokio::spawn(async move {
            let appended = self.append(room, events.to_vec()).await;
            done(appended);
        });
    }
    /// Brings a room's projections up to its log. To be called after an append of unknown outcome, before its events are
    /// shown to anybody; a store whose appends are one transaction has nothing to do.
    async fn repair(&self, room: RoomId) -> Result<()>;
    /// Of these `(sender, client_id)`, those that the log has, in any order.
    async fn find_posts(&self, room: RoomId, ids: Vec<(UserId, Arc<str>)>) -> Result<Vec<Event>>;
    /// Always ascending by seq.
    async fn events(&self, room: RoomId, page: Page) -> Result<Vec<Event>>;
    /// Messages in their latest form: each as it stood at exactly the page's head, which is at least `at_least`, a seq that the
    /// log is known to reach. No query for each message. [`Page::messages_only`] goes without saying.
    async fn messages(&self, room: RoomId, page: Page, at_least: Seq) -> Result<FoldedPage>;
    /// A message as it stood at `at_least`, a seq that the log is known to reach, or later.
    async fn message(&self, room: RoomId, message: MessageId, at_least: Seq) -> Result<Option<Folded>>;
    /// What the message at this seq said: its own event and its edits, ascending, the first `limit` after `after`. Erased ones are
    /// in their erased form.
    async fn texts(&self, room: RoomId, message: Seq, after: Seq, limit: usize) -> Result<Vec<Event>>;
    /// How many of the messages with a greater ordinal are deleted.
    async fn deleted_after(&self, room: RoomId, ordinal: Ordinal) -> Result<Ordinal>;
    /// Moves a read mark forward to `min(seq, head)`, never back; `None` for somebody who is not a member.
    async fn set_read(&self, room: RoomId, user: UserId, seq: Seq) -> Result<Option<ReadMark>>;
    /// A member's rooms, latest activity first, with up to `usernames` names each. Those that they have hidden are left out
    /// while there is no message after that.
    async fn rooms_of(
        &self,
        user: UserId,
        after: Option<RoomCursor>,
        limit: usize,
        usernames: usize,
    ) -> Result<Vec<RoomSummary>>;
    /// How many rooms the user is in by their own doing: made, opened or joined, and not put into by somebody else.
    async fn room_count_of(&self, user: UserId) -> Result<usize>;
    /// Just the ids, ascending, after `after`.
    async fn room_ids_of(&self, user: UserId, after: Option<RoomId>, limit: usize) -> Result<Vec<RoomId>>;

    /// What has been said, newest first, in the rooms that the user is a member of now. What was stored a moment ago may be missing.
    async fn search(&self, search: Search) -> Result<Found>;
    /// How many events no search looks at yet.
    async fn search_behind(&self) -> Result<u64>;
    /// Empties the index of searches; it is filled again in the background.
    async fn reindex(&self) -> Result<()>;
    /// What is wrong with the index of searches, in sentences.
    async fn check_search(&self) -> Result<Vec<String>>;

    /// The private room of a pair.
    async fn private_room(&self, pair: &str) -> Result<Option<RoomId>>;
    /// Hides a room from a member's list until its next message, or shows it again. `false` for somebody who is not a member.
    async fn set_hidden(&self, room: RoomId, user: UserId, hidden: bool) -> Result<bool>;

    /// Who is invited to a room and has not answered, ascending by id: the first `limit` after `after`.
    async fn invited_to(&self, room: RoomId, after: Option<UserId>, limit: usize) -> Result<Vec<(UserId, RoomRole)>>;
    /// A user's invitations, latest first.
    async fn invitations_of(
        &self,
        user: UserId,
        after: Option<RoomCursor>,
        limit: usize,
    ) -> Result<Vec<InvitationRecord>>;
    /// They left the room or declined an invitation to it, and have not come back or been asked since.
    async fn has_left(&self, room: RoomId, user: UserId) -> Result<bool>;
    /// The two are in a group together, or in a private room in which `user` has written.
    async fn know_each_other(&self, user: UserId, other: UserId) -> Result<bool>;

    /// Blocks somebody, unless the user blocks `most` already; or lets them be again. May be repeated.
    async fn set_block(&self, user: UserId, other: UserId, blocked: bool, most: usize) -> Result<BlockSet>;
    /// Whom a user blocks, ascending by id: the first `limit` after `after`.
    async fn blocks_of(&self, user: UserId, after: Option<UserId>, limit: usize) -> Result<Vec<BlockedRecord>>;
    /// Which of the two block the other.
    async fn blocks_between(&self, one: UserId, other: UserId) -> Result<Vec<UserId>>;
    /// Everybody whom the user blocks, and everybody who blocks them.
    async fn apart_from(&self, user: UserId) -> Result<Vec<UserId>>;

    /// Every room, ascending by id: the first `limit` after `after`.
    async fn rooms(&self, after: Option<RoomId>, limit: usize) -> Result<Vec<RoomRecord>>;
    /// Adds entries to the audit; one that is there already stays as it is.
    async fn append_audit(&self, entries: Vec<AuditRecord>) -> Result<()>;
    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRecord>>;
    /// Forgets entries from before `before`, and the oldest where there are more than `keep`; at most `limit`. Returns how many.
    async fn purge_audit(&self, before: Timestamp, keep: usize, limit: usize) -> Result<usize>;

    /// Marks the store as being filled by `import`. It must be empty, or marked by the same import.
    async fn begin_import(&self, import: &str) -> Result<Begun>;
    /// Takes the mark away: everything is in.
    async fn end_import(&self) -> Result<()>;
    /// The import that has begun and not ended; such a store must not serve.
    async fn unfinished_import(&self) -> Result<Option<String>>;
}
