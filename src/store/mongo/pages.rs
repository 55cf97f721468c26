//! Reading the logs of rooms: a stretch, and posts by their client ids.

use std::sync::Arc;

use mongodb::{
    bson::{Document, doc},
    options::FindOptions,
};

use super::{
    base::Base,
    codec_log::{event, log_range, once_key},
    commands::find_all,
};
use crate::{
    event::Event,
    store::{Page, Result},
    types::{RoomId, UserId},
};

pub(super) async fn page(base: &Base, room: RoomId, page: Page) -> Result<Vec<Event>> {
    if page.limit == 0 {
        return Ok(Vec::new());
    }
    let before = if page.after.is_some() { None } else { page.before };
    let mut filter = log_range(room, page.after, before);
    if page.messages_only {
        filter.insert("effect", doc! { "$exists": false });
    }
    let order = if page.after.is_some() { 1 } else { -1 };
    let mut events = read(base, filter, Some(doc! { "_id": order }), page.limit).await?;
    if page.after.is_none() {
        events.reverse();
    }
    Ok(events)
}

pub(super) async fn find_posts(base: &Base, room: RoomId, ids: Vec<(UserId, Arc<str>)>) -> Result<Vec<Event>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let limit = ids.len();
    let keys: Vec<String> = ids.iter().map(|(sender, client_id)| once_key(room, *sender, client_id)).collect();
    read(base, doc! { "once": { "$in": keys } }, None, limit).await
}

async fn read(base: &Base, filter: Document, sort: Option<Document>, limit: usize) -> Result<Vec<Event>> {
    let options = FindOptions::builder()
        .sort(sort)
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .batch_size(u32::try_from(limit).unwrap_or(u32::MAX).min(i32::MAX as u32 - 1))
        .build();
    find_all(base, "events", filter, options).await?.iter().map(event).collect()
}
