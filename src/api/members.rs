//! Who is in a room.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cursor;
use crate::{
    app::App,
    http::{
        authorize::RoomGrant,
        request::Request,
        respond::{Rejection, Response, json, message},
    },
    types::{RoomRole, Seq},
};

#[derive(Serialize)]
struct Members {
    members: Vec<MemberShown>,
    next: Option<String>,
}

#[derive(Serialize)]
struct MemberShown {
    username: String,
    role: RoomRole,
    read_seq: Seq,
}

#[derive(Deserialize)]
struct Invitation {
    username: String,
    role: Option<RoomRole>,
}

#[derive(Deserialize)]
struct RoleChange {
    role: RoomRole,
}

/// `GET /chat/{chat_id}/members`
pub async fn list(app: &Arc<App>, grant: RoomGrant, request: Request) -> Result<Response, Rejection> {
    let (limit, after) = (request.page_limit()?, cursor::after(&request)?);
    let mut members = app.chat.members(&grant.room, after, limit + 1).await?;
    let next = cursor::cut(&mut members, limit, |member| member.user_id);
    let shown = members.into_iter().map(|member| MemberShown {
        username: member.username,
        role: member.role,
        read_seq: member.read.seq,
    });
    Ok(json(&Members { members: shown.collect(), next }))
}

/// `POST /chat/{chat_id}/members`
pub async fn invite(app: &Arc<App>, grant: RoomGrant, mut request: Request) -> Result<Response, Rejection> {
    let body: Invitation = request.json().await?;
    let role = body.role.unwrap_or(RoomRole::Member);
    app.chat.invite(&grant.room, &grant.caller, &body.username, role).await?;
    Ok(message("Member added successfully"))
}

/// `PATCH /chat/{chat_id}/members/{username}`
pub async fn set_role(app: &Arc<App>, grant: RoomGrant, mut request: Request) -> Result<Response, Rejection> {
    let body: RoleChange = request.json().await?;
    app.chat.set_role(&grant.room, &grant.caller, request.param("username"), body.role).await?;
    Ok(message("Role changed successfully"))
}

/// `DELETE /chat/{chat_id}/members/{username}`
pub async fn remove(app: &Arc<App>, grant: RoomGrant, request: Request) -> Result<Response, Rejection> {
    app.chat.remove(&grant.room, &grant.caller, request.param("username")).await?;
    Ok(message("Member removed successfully"))
}
