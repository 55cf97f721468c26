//! From what was asked to the events of the log, in their two forms: for the store and for the readers.

use std::{collections::VecDeque, sync::Arc};

use serde::Deserialize;

use super::{
    ring::Entry,
    room::{Advance, Room},
    work::{Actor, Item, Work},
};
use crate::{
    protocol::{Event, Frame, MemberChange},
    store::{Effect, NewEvent, StoredEvent},
    types::{MessageId, Ordinal, Seq, Timestamp},
};

/// Where a room's log ends at some moment.
#[derive(Clone, Copy)]
pub(super) struct End {
    pub head: Seq,
    pub messages: Ordinal,
    pub last_sent_at: Timestamp,
}

/// The items as the events that follow the end of the log.
pub(super) fn encode(room: &Room, items: &VecDeque<Item>, end: End) -> Vec<(NewEvent, Advance)> {
    let End { head: mut seq, messages: mut ordinal, last_sent_at } = end;
    let sent_at = last_sent_at.max(Timestamp::now());
    let mut events = Vec::with_capacity(items.len());
    for item in items {
        seq += 1;
        let (event, effect) = event_of(item, room, seq, sent_at);
        ordinal += u64::from(effect == Effect::Message);
        events.push(encode_event(&event, effect, &item.by, ordinal, item.event_id));
    }
    events
}

fn event_of<'a>(item: &'a Item, room: &Room, seq: Seq, sent_at: Timestamp) -> (Event<'a>, Effect) {
    let (chat_id, by) = (room.id, &*item.by.username);
    let member = |username: &'a str, change, role| Event::Member { chat_id, seq, sent_at, by, username, change, role };
    match &item.work {
        Work::Post { content, client_id } => {
            let (message_id, client_id) = (item.event_id, client_id.as_deref());
            (Event::Message { chat_id, seq, message_id, sender: by, sent_at, content, client_id }, Effect::Message)
        }
        Work::Invite { user, username, role } => {
            (member(username, MemberChange::Added, Some(*role)), Effect::Joined { user: *user, role: *role })
        }
        Work::SetRole { user, username, role } => {
            (member(username, MemberChange::Role, Some(*role)), Effect::RoleSet { user: *user, role: *role })
        }
        Work::Remove { user, username } => {
            let change = if *user == item.by.user { MemberChange::Left } else { MemberChange::Removed };
            (member(username, change, None), Effect::Gone { user: *user })
        }
        Work::Rename { name } => {
            (Event::Chat { chat_id, seq, sent_at, by, name }, Effect::Renamed { name: name.clone() })
        }
    }
}

pub(super) fn encode_event(
    event: &Event<'_>,
    effect: Effect,
    by: &Actor,
    ordinal: u64,
    id: MessageId,
) -> (NewEvent, Advance) {
    let frame = Frame::json(event);
    let (seq, sent_at, client_id, username) = match event {
        Event::Message { seq, sent_at, client_id, .. } => (*seq, *sent_at, client_id.map(str::to_owned), None),
        Event::Member { seq, sent_at, username, .. } => (*seq, *sent_at, None, Some(Arc::from(*username))),
        Event::Chat { seq, sent_at, .. } => (*seq, *sent_at, None, None),
    };
    let is_message = effect == Effect::Message;
    let new = NewEvent {
        seq,
        ordinal,
        sender: by.user,
        client_id,
        event_id: id,
        sent_at,
        body: frame.body(),
        effect: effect.clone(),
    };
    (new, Advance { seq, ordinal, sent_at, entry: Entry { frame, is_message }, effect, username })
}

pub(super) fn advance_of_stored(event: &StoredEvent) -> Advance {
    #[derive(Deserialize)]
    struct Named {
        username: String,
    }
    let username = match event.effect {
        Effect::Joined { .. } => serde_json::from_slice::<Named>(&event.body).ok().map(|named| named.username.into()),
        _ => None,
    };
    let is_message = event.effect == Effect::Message;
    Advance {
        seq: event.seq,
        ordinal: event.ordinal,
        sent_at: event.sent_at,
        entry: Entry { frame: Frame::of(&event.body), is_message },
        effect: event.effect.clone(),
        username,
    }
}
