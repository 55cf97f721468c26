//! Deleting an account: it is disabled and its logins end, it leaves its groups, what it said is erased where that is asked, and then
//! it has no name any more.
//!
//! Each step is noted where the next look finds it: the account's record says that it is being deleted until everything is
//! done. So whoever asks again, and every node from time to time and at its start, finishes what was cut off.

use std::sync::Arc;

use super::{
    Chat, ChatError, Result,
    room::Live,
    room::Room,
    work::{Actor, Work},
};
use crate::{
    store::{DELETED_NAME, Deletion, Page, RoomCursor, UserChange, UserRecord},
    types::{RoomId, RoomKind, UserId},
};

/// Rooms, invitations and unfinished deletions read at once.
const AT_ONCE: usize = 100;

/// Messages read at once while those of one are erased.
const EVENTS_AT_ONCE: usize = 500;

/// Times that a group changes hands while its last owner leaves it.
const TRIES: usize = 5;

impl Chat {
    /// Disables an account and notes what is to become of it; [`Chat::end_deletion`] does the rest. Again is as good as once.
    /// Gives the account as it was.
    pub async fn begin_deletion(self: &Arc<Self>, username: &str, wanted: Deletion) -> Result<UserRecord> {
        let user = self.account_named(username).await?.ok_or_else(|| ChatError::NoSuchUser(username.to_owned()))?;
        self.change_user(user.user_id, UserChange::Delete(wanted)).await?;
        Ok(user)
    }

    /// Finishes what was cut off. What cannot be finished now is tried again the next time.
    pub(super) async fn end_deletions(self: &Arc<Self>) {
        let unfinished = match self.store.deletions(AT_ONCE).await {
            Ok(unfinished) => unfinished,
            Err(error) => return tracing::debug!(%error, "whose deletion goes on could not be read"),
        };
        for user in unfinished {
            if self.erased_of(user).is_some() {
                continue;
            }
            match self.end_deletion(user, |_| {}).await {
                Ok(()) => tracing::info!(%user, "the deletion of an account was finished"),
                Err(error) => tracing::warn!(%error, %user, "an account is not deleted yet; it will be tried again"),
            }
        }
    }

    /// The same for one account, in the background: erasing takes as long as everything that was said takes to be read.
    pub fn end_deletion_later(self: &Arc<Self>, user: UserId) {
        let chat = self.clone();
        // Where the server ends before, the next start goes on.
        drop(tokio::spawn(async move {
            if let Err(error) = chat.end_deletion(user, |_| {}).await {
                tracing::warn!(%error, %user, "an account is not deleted yet; it will be tried again");
            }
        }));
    }

    /// How many messages were erased here of an account that is being deleted.
    pub fn erased_of(&self, user: UserId) -> Option<u64> {
        self.erasing.lock().get(&user).copied()
    }

    /// Once this returns, everything is done. `erased` is told how many messages were.
    pub async fn end_deletion(self: &Arc<Self>, user: UserId, erased: impl Fn(u64)) -> Result<()> {
        let leave = async move |chat: Arc<Self>| {
            let Some(record) = chat.store.user(user).await? else { return Ok(None) };
            let going = record.deletion.filter(|deletion| !deletion.done);
            let actor = Actor { user, username: record.username.into() };
            if going.is_some() {
                chat.decline_all(&actor).await?;
                chat.leave_all(&actor).await?;
            }
            Ok(going.map(|going| (going, actor)))
        };
        let Some((going, actor)) = self.to_its_end(leave).await? else {
            self.forget_name(user);
            return Ok(());
        };
        if going.erase {
            let _erasing = Erasing::begin(self, user);
            self.erase_all(&actor, erased).await?;
        }
        self.to_its_end(async move |chat: Arc<Self>| {
            chat.change_user(user, UserChange::Deleted).await?;
            chat.forget_name(user);
            Ok(())
        })
        .await
    }

