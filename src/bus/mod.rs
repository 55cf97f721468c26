//! How the nodes of one natter tell each other that something changed.
//!
//! The store is the truth and a hint is only a hint: it may come late, twice, in another order, or never. Whoever hears one
//! looks at the store, or at what it has in memory, and is right again. Nothing of a message is known only to the bus.

pub mod local;

use async_trait::async_trait;

use crate::types::{RoomId, Seq, SessionId, UserId};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// A user's record changed: roles, names, disabled.
    UserChanged {
        user: UserId,
    },
    /// Logins ended: one, or all of a user but `keep`.
    LoginEnded {
        user: UserId,
        which: Ended,
    },
    /// A room's log grew to `head`.
    RoomAdvanced {
        room: RoomId,
        head: Seq,
    },
    /// A user was added to a room or is gone from it.
    MembershipChanged {
        room: RoomId,
        user: UserId,
        added: bool,
    },
    /// A member's read mark moved.
    ReadMoved {
        room: RoomId,
        user: UserId,
        seq: Seq,
    },
    Typing {
        room: RoomId,
        user: UserId,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    One(SessionId),
    All { keep: Option<SessionId> },
}

/// Whoever wants to hear hints. Called on the publisher's or the bus's task: it must not block.
pub type Listener = Box<dyn Fn(Hint) + Send + Sync>;

#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Sets who hears; called once, before the first hint.
    fn listen(&self, listener: Listener);
    /// Tells every node. This node's listener has heard it when this returns; the others hear it soon, or never.
    fn publish(&self, hint: Hint);
    /// Fails with a sentence while other nodes cannot be reached.
    async fn ready(&self) -> Result<(), String>;
}
