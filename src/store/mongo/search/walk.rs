//! Looking things up in the index, newest first, in the rooms that somebody is in now.

use std::collections::HashMap;

use ::bytes::Bytes;
use mongodb::{
    bson::{Document, doc},
    options::FindOptions,
};

use super::{BEGINNINGS, WITH_LINK, feeder::unreadable, first_place, place_text};
use crate::{
    event::content_of,
    store::{
        Result,
        deletion::Nameless,
        mongo::{
            base::Base,
            codec::{room_id, text},
            commands::find_all,
            forms, lists, members,
        },
        search::{Filling, Found, Search, SearchCursor},
    },
    types::{RoomId, Timestamp},
    words::{cut::beginning_term, query::Lookup},
};

/// Places looked at in one step.
const STEP: usize = 100;
/// Rooms of somebody asked for at once.
const ROOMS: usize = 1_000;

pub(in crate::store::mongo) async fn search(base: &Base, nameless: &Nameless, search: &Search) -> Result<Found> {
    let mut page = Filling::of(search);
    let rooms = rooms_of(base, search).await?;
    if rooms.is_empty() || search.query.finds_nothing() {
        return Ok(page.end());
    }
    let mut filter = filter(search, &rooms);
    let mut end =
        search.after.map_or_else(|| search.until.map(|until| first_place(Timestamp(until.0.saturating_add(1)))), Some);
    loop {
        let mut range = doc! { "$gte": place_text(search.since.map_or(SearchCursor(0), first_place)) };
        if let Some(end) = end {
            range.insert("$lt", place_text(end));
        }
        filter.insert("place", range);
        let options = FindOptions::builder()
            .sort(doc! { "place": -1 })
            .projection(doc! { "room": 1, "place": 1 })
            .limit(STEP as i64)
            .build();
        let places = find_all(base, "words", filter.clone(), options).await?;
        let messages = messages(base, nameless, &places).await?;
        for found in &places {
            let place = u128::from_str_radix(text(found, "place")?, 16).map(SearchCursor);
            let place = place.map_err(|_| unreadable("a place that is none"))?;
            end = Some(place);
            match messages.get(text(found, "_id")?) {
                Some((message, content)) => {
                    if !page.offer(place, room_id(found, "room")?, message.clone(), content) {
                        return Ok(page.cut());
                    }
                }
                None => page.pass(place),
            }
        }
        if places.len() < STEP {
            return Ok(page.end());
        }
        if page.is_late() {
            return Ok(page.cut());
        }
    }
}

async fn rooms_of(base: &Base, search: &Search) -> Result<Vec<RoomId>> {
    if let Some(room) = search.room {
        return Ok(members::member(base, room, search.user).await?.map(|_| room).into_iter().collect());
    }
    let mut rooms: Vec<RoomId> = Vec::new();
    loop {
        let page = lists::ids_of(base, search.user, rooms.last().copied(), ROOMS).await?;
        let is_last = page.len() < ROOMS;
        rooms.extend(page);
        if is_last {
            return Ok(rooms);
        }
    }
}

/// The messages that stand there in their latest forms, and their texts; of deleted ones nothing.
async fn messages(base: &Base, nameless: &Nameless, places: &[Document]) -> Result<HashMap<String, (Bytes, String)>> {
    let keys = places.iter().map(|found| text(found, "_id").map(str::to_owned)).collect::<Result<Vec<_>>>()?;
    let mut messages = forms::by_keys(base, keys).await?;
    messages.retain(|_, message| !message.is_deleted());
    let told = messages.into_iter().filter_map(|(key, message)| {
        let content = content_of(message.spoken().body())?;
        Some((key, (nameless.folded(message).body(), content)))
    });
    Ok(told.collect())
}

/// All but the place. What is refused is left to the texts.
fn filter(search: &Search, rooms: &[RoomId]) -> Document {
    let mut terms: Vec<String> = Vec::new();
    for lookup in search.query.lookups() {
        match lookup {
            Lookup::Terms(all) => terms.extend(all),
            Lookup::Unit(unit) => terms.push(unit),
            Lookup::Beginning(word) => terms.extend(beginning_term(&word, &BEGINNINGS)),
            Lookup::Without(_) => {}
        }
    }
    if search.with_link {
        terms.push(WITH_LINK.to_owned());
    }
    // The index is walked by the first: the longest is likely to be the rarest.
    terms.sort_by_key(|term| std::cmp::Reverse(term.chars().count()));
    terms.dedup();
    let rooms: Vec<String> = rooms.iter().map(RoomId::to_string).collect();
    let mut filter = doc! { "words": { "$all": terms }, "room": { "$in": rooms } };
    if let Some(user) = search.from {
        filter.insert("from", user.to_string());
    }
    filter
}
