//! Who may do what in a room, judged by the room as it is at that moment.

use super::{
    Chat, ChatError, Result,
    room::Live,
    work::{Actor, Work},
};
use crate::types::{RoomKind, RoomRole, UserId};

pub(super) const REUSED: ChatError =
    ChatError::Conflict("This client_id has been used for another message; give each message its own.");
const NOT_OWN: ChatError =
    ChatError::Forbidden("Only its sender deletes a message, or an owner or moderator of the group.");
const OUTSIDER: ChatError = ChatError::Forbidden("Insufficient permissions");

/// Whether the room, as it is now, allows it. A private room's two members are never changed.
pub(super) fn check(live: &Live, kind: RoomKind, by: &Actor, work: &Work, chat: &Chat) -> Result<()> {
    if matches!(work, Work::Join | Work::Decline) {
        return live.invited.role_of(&by.user).map(drop).ok_or(ChatError::NoSuchRoom);
    }
    let mine = match work {
        Work::Delete { for_good: true, .. } => RoomRole::Reader,
        _ => live.members.role_of(&by.user).ok_or(OUTSIDER)?,
    };
    let role_of = |user: &UserId| live.members.role_of(user);
    if let Work::Edit { of, judged_at, .. } | Work::Delete { of, judged_at, .. } = work
        && live.touched.is_touched(of.seq, *judged_at)
    {
        return Err(ChatError::Overtaken);
    }
    if kind == RoomKind::Private && !work.shares_a_batch() {
        return Err(ChatError::Conflict("A private chat keeps its two members and has no name; make a group instead."));
    }
    match work {
        Work::Post { .. } | Work::Edit { .. } if live.pair.as_ref().is_some_and(|pair| pair.deleted) => {
            Err(ChatError::Conflict("Their account was deleted: nobody would read it."))
        }
        Work::Post { .. } | Work::Edit { .. } if let Some(blocks) = blocked(live, by) => {
            Err(ChatError::NotTaken(blocks))
        }
        Work::Post { .. } | Work::Edit { .. } if mine.may_post() => Ok(()),
        Work::Post { .. } | Work::Edit { .. } => Err(ChatError::ReadOnly),
        Work::Delete { own: true, .. } => Ok(()),
        Work::Delete { .. } if kind == RoomKind::Group && mine.may_moderate() => Ok(()),
        Work::Delete { .. } => Err(NOT_OWN),
        Work::Rename { .. } if mine.may_moderate() => Ok(()),
        Work::Rename { .. } => Err(ChatError::Forbidden("Only an owner or a moderator renames a chat.")),
        Work::Join | Work::Decline => Ok(()),
        Work::Invite { user, role, ask, judged_at, .. } => {
            if !mine.may_moderate() {
                Err(ChatError::Forbidden("Only an owner or a moderator invites to a chat."))
            } else if mine == RoomRole::Moderator && role.may_moderate() {
                Err(ChatError::Forbidden("Only an owner makes owners and moderators."))
            } else if role_of(user).is_some() {
                Err(ChatError::Conflict("They are a member of this chat already."))
            } else if !ask && (live.invited.somebody_left_after(*judged_at) || live.invited.role_of(user).is_some()) {
                Err(ChatError::Conflict("Who is a member has just changed; invite them again."))
            } else if live.invited.role_of(user).is_none()
                && live.members.len() + live.invited.len() >= chat.config.limits.room_members
            {
                chat.metrics.bound_hit("limits.room_members");
                Err(ChatError::Conflict("This chat has as many members as it may have (limits.room_members)."))
            } else {
                Ok(())
            }
        }
        Work::SetRole { user, username, role } => match role_of(user) {
            _ if !mine.may_moderate() => Err(ChatError::Forbidden("Only an owner or a moderator changes roles.")),
            None => Err(ChatError::NoSuchMember(username.to_string())),
            Some(theirs) if mine == RoomRole::Moderator && (theirs.may_moderate() || role.may_moderate()) => {
                Err(ChatError::Forbidden("Only an owner changes who is owner or moderator."))
            }
            Some(_) if *role != RoomRole::Owner && live.members.is_last_owner(user) => {
                Err(ChatError::Conflict("They are the last owner; make somebody else owner first."))
            }
            Some(_) => Ok(()),
        },
        Work::Remove { user, .. } if mine.may_moderate() && live.invited.role_of(user).is_some() => Ok(()),
        Work::Remove { user, username } => match role_of(user) {
            None if !mine.may_moderate() => Err(ChatError::Forbidden("Only an owner or a moderator removes members.")),
            None => Err(ChatError::NoSuchMember(username.to_string())),
            Some(theirs)
                if *user == by.user
                    || mine == RoomRole::Owner
                    || (mine == RoomRole::Moderator && !theirs.may_moderate()) =>
            {
                if live.members.is_last_owner(user) && live.members.len() > 1 {
                    return Err(ChatError::Conflict("They are the last owner; make somebody else owner first."));
                }
                Ok(())
            }
            Some(_) => Err(ChatError::Forbidden("Only an owner, or a moderator for those below, removes members.")),
        },
    }
}

/// The name of the other of a private room, where they block who asks.
fn blocked(live: &Live, by: &Actor) -> Option<String> {
    let other = live.pair.as_ref()?.blocks.iter().find(|user| **user != by.user)?;
    Some(live.members.name_of(other).map(|name| name.to_string()).unwrap_or_default())
}

/// Whether it is so already: then there is no event of it.
pub(super) fn changes_nothing(live: &Live, work: &Work) -> bool {
    match work {
        Work::Rename { name } => live.name.as_ref() == Some(name),
        Work::SetRole { user, role, .. } => live.members.role_of(user) == Some(*role),
        Work::Invite { user, role, ask: true, .. } => live.invited.role_of(user) == Some(*role),
        Work::Post { .. }
        | Work::Invite { .. }
        | Work::Join
        | Work::Decline
        | Work::Remove { .. }
        | Work::Edit { .. }
        | Work::Delete { .. } => false,
    }
}
