//! The domain: rooms, who is in them, what was said. It knows neither HTTP nor sockets.
//!
//! - `room.rs` is a room: its log's live end, its members (`members.rs`) and who follows it; `ring.rs` keeps its recent frames,
//!   `fan_out.rs` and `hand_out.rs` offer them to each `subscriber.rs`, and `writer.rs` is the one writer that makes its log grow: `work.rs` is what it is asked, `rules.rs` what it allows, `encode.rs`
//!   what it writes, `away.rs` whether the store is known to be away.
//! - `rooms.rs` is the table of the rooms in memory.
//! - `attention.rs` is whom people block, what they hide and who sees whom; `pair.rs` what of that a private room knows.
//! - `commands.rs` is what people do to rooms: open, speak, rename, read; `history.rs` reads what was said, and `messages.rs` changes
//!   it: `touched.rs` knows what others changed meanwhile.
//! - `changes.rs` stores what is no event of a log and tells it, though the client has gone.
//! - `search.rs` is finding what was said.
//! - `users.rs` and `sessions.rs` are users and logins, `deletion.rs` is how an account ends; `account.rs` is a user as everyone here shares them, `accounts.rs` the
//!   cache that makes a valid token cheap to check.
//! - `invitations.rs` is asking people into groups, and their answers; `invited.rs` what of that a room knows.
//! - `online.rs` knows who is connected; `presence.rs` tells the others.
//! - `hearing.rs` is what a node does when it hears of something on the bus, `inbox.rs` what a room has heard; `watch.rs` asks the store for what it may not
//!   have heard.

pub mod account;
pub mod accounts;
mod attention;
mod away;
mod changes;
pub mod commands;
mod deletion;
mod encode;
mod fan_out;
mod hand_out;
mod hearing;
pub mod history;
mod inbox;
pub mod invitations;
mod invited;
mod members;
pub mod messages;
pub mod online;
mod pair;
pub mod presence;
pub mod ring;
pub mod room;
pub mod rooms;
mod rules;
pub mod search;
pub mod sessions;
pub mod subscriber;
mod telling;
mod touched;
pub mod users;
mod watch;
pub mod work;
mod writer;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::{
    bounded::BoundedMap,
    bus::Bus,
    config::Config,
    metrics::Metrics,
    store::{Store, StoreError},
    types::{NodeId, Roles, RoomId, SessionId, UserId},
};

/// Who asks, established by a token that is valid now.
#[derive(Clone, Debug)]
pub struct Caller {
    pub user_id: UserId,
    pub username: Arc<str>,
    pub session_id: SessionId,
    pub roles: Roles,
    /// The token epoch that the access token was made in.
    pub token_epoch: u64,
    /// When the access token ends, in Unix seconds.
    pub expires_at: i64,
    /// As it was when the token was looked at.
    pub account: Arc<account::Account>,
    pub seen: accounts::Seen,
}

