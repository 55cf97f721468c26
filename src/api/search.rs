//! Finding what was said.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::cursor::{self, Cursor};
use crate::{
    app::App,
    chat::{Caller, ChatError, search::Wanted},
    http::{
        request::Request,
        respond::{Rejection, Response, json},
    },
    store::search::{Found, Hit, SearchCursor},
    types::{RoomId, Timestamp},
    words::query::Mark,
};

#[derive(Serialize)]
struct Hits<'a> {
    hits: Vec<Shown<'a>>,
    next: Option<String>,
}

#[derive(Serialize)]
struct Shown<'a> {
    chat_id: RoomId,
    message: &'a RawValue,
    marks: &'a [Mark],
}

impl Cursor for SearchCursor {
    fn to_bytes(&self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(u128::from_be_bytes).map(Self)
    }
}

/// `GET /search`
pub async fn search(app: &Arc<App>, caller: Caller, request: Request) -> Result<Response, Rejection> {
    let query = app.chat.check_search(&request.query("q").unwrap_or_default());
    let query = query.map_err(|error| match error {
        ChatError::Invalid { field, msg } => Rejection::invalid("value_error", &["query", field], msg),
        error => error.into(),
    })?;
    let room = request.query("chat_id");
    let wanted = Wanted {
        room: room.as_deref().and_then(RoomId::parse),
        from: request.query("from"),
        since: time(&request, "since")?,
        until: time(&request, "until")?,
        with_link: has_link(&request)?,
        after: cursor::named(&request, "cursor")?,
        limit: request.page_limit()?,
    };
    app.limiters.search(caller.user_id)?;
    let found = match room.is_some() && wanted.room.is_none() {
        // What names no chat is one that nobody is in.
        true => Found::default(),
        false => app.chat.search(&caller, query, wanted).await?,
    };
    app.limiters.listed(caller.user_id, found.hits.len());
    let shown = found.hits.iter().map(|Hit { room, message, marks }| {
        let message = serde_json::from_slice(message).expect("its text has been read");
        Shown { chat_id: *room, message, marks }
    });
    Ok(json(&Hits { hits: shown.collect(), next: found.next.as_ref().map(cursor::encode) }))
}

fn time(request: &Request, name: &str) -> Result<Option<Timestamp>, Rejection> {
    let Some(text) = request.query(name) else { return Ok(None) };
    let expected = "Input should be a time as in 2026-11-22T15:50:47Z";
    Timestamp::parse(&text).map(Some).ok_or_else(|| Rejection::invalid("value_error", &["query", name], expected))
}

fn has_link(request: &Request) -> Result<bool, Rejection> {
    match request.query("has").as_deref() {
        None => Ok(false),
        Some("link") => Ok(true),
        Some(_) => Err(Rejection::invalid("value_error", &["query", "has"], "Input should be link")),
    }
}
