//! What a store that several natters serve from tells them about each other.
//!
//! The bus says the same sooner; this says it also where there is no bus, or where it lost something. Times are the
//! database's own, so that the clocks of the machines do not matter.

use std::time::Duration;

use async_trait::async_trait;

use super::Result;
use crate::types::{NodeId, RoomId, Seq, Timestamp, UserId};

/// How far somebody has followed the changes, by the database's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    pub users: Option<Timestamp>,
    pub members: Option<Timestamp>,
    pub rooms: Option<Timestamp>,
}

/// Somebody was added to a room, or is gone from it, by the event at `seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Moved {
    pub room: RoomId,
    pub user: UserId,
    pub seq: Seq,
    pub added: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Records that changed, and users one of whose logins ended.
    pub users: Vec<UserId>,
    pub members: Vec<Moved>,
    /// Rooms whose logs grew, and a seq they reach at least.
    pub rooms: Vec<(RoomId, Seq)>,
    /// This was not all: ask again at once.
    pub more: bool,
    /// Where the next call goes on.
    pub mark: Mark,
}

#[async_trait]
pub trait Shared: Send + Sync {
    /// What changed since `mark`. What changed shortly before it comes again, because a change may be seen later than its
    /// time says. With `Mark::default()` nothing is told but where to go on. Rooms are told only `with_rooms`; without,
    /// their part of the mark stays. Long lists come in parts: the mark says where the next begins.
    async fn changes(&self, mark: Mark, with_rooms: bool) -> Result<Changes>;
    /// Says that this node lives, and tells who has said so within `within`, itself included.
    async fn meet(&self, node: NodeId, within: Duration) -> Result<Vec<NodeId>>;
    /// This node is about to end.
    async fn part(&self, node: NodeId) -> Result<()>;
}
