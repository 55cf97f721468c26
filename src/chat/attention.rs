//! People own their attention: whom they block, what they hide from their list, and who sees whom.
//!
//! - Two of whom one blocks the other are *apart*: neither sees the other's presence, typing and read marks.
//! - In a private room one sees presence and read marks of the other only once the other has written there.
//! - A private room knows by itself who blocks whom (`pair.rs`): posts are judged by it. For everything else the node knows of
//!   the people connected here who they are apart from.
//!
//! A block is a record of the store. A hint makes every node look again, and so does a changed user where nodes share a store.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use parking_lot::{Mutex, RwLock};

use super::{Caller, Chat, ChatError, Result, room::Room};
use crate::{
    protocol::{Frame, Here, Said},
    store::{BlockSet, BlockedRecord, StoreError},
    types::{RoomKind, UserId},
};

/// Blocks read at once where all of a user's are wanted.
const BLOCKS_PAGE: usize = 500;

/// - `of` has the users connected here who are apart from anybody.
/// - What was read before a block was set or lifted is never remembered after it: `changes` counts these.
#[derive(Default)]
pub struct Apart {
    of: RwLock<HashMap<UserId, HashSet<UserId>>>,
    changes: AtomicU64,
    /// Could not be looked up yet.
    unsure: Mutex<HashSet<UserId>>,
}

impl Apart {
    /// `viewer` is connected here.
    fn are(&self, viewer: UserId, other: UserId) -> bool {
        self.of.read().get(&viewer).is_some_and(|apart| apart.contains(&other))
    }

    fn keeps_apart(&self, viewer: UserId) -> bool {
        self.of.read().contains_key(&viewer)
    }

    fn changes(&self) -> u64 {
        self.changes.load(SeqCst)
    }

    fn set(&self, user: UserId, apart: HashSet<UserId>) {
        let mut of = self.of.write();
        if apart.is_empty() {
            of.remove(&user)
        } else {
            of.insert(user, apart)
        };
    }
}

impl Room {
    pub(super) fn has_written(&self, user: UserId) -> bool {
        self.live.lock().pair.as_ref().is_none_or(|pair| pair.wrote.contains(&user))
    }

    /// Who blocks the other, in a private room.
    pub(super) fn blocks(&self) -> Vec<UserId> {
        self.live.lock().pair.as_ref().map(|pair| pair.blocks.clone()).unwrap_or_default()
    }

    fn take_new_writers(&self) -> Vec<UserId> {
        if self.kind != RoomKind::Private {
            return Vec::new();
        }
        self.live.lock().pair.as_mut().map(|pair| std::mem::take(&mut pair.new_writers)).unwrap_or_default()
    }
}

impl Chat {
    /// Blocks somebody, or lets them be again; also somebody who has no account any more to sign in to.
    pub async fn set_block(self: &Arc<Self>, by: &Caller, username: &str, blocked: bool) -> Result<()> {
        let other = self.require_user(username).await?.user_id;
        if other == by.user_id {
            return Err(ChatError::Conflict("Nobody blocks themselves."));
        }
        match self.store_block(by.user_id, other, blocked).await? {
            BlockSet::Done => Ok(()),
            BlockSet::TooMany => {
                self.metrics.bound_hit("limits.blocks_per_user");
                Err(ChatError::Conflict("You block as many people as one may (limits.blocks_per_user)."))
            }
        }
    }

    pub async fn blocks_of(&self, by: &Caller, after: Option<UserId>, limit: usize) -> Result<Vec<BlockedRecord>> {
        Ok(self.store.blocks_of(by.user_id, after, limit).await?)
    }

    /// Refuses what one person wants of another who blocks them.
    pub(super) async fn takes(&self, user: UserId, username: &str, from: UserId) -> Result<()> {
        match self.store.blocks_between(user, from).await?.contains(&user) {
            true => Err(ChatError::NotTaken(username.to_owned())),
            false => Ok(()),
        }
    }

