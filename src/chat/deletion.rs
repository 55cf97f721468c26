//! Deleting an account: it is disabled and its logins end, it leaves its groups, and then it has no name any more.
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
    store::{DELETED_NAME, Deletion, UserChange, UserRecord},
    types::{RoomKind, UserId},
};

/// Rooms, invitations and unfinished deletions read at once.
const AT_ONCE: usize = 100;

/// Times that a group changes hands while its last owner leaves it.
const TRIES: usize = 5;

impl Chat {
    /// Disables an account and notes what is to become of it; [`Chat::end_deletion`] does the rest. Again is as good as once.
    /// Gives the account as it was.
    pub async fn begin_deletion(self: &Arc<Self>, username: &str, wanted: Deletion) -> Result<UserRecord> {
        if wanted.erase {
            return Err(ChatError::Conflict("This server cannot erase messages; keep them."));
        }
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
            match self.end_deletion(user).await {
                Ok(()) => tracing::info!(%user, "the deletion of an account was finished"),
                Err(error) => tracing::warn!(%error, %user, "an account is not deleted yet; it will be tried again"),
            }
        }
    }

    /// Once this returns, everything is done.
    pub async fn end_deletion(self: &Arc<Self>, user: UserId) -> Result<()> {
        self.to_its_end(async move |chat: Arc<Self>| {
            let Some(record) = chat.store.user(user).await? else { return Ok(()) };
            if record.deletion.is_some_and(|deletion| !deletion.done) {
                let actor = Actor { user, username: record.username.into() };
                chat.decline_all(&actor).await?;
                chat.leave_all(&actor).await?;
                chat.change_user(user, UserChange::Deleted).await?;
            }
            chat.forget_name(user);
            Ok(())
        })
        .await
    }

    async fn decline_all(self: &Arc<Self>, by: &Actor) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.store.invitations_of(by.user, after, AT_ONCE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(crate::store::RoomCursor { active_at: last.at, room_id: last.room_id });
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
