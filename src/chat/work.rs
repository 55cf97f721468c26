//! What is asked of a room's writer, and how it answers.

use std::{sync::Arc, time::Instant};

use smallvec::SmallVec;

use super::Result;
use crate::{
    event::{Event, Target},
    store::StoreError,
    types::{MessageId, RoomRole, Seq, Timestamp, UserId},
};

#[derive(Debug, Clone)]
pub struct Actor {
    pub user: UserId,
    pub username: Arc<str>,
}

/// What somebody asks of a room's log.
#[derive(Debug, Clone)]
pub enum Work {
    Post {
        content: String,
        client_id: Option<Arc<str>>,
    },
    Invite {
        user: UserId,
        username: Arc<str>,
        role: RoomRole,
        /// They must accept first. Found out when the room's head was `judged_at`.
        ask: bool,
        judged_at: Seq,
    },
    /// Accepts an invitation.
    Join,
    Decline,
    SetRole {
        user: UserId,
        username: Arc<str>,
        role: RoomRole,
    },
    /// Somebody else is removed; oneself leaves.
    Remove {
        user: UserId,
        username: Arc<str>,
    },
    Rename {
        name: String,
    },
    /// Gives one's own message another text. It was read when the room's head was `judged_at`.
    Edit {
        of: Target,
        content: String,
        client_id: Option<Arc<str>>,
        /// What it said before is erased.
        erases: bool,
        judged_at: Seq,
    },
    Delete {
        of: Target,
        /// It is one's own.
        own: bool,
        /// By an account that is being deleted, also where it is no member any more.
        for_good: bool,
        judged_at: Seq,
    },
}

impl Work {
    /// The message that it changes.
    pub(super) fn target(&self) -> Option<&Target> {
        match self {
            Work::Edit { of, .. } | Work::Delete { of, .. } => Some(of),
            Work::Post { .. }
            | Work::Invite { .. }
            | Work::Join
            | Work::Decline
            | Work::SetRole { .. }
            | Work::Remove { .. }
            | Work::Rename { .. } => None,
        }
    }

    /// It changes neither the room nor its members: any number may be checked against the room as it is, and stored together,
    /// as long as they are about different messages.
    pub(super) fn shares_a_batch(&self) -> bool {
        matches!(self, Work::Post { .. }) || self.target().is_some()
    }

    /// What it is named by its sender, who may send it again.
    pub(super) fn client_id(&self) -> Option<&Arc<str>> {
        match self {
            Work::Post { client_id, .. } | Work::Edit { client_id, .. } => client_id.as_ref(),
            _ => None,
        }
    }

    /// The text that it brings.
    pub(super) fn content(&self) -> Option<&str> {
        match self {
            Work::Post { content, .. } | Work::Edit { content, .. } => Some(content),
            _ => None,
        }
    }

    /// Both say the same, of the same message.
    pub(super) fn says_the_same(&self, other: &Work) -> bool {
        self.content() == other.content() && self.target() == other.target()
    }
}

/// The answer to a command, once it is durable. Of what is no message only `seq` and `sent_at` mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posted {
    pub message_id: MessageId,
    pub seq: Seq,
    pub sent_at: Timestamp,
    pub duplicate: bool,
    /// What was said then is erased.
    pub deleted: bool,
}

/// Called exactly once, without a lock held; when it is dropped uncalled it reports that the outcome is unknown.
pub struct Reply(Option<Box<dyn FnOnce(Result<Posted>) + Send>>);

impl Reply {
    pub fn new(call: impl FnOnce(Result<Posted>) + Send + 'static) -> Self {
        Self(Some(Box::new(call)))
    }

    pub(super) fn send(mut self, result: Result<Posted>) {
        if let Some(call) = self.0.take() {
            call(result);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call(Err(StoreError::Unavailable("the room's writer stopped".into()).into()));
        }
    }
}

pub struct Pending {
    pub by: Actor,
    pub work: Work,
    pub reply: Reply,
    /// Past this it is refused rather than begun.
    pub until: Instant,
}

/// One event to be, and everyone who waits for it: the first asked, the others repeated it in the same batch.
pub(super) struct Item {
    pub by: Actor,
    pub work: Work,
    pub reply: Reply,
    pub repeats: Vec<Reply>,
    /// Of a join, as the invitation said when it was checked.
    pub joins_as: RoomRole,
    /// Kept over renumbering, so that an append of unknown outcome can be recognised in the log.
    pub event_id: MessageId,
}

/// Of one batch; most have one.
pub(super) type Items = SmallVec<[Item; 1]>;

pub(super) type Answers = Vec<(Reply, Result<Posted>)>;

/// What those who asked are to hear of.
pub(super) enum News {
    /// These events are in the log, one for each of the items.
    Stored { items: Items, events: Arc<[Event]> },
    /// They were in the log before, or may not be.
    Answers(Answers),
}

impl Item {
    pub fn replies(self) -> impl Iterator<Item = Reply> {
        std::iter::once(self.reply).chain(self.repeats)
    }

    /// What it may be in the log only once by.
    pub fn once(&self) -> Option<(UserId, Arc<str>)> {
        self.work.client_id().map(|id| (self.by.user, id.clone()))
    }
}
