//! Telling people who is online among those they share a room with.
//!
//! Changes are gathered for `presence.batch_millis`, so that a storm of reconnects is one frame a room. Small rooms are
//! told names; large ones (`presence.names_up_to`) how many, counted at most once in `presence.count_secs`. Presence is never
//! stored, and may be left out for whoever is behind.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use super::{Chat, online::Turned, room::Room};
use crate::{
    protocol::{Frame, Here, Said},
    store::StoreError,
    types::{RoomId, UserId},
};

const ROOMS_PAGE: usize = 500;

/// What has still to be told.
#[derive(Default)]
struct Untold {
    turned: HashMap<UserId, bool>,
    /// Large rooms whose count has changed.
    counts: HashMap<RoomId, Arc<Room>>,
}

/// Runs until the chat is gone.
pub(super) async fn run(chat: Weak<Chat>, batch: Duration) {
    let mut ticks = tokio::time::interval(batch);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut untold = Untold::default();
    loop {
        ticks.tick().await;
        let Some(chat) = chat.upgrade() else { return };
        untold.turned.extend(chat.online.turned().into_iter().map(|Turned { user, online }| (user, online)));
        if let Err(error) = chat.tell_names(&mut untold).await {
            tracing::debug!(%error, "presence waits for the store");
        }
        chat.tell_counts(&mut untold).await;
    }
}

impl Chat {
    /// Tells small rooms who came and went; large ones are noted. What could not be looked up stays untold.
    async fn tell_names(&self, untold: &mut Untold) -> Result<(), StoreError> {
        let mut by_room: HashMap<RoomId, Arc<Room>> = HashMap::new();
        for user in untold.turned.keys() {
            let mut after = None;
            loop {
                let page = self.store.room_ids_of(*user, after, ROOMS_PAGE).await?;
                after = page.last().copied();
                let last = page.len() < ROOMS_PAGE;
                let live = page.into_iter().filter_map(|id| self.rooms.in_memory(id));
                by_room.extend(live.filter(|room| room.has_subscribers()).map(|room| (room.id, room)));
                if last {
                    break;
                }
            }
        }
        let turned = std::mem::take(&mut untold.turned);
        for (id, room) in by_room {
            if self.is_large(&room) {
                untold.counts.insert(id, room);
            } else {
                room.notify(&self.names_frame(&room, |user| turned.get(user).map(|online| here(*online))), None);
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    async fn tell_counts(&self, untold: &mut Untold) {
        let now = Instant::now();
        let due: Vec<RoomId> =
            untold.counts.iter().filter(|(_, room)| self.may_count(room, now)).map(|(id, _)| *id).collect();
        for room in due.into_iter().filter_map(|id| untold.counts.remove(&id)) {
            room.notify(&self.count_frame(&room, now), None);
            tokio::task::yield_now().await;
        }
    }

    /// Who is online now, for somebody who has just begun to follow the room.
    pub(crate) fn presence_of(&self, room: &Room) -> Frame {
        if self.is_large(room) {
            self.count_frame(room, Instant::now())
        } else {
            self.names_frame(room, |user| self.online.is_online(*user).then_some(Here::Online))
        }
    }

    fn is_large(&self, room: &Room) -> bool {
        room.member_count() > self.config.presence.names_up_to
    }

    fn names_frame(&self, room: &Room, show: impl Fn(&UserId) -> Option<Here>) -> Frame {
        let members = room.members_now();
        let online = members.iter().filter(|(user, _)| self.online.is_online(*user)).count();
        let users: BTreeMap<&str, Here> =
            members.iter().filter_map(|(user, name)| Some((&**name, show(user)?))).collect();
        Frame::json(&Said::Presence { chat_id: room.id, online, users: Some(users) })
    }

    fn may_count(&self, room: &Room, now: Instant) -> bool {
        let count_every = Duration::from_secs(self.config.presence.count_secs);
        room.online_counted().is_none_or(|(at, _)| now.saturating_duration_since(at) >= count_every)
    }

    /// With the count of a moment ago, where that is recent enough: it costs a look at every member.
    fn count_frame(&self, room: &Room, now: Instant) -> Frame {
        let counted = if self.may_count(room, now) { None } else { room.online_counted() };
        let online = counted.map_or_else(
            || {
                let online = room.member_ids().into_iter().filter(|user| self.online.is_online(*user)).count();
                room.set_online_counted(now, online);
                online
            },
            |(_, online)| online,
        );
        Frame::json(&Said::Presence { chat_id: room.id, online, users: None })
    }
}

fn here(online: bool) -> Here {
    if online { Here::Online } else { Here::Offline }
}
