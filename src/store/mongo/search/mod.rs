//! Finding what was said: `words`, which has the terms of every message beside it, and `searched`, how far each log is in it.
//!
//! - `words`: `{ _id: "<room>:<seq>", room, seq, from, place, words: [term, …] }`. `place` is the time of the message, then
//!   its seq and a part of its room's id, as text that sorts: later ones are greater. One index has a term, and then the places.
//! - `searched`: `{ _id: room, seq }`, the cursor of the feeders (`feeder.rs`) of all nodes.
//! - A message that changes is put anew ([`put`]): by the feeder, or, where a text is erased, before it is.
//! - `walk.rs` looks things up, newest first, in the rooms that somebody is in.
//!
//! No text index and no pattern is needed for it: terms are equal or they are not.

pub(super) mod feeder;
pub(super) mod walk;

use std::collections::BTreeSet;

use mongodb::bson::{Document, doc};

use super::{base::Base, codec::int, codec_log::event_key, commands::update, forms};
use crate::{
    event::{Event, content_of, folded::Folded},
    store::{Result, search::SearchCursor},
    types::{RoomId, Seq, Timestamp},
    words::{self, cut::Cut},
};

/// Beginnings of words that have terms of their own; longer ones are looked up by these, and the texts tell.
const BEGINNINGS: [usize; 2] = [2, 3];

/// Stands for a link: no text has it in a word.
const WITH_LINK: &str = "\u{e001}";

/// Of a place, the bits of the seq, and those of the room.
const SEQ_BITS: u32 = 40;
const ROOM_BITS: u32 = 40;

fn first_place(at: Timestamp) -> SearchCursor {
    SearchCursor(u128::from(at.0.clamp(0, (1 << 48) - 1) as u64) << (SEQ_BITS + ROOM_BITS))
}

/// Messages of one room and one moment stand in their order, and two rooms differ in the end of their ids.
fn place_of(room: RoomId, event: &Event) -> SearchCursor {
    let part = |of: u128, bits: u32| of & ((1 << bits) - 1);
    let within = part(event.seq.into(), SEQ_BITS) << ROOM_BITS | part(room.0.as_u128(), ROOM_BITS);
    SearchCursor(first_place(event.sent_at).0 | within)
}

fn place_text(place: SearchCursor) -> String {
    format!("{:032x}", place.0)
}

/// `None` where it is deleted.
fn document(room: RoomId, message: &Folded) -> Option<Document> {
    let content = if message.is_deleted() { None } else { content_of(message.spoken().body()) }?;
    let (event, cut) = (&message.event, Cut::of(&content));
    let mut terms: BTreeSet<&str> = cut.terms().chain(cut.units()).collect();
    let beginnings = cut.beginnings(&BEGINNINGS);
    terms.extend(beginnings.iter().map(String::as_str));
    if words::has_link(&content) {
        terms.insert(WITH_LINK);
    }
    Some(doc! {
        "_id": event_key(room, event.seq),
        "room": room.to_string(),
        "seq": int(event.seq),
        "from": event.sender.to_string(),
        "place": place_text(place_of(room, event)),
        "words": terms.into_iter().collect::<Vec<_>>(),
    })
}

/// Brings the index up to these messages as they stand now. May be repeated, and come from several nodes at once: whoever wrote
/// what has changed meanwhile does it again, and whoever changes it does it after that.
pub(super) async fn put(base: &Base, room: RoomId, mut messages: Vec<Seq>) -> Result<()> {
    let words = base.collection("words");
    while !messages.is_empty() {
        let keys: Vec<String> = messages.iter().map(|seq| event_key(room, *seq)).collect();
        let now = forms::by_keys(base, keys.clone()).await?;
        let (mut statements, mut gone) = (Vec::new(), Vec::new());
        for key in &keys {
            match now.get(key).and_then(|message| document(room, message)) {
                Some(document) => {
                    statements.push(doc! { "q": { "_id": key }, "u": { "$set": document }, "upsert": true });
                }
                None => gone.push(key),
            }
        }
        if !statements.is_empty() {
            update(base, "words", &statements).await?;
        }
        if !gone.is_empty() {
            base.again(|| async { words.delete_many(doc! { "_id": { "$in": &gone } }).await }).await?;
        }
        let later = forms::last_changes(base, keys).await?;
        messages.retain(|seq| {
            let key = event_key(room, *seq);
            let written = now.get(&key).map_or(0, |message| message.form.at);
            later.get(&key).is_some_and(|at| *at != written)
        });
    }
    Ok(())
}