    /// Everything that somebody has said, in every room: they may have left some long ago.
    async fn erase_all(self: &Arc<Self>, by: &Actor, erased: impl Fn(u64)) -> Result<()> {
        let mut after_room = None;
        loop {
            let rooms = self.store.rooms(after_room, AT_ONCE).await?;
            let Some(last) = rooms.last() else { return Ok(()) };
            after_room = Some(last.room_id);
            for record in rooms {
                self.erase_in(record.room_id, by, &erased).await?;
            }
        }
    }

    async fn erase_in(self: &Arc<Self>, id: RoomId, by: &Actor, erased: &impl Fn(u64)) -> Result<()> {
        let mut page = Page { after: Some(0), before: None, limit: EVENTS_AT_ONCE, messages_only: true };
        loop {
            let events = self.store.events(id, page).await?;
            let Some(last) = events.last() else { return Ok(()) };
            page.after = Some(last.seq);
            for event in events.iter().filter(|event| event.sender == by.user && !event.is_erased()) {
                let room = self.find_room(id).await?;
                self.erase(&room, by, event.event_id, true).await?;
                if let Some(count) = self.erasing.lock().get_mut(&by.user) {
                    *count += 1;
                    erased(*count);
                }
            }
        }
    }

    async fn decline_all(self: &Arc<Self>, by: &Actor) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.store.invitations_of(by.user, after, AT_ONCE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(RoomCursor { active_at: last.at, room_id: last.room_id });
            for invitation in page {
                let room = self.find_room(invitation.room_id).await?;
                match self.ask_as(&room, by.clone(), Work::Decline).await {
                    Ok(_) | Err(ChatError::NoSuchRoom) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Private rooms keep their two members; every group is left.
    async fn leave_all(self: &Arc<Self>, by: &Actor) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.store.room_ids_of(by.user, after, AT_ONCE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(*last);
            for id in page {
                let room = self.find_room(id).await?;
                if room.kind == RoomKind::Group {
                    self.leave_for_good(&room, by).await?;
                }
            }
        }
    }

    /// Whoever is the last owner hands the group on first; to whom may change while they do.
    async fn leave_for_good(self: &Arc<Self>, room: &Arc<Room>, by: &Actor) -> Result<()> {
        let mut tries = 0;
        loop {
            self.make_sure(room, by.user, None).await;
            if room.role_of(by.user).is_none() {
                return Ok(());
            }
            self.hand_on(room, by).await?;
            let leave = Work::Remove { user: by.user, username: by.username.clone() };
            match self.ask_as(room, by.clone(), leave).await {
                Ok(_) => return Ok(()),
                Err(ChatError::Conflict(_) | ChatError::Forbidden(_)) if tries < TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// The user's record says that they were deleted: what is in memory names them no more.
    pub(super) fn forget_name(&self, user: UserId) {
        self.rooms.each(|room| room.live.lock().forget_name(user));
    }

    /// The same where another node may have deleted them.
    pub(super) async fn check_deleted(&self, user: UserId) -> Result<()> {
        if self.store.user(user).await?.is_some_and(|user| user.is_deleted()) {
            self.forget_name(user);
        }
        Ok(())
    }
}

/// Notes that somebody's messages are being erased here, until it ends in whatever way.
struct Erasing<'a> {
    chat: &'a Chat,
    user: UserId,
}

impl<'a> Erasing<'a> {
    fn begin(chat: &'a Chat, user: UserId) -> Self {
        chat.erasing.lock().entry(user).or_default();
        Self { chat, user }
    }
}

impl Drop for Erasing<'_> {
    fn drop(&mut self) {
        self.chat.erasing.lock().remove(&self.user);
    }
}

impl Live {
    /// Frames that may hold the name go as soon as everybody has them: who is behind reads what the store tells.
    fn forget_name(&mut self, user: UserId) {
        self.members.rename(&user, &DELETED_NAME.into());
        if let Some(pair) = &mut self.pair
            && self.members.contains(&user)
        {
            pair.deleted = true;
        }
        let handed_out = self.fan_out.may_forget(self.end.head);
        self.fan_out.ring.forget(handed_out);
    }
}
