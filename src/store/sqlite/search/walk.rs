//! Looking things up in the index, newest first.

use std::collections::HashMap;

use bytes::Bytes;
use rusqlite::{Connection, params};

use super::index::{BEGINNINGS, first_place, from_term, link_term, room_term};
use crate::{
    event::content_of,
    store::{
        deletion::Nameless,
        search::{Filling, Found, Search, SearchCursor},
        sqlite::{
            codec::{count, room_id},
            forms,
        },
    },
    types::{RoomId, Seq, Timestamp, UserId},
    words::{cut::beginning_term, query::Lookup},
};

pub(in crate::store::sqlite) fn search(
    db: &Connection,
    nameless: &Nameless,
    search: &Search,
) -> rusqlite::Result<Found> {
    let mut page = Filling::of(search);
    let rooms = rooms_of(db, search.user, search.room)?;
    if rooms.is_empty() || search.query.finds_nothing() {
        return Ok(page.end());
    }
    let least = search.since.map_or(0, first_place);
    let end = search.until.map_or(i64::MAX, |until| first_place(Timestamp(until.0.saturating_add(1))));
    let end = search.after.map_or(end, |after| end.min(i64::try_from(after.0).unwrap_or(i64::MAX)));
    // The index is walked, and the places of others' rooms are passed over on the way.
    let mut walk = db.prepare_cached(
        "SELECT words.rowid, room, seq FROM words CROSS JOIN searched ON place = words.rowid
         WHERE words MATCH ? AND words.rowid >= ? AND words.rowid < ? ORDER BY words.rowid DESC",
    )?;
    let mut rows = walk.query(params![expression(search), least, end])?;
    while let Some(row) = rows.next()? {
        if page.is_late() {
            return Ok(page.cut());
        }
        let place = SearchCursor(count(row, 0)?.into());
        let (number, seq): (i64, Seq) = (row.get(1)?, count(row, 2)?);
        let found = match rooms.get(&number) {
            Some(room) => message(db, nameless, *room, seq)?.map(|(message, content)| (*room, message, content)),
            None => None,
        };
        match found {
            Some((room, message, content)) => {
                if !page.offer(place, room, message, &content) {
                    return Ok(page.cut());
                }
            }
            None => page.pass(place),
        }
    }
    Ok(page.end())
}

/// The rooms that the user is a member of now, by their numbers in the index.
fn rooms_of(db: &Connection, user: UserId, only: Option<RoomId>) -> rusqlite::Result<HashMap<i64, RoomId>> {
    let sql = "SELECT number, room_id FROM members JOIN rooms USING (room_id) WHERE user_id = ? AND number IS NOT NULL";
    let one = format!("{sql} AND room_id = ?");
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, room_id(row, 1)?));
    match only {
        Some(room) => db.prepare_cached(&one)?.query_map([user.0.as_bytes(), room.0.as_bytes()], read)?.collect(),
        None => db.prepare_cached(sql)?.query_map([user.0.as_bytes()], read)?.collect(),
    }
}

/// A message in its latest form, and its text; `None` where it is deleted.
fn message(db: &Connection, nameless: &Nameless, room: RoomId, seq: Seq) -> rusqlite::Result<Option<(Bytes, String)>> {
    let latest = forms::at(db, room, seq)?.filter(|latest| !latest.is_deleted());
    Ok(latest.and_then(|latest| {
        let content = content_of(latest.spoken().body())?;
        Some((nameless.folded(latest).body(), content))
    }))
}

/// What FTS5 is asked. Terms are letters, digits and symbols of ours alone, and stand in quotes.
fn expression(search: &Search) -> String {
    let quoted = |terms: &[String]| format!("\"{}\"", terms.join(" ").replace('"', "\"\""));
    let one = |term: String| quoted(&[term]);
    let (mut wanted, mut refused) = (Vec::new(), Vec::new());
    for lookup in search.query.lookups() {
        match lookup {
            Lookup::Terms(terms) => wanted.push(quoted(&terms)),
            Lookup::Unit(unit) => wanted.push(format!("{} *", one(unit))),
            Lookup::Beginning(word) => wanted.push(match beginning_term(&word, &BEGINNINGS) {
                Some(term) if word.chars().count() <= BEGINNINGS[0] => one(term),
                _ => format!("{} *", one(word)),
            }),
            Lookup::Without(terms) => refused.push(quoted(&terms)),
        }
    }
    wanted.extend(search.room.map(|room| one(room_term(room))));
    wanted.extend(search.from.map(|user| one(from_term(user))));
    wanted.extend(search.with_link.then(|| one(link_term())));
    let mut expression = format!("({})", wanted.join(" AND "));
    if !refused.is_empty() {
        expression = format!("{expression} NOT ({})", refused.join(" OR "));
    }
    expression
}
