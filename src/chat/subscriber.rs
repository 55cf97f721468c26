//! Somebody's connection, as rooms see it, and what they offer it.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    protocol::Frame,
    types::{RoomId, Seq, SessionId, UserId},
};

/// Somebody's connection, as rooms see it. Called without any lock of the room held; must not block.
pub trait Subscriber: Send + Sync {
    fn id(&self) -> SubscriberId;
    fn user(&self) -> UserId;
    fn username(&self) -> &Arc<str>;
    fn session(&self) -> SessionId;
    /// The room's log grew. `slot` is the subscriber's own name for the subscription; by now it may be another room's.
    fn offer(&self, slot: u32, burst: &Burst);
    /// The user is no member any more; nothing of the room may reach them from now on.
    fn dropped(&self, slot: u32, room: RoomId);
    /// It follows all rooms of its user, and not this one.
    fn misses(&self, room: RoomId) -> bool;
    /// Something that is not in the log. Where the connection is behind it may be left out, unless it `matters`.
    fn notice(&self, frame: &Frame, matters: bool);
    /// The login is over.
    fn revoke(&self);
}

/// Tells connections apart, also those of one user; never used twice while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriberId(pub u64);

/// Some new events of a room, prepared once for all who are level with it.
pub struct Burst {
    pub room: RoomId,
    pub first: Seq,
    pub last: Seq,
    /// All frames in one piece.
    pub merged: Bytes,
    pub only_messages: bool,
}
