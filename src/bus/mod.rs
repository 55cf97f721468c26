//! How the nodes of one natter tell each other that something changed.
//!
//! The store is the truth and a hint is only a hint: it may come late, twice, in another order, or never. Whoever hears one
//! looks at the store, or at what it has in memory, and is right again. Nothing of a message is known only to the bus.

pub mod local;
pub mod nats;

use async_trait::async_trait;

use crate::{
    event::Event,
    types::{NodeId, RoomId, Seq, SessionId, UserId},
};

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
    /// A room's log grew to `head`. `events` are its last ones, dense and durable, or none where they are too long to send.
    RoomAdvanced {
        room: RoomId,
        head: Seq,
        events: Vec<Event>,
    },
    /// A user was added to a room or is gone from it, by the event at `seq`.
    MembershipChanged {
        room: RoomId,
        user: UserId,
        seq: Seq,
        added: bool,
    },
    /// A member's read mark moved.
    ReadMoved {
        room: RoomId,
        user: UserId,
        seq: Seq,
    },
    /// A user was invited to a room.
    Invited {
        room: RoomId,
        user: UserId,
    },
    /// A user blocks another, or no longer.
    Blocked {
        user: UserId,
        other: UserId,
    },
    Typing {
        room: RoomId,
        user: UserId,
    },
    /// A node has lost the race for the next seq of a room more than once: the others let it go first.
    RoomWanted {
        room: RoomId,
        node: NodeId,
    },
    /// Who came online or went offline on a node; `whole` begins a list of everybody online there.
    Presence {
        node: NodeId,
        users: Vec<(UserId, bool)>,
        whole: bool,
    },
    /// A node wants every node's list of who is online.
    AskPresence,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    One(SessionId),
    All { keep: Option<SessionId> },
}

/// What reaches a node over the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// From this node or another.
    Hint(Hint),
    /// Some hints did not arrive, or may not have: what is in memory must be compared with the store. Heard also whenever
    /// this node begins to hear, at first or again, and when a node comes that has spoken before. Several may come at once.
    Lost,
    /// A node is heard for the first time, or again after it was gone.
    Came(NodeId),
    /// A node has not been heard for `cluster.silent_millis`, or has said that it ends.
    Went(NodeId),
}

/// Whoever wants to hear. Called on the publisher's or the bus's task: it must not block.
pub type Listener = Box<dyn Fn(Heard) + Send + Sync>;

#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// This node's own name.
    fn node(&self) -> NodeId;
    /// Sets who hears; called once, before the first hint.
    fn listen(&self, listener: Listener);
    /// Tells every node. This node's listener has heard it when this returns; the others hear it soon, or never. Never
    /// blocks: what cannot be sent now is dropped, and the others hear `Lost`.
    fn publish(&self, hint: Hint);
    /// Whether a hint can reach anybody else at all.
    fn has_others(&self) -> bool;
    /// The nodes heard now, this one included; a sentence while the bus cannot be reached.
    fn hears(&self) -> Result<Vec<NodeId>, String>;
    /// Says that this node ends, and sends what waits.
    async fn close(&self);
}
