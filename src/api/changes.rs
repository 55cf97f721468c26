//! One message: as it stands, changing it, and what it said before.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::cursor::{self, Cursor};
use crate::{
    app::App,
    chat::{ChatError, messages::Text},
    http::{
        authorize::RoomGrant,
        request::Request,
        respond::{Rejection, Response, json, json_bytes},
    },
    types::{MessageId, Seq, Timestamp},
};

/// Another text for a message.
#[derive(Deserialize, ToSchema)]
pub(super) struct MessageEdit {
    /// The rules of a message.
    #[schema(min_length = 1, pattern = r"^[^\u0000]*$")]
    message: String,
    /// A name for the edit, of the same kind as a message's: the same one sent again is the same edit for ever.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000]*$")]
    client_id: Option<String>,
}

/// An edit that is on disk.
#[derive(Serialize, ToSchema)]
pub(super) struct EditDone {
    message: &'static str,
    /// Where the event stands; null where the message has this text already.
    #[schema(required)]
    seq: Option<Seq>,
    /// When it was given this text.
    edited_at: Timestamp,
    /// It was there already: this is its first acknowledgement again.
    duplicate: bool,
    /// And the message has been deleted since.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    deleted: Option<bool>,
}

/// A deletion that is on disk.
#[derive(Serialize, ToSchema)]
pub(super) struct DeleteDone {
    message: &'static str,
    /// Where the event stands; null where it was deleted before.
    #[schema(required)]
    seq: Option<Seq>,
}

/// A page of what a message has said, oldest first.
#[derive(Serialize, ToSchema)]
pub(super) struct Edits {
    edits: Vec<TextShown>,
    /// For `?after=`; null at the end.
    #[schema(required)]
    next: Option<String>,
}

/// What a message said from then on.
#[derive(Serialize, ToSchema)]
#[schema(as = MessageText)]
struct TextShown {
    content: String,
    at: Timestamp,
}

/// Where a text stands in its log.
#[derive(Clone, Copy)]
struct At(Seq);

impl Cursor for At {
    fn to_bytes(&self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(Seq::from_be_bytes(bytes)))
    }
}

fn message_id(request: &Request) -> Result<MessageId, ChatError> {
    MessageId::parse(request.param("message_id")).ok_or(ChatError::NoSuchMessage)
}

/// `GET /chat/{chat_id}/messages/{message_id}`
pub async fn get(app: &Arc<App>, grant: RoomGrant, request: Request) -> Result<Response, Rejection> {
    Ok(json_bytes(app.chat.message(&grant.room, message_id(&request)?).await?))
}

/// `PATCH /chat/{chat_id}/messages/{message_id}`
pub async fn edit(app: &Arc<App>, grant: RoomGrant, mut request: Request) -> Result<Response, Rejection> {
    let id = message_id(&request)?;
    let body: MessageEdit = request.json().await?;
    app.chat.check_post(&body.message, body.client_id.as_deref()).map_err(ChatError::naming_message)?;
    app.limiters.post(grant.caller.user_id)?;
    let actor = grant.caller.actor();
    let done = app.chat.edit(&grant.room, &actor, id, body.message, body.client_id.map(Arc::from)).await?;
    Ok(json(&EditDone {
        message: "Message edited",
        seq: done.seq,
        edited_at: done.at,
        duplicate: done.duplicate,
        deleted: done.deleted.then_some(true),
    }))
}

/// `DELETE /chat/{chat_id}/messages/{message_id}`
pub async fn delete(app: &Arc<App>, grant: RoomGrant, request: Request) -> Result<Response, Rejection> {
    let id = message_id(&request)?;
    app.limiters.post(grant.caller.user_id)?;
    let done = app.chat.delete(&grant.room, &grant.caller.actor(), id).await?;
    Ok(json(&DeleteDone { message: "Message deleted", seq: done.seq }))
}

/// `GET /chat/{chat_id}/messages/{message_id}/edits`
pub async fn edits(app: &Arc<App>, grant: RoomGrant, request: Request) -> Result<Response, Rejection> {
    let (limit, after) = (request.page_limit()?, cursor::after::<At>(&request)?);
    let (id, after) = (message_id(&request)?, after.map_or(0, |at| at.0));
    let mut texts = app.chat.texts(&grant.room, grant.caller.user_id, id, after, limit + 1).await?;
    let next = cursor::cut(&mut texts, limit, |text| At(text.seq));
    app.limiters.listed(grant.caller.user_id, texts.len());
    let shown = texts.into_iter().map(|Text { content, at, seq: _ }| TextShown { content, at });
    Ok(json(&Edits { edits: shown.collect(), next }))
}
