//! One event of a room's log: what happened, where it stands, and the bytes in which everybody reads it.
//!
//! The same record goes through the whole house: a room's writer makes it, stores keep it, the bus and exports carry it, rings
//! and replays hand it out. [`Kind`] says what it changes and has all that a fold needs ([`fold`]); the `frame` is what clients
//! read, encoded once. Nobody reads the JSON back but [`Event::content`] and [`Kind::named_in`].
//!
//! The JSON holds usernames as text, though the record knows ids: replay and history stay a copy of bytes. When a person's
//! account goes for good, the bodies that name them are written anew, by the same means by which a message is erased.
//!
//! [`Kind`] has one encoding, serde's: [`packed`] makes bytes of it for the bus and the journal, JSON the exports' lines. SQLite and MongoDB
//! keep theirs, because they look things up by it (`codec.rs`, `codec_log.rs`).

pub mod erased;
pub mod fold;
pub mod folded;
pub mod packed;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    protocol::{EventBody, Frame, MemberChange},
    types::{MessageId, Ordinal, RoomId, RoomRole, Seq, Timestamp, UserId},
};

/// - `seq` is dense from 1; `ordinal` counts the messages up to and with this event.
/// - `(room, sender, client_id)` is one event for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub seq: Seq,
    pub ordinal: Ordinal,
    /// Who did it: the sender of a message, the `by` of other events.
    pub sender: UserId,
    /// Messages and edits only.
    pub client_id: Option<Arc<str>>,
    /// The `message_id` of a message; of other events known to the store alone. Unique.
    pub event_id: MessageId,
    pub sent_at: Timestamp,
    pub kind: Kind,
    /// The JSON object exactly as history, replay and live delivery give it.
    pub frame: Frame,
}

/// What happened. What it changes beside the log follows from it by [`fold`] alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// Moves the sender's own read mark to it: nobody has their own message unread.
    Message,
    /// A member who joins has read everything up to the event that adds them.
    Joined {
        user: UserId,
        role: RoomRole,
        /// As the body has it; filled in by whoever decodes one ([`Kind::named_in`]).
        #[serde(skip)]
        username: Arc<str>,
    },
    /// Removed by somebody, or left.
    Gone {
        user: UserId,
    },
    RoleSet {
        user: UserId,
        role: RoomRole,
    },
    Renamed {
        name: String,
    },
    /// Asked to join: no member before they do.
    Invited {
        user: UserId,
        role: RoomRole,
    },
    /// A message has another text, which is in the body.
    Edited {
        of: Target,
        /// What it said before is erased.
        erases: bool,
    },
    /// A message is gone, with everything that was said in it: its body, and those of its edits, are erased ([`erased`]).
    Deleted {
        of: Target,
    },
}

/// The message that an event changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    pub message: MessageId,
    /// Where it stands in the same log.
    pub seq: Seq,
    pub ordinal: Ordinal,
}

/// Where an event is to stand, and who does it.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub room: RoomId,
    pub seq: Seq,
    pub ordinal: Ordinal,
    pub sent_at: Timestamp,
    pub event_id: MessageId,
    pub by: UserId,
    pub by_name: &'a str,
}

/// What an event says, in names.
#[derive(Clone, Copy)]
pub enum Saying<'a> {
    Message {
        content: &'a str,
        client_id: Option<&'a Arc<str>>,
    },
    Joined {
        user: UserId,
        username: &'a str,
        role: RoomRole,
    },
    Gone {
        user: UserId,
        username: &'a str,
    },
    RoleSet {
        user: UserId,
        username: &'a str,
        role: RoomRole,
    },
    Renamed {
        name: &'a str,
    },
    Invited {
        user: UserId,
        username: &'a str,
        role: RoomRole,
    },
    /// By the one who was invited.
    Declined {
        user: UserId,
        username: &'a str,
    },
    Edited {
        of: Target,
        content: &'a str,
        client_id: Option<&'a Arc<str>>,
        /// What it said before is erased.
        erases: bool,
    },
    Deleted {
        of: Target,
    },
}

