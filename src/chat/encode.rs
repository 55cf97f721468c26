//! From what was asked to the events of the log.

use std::sync::Arc;

use super::{
    room::{End, Room},
    work::{Item, Work},
};
use crate::{
    event::{Event, Place, Saying},
    types::{Ordinal, Timestamp},
};

/// The items as the events that follow the end of the log.
pub(super) fn encode(room: &Room, items: &[Item], end: End) -> Arc<[Event]> {
    let End { head: mut seq, messages: mut ordinal, last_sent_at } = end;
    let sent_at = last_sent_at.max(Timestamp::now());
    let next = |item: &Item| {
        let saying = saying(item);
        seq += 1;
        ordinal += Ordinal::from(matches!(saying, Saying::Message { .. }));
        let (event_id, by, by_name) = (item.event_id, item.by.user, &*item.by.username);
        Event::new(Place { room: room.id, seq, ordinal, sent_at, event_id, by, by_name }, saying)
    };
    items.iter().map(next).collect()
}

fn saying(Item { by, work, joins_as, .. }: &Item) -> Saying<'_> {
    match work {
        Work::Post { content, client_id } => Saying::Message { content, client_id: client_id.as_ref() },
        Work::Invite { user, username, role, ask: true, .. } => Saying::Invited { user: *user, username, role: *role },
        Work::Invite { user, username, role, .. } => Saying::Joined { user: *user, username, role: *role },
        Work::Join => Saying::Joined { user: by.user, username: &by.username, role: *joins_as },
        Work::Decline => Saying::Declined { user: by.user, username: &by.username },
        Work::SetRole { user, username, role } => Saying::RoleSet { user: *user, username, role: *role },
        Work::Remove { user, username } => Saying::Gone { user: *user, username },
        Work::Rename { name } => Saying::Renamed { name },
        Work::Edit { of, content, client_id, erases, judged_at: _ } => {
            Saying::Edited { of: *of, content, client_id: client_id.as_ref(), erases: *erases }
        }
        Work::Delete { of, .. } => Saying::Deleted { of: *of },
    }
}
