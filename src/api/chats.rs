//! Rooms: opening them, finding one's own, naming them.

use std::sync::Arc;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::cursor;
use crate::{
    app::App,
    chat::Caller,
    http::{
        authorize::RoomGrant,
        request::Request,
        respond::{self, Rejection, Response, message},
    },
    store::{RoomCursor, RoomSummary},
    types::{Ordinal, RoomId, RoomKind, RoomRole, Seq},
};

/// `username` for a private room, or `name` and `usernames` for a group.
#[derive(Deserialize)]
struct NewChat {
    username: Option<String>,
    name: Option<String>,
    usernames: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Rename {
    name: Option<String>,
}

#[derive(Serialize)]
struct Chats {
    chats: Vec<ChatShown>,
    next: Option<String>,
}

#[derive(Serialize)]
struct ChatShown {
    chat_id: RoomId,
    users: Vec<String>,
    kind: RoomKind,
    name: Option<String>,
    role: RoomRole,
    epoch: String,
    head_seq: Seq,
    read_seq: Seq,
    unread: Ordinal,
    /// The very bytes of the log.
    last_message: Option<Box<RawValue>>,
}

/// `POST /chat/new`
pub async fn create(app: &Arc<App>, caller: Caller, mut request: Request) -> Result<Response, Rejection> {
    match request.json().await? {
        NewChat { username: Some(username), name: None, usernames: None } => {
            let opened = app.chat.open_private(&caller, &username).await?;
            if opened.existed { Err(exists(opened.room_id)) } else { Ok(created(opened.room_id)) }
        }
        NewChat { username: None, name: Some(name), usernames: Some(usernames) } => {
            Ok(created(app.chat.open_group(&caller, &name, &usernames).await?))
        }
        NewChat { username: None, name: None, usernames: None } => {
            let msg = "Give username for a private room, or name and usernames for a group";
            Err(Rejection::invalid("missing", &["body", "username"], msg))
        }
        NewChat { username: None, name, .. } => {
            let missing = if name.is_none() { "name" } else { "usernames" };
            Err(Rejection::invalid("missing", &["body", missing], "Field required"))
        }
        NewChat { username: Some(_), .. } => {
            let msg = "Give either username for a private room, or name and usernames for a group";
            Err(Rejection::invalid("value_error", &["body"], msg))
        }
    }
}

/// `GET /chat/my-chats`
pub async fn mine(app: &Arc<App>, caller: Caller, request: Request) -> Result<Response, Rejection> {
    let (limit, after) = (request.page_limit()?, cursor::after(&request)?);
    let mut rooms = app.chat.rooms_of(&caller, after, limit + 1).await?;
    let next = cursor::cut(&mut rooms, limit, |summary| RoomCursor {
        active_at: summary.room.active_at,
        room_id: summary.room.room_id,
    });
    Ok(respond::json(&Chats { chats: rooms.into_iter().map(shown).collect(), next }))
}

/// `PATCH /chat/{chat_id}`
pub async fn rename(app: &Arc<App>, grant: RoomGrant, mut request: Request) -> Result<Response, Rejection> {
    let body: Rename = request.json().await?;
    if let Some(name) = body.name {
        app.chat.rename(&grant.room, &grant.caller, &name).await?;
    }
    Ok(message("Chatroom updated successfully"))
}

fn created(room: RoomId) -> Response {
    respond::json(&json!({ "message": "Chatroom created successfully", "chat_id": room }))
}

fn exists(room: RoomId) -> Rejection {
    let detail = json!({ "message": "Chatroom already exists", "chat_id": room });
    Rejection::new(StatusCode::BAD_REQUEST, "chat_exists", detail)
}

fn shown(summary: RoomSummary) -> ChatShown {
    let RoomSummary { room, role, read, last_message, usernames } = summary;
    ChatShown {
        chat_id: room.room_id,
        users: usernames,
        kind: room.kind,
        name: room.name,
        role,
        epoch: room.epoch,
        head_seq: room.head_seq,
        read_seq: read.seq,
        unread: room.messages.saturating_sub(read.ordinal),
        last_message: last_message.map(|body| serde_json::from_slice(&body).expect("the log holds whole JSON objects")),
    }
}
