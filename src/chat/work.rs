//! What is asked of a room's writer, and how it answers.

use std::{sync::Arc, time::Instant};

use smallvec::SmallVec;

use super::Result;
use crate::{
    event::Event,
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
}

/// The answer to a command, once it is durable. Of what is no message only `seq` and `sent_at` mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posted {
    pub message_id: MessageId,
    pub seq: Seq,
    pub sent_at: Timestamp,
    pub duplicate: bool,
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
        match &self.work {
            Work::Post { client_id: Some(id), .. } => Some((self.by.user, id.clone())),
            _ => None,
        }
    }
}
