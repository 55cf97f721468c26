//! Rooms: opening them, finding one's own, naming them.

use std::{collections::HashSet, sync::Arc};

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use utoipa::{
    ToSchema,
    openapi::{ObjectBuilder, Ref, Schema, Type, schema::OneOfBuilder},
};

use super::cursor;
use crate::{
    app::App,
    chat::{Caller, invitations::Listed},
    http::{
        authorize::RoomGrant,
        request::Request,
        respond::{self, Rejection, Response, message},
    },
    store::{InvitationRecord, RoomSummary},
    types::{Ordinal, RoomId, RoomKind, RoomRole, Seq},
};

/// `username` for a private chat, or `name` and `usernames` for a group.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewChat {
    /// The other person of a private chat.
    username: Option<String>,
    /// The group's name: 1 to `limits.room_name_chars` characters (100, unless the operator chose another number), no control
    /// characters.
    #[schema(pattern = r"^[^\u0000-\u001f\u007f-\u009f]*[^\u0000-\u0020\u007f-\u00a0][^\u0000-\u001f\u007f-\u009f]*$")]
    name: Option<String>,
    /// Who is in the group beside its owner, who makes it.
    usernames: Option<Vec<String>>,
}

/// What is to be changed; what is left out or null stays.
#[derive(Deserialize, ToSchema)]
#[schema(as = ChatChange)]
pub(super) struct Rename {
    /// The rules of `POST /chat/new`.
    #[schema(pattern = r"^[^\u0000-\u001f\u007f-\u009f]*[^\u0000-\u0020\u007f-\u00a0][^\u0000-\u001f\u007f-\u009f]*$")]
    name: Option<String>,
}

/// A chat that is there now.
#[derive(Serialize, ToSchema)]
#[schema(as = ChatCreated)]
pub(super) struct Created {
    message: &'static str,
    chat_id: RoomId,
}

/// A page of one's chats, latest activity first.
#[derive(Serialize, ToSchema)]
pub(super) struct Chats {
    chats: Vec<ChatShown>,
    /// For `?after=`; null at the end.
    #[schema(required)]
    next: Option<String>,
}

/// What one is to a chat, where one is no member.
#[derive(Serialize, ToSchema)]
#[schema(as = ChatState)]
#[serde(rename_all = "snake_case")]
enum State {
    Invited,
}

/// A chat as its member, or somebody who is invited to it, sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = Chat)]
struct ChatShown {
    chat_id: RoomId,
    /// `invited`: one is asked to join, and is told nothing more of it; left out where one is a member.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    state: Option<State>,
    /// Who invited one, where one is invited.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    by: Option<String>,
    /// Usernames of members, in order of joining, at most `limits.listed_members` of them.
    users: Vec<String>,
    kind: RoomKind,
    /// Null in a private chat.
    #[schema(required)]
    name: Option<String>,
    /// What one is there.
    role: RoomRole,
    /// The name of the log's life; goes with a cursor.
    epoch: String,
    /// The last event of the log.
    head_seq: Seq,
    /// How far one has read.
    read_seq: Seq,
    /// How many messages came after that; deleted ones don't count.
    unread: Ordinal,
    /// The latest message that is not deleted; null where there is none.
    #[schema(schema_with = message_or_null)]
    last_message: Option<Box<RawValue>>,
}

fn message_or_null() -> Schema {
    OneOfBuilder::new()
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .item(Ref::from_schema_name("ChatMessage"))
        .description(Some("The latest message, in its latest form; null where there is none."))
        .into()
}

/// `POST /chat/new`
pub async fn create(app: &Arc<App>, caller: Caller, mut request: Request) -> Result<Response, Rejection> {
    match request.json().await? {
        NewChat { username: Some(username), name: None, usernames: None } => {
            app.limiters.write(caller.user_id, 2)?;
            let opened = app.chat.open_private(&caller, &username).await?;
            if opened.existed { Err(exists(opened.room_id)) } else { Ok(created(opened.room_id)) }
        }
        NewChat { username: None, name: Some(name), usernames: Some(usernames) } => {
            // A name that is written twice is looked up once.
            let mut named = HashSet::new();
            let usernames: Vec<String> = usernames.into_iter().filter(|name| named.insert(name.clone())).collect();
            app.limiters.write(caller.user_id, usernames.len() + 2)?;
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
    let next = cursor::cut(&mut rooms, limit, Listed::cursor);
    app.limiters.listed(caller.user_id, rooms.len());
    Ok(respond::json(&Chats { chats: rooms.into_iter().map(listed).collect(), next }))
}

/// `PATCH /chat/{chat_id}`
pub async fn rename(app: &Arc<App>, grant: RoomGrant, mut request: Request) -> Result<Response, Rejection> {
    let body: Rename = request.json().await?;
    if let Some(name) = body.name {
        app.limiters.write(grant.caller.user_id, 1)?;
        app.chat.rename(&grant.room, &grant.caller, &name).await?;
    }
    Ok(message("Chatroom updated successfully"))
}

/// `POST /chat/{chat_id}/hide`
pub async fn hide(app: &Arc<App>, grant: RoomGrant, _request: Request) -> Result<Response, Rejection> {
    app.chat.hide(&grant.room, &grant.caller).await?;
    Ok(message("Chatroom hidden until its next message"))
}

fn created(room: RoomId) -> Response {
    respond::json(&Created { message: "Chatroom created successfully", chat_id: room })
}

fn exists(room: RoomId) -> Rejection {
    let detail = json!(Created { message: "Chatroom already exists", chat_id: room });
    Rejection::new(StatusCode::BAD_REQUEST, "chat_exists", detail)
}

fn listed(one: Listed) -> ChatShown {
    match one {
        Listed::Member(summary) => shown(*summary),
        Listed::Invited(InvitationRecord { room_id, name, role, by, at: _ }) => ChatShown {
            chat_id: room_id,
            state: Some(State::Invited),
            by: Some(by),
            users: Vec::new(),
            kind: RoomKind::Group,
            name,
            role,
            epoch: String::new(),
            head_seq: 0,
            read_seq: 0,
            unread: 0,
            last_message: None,
        },
    }
}

fn shown(summary: RoomSummary) -> ChatShown {
    let RoomSummary { room, role, read, unread, last_message, usernames } = summary;
    ChatShown {
        chat_id: room.room_id,
        state: None,
        by: None,
        users: usernames,
        kind: room.kind,
        name: room.name,
        role,
        epoch: room.epoch,
        head_seq: room.head_seq,
        read_seq: read.seq,
        unread,
        last_message: last_message.map(|body| serde_json::from_slice(&body).expect("the log holds whole JSON objects")),
    }
}
