//! Asking people into groups, and what they answer; and the list of one's rooms, with the invitations among them.
//!
//! Who left a group or declined it comes back only by accepting; and where `auth.invites` is `ask`, so does whoever knows the
//! inviter from no room. All others are in at once.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use super::{
    Caller, Chat, ChatError, Result,
    invited::Invited,
    room::Room,
    work::{Actor, Work},
};
use crate::{
    config::Invites,
    store::{InvitationRecord, Page, RoomCursor, RoomSummary},
    types::{RoomId, RoomKind, RoomRole, UserId},
};

/// Invitations, or members, read at once.
const INVITED_PAGE: usize = 500;

/// One of somebody's rooms, or an invitation to one.
pub enum Listed {
    Member(Box<RoomSummary>),
    Invited(InvitationRecord),
}

impl Listed {
    pub fn cursor(&self) -> RoomCursor {
        match self {
            Listed::Member(one) => RoomCursor { active_at: one.room.active_at, room_id: one.room.room_id },
            Listed::Invited(one) => RoomCursor { active_at: one.at, room_id: one.room_id },
        }
    }
}

/// What came of inviting somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Added,
    Invited,
}

impl Chat {
    /// Latest activity first; of an invitation that is when it was made.
    pub async fn rooms_of(&self, by: &Caller, after: Option<RoomCursor>, limit: usize) -> Result<Vec<Listed>> {
        let rooms = self.store.rooms_of(by.user_id, after, limit, self.config.limits.listed_members).await?;
        let invited = self.store.invitations_of(by.user_id, after, limit).await?;
        let rooms = rooms.into_iter().map(|one| Listed::Member(Box::new(one)));
        let mut all: Vec<Listed> = rooms.chain(invited.into_iter().map(Listed::Invited)).collect();
        all.sort_by_key(|one| {
            let RoomCursor { active_at, room_id } = one.cursor();
            Reverse((active_at, room_id))
        });
        all.truncate(limit);
        Ok(all)
    }

    /// Whether `user` wants to be asked before they are in a group of `by`, whichever it is.
    pub(super) async fn asks(&self, by: UserId, user: UserId) -> Result<bool> {
        Ok(self.config.auth.invites == Invites::Ask && !self.store.know_each_other(user, by).await?)
    }

    pub async fn invite(
        self: &Arc<Self>,
        room: &Arc<Room>,
        by: &Caller,
        username: &str,
        role: RoomRole,
    ) -> Result<Asked> {
        let person = self.person(username).await?;
        let (user, username) = (person.user_id, Arc::<str>::from(person.username));
        self.takes(user, &username, by.user_id).await?;
        // Before the question: whoever leaves after it is noticed by the room.
        let judged_at = room.head();
        let ask = room.invited_as(user).is_some()
            || self.store.has_left(room.id, user).await?
            || self.asks(by.user_id, user).await?;
        self.ask(room, by, Work::Invite { user, username, role, ask, judged_at }).await?;
        Ok(if ask { Asked::Invited } else { Asked::Added })
    }

    /// Accepts an invitation; for a member there is nothing to do.
    pub async fn join(self: &Arc<Self>, room: &Arc<Room>, by: &Caller) -> Result<()> {
        self.make_sure(room, by.user_id, None).await;
        if room.role_of(by.user_id).is_some() {
            return Ok(());
        }
        if room.invited_as(by.user_id).is_none() {
            return Err(ChatError::NoSuchRoom);
        }
        self.has_place_for_a_room(by.user_id).await?;
        self.ask(room, by, Work::Join).await.map(drop)
    }

    pub async fn decline(self: &Arc<Self>, room: &Arc<Room>, by: &Caller) -> Result<()> {
        self.make_sure(room, by.user_id, None).await;
        self.ask(room, by, Work::Decline).await.map(drop)
    }

    /// Who was made the last owner of a group by somebody else is not kept in it by that: before they leave, the one who has
    /// been there longest of those with the highest role owns it. Who made the group hands it over by themselves.
    pub(super) async fn pass_on(self: &Arc<Self>, room: &Arc<Room>, by: &Caller) -> Result<()> {
        if room.kind == RoomKind::Private || !room.is_last_owner(by.user_id) {
            return Ok(());
        }
        let first = Page { after: Some(0), before: None, limit: 1, messages_only: false };
        if self.store.events(room.id, first).await?.first().is_some_and(|first| first.sender == by.user_id) {
            return Ok(());
        }
        self.hand_on(room, &by.actor()).await
    }

    /// Where somebody is the last owner of a group that others are in, another one owns it too from now on.
    pub(super) async fn hand_on(self: &Arc<Self>, room: &Arc<Room>, by: &Actor) -> Result<()> {
        if !room.is_last_owner(by.user) || room.member_count() < 2 {
            return Ok(());
        }
        let mut heir: Option<(RoomRole, UserId, Arc<str>)> = None;
        let mut after = None;
        loop {
            let page = self.store.members(room.id, after, INVITED_PAGE).await?;
            after = page.last().map(|member| member.user_id);
            let last = page.len() < INVITED_PAGE;
            for member in page.into_iter().filter(|member| member.user_id != by.user) {
                if heir.as_ref().is_none_or(|(role, ..)| member.role < *role) {
                    heir = Some((member.role, member.user_id, Arc::<str>::from(member.username)));
                }
            }
            if last {
                break;
            }
        }
        let Some((_, user, username)) = heir else { return Ok(()) };
        self.ask_as(room, by.clone(), Work::SetRole { user, username, role: RoomRole::Owner }).await.map(drop)
    }

    pub(super) async fn load_invited(&self, room: RoomId) -> Result<Invited> {
        let (mut asked, mut after) = (HashMap::new(), None);
        loop {
            let page = self.store.invited_to(room, after, INVITED_PAGE).await?;
            after = page.last().map(|(user, _)| *user);
            let last = page.len() < INVITED_PAGE;
            asked.extend(page);
            if last {
                return Ok(Invited::new(asked));
            }
        }
    }
}

impl Room {
    pub(super) fn invited_as(&self, user: UserId) -> Option<RoomRole> {
        self.live.lock().invited.role_of(&user)
    }

    fn is_last_owner(&self, user: UserId) -> bool {
        self.live.lock().members.is_last_owner(&user)
    }
}
