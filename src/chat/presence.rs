//! Telling people who is online among those they share a room with.
//!
//! Changes are gathered for `presence.batch_millis`, so that a storm of reconnects is one frame a room. Small rooms are
//! told names; large ones (`presence.names_up_to`) how many, counted at most once in `presence.count_secs`. Presence is never
//! stored, and may be left out for whoever is behind. Every node tells the others who is connected to it: what changes, and
//! everything again when a node comes or something was lost.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};

use super::{
    Chat,
    online::{Turned, Wanted},
    room::Room,
};
use crate::{
    bus::Hint,
    protocol::{Frame, Here, Said},
    store::StoreError,
    types::{RoomId, UserId},
};

const ROOMS_PAGE: usize = 500;
/// Users whose rooms are looked up in one turn; the others wait for the next.
const LOOKED_UP_AT_ONCE: usize = 1_000;
/// Users in one hint to the other nodes.
const USERS_IN_A_HINT: usize = 2_000;
/// Everything is told at most so often.
const EVERYTHING_EVERY: Duration = Duration::from_secs(2);

/// What has still to be told.
#[derive(Default)]
struct Untold {
    turned: HashMap<UserId, bool>,
    /// Large rooms whose count has changed.
    counts: HashMap<RoomId, Arc<Room>>,
    /// To the other nodes.
    everything: bool,
    everything_told: Option<Instant>,
}

/// Runs until the chat is gone.
pub(super) async fn run(chat: Weak<Chat>, batch: Duration) {
    let mut ticks = tokio::time::interval(batch);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut untold = Untold::default();
    loop {
        ticks.tick().await;
        let Some(chat) = chat.upgrade() else { return };
        let wanted = chat.online.take_in_others(chat.bus.node());
        let told = chat.online.turned();
        untold.turned.extend(told.people.into_iter().map(|Turned { user, online }| (user, online)));
        if chat.bus.has_others() {
            chat.tell_nodes(&mut untold, wanted, &told.nodes);
        }
        if let Err(error) = chat.tell_names(&mut untold).await {
            tracing::debug!(%error, "presence waits for the store");
        }
        chat.tell_counts(&mut untold).await;
    }
}

impl Chat {
    fn tell_nodes(&self, untold: &mut Untold, wanted: Wanted, changes: &[(UserId, bool)]) {
        let node = self.bus.node();
        let tell = |users: &[(UserId, bool)], whole| {
            self.bus.publish(Hint::Presence { node, users: users.to_vec(), whole });
        };
        if wanted.ask {
            self.bus.publish(Hint::AskPresence);
        }
        untold.everything |= wanted.tell_everything;
        if !untold.everything || untold.everything_told.is_some_and(|at| at.elapsed() < EVERYTHING_EVERY) {
            changes.chunks(USERS_IN_A_HINT).for_each(|users| tell(users, false));
            return;
        }
        untold.everything = false;
        untold.everything_told = Some(Instant::now());
        let all: Vec<(UserId, bool)> = self.online.told_online().into_iter().map(|user| (user, true)).collect();
        let (first, rest) = all.split_at(all.len().min(USERS_IN_A_HINT));
        tell(first, true);
        rest.chunks(USERS_IN_A_HINT).for_each(|users| tell(users, false));
    }

    /// Tells small rooms who came and went; large ones are noted. What could not be looked up stays untold.
    async fn tell_names(&self, untold: &mut Untold) -> Result<(), StoreError> {
        let mut by_room: HashMap<RoomId, Arc<Room>> = HashMap::new();
        let users: Vec<UserId> = untold.turned.keys().copied().take(LOOKED_UP_AT_ONCE).collect();
        let looks = stream::iter(users).map(|user| async move { (user, self.live_rooms_of(user).await) });
        let found: Vec<_> = looks.buffer_unordered(self.config.cluster.catch_ups).collect().await;
        let mut turned = HashMap::new();
        let mut failed = None;
        for (user, rooms) in found {
            match rooms {
                Ok(rooms) => {
                    turned.extend(untold.turned.remove_entry(&user));
                    by_room.extend(rooms.into_iter().map(|room| (room.id, room)));
                }
                Err(error) => failed = Some(error),
            }
        }
        for (id, room) in by_room {
            let Some(members) = room.names() else {
                untold.counts.insert(id, room);
                continue;
            };
            let show = |user: &UserId| turned.get(user).map(|online| here(*online));
            self.tell_room(&room, &members, show);
            tokio::task::yield_now().await;
        }
        if untold.turned.is_empty() {
            // Not to keep room for as many as once came together.
            untold.turned = HashMap::new();
        }
        failed.map_or(Ok(()), Err)
    }

    /// The user's rooms that somebody here follows.
    pub(super) async fn live_rooms_of(&self, user: UserId) -> Result<Vec<Arc<Room>>, StoreError> {
        let (mut rooms, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.room_ids_of(user, after, ROOMS_PAGE).await?;
            after = page.last().copied();
            let last = page.len() < ROOMS_PAGE;
            let live = page.into_iter().filter_map(|id| self.rooms.in_memory(id));
            rooms.extend(live.filter(|room| room.has_subscribers()));
            if last {
                return Ok(rooms);
            }
        }
    }

    async fn tell_counts(&self, untold: &mut Untold) {
        let now = Instant::now();
        let due: Vec<RoomId> =
            untold.counts.iter().filter(|(_, room)| self.may_count(room, now)).map(|(id, _)| *id).collect();
        for room in due.into_iter().filter_map(|id| untold.counts.remove(&id)) {
            room.notify(&self.count_frame(&room, now), |_| true);
            tokio::task::yield_now().await;
        }
    }

    /// Who is online now, for somebody who has just begun to follow the room.
    pub(crate) fn presence_of(&self, room: &Room, viewer: UserId) -> Frame {
        let Some(members) = room.names() else { return self.count_frame(room, Instant::now()) };
        let seen = |user: &UserId| self.online.is_online(*user) && !self.hides(room, viewer, *user);
        let online = self.online_for(room, viewer, &members);
        self.names_frame(room, online, &members, |user| seen(user).then_some(Here::Online)).0
    }

    /// Tells a small room who came and went; each follower only of those whom they may see.
    fn tell_room(&self, room: &Room, members: &[(UserId, Arc<str>)], show: impl Fn(&UserId) -> Option<Here>) {
        let mut for_most = None;
        for subscriber in room.subscribers() {
            let viewer = subscriber.user();
            if self.sees_all(room, viewer) {
                let frame = for_most.get_or_insert_with(|| {
                    let online = members.iter().filter(|(user, _)| self.online.is_online(*user)).count();
                    self.names_frame(room, online, members, &show).0
                });
                subscriber.notice(frame, false);
                continue;
            }
            let online = self.online_for(room, viewer, members);
            let seen = |user: &UserId| if self.hides(room, viewer, *user) { None } else { show(user) };
            let (frame, any) = self.names_frame(room, online, members, seen);
            if any {
                subscriber.notice(&frame, false);
            }
        }
    }

    /// `false`: it names nobody.
    fn names_frame(
        &self,
        room: &Room,
        online: usize,
        members: &[(UserId, Arc<str>)],
        show: impl Fn(&UserId) -> Option<Here>,
    ) -> (Frame, bool) {
        let users: BTreeMap<&str, Here> =
            members.iter().filter_map(|(user, name)| Some((&**name, show(user)?))).collect();
        let any = !users.is_empty();
        (Frame::json(&Said::Presence { chat_id: room.id, online, users: Some(users) }), any)
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
