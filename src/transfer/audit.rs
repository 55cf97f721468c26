//! What must hold in every room's log, whether it is read from a store or from a file, and what follows from a log:
//! members, roles, a name, and how far everybody has read at least.

use std::{collections::BTreeMap, slice};

use serde::Deserialize;

use super::format::RoomLine;
use crate::{
    event::{
        Event,
        fold::{Head, ReadMark, Stretch},
    },
    types::{MessageId, Ordinal, RoomId, RoomKind, RoomRole, Seq, Timestamp, UserId},
};

/// A member as the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub role: RoomRole,
    /// Joining and one's own messages count as read.
    pub read: ReadMark,
}

/// A log read so far.
pub(super) struct Audit {
    room: RoomId,
    kind: RoomKind,
    pub head: Seq,
    pub messages: Ordinal,
    pub active_at: Timestamp,
    pub name: Option<String>,
    pub members: BTreeMap<UserId, Member>,
}

/// What every body says about itself.
#[derive(Deserialize)]
struct Said {
    #[serde(rename = "type")]
    kind: String,
    chat_id: RoomId,
    seq: Seq,
    sent_at: String,
    message_id: Option<MessageId>,
    client_id: Option<String>,
}

impl Audit {
    pub(super) fn new(room: &RoomLine) -> Self {
        Self {
            room: room.id,
            kind: room.kind,
            head: 0,
            messages: 0,
            active_at: Timestamp(room.created_at),
            name: None,
            members: BTreeMap::new(),
        }
    }

    /// Takes the next event. Each thing that is wrong with it is told in a few words; it counts all the same.
    pub(super) fn event(&mut self, event: &Event, wrong: &mut impl FnMut(String)) {
        if event.seq != self.head + 1 {
            wrong(format!("seq {} follows seq {}", event.seq, self.head));
        }
        let due = self.messages + Ordinal::from(event.is_message());
        if event.ordinal != due {
            wrong(format!("seq {}: its ordinal is {} and should be {due}", event.seq, event.ordinal));
        }
        if let Err(what) = self.body(event) {
            wrong(format!("seq {}: {what}", event.seq));
        }
        if let Some(stretch) = Stretch::of(slice::from_ref(event)) {
            self.apply(stretch);
        }
    }

    fn apply(&mut self, Stretch { head, marks, members, name, changed: _ }: Stretch) {
        for (user, mark) in marks {
            if let Some(member) = self.members.get_mut(&user) {
                member.read = mark;
            }
        }
        for (user, standing) in members {
            if let Some(joining) = &standing.joined {
                self.members.insert(user, Member { role: standing.role_or(joining), read: joining.mark });
            } else if let (Some(member), Some(role)) = (self.members.get_mut(&user), standing.role) {
                member.role = role;
            }
            if standing.gone {
                self.members.remove(&user);
            }
        }
        if let Some((_, name)) = name {
            self.name = Some(name);
        }
        let Head { seq, messages, sent_at: _, active_at, last_message: _ } = head;
        (self.head, self.messages) = (seq, messages);
        self.active_at = active_at.unwrap_or(self.active_at);
    }

    /// Holds a body against its row.
    fn body(&self, event: &Event) -> Result<(), String> {
        let said: Said =
            serde_json::from_slice(event.body()).map_err(|error| format!("its body is no event ({error})"))?;
        let kind = event.kind.type_name();
        let wrong = |what: &str, said: &str, is: &str| Err(format!("its body says {what} {said}, and it is {is}"));
        if said.kind != kind {
            return wrong("type", &said.kind, kind);
        }
        if said.chat_id != self.room {
            return wrong("chat_id", &said.chat_id.to_string(), &self.room.to_string());
        }
        if said.seq != event.seq {
            return wrong("seq", &said.seq.to_string(), &event.seq.to_string());
        }
        if said.sent_at != event.sent_at.to_string() {
            return wrong("sent_at", &said.sent_at, &event.sent_at.to_string());
        }
        if event.is_message() {
            if said.message_id != Some(event.event_id) {
                let said = said.message_id.map_or("nothing".into(), |id| id.to_string());
                return wrong("message_id", &said, &event.event_id.to_string());
            }
            if said.client_id.as_deref() != event.client_id.as_deref() {
                return wrong("client_id", &format!("{:?}", said.client_id), &format!("{:?}", event.client_id));
            }
        }
        Ok(())
    }

    /// What must hold once the whole log is read.
    pub(super) fn end(&self, wrong: &mut impl FnMut(String)) {
        if self.kind == RoomKind::Private && self.members.len() != 2 {
            wrong(format!("a private chat has two members, and this one has {}", self.members.len()));
        }
    }

    /// The two of a private room, where there are two.
    pub(super) fn pair(&self) -> Option<[UserId; 2]> {
        let mut users = self.members.keys();
        match (self.kind, users.next(), users.next(), users.next()) {
            (RoomKind::Private, Some(one), Some(other), None) => Some([*one, *other]),
            _ => None,
        }
    }
}
