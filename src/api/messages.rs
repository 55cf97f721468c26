//! What is said in a room: reading, posting, and how far one has read. `changes.rs` has single messages.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    chat::{
        ChatError,
        history::{Deleted, History},
    },
    http::{
        authorize::RoomGrant,
        request::Request,
        respond::{Rejection, Response, json, json_bytes},
    },
    store::Page,
    types::{MessageId, Ordinal, RoomId, Seq, Timestamp, whole},
};

/// A message to be.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewMessage {
    /// 1 to `limits.message_chars` characters (4000, unless the operator chose another number; `welcome` of a socket tells it),
    /// any but NUL.
    #[schema(min_length = 1, pattern = r"^[^\u0000]*$")]
    message: String,
    /// A name for it: the same one sent again is the same message for ever. 1 to 128 characters, a UUID does well.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000]*$")]
    client_id: Option<String>,
}

/// A message that is on disk.
#[derive(Serialize, ToSchema)]
pub(super) struct Sent {
    message: &'static str,
    chat_id: RoomId,
    message_id: MessageId,
    seq: Seq,
    sent_at: Timestamp,
    /// It was there already: this is its first acknowledgement again.
    duplicate: bool,
    /// And it has been deleted since.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    deleted: Option<bool>,
}

/// How far one has read.
#[derive(Deserialize, ToSchema)]
pub(super) struct ReadMark {
    /// The last event read. What lies beyond the log's head is its head.
    #[serde(deserialize_with = "whole")]
    seq: Seq,
}

/// The mark as it stands now.
#[derive(Serialize, ToSchema)]
#[schema(as = ReadTo)]
pub(super) struct ReadAnswer {
    read_seq: Seq,
    /// How many messages came after it; deleted ones don't count.
    unread: Ordinal,
}

/// What is told about a stretch of a log, beside its events.
#[derive(Serialize, ToSchema)]
#[schema(as = Stretch)]
pub(super) struct About<'a> {
    /// The last event of the log.
    head_seq: Seq,
    /// The name of the log's life. A log that was replaced has another one.
    epoch: &'a str,
    /// For `?before=`, to go back; null at the beginning.
    #[schema(required)]
    next_before: Option<Seq>,
    /// For `?after=`, to go on; null at the end.
    #[schema(required)]
    next_after: Option<Seq>,
}

/// `GET /chat/{chat_id}`
pub async fn history(app: &Arc<App>, grant: RoomGrant, request: Request) -> Result<Response, Rejection> {
    let deleted = match request.query("with").as_deref() {
        None => Deleted::LeftOut,
        Some("deleted") => Deleted::Shown,
        Some(_) => return Err(Rejection::invalid("value_error", &["query", "with"], "Input should be 'deleted'")),
    };
    let mut page = page(&request, true)?;
    if let Some(around) = request.query_seq("around")? {
        if page.before.is_some() || page.after.is_some() {
            return Err(Rejection::invalid(
                "value_error",
                &["query", "around"],
                "Give one of around, before and after",
            ));
        }
        page = app.chat.page_around(&grant.room, around, page).await?;
    }
    let history = app.chat.messages(&grant.room, page, deleted).await?;
    app.limiters.listed(grant.caller.user_id, history.bodies.len());
    Ok(json_bytes(splice("messages", &history, &grant.room.epoch)))
}

/// `GET /chat/{chat_id}/events`
pub async fn events(app: &Arc<App>, grant: RoomGrant, request: Request) -> Result<Response, Rejection> {
    let page = page(&request, false)?;
    let history = app.chat.events(&grant.room, page).await?;
    app.limiters.listed(grant.caller.user_id, history.bodies.len());
    Ok(json_bytes(splice("events", &history, &grant.room.epoch)))
}

/// `POST /chat/{chat_id}`
pub async fn post(app: &Arc<App>, grant: RoomGrant, mut request: Request) -> Result<Response, Rejection> {
    let body: NewMessage = request.json().await?;
    app.chat.check_post(&body.message, body.client_id.as_deref()).map_err(ChatError::naming_message)?;
    app.limiters.post(grant.caller.user_id)?;
    let posted = app.chat.post(&grant.room, &grant.caller, body.message, body.client_id).await?;
    Ok(json(&Sent {
        message: "Message sent successfully",
        chat_id: grant.room.id,
        message_id: posted.message_id,
        seq: posted.seq,
        sent_at: posted.sent_at,
        duplicate: posted.duplicate,
        deleted: posted.deleted.then_some(true),
    }))
}

/// `POST /chat/{chat_id}/read`
pub async fn mark_read(app: &Arc<App>, grant: RoomGrant, mut request: Request) -> Result<Response, Rejection> {
    let body: ReadMark = request.json().await?;
    let read = app.chat.mark_read(&grant.room, grant.caller.user_id, body.seq).await?;
    Ok(json(&ReadAnswer { read_seq: read.read_seq, unread: read.unread }))
}

fn page(request: &Request, messages_only: bool) -> Result<Page, Rejection> {
    let (before, after) = (request.query_seq("before")?, request.query_seq("after")?);
    if before.is_some() && after.is_some() {
        return Err(Rejection::invalid("value_error", &["query", "before"], "Give either before or after"));
    }
    Ok(Page { after, before, limit: request.page_limit()?, messages_only })
}

/// The log's own bytes, between what is said about them: nothing of an event is encoded a second time, so history and
/// sockets cannot differ.
fn splice(name: &str, history: &History, epoch: &str) -> Bytes {
    let about =
        About { head_seq: history.head, epoch, next_before: history.next_before, next_after: history.next_after };
    let about = serde_json::to_vec(&about).expect("an answer is plain data with text keys");
    let room = history.bodies.iter().map(|body| body.len() + 1).sum::<usize>() + about.len() + name.len() + 8;
    let mut text = Vec::with_capacity(room);
    text.extend_from_slice(b"{\"");
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"\":[");
    for (index, body) in history.bodies.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        text.extend_from_slice(body);
    }
    text.extend_from_slice(b"],");
    text.extend_from_slice(&about[1..]);
    text.into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn events_are_spliced_as_they_are() {
        let bodies = vec![Bytes::from_static(br#"{"seq":1, "odd" :1e2}"#), Bytes::from_static(br#"{"seq":2}"#)];
        let history = History { bodies, head: 7, next_before: None, next_after: Some(2) };
        let text = splice("messages", &history, "e\"1");
        let text = std::str::from_utf8(&text).unwrap();
        assert!(text.starts_with(r#"{"messages":[{"seq":1, "odd" :1e2},{"seq":2}],"#), "{text}");
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(value["head_seq"], 7);
        assert_eq!(value["epoch"], "e\"1");
        assert_eq!((&value["next_before"], &value["next_after"]), (&json!(null), &json!(2)));
    }

    #[test]
    fn an_empty_page_is_an_empty_list() {
        let history = History { bodies: Vec::new(), head: 0, next_before: None, next_after: None };
        let value: Value = serde_json::from_slice(&splice("events", &history, "e")).unwrap();
        let expected = json!({ "events": [], "head_seq": 0, "epoch": "e", "next_before": null, "next_after": null });
        assert_eq!(value, expected);
    }
}