/// What the domain refuses, and why. The edges map it to statuses and frames.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChatError {
    #[error("There is no user named {0:?}.")]
    NoSuchUser(String),
    #[error("{0:?} is not a member of this chat.")]
    NoSuchMember(String),
    #[error("User already exists")]
    UserExists,
    #[error("Chatroom not found")]
    NoSuchRoom,
    /// A member may not do this, in a sentence.
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("You may read this room, but not post in it; an owner or moderator can change your role.")]
    ReadOnly,
    /// Somebody blocks who asks.
    #[error("{0:?} takes no messages or invitations from you.")]
    NotTaken(String),
    #[error("There is no such message in this chat.")]
    NoSuchMessage,
    #[error("This message has been deleted.")]
    Deleted,
    #[error("This message has been edited as often as it may be (limits.edits); say it in a new one.")]
    TooManyEdits,
    /// Others changed the message while it was looked at: [`messages`] looks again.
    #[error("Others are changing this message; try again in a moment.")]
    Overtaken,
    /// What is asked does not fit what is there, in a sentence.
    #[error("{0}")]
    Conflict(&'static str),
    /// A field is not acceptable; `msg` never repeats a password. The text of a message is `content`.
    #[error("{field}: {msg}")]
    Invalid { field: &'static str, msg: String },
    /// The login is over: logged out, disabled, expired, or never there.
    #[error("Invalid token")]
    InvalidToken,
    /// A bound is reached; the setting that names it.
    #[error("The server is busy ({0}); try again in a moment.")]
    Busy(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ChatError {
    /// For those whose bodies and frames call the text of a message `message`, as the original did.
    pub fn naming_message(self) -> Self {
        match self {
            ChatError::Invalid { field: "content", msg } => ChatError::Invalid { field: "message", msg },
            other => other,
        }
    }

    /// The word for it on the wire.
    pub fn code(&self) -> &'static str {
        match self {
            ChatError::NoSuchUser(_) => "user_not_found",
            ChatError::NoSuchMember(_) => "member_not_found",
            ChatError::UserExists => "user_exists",
            ChatError::NoSuchRoom => "chat_not_found",
            ChatError::Forbidden(_) => "forbidden",
            ChatError::ReadOnly => "read_only",
            ChatError::NotTaken(_) => "not_taken",
            ChatError::NoSuchMessage => "message_not_found",
            ChatError::Deleted => "deleted",
            ChatError::TooManyEdits => "too_many_edits",
            ChatError::Overtaken => "overtaken",
            ChatError::Conflict(_) => "conflict",
            ChatError::Invalid { .. } => "validation_error",
            ChatError::InvalidToken => "invalid_token",
            ChatError::Busy(_) => "busy",
            ChatError::Store(error) => error.code(),
        }
    }

    /// For how long to wait before it is worth trying again; `None` where it is not.
    pub fn retry_after_secs(&self) -> Option<u64> {
        matches!(self, ChatError::Busy(_) | ChatError::Overtaken | ChatError::Store(_)).then_some(1)
    }
}

pub type Result<T, E = ChatError> = std::result::Result<T, E>;

/// Everything the domain needs, in one place; the edges hold it in an `Arc`.
pub struct Chat {
    pub(crate) config: Arc<Config>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) rooms: rooms::Rooms,
    pub(crate) accounts: accounts::Accounts,
    pub(crate) online: online::Online,
    apart: attention::Apart,
    /// When somebody was last told to type in a room.
    typed: BoundedMap<(RoomId, UserId), Instant>,
    away: away::Away,
    /// The rooms' writers and the changes that run now.
    at_work: TaskTracker,
    /// The last coming or going of somebody in a room that was told here, so that it is told once, however it is heard.
    told: BoundedMap<(RoomId, UserId), hearing::Told>,
    /// Rooms whose logs grew elsewhere and could not be read. No more than there are rooms in memory.
    unread: Mutex<HashSet<RoomId>>,
    /// Users who changed, and could not be looked up yet.
    unsure: Mutex<HashSet<UserId>>,
    /// Whose messages are erased here now, and how many were.
    erasing: Mutex<HashMap<UserId, u64>>,
    /// Rung when the store must be asked at once.
    doubt: Notify,
}

impl Chat {
    /// Puts the domain together and starts its background tasks, which end with it.
    pub fn start(config: Arc<Config>, metrics: Arc<Metrics>, store: Arc<dyn Store>, bus: Arc<dyn Bus>) -> Arc<Self> {
        let chat = Arc::new(Self {
            rooms: rooms::Rooms::new(&config, metrics.clone()),
            accounts: accounts::Accounts::new(&config, metrics.clone()),
            online: online::Online::new(&config, metrics.clone()),
            apart: attention::Apart::default(),
            typed: BoundedMap::new(config.presence.typists),
            away: away::Away::new(Duration::from_millis(config.rooms.away_millis)),
            at_work: TaskTracker::new(),
            told: BoundedMap::new(config.cluster.told_moves),
            unread: Mutex::default(),
            unsure: Mutex::default(),
            erasing: Mutex::default(),
            doubt: Notify::new(),
            config,
            metrics,
            store,
            bus,
        });
        let hearing = Arc::downgrade(&chat);
        chat.bus.listen(Box::new(move |heard| {
            if let Some(chat) = hearing.upgrade() {
                chat.heard(heard);
            }
        }));
        if chat.config.presence.enabled {
            let batch = Duration::from_millis(chat.config.presence.batch_millis);
            tokio::spawn(presence::run(Arc::downgrade(&chat), batch));
        }
        if chat.store.shared().is_some() {
            tokio::spawn(watch::run(Arc::downgrade(&chat)));
        }
        tokio::spawn(tidy_up(Arc::downgrade(&chat)));
        chat
    }

    /// Waits until everything that was asked for is stored and told. For the end: new work keeps it waiting.
    pub async fn settle(&self) {
        self.at_work.close();
        self.at_work.wait().await;
    }

    /// This node's own name among those that share the store.
    pub fn node(&self) -> NodeId {
        self.bus.node()
    }

    /// Tells the other nodes that this one ends. Nothing is told after it.
    pub async fn part(&self) {
        self.bus.close().await;
        if let Some(shared) = self.store.shared()
            && let Err(error) = shared.part(self.bus.node()).await
        {
            tracing::debug!(%error, "the store was not told that this node ends; it will notice");
        }
    }
}

const TIDY_EVERY: Duration = Duration::from_secs(5);
/// Expired logins are forgotten every so many turns.
const PURGE_TURNS: u64 = 60;
/// Deletions that were cut off are finished at the start, and every so many turns.
const DELETION_TURNS: u64 = 6;

/// Lets go of idle rooms, of users nobody asks for and of forgotten logins, and has the logs read again whose last append had no known outcome.
async fn tidy_up(chat: Weak<Chat>) {
    let mut ticks = tokio::time::interval(TIDY_EVERY);
    let mut turn = 0_u64;
    let (mut rereading, mut deleting) = (tokio::spawn(async {}), tokio::spawn(async {}));
    loop {
        ticks.tick().await;
        let Some(chat) = chat.upgrade() else { return };
        chat.rooms.evict(chat.config.rooms.idle_secs);
        chat.accounts.forget_unused().await;
        chat.typed.forget_unused(Duration::from_millis(chat.config.presence.typing_millis)).await;
        chat.tidy_apart().await;
        if rereading.is_finished() {
            rereading = tokio::spawn(reread_doubtful(chat.clone()));
        }
        if turn.is_multiple_of(DELETION_TURNS) && deleting.is_finished() {
            let chat = chat.clone();
            deleting = tokio::spawn(async move { chat.end_deletions().await });
        }
        turn += 1;
        if turn.is_multiple_of(PURGE_TURNS)
            && let Err(error) = chat.purge().await
        {
            tracing::debug!(%error, "expired logins were not forgotten; it will be tried again");
        }
    }
}

async fn reread_doubtful(chat: Arc<Chat>) {
    let mut doubtful = Vec::new();
    chat.rooms.each(|room| {
        let doubt = {
            let live = room.live.lock();
            live.desk.doubtful.is_some() && !live.desk.writing
        };
        if doubt {
            doubtful.push(room);
        }
    });
    for room in doubtful {
        chat.settle_doubt(&room).await;
    }
}

#[cfg(test)]
mod tests;
