//! Rooms: `{ _id, kind, name?, name_seq, pair?, epoch, created_at, made_by, opening? }`.
//!
//! One insert decides that a room is made: its document holds the first events of its log (`opening`) until they, and what
//! they change, are written too. Whoever finds `opening` does that first, so a room whose making was cut off is completed
//! by the next who looks, and nobody ever sees half of one.

use std::{collections::HashSet, sync::Arc};

use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::bson::{Document, doc};
use uuid::Uuid;

use super::{
    codec::{count, damaged, date, int, kind, optional_text, room_id, text, time},
    codec_log::{event_document, event_key},
    log::{Log, left_open},
};
use crate::{
    event::fold::Stretch,
    store::{NewRoom, Result, RoomCreated, RoomRecord, StoreError},
    types::RoomId,
};

/// MongoDB's limit of 16 MiB for a document, with room for the rest.
const OPENING_BYTES: usize = 15 * 1024 * 1024;

/// Rooms of a list that are looked up at once.
const LOOKUPS: usize = 8;

/// A second attempt with the same id finds the room of the first.
pub(super) async fn create(log: &Arc<Log>, room: NewRoom) -> Result<RoomCreated> {
    // Tells this attempt, also when its insert was repeated because the answer was lost, from every other.
    let made_by = Uuid::now_v7().to_string();
    let document = document(&room, &made_by)?;
    let place = log.place()?;
    log.in_own_task(|log| async move {
        let _place = place;
        let turn = log.turn(room.room_id).await;
        if log.base.insert("rooms", &document).await? {
            log.complete(&turn, &document).await.map_err(left_open)?;
            return Ok(RoomCreated::Created);
        }
        drop(turn);
        let there = find(&log, &room).await?;
        let id = room_id(&there, "_id")?;
        if there.contains_key("opening") {
            log.repair_here(id).await?;
        }
        Ok(if text(&there, "made_by")? == made_by { RoomCreated::Created } else { RoomCreated::Exists(id) })
    })
    .await
}

fn document(room: &NewRoom, made_by: &str) -> Result<Document> {
    let mut once = HashSet::new();
    let new = room
        .events
        .iter()
        .all(|event| event.client_id.as_ref().is_none_or(|client_id| once.insert((event.sender, client_id))));
    if !new || room.events.iter().zip(1..).any(|(event, seq)| event.seq != seq) {
        return Err(StoreError::Unsupported("the first events of a room must be dense from 1 and new".into()));
    }
    let events: Vec<_> = room.events.iter().map(|event| event_document(room.room_id, event)).collect();
    if events.iter().map(|event| event.as_bytes().len()).sum::<usize>() > OPENING_BYTES {
        let advice = "too many members at once for MongoDB; make the room with fewer, and add the others to it";
        return Err(StoreError::Unsupported(advice.into()));
    }
    let opening = events.iter().map(|event| event.to_document()).collect::<Result<Vec<_>, _>>();
    let opening = opening.map_err(|error| StoreError::Damaged(format!("an event cannot be encoded: {error}")))?;
    let mut document = doc! {
        "_id": room.room_id.to_string(),
        "kind": room.kind.name(),
        "epoch": &room.epoch,
        "created_at": date(room.created_at),
        "made_by": made_by,
        "name_seq": 0_i64,
    };
    if let Some(pair) = &room.pair {
        document.insert("pair", pair);
    }
    if let Some((seq, name)) = Stretch::of(&room.events).and_then(|all| all.name) {
        document.insert("name", name);
        document.insert("name_seq", int(seq));
    }
    document.insert("opening", opening);
    Ok(document)
}

/// The room that has the pair or the id.
async fn find(log: &Log, room: &NewRoom) -> Result<Document> {
    if let Some(pair) = &room.pair
        && let Some(there) = log.base.kept("rooms", &doc! { "pair": pair }).await?
    {
        return Ok(there);
    }
    let there = log.base.kept("rooms", &doc! { "_id": room.room_id.to_string() }).await?;
    there.ok_or_else(|| StoreError::Unavailable("the room met another one, which is not there any more".into()))
}

/// As it is now: its log is asked whether somebody wrote to it and could not say so in the head.
pub(super) async fn by_id(log: &Arc<Log>, room: RoomId) -> Result<Option<RoomRecord>> {
    let id = room.to_string();
    let read = || async { tokio::try_join!(log.base.find("rooms", &id), log.base.find("heads", &id)) };
    let (Some(mut document), mut head) = read().await? else { return Ok(None) };
    let next = match &head {
        Some(head) => log.base.find("events", &event_key(room, count(head, "head_seq")? + 1)).await?,
        None => None,
    };
    if document.contains_key("opening") || head.is_none() || next.is_some() {
        log.repair(room).await?;
        let (Some(now), now_head) = read().await? else { return Ok(None) };
        (document, head) = (now, now_head);
    }
    let head = head.ok_or_else(|| damaged(&document, "heads", "there"))?;
    record(&document, &head).map(Some)
}

/// These rooms, in their order, as [`by_id`] finds them.
pub(super) async fn records(log: &Arc<Log>, ids: Vec<RoomId>) -> Result<Vec<RoomRecord>> {
    let found = stream::iter(ids).map(|room| by_id(log, room)).buffered(LOOKUPS);
    found.try_filter_map(async |room| Ok(room)).try_collect().await
}

/// From a room's document and its head's.
pub(super) fn record(room: &Document, head: &Document) -> Result<RoomRecord> {
    Ok(RoomRecord {
        room_id: room_id(room, "_id")?,
        kind: kind(room, "kind")?,
        name: optional_text(room, "name")?.map(str::to_owned),
        epoch: text(room, "epoch")?.to_owned(),
        head_seq: count(head, "head_seq")?,
        messages: count(head, "messages")?,
        created_at: time(room, "created_at")?,
        active_at: time(head, "active_at")?,
    })
}
