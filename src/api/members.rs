//! Who is in a room.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::cursor;
use crate::{
    app::App,
    chat::{Caller, invitations::Asked},
    http::{
        authorize::RoomGrant,
        request::Request,
        respond::{Rejection, Response, json, message},
    },
    types::{RoomId, RoomRole, Seq},
};

/// A page of a chat's members, in order of joining.
#[derive(Serialize, ToSchema)]
pub(super) struct Members {
    members: Vec<MemberShown>,
    /// For `?after=`; null at the end.
    #[schema(required)]
    next: Option<String>,
}

/// Somebody who is in a chat.
#[derive(Serialize, ToSchema)]
#[schema(as = Member)]
struct MemberShown {
    username: String,
    role: RoomRole,
    /// How far they have read; 0 where one is not told: of those who block one or whom one blocks, and in a private chat of
    /// who has not written there.
    read_seq: Seq,
}

/// Whom to let in.
#[derive(Deserialize, ToSchema)]
pub(super) struct Invitation {
    username: String,
    /// `member` where it is left out or null.
    role: Option<RoomRole>,
}

/// What a member shall be.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewRole)]
pub(super) struct RoleChange {
    role: RoomRole,
}

/// `GET /chat/{chat_id}/members`
pub async fn list(app: &Arc<App>, grant: RoomGrant, request: Request) -> Result<Response, Rejection> {
    let (limit, after) = (request.page_limit()?, cursor::after(&request)?);
    let mut members = app.chat.members(&grant.room, after, limit + 1).await?;
    let next = cursor::cut(&mut members, limit, |member| member.user_id);
    app.limiters.listed(grant.caller.user_id, members.len());
    let unseen = app.chat.unseen_by(&grant.room, grant.caller.user_id).await?;
    let shown = members.into_iter().map(|member| MemberShown {
        read_seq: if unseen.contains(&member.user_id) { 0 } else { member.read.seq },
        username: member.username,
        role: member.role,
    });
    Ok(json(&Members { members: shown.collect(), next }))
}

/// `POST /chat/{chat_id}/members`
pub async fn invite(app: &Arc<App>, grant: RoomGrant, mut request: Request) -> Result<Response, Rejection> {
    let body: Invitation = request.json().await?;
    let role = body.role.unwrap_or(RoomRole::Member);
    app.limiters.write(grant.caller.user_id, 1)?;
    Ok(message(match app.chat.invite(&grant.room, &grant.caller, &body.username, role).await? {
        Asked::Added => "Member added successfully",
        Asked::Invited => "Invited: they are a member once they accept",
    }))
}

/// `PATCH /chat/{chat_id}/members/{username}`
pub async fn set_role(app: &Arc<App>, grant: RoomGrant, mut request: Request) -> Result<Response, Rejection> {
    let body: RoleChange = request.json().await?;
    app.limiters.write(grant.caller.user_id, 1)?;
    app.chat.set_role(&grant.room, &grant.caller, request.param("username"), body.role).await?;
    Ok(message("Role changed successfully"))
}

/// `DELETE /chat/{chat_id}/members/{username}`
pub async fn remove(app: &Arc<App>, grant: RoomGrant, request: Request) -> Result<Response, Rejection> {
    app.limiters.write(grant.caller.user_id, 1)?;
    app.chat.remove(&grant.room, &grant.caller, request.param("username")).await?;
    Ok(message("Member removed successfully"))
}

/// `POST /chat/{chat_id}/join`
pub async fn join(app: &Arc<App>, caller: Caller, request: Request) -> Result<Response, Rejection> {
    let room = app.chat.find_room(invited_to(&request)?).await?;
    app.limiters.write(caller.user_id, 1)?;
    app.chat.join(&room, &caller).await?;
    Ok(message("Joined successfully"))
}

/// `POST /chat/{chat_id}/decline`
pub async fn decline(app: &Arc<App>, caller: Caller, request: Request) -> Result<Response, Rejection> {
    let room = app.chat.find_room(invited_to(&request)?).await?;
    app.limiters.write(caller.user_id, 1)?;
    app.chat.decline(&room, &caller).await?;
    Ok(message("Declined successfully"))
}

fn invited_to(request: &Request) -> Result<RoomId, Rejection> {
    RoomId::parse(request.param("chat_id")).ok_or_else(Rejection::no_such_room)
}
