//! Telling people who is online among those they share a room with.
//!
//! Changes are gathered for `presence.batch_millis`, so that a storm of reconnects is one frame a room. Small rooms are
//! told names, large ones (`presence.names_up_to`) how many. Presence is never stored, and may be left out for whoever is behind.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
    time::Duration,
};

use super::{Chat, online::Turned, room::Room};
use crate::{
    protocol::{Frame, Here, Said},
    store::StoreError,
    types::{RoomId, UserId},
};

const ROOMS_PAGE: usize = 500;

/// Runs until the chat is gone.
pub(super) async fn run(chat: Weak<Chat>, batch: Duration) {
    let mut ticks = tokio::time::interval(batch);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(chat) = chat.upgrade() else { return };
        let turned = chat.online.turned();
        if let Err(error) = chat.tell(turned).await {
            tracing::debug!(%error, "presence was not told");
        }
    }
}

impl Chat {
    async fn tell(&self, turned: Vec<Turned>) -> Result<(), StoreError> {
        let mut by_room: HashMap<RoomId, (Arc<Room>, Vec<Turned>)> = HashMap::new();
        for one in turned {
            let mut after = None;
            loop {
                let page = self.store.room_ids_of(one.user, after, ROOMS_PAGE).await?;
                after = page.last().copied();
                let last = page.len() < ROOMS_PAGE;
                let live = page.into_iter().filter_map(|id| self.rooms.in_memory(id)).filter(|r| r.has_subscribers());
                for room in live {
                    by_room.entry(room.id).or_insert_with(|| (room, Vec::new())).1.push(one);
                }
                if last {
                    break;
                }
            }
        }
        for (room, turned) in by_room.into_values() {
            let who = |user: &UserId| turned.iter().find(|one| one.user == *user).map(|one| here(one.online));
            room.notify(&self.presence_frame(&room, who), None);
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Who is online now, for somebody who has just begun to follow the room.
    pub(crate) fn presence_of(&self, room: &Room) -> Frame {
        self.presence_frame(room, |user| self.online.is_online(*user).then_some(Here::Online))
    }

    fn presence_frame(&self, room: &Room, show: impl Fn(&UserId) -> Option<Here>) -> Frame {
        let members = room.members_now();
        let online = members.iter().filter(|(user, _)| self.online.is_online(*user)).count();
        let users: Option<BTreeMap<&str, Here>> = (members.len() <= self.config.presence.names_up_to)
            .then(|| members.iter().filter_map(|(user, name)| Some((&**name, show(user)?))).collect());
        Frame::json(&Said::Presence { chat_id: room.id, online, users })
    }
}

fn here(online: bool) -> Here {
    if online { Here::Online } else { Here::Offline }
}