    pub async fn hide(self: &Arc<Self>, room: &Arc<Room>, by: &Caller) -> Result<()> {
        if room.kind != RoomKind::Private {
            return Err(ChatError::Forbidden("A private chat can be hidden; leave a group instead."));
        }
        self.store_hidden(room.id, by.user_id, true).await
    }

    /// Who is connected from now on: whom they must not see.
    pub(crate) async fn attend(&self, user: UserId) {
        if let Err(error) = self.look_apart(user).await {
            tracing::debug!(%error, %user, "who they are apart from could not be looked up; it will be tried again");
            self.apart.unsure.lock().insert(user);
        }
    }

    async fn look_apart(&self, user: UserId) -> Result<(), StoreError> {
        loop {
            let changes = self.apart.changes();
            let apart = self.store.apart_from(user).await?;
            let known = apart.into_iter().collect();
            if self.apart.changes() == changes {
                self.apart.set(user, known);
                return Ok(());
            }
        }
    }

    /// Looks up those that could not be, and forgets those who are gone.
    pub(super) async fn tidy_apart(&self) {
        let unsure = std::mem::take(&mut *self.apart.unsure.lock());
        for user in unsure {
            if let Err(error) = self.check_blocks(user).await {
                tracing::debug!(%error, %user, "blocks could not be looked up; it will be tried again");
                self.apart.unsure.lock().insert(user);
            }
        }
        self.apart.of.write().retain(|user, _| self.online.is_online(*user));
    }

    /// A block was set or lifted.
    pub(super) fn heard_block(self: &Arc<Self>, user: UserId, other: UserId) {
        let chat = self.clone();
        tokio::spawn(async move {
            chat.look_at_block(user, other).await;
            for (viewer, subject) in [(user, other), (other, user)] {
                chat.tell_again(viewer, subject).await;
            }
        });
    }

    /// Takes in who blocks whom of these two, which may have changed.
    pub(super) async fn look_at_block(&self, user: UserId, other: UserId) {
        self.apart.changes.fetch_add(1, SeqCst);
        for one in [user, other] {
            if self.online.is_online(one) {
                self.attend(one).await;
            }
        }
        if let Err(error) = self.look_at_pair(user, other).await {
            tracing::debug!(%error, "a block could not be looked up; it will be tried again");
            self.apart.unsure.lock().extend([user, other]);
        }
    }

    /// Somebody's record changed, perhaps because they block others now: where the bus told nothing.
    pub(super) async fn check_blocks(&self, user: UserId) -> Result<(), StoreError> {
        let mut now = HashSet::new();
        let mut after = None;
        loop {
            let page = self.store.blocks_of(user, after, BLOCKS_PAGE).await?;
            now.extend(page.iter().map(|blocked| blocked.user_id));
            after = page.last().map(|blocked| blocked.user_id);
            if page.len() < BLOCKS_PAGE {
                break;
            }
        }
        let mut rooms = Vec::new();
        self.rooms.each(|room| {
            if room.kind == RoomKind::Private && room.role_of(user).is_some() {
                rooms.push(room);
            }
        });
        let others = rooms.iter().flat_map(|room| room.member_ids()).filter(|other| *other != user);
        let private: HashSet<UserId> = others.collect();
        let before: HashSet<UserId> = self.apart.of.read().get(&user).cloned().unwrap_or_default();
        for room in rooms {
            self.refresh_pair(&room).await?;
        }
        for other in now.union(&before).chain(&private) {
            if self.online.is_online(*other) && self.apart.are(*other, user) != now.contains(other) {
                self.look_apart(*other).await?;
            }
        }
        if self.online.is_online(user) { self.look_apart(user).await } else { Ok(()) }
    }

    async fn look_at_pair(&self, one: UserId, other: UserId) -> Result<(), StoreError> {
        let Some(id) = self.store.private_room(&pair_of(one, other)).await? else { return Ok(()) };
        match self.rooms.in_memory(id) {
            Some(room) => self.refresh_pair(&room).await,
            None => Ok(()),
        }
    }