impl Event {
    /// The event and its bytes. `place.ordinal` counts it already, where it is a message.
    pub fn new(place: Place<'_>, saying: Saying<'_>) -> Self {
        let Place { room: chat_id, seq, ordinal, sent_at, event_id, by: sender, by_name: by } = place;
        let member = |username, change, role| EventBody::Member { chat_id, seq, sent_at, by, username, change, role };
        let (kind, body, client_id) = match saying {
            Saying::Message { content, client_id } => {
                let (message_id, sender) = (event_id, by);
                let named = client_id.map(|id| &**id);
                let deleted = None;
                let body = EventBody::Message {
                    chat_id,
                    seq,
                    message_id,
                    sender,
                    sent_at,
                    content,
                    client_id: named,
                    deleted,
                };
                (Kind::Message, body, client_id)
            }
            Saying::Edited { of, content, client_id, erases } => {
                let body =
                    EventBody::Edit { chat_id, seq, sent_at, by, message_id: of.message, content, deleted: None };
                (Kind::Edited { of, erases }, body, client_id)
            }
            Saying::Deleted { of } => {
                (Kind::Deleted { of }, EventBody::Delete { chat_id, seq, sent_at, by, message_id: of.message }, None)
            }
            Saying::Joined { user, username, role } => {
                let kind = Kind::Joined { user, role, username: username.into() };
                (kind, member(username, MemberChange::Added, Some(role)), None)
            }
            Saying::Gone { user, username } => {
                let change = if user == sender { MemberChange::Left } else { MemberChange::Removed };
                (Kind::Gone { user }, member(username, change, None), None)
            }
            Saying::RoleSet { user, username, role } => {
                (Kind::RoleSet { user, role }, member(username, MemberChange::Role, Some(role)), None)
            }
            Saying::Invited { user, username, role } => {
                (Kind::Invited { user, role }, member(username, MemberChange::Invited, Some(role)), None)
            }
            Saying::Declined { user, username } => {
                (Kind::Gone { user }, member(username, MemberChange::Declined, None), None)
            }
            Saying::Renamed { name } => {
                (Kind::Renamed { name: name.to_owned() }, EventBody::Chat { chat_id, seq, sent_at, by, name }, None)
            }
        };
        Self { seq, ordinal, sender, client_id: client_id.cloned(), event_id, sent_at, kind, frame: Frame::json(&body) }
    }

    /// The JSON alone.
    pub fn body(&self) -> &[u8] {
        self.frame.json_bytes()
    }

    pub fn is_message(&self) -> bool {
        self.kind == Kind::Message
    }

    /// The text of a message or an edit. Reads the JSON: for the rare case alone.
    pub fn content(&self) -> Option<String> {
        content_of(self.body())
    }

    /// Of an event in memory, about.
    pub fn bytes_in_memory(&self) -> usize {
        self.frame.bytes().len() + size_of::<Self>()
    }
}

/// The text of a message, from its JSON.
pub fn content_of(json: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Content {
        content: String,
    }
    serde_json::from_slice::<Content>(json).ok().map(|body| body.content)
}

impl Kind {
    /// With the name that the event's JSON has and stored forms leave out.
    pub fn named_in(mut self, json: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Named {
            username: Arc<str>,
        }
        if let Kind::Joined { username, .. } = &mut self
            && let Ok(named) = serde_json::from_slice::<Named>(json)
        {
            *username = named.username;
        }
        self
    }

    /// The `type` of its JSON.
    pub fn type_name(&self) -> &'static str {
        match self {
            Kind::Message => "message",
            Kind::Joined { .. } | Kind::Gone { .. } | Kind::RoleSet { .. } | Kind::Invited { .. } => "member",
            Kind::Renamed { .. } => "chat",
            Kind::Edited { .. } => "edit",
            Kind::Deleted { .. } => "delete",
        }
    }

    /// Whom it is about, beside who did it.
    pub fn subject(&self) -> Option<UserId> {
        match self {
            Kind::Joined { user, .. }
            | Kind::Gone { user }
            | Kind::RoleSet { user, .. }
            | Kind::Invited { user, .. } => Some(*user),
            Kind::Message | Kind::Renamed { .. } | Kind::Edited { .. } | Kind::Deleted { .. } => None,
        }
    }

    /// The message that it changes.
    pub fn target(&self) -> Option<&Target> {
        match self {
            Kind::Edited { of, erases: _ } | Kind::Deleted { of } => Some(of),
            Kind::Message
            | Kind::Joined { .. }
            | Kind::Gone { .. }
            | Kind::RoleSet { .. }
            | Kind::Renamed { .. }
            | Kind::Invited { .. } => None,
        }
    }

    /// Who came into the room (`true`) or is gone from it.
    pub fn moved(&self) -> Option<(UserId, bool)> {
        match self {
            Kind::Joined { user, .. } => Some((*user, true)),
            Kind::Gone { user } => Some((*user, false)),
            Kind::Message
            | Kind::RoleSet { .. }
            | Kind::Renamed { .. }
            | Kind::Invited { .. }
            | Kind::Edited { .. }
            | Kind::Deleted { .. } => None,
        }
    }
}
