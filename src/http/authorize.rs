//! Who may do what: roles of the server and roles in a room.
//!
//! A role of the server opens no room: an admin who is not a member is an outsider like everybody.

use std::sync::Arc;

use hyper::StatusCode;

use super::respond::Rejection;
use crate::{
    app::App,
    chat::{Caller, ChatError, room::Room},
    types::{Role, RoomId, RoomKind, RoomRole},
};

/// Leave to act in one room, checked.
pub struct RoomGrant {
    pub caller: Caller,
    pub room: Arc<Room>,
    pub role: RoomRole,
}

/// What a member must be allowed to, for a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Every member may.
    Read,
    /// All but readers.
    Post,
    /// Owners and moderators of groups. A private room has none, and answers 409.
    Moderate,
}

/// What somebody hears who asks for a room they are not in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outsider {
    /// 404, as if there were no such room.
    NotTold,
    /// 403, as the original API does where one reads and posts.
    Told,
}

pub fn role(caller: &Caller, needed: Role) -> Result<(), Rejection> {
    if caller.roles.contains(needed) { Ok(()) } else { Err(Rejection::insufficient_permissions()) }
}

pub async fn room(
    app: &App,
    caller: Caller,
    chat_id: &str,
    need: Need,
    outsider: Outsider,
) -> Result<RoomGrant, Rejection> {
    let id = RoomId::parse(chat_id).ok_or_else(Rejection::no_such_room)?;
    let room = app.chat.find_room(id).await?;
    app.chat.make_sure(&room, caller.user_id, None).await;
    let role = room.role_of(caller.user_id).ok_or_else(|| match outsider {
        Outsider::NotTold => Rejection::no_such_room(),
        Outsider::Told => Rejection::insufficient_permissions(),
    })?;
    check(need, room.kind, role)?;
    Ok(RoomGrant { caller, room, role })
}

fn check(need: Need, kind: RoomKind, role: RoomRole) -> Result<(), Rejection> {
    match need {
        Need::Read => Ok(()),
        Need::Post if role.may_post() => Ok(()),
        Need::Post => Err(ChatError::ReadOnly.into()),
        Need::Moderate if kind == RoomKind::Private => {
            let detail = "A private room has no name, and its two members stay for ever; make a group for others.";
            Err(Rejection::new(StatusCode::CONFLICT, "conflict", detail))
        }
        Need::Moderate if role.may_moderate() => Ok(()),
        Need::Moderate => {
            let detail = "Only an owner or moderator of this room may do that.";
            Err(Rejection::forbidden("forbidden", detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_what_it_says() {
        use RoomRole::*;
        let status = |need, kind, role| check(need, kind, role).err().map_or(200, |refused| refused.status.as_u16());
        for (role, read, post, moderate) in
            [(Owner, 200, 200, 200), (Moderator, 200, 200, 200), (Member, 200, 200, 403), (Reader, 200, 403, 403)]
        {
            assert_eq!(status(Need::Read, RoomKind::Group, role), read);
            assert_eq!(status(Need::Post, RoomKind::Group, role), post);
            assert_eq!(status(Need::Moderate, RoomKind::Group, role), moderate);
            assert_eq!(status(Need::Moderate, RoomKind::Private, role), 409);
        }
    }
}