    /// Reads who blocks whom in a private room that is in memory.
    pub(super) async fn refresh_pair(&self, room: &Room) -> Result<(), StoreError> {
        let members = room.member_ids();
        let [one, other] = members[..] else { return Ok(()) };
        loop {
            let changes = self.apart.changes();
            let blocks = self.store.blocks_between(one, other).await?;
            let mut live = room.live.lock();
            if self.apart.changes() == changes {
                if let Some(pair) = &mut live.pair {
                    pair.blocks = blocks;
                }
                return Ok(());
            }
        }
    }

    /// How far blocks had come when a room began to be loaded; one that was set since is made up for.
    pub(super) fn blocks_seen(&self) -> u64 {
        self.apart.changes()
    }

    /// Whether presence and read marks of `subject` are kept from `viewer`, who is connected here.
    pub(super) fn hides(&self, room: &Room, viewer: UserId, subject: UserId) -> bool {
        viewer != subject && (self.apart.are(viewer, subject) || !room.has_written(subject))
    }

    /// Whether `viewer` is told that `subject` types.
    pub(super) fn are_apart(&self, viewer: UserId, subject: UserId) -> bool {
        self.apart.are(viewer, subject)
    }

    /// Whether everybody's presence in the room is for this viewer.
    pub(super) fn sees_all(&self, room: &Room, viewer: UserId) -> bool {
        room.kind != RoomKind::Private && !self.apart.keeps_apart(viewer)
    }

    /// Those whose read marks are kept from a member who asks for them.
    pub(crate) async fn unseen_by(&self, room: &Room, viewer: UserId) -> Result<HashSet<UserId>> {
        if room.kind != RoomKind::Private {
            return Ok(self.store.apart_from(viewer).await?.into_iter().collect());
        }
        let apart = !room.blocks().is_empty();
        let others = room.member_ids().into_iter().filter(|other| *other != viewer);
        Ok(others.filter(|other| apart || !room.has_written(*other)).collect())
    }

    /// Who has written in a private room for the first time is seen by the other from now on.
    pub(super) fn show_new_writers(&self, room: &Room) {
        for writer in room.take_new_writers() {
            for other in room.member_ids().into_iter().filter(|other| *other != writer) {
                self.tell_one(room, other, writer);
            }
        }
    }

    /// Tells one member of another's presence anew, in every room of theirs that is followed here.
    async fn tell_again(&self, viewer: UserId, subject: UserId) {
        if !self.config.presence.enabled || self.online.connections_of(viewer).is_empty() {
            return;
        }
        match self.live_rooms_of(viewer).await {
            Ok(rooms) => rooms.iter().for_each(|room| self.tell_one(room, viewer, subject)),
            Err(error) => tracing::debug!(%error, "presence was not told anew"),
        }
    }

    fn tell_one(&self, room: &Room, viewer: UserId, subject: UserId) {
        let Some(name) = room.name_of(subject).filter(|_| self.config.presence.enabled) else { return };
        let Some(members) = room.names() else { return };
        let shown = self.online.is_online(subject) && !self.hides(room, viewer, subject);
        let users = BTreeMap::from([(&*name, if shown { Here::Online } else { Here::Offline })]);
        let online = self.online_for(room, viewer, &members);
        let frame = Frame::json(&Said::Presence { chat_id: room.id, online, users: Some(users) });
        for subscriber in room.subscribers().iter().filter(|subscriber| subscriber.user() == viewer) {
            subscriber.notice(&frame, false);
        }
    }

    /// How many of the members are online, of those that the viewer may see.
    pub(super) fn online_for(&self, room: &Room, viewer: UserId, members: &[(UserId, Arc<str>)]) -> usize {
        let seen = |user: UserId| self.online.is_online(user) && !self.hides(room, viewer, user);
        members.iter().filter(|(user, _)| seen(*user)).count()
    }
}

/// The same text for the same two people, whoever asks.
pub(super) fn pair_of(one: UserId, other: UserId) -> String {
    let (first, second) = if one < other { (one, other) } else { (other, one) };
    format!("{first}:{second}")
}
