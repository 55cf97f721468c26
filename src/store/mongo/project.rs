//! Bringing the projections of a log up to a stretch of it: `members`, `rooms.name`, `forms` (`forms.rs`), `heads` and `marks`.
//!
//! - `heads`: `{ _id: room, head_seq, messages, active_at, last_message_seq?, last_deleted?, touched }`, small and hot, which only grows.
//!   `last_message_seq` is that of a message that may be deleted, and `last_deleted` the greatest ordinal of one that is.
//! - `members`: `{ _id: "<room>:<user>", room, user, role, joined_seq, joined_ordinal, at_seq, moved_seq, gone, own, touched }`. Somebody who is
//!   gone stays as `gone`, so that a late projection cannot bring them back, and a list of members can go on after them.
//!
//! Every write here may be repeated, come late, or come from several nodes at once: counters and marks only grow
//! (`$max`); a membership or a name is changed only by an event later (`at_seq`, `name_seq`) than the one that it shows.
//!
//! **The head is written last**, so `head_seq = n` says that everything up to `n` is in the projections, whoever wrote it.
//! That holds by induction: nobody projects a stretch before everything ahead of it is projected. (The marks of senders
//! alone are written at the same time as the head: the worst of a crash between the two is that somebody has their own
//! message unread.)

use std::{collections::BTreeMap, sync::Arc};

use mongodb::bson::{Document, doc};

use super::{
    base::Base,
    codec::{date, int},
    codec_log::member_key,
    commands, forms,
    marks::Marks,
    search,
};
use crate::{
    event::{
        Event,
        fold::{Changed, Consent, Standing, Stretch},
    },
    store::Result,
    types::{RoomId, Seq, Timestamp, UserId},
};

/// What a stretch of this room's log changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Projection {
    pub room: RoomId,
    pub stretch: Stretch,
}

impl Projection {
    /// Of a log without events.
    pub fn of_nothing(room: RoomId, created_at: Timestamp) -> Self {
        Self { room, stretch: Stretch::of_nothing(created_at) }
    }

    /// `None` where there are no events.
    pub fn of(room: RoomId, events: &[Event]) -> Option<Self> {
        Stretch::of(events).map(|stretch| Self { room, stretch })
    }

    /// Nothing but the head and marks change.
    pub fn is_plain(&self) -> bool {
        self.stretch.is_plain()
    }
}

/// Everything that one room's stretch changes.
pub(super) async fn apply(base: &Base, marks: &Arc<Marks>, projection: &Projection) -> Result<()> {
    // Field by field, so that the compiler leads here when a stretch says something new.
    let Stretch { head: _, marks: _, members: people, name: called, changed } = &projection.stretch;
    tokio::try_join!(
        members(base, projection.room, people),
        consent(base, projection.room, people),
        name(base, projection.room, called.as_ref()),
        messages(base, projection.room, changed)
    )?;
    counters(base, marks, std::slice::from_ref(projection)).await
}

/// Heads and senders' marks of many rooms in one round; all that there is to do for plain projections.
pub(super) async fn counters(base: &Base, marks: &Arc<Marks>, projections: &[Projection]) -> Result<()> {
    let heads: Vec<Document> = projections.iter().map(head_statement).collect();
    let own =
        projections.iter().flat_map(|all| all.stretch.marks.iter().map(|(user, mark)| ((all.room, *user), *mark)));
    tokio::try_join!(commands::update(base, "heads", &heads), marks.advance(own.collect(), true))?;
    Ok(())
}

fn head_statement(Projection { room, stretch: Stretch { head, changed, .. } }: &Projection) -> Document {
    let mut most = doc! { "head_seq": int(head.seq), "messages": int(head.messages) };
    if let Some(at) = head.active_at {
        most.insert("active_at", date(at));
    }
    if let Some(deleted) = changed.values().filter(|changed| changed.deleted).map(|changed| changed.of.ordinal).max() {
        most.insert("last_deleted", int(deleted));
    }
    if let Some(seq) = head.last_message {
        most.insert("last_message_seq", int(seq));
    }
    doc! {
        "q": { "_id": room.to_string() },
        "u": { "$max": most, "$currentDate": { "touched": true } },
        "upsert": true,
    }
}

/// What is looked things up in goes before the text of it does.
async fn messages(base: &Base, room: RoomId, changed: &BTreeMap<Seq, Changed>) -> Result<()> {
    forms::project(base, room, changed).await?;
    let erasing = changed.iter().filter(|(_, changed)| changed.erased_before.is_some()).map(|(seq, _)| *seq);
    search::put(base, room, erasing.collect()).await?;
    forms::erase(base, room, changed).await
}

async fn name(base: &Base, room: RoomId, called: Option<&(Seq, String)>) -> Result<()> {
    let Some((seq, name)) = called else { return Ok(()) };
    let statement = doc! {
        "q": { "_id": room.to_string(), "name_seq": { "$lt": int(*seq) } },
        "u": { "$set": { "name": name, "name_seq": int(*seq) } },
    };
    commands::update(base, "rooms", &[statement]).await
}

/// Most who join were never here, so their documents are inserted, many at once; of those that are there already only an
/// older one is changed. An insert cannot ask the database for its time, so whoever was put is touched afterwards, also
/// where the insert found them: the touch of another's insert may have been lost.
async fn members(base: &Base, room: RoomId, people: &BTreeMap<UserId, Standing>) -> Result<()> {
    let (put, changed): (Vec<_>, Vec<_>) = people.iter().partition(|(_, standing)| standing.joined.is_some());
    let documents: Vec<Document> =
        put.iter().filter_map(|(user, standing)| member_document(room, **user, standing)).collect();
    let mut there = Vec::new();
    for part in documents.chunks(base.config.insert_events) {
        let taken = commands::insert_unless_there(base, "members", part).await?;
        there.extend(taken.into_iter().filter_map(|index| part.get(index)));
    }
    let renewed = there.into_iter().map(|document| member_statement(document.clone()));
    let changed = changed.into_iter().map(|(user, standing)| change_statement(room, *user, standing));
    let touched = put.iter().map(|(user, _)| touch_statement(room, **user));
    let statements: Vec<Document> = renewed.chain(changed).chain(touched).collect();
    if statements.is_empty() { Ok(()) } else { commands::update(base, "members", &statements).await }
}

/// `consent`, `{ _id: "<room>:<user>", room, user, at_seq, state, role?, by?, at? }`: `invited`, `left`, or `free` once that is over. Who never
/// was either has none.
async fn consent(base: &Base, room: RoomId, people: &BTreeMap<UserId, Standing>) -> Result<()> {
    let (mut new, mut statements) = (Vec::new(), Vec::new());
    for (user, standing) in people {
        let at_seq = int(standing.at);
        let mut said = doc! { "room": room.to_string(), "user": user.to_string(), "at_seq": at_seq };
        match standing.consent {
            None => continue,
            Some(Consent::Free) => said.insert("state", "free"),
            Some(Consent::Left) => said.insert("state", "left"),
            Some(Consent::Invited { role, by, at }) => {
                said.extend(doc! { "role": role.name(), "by": by.to_string(), "at": date(at) });
                said.insert("state", "invited")
            }
        };
        let id = member_key(room, *user);
        statements.push(doc! { "q": { "_id": &id, "at_seq": { "$lt": at_seq } }, "u": { "$set": said.clone() } });
        if standing.consent != Some(Consent::Free) {
            said.insert("_id", id);
            new.push(said);
        }
    }
    for part in new.chunks(base.config.insert_events) {
        commands::insert_unless_there(base, "consent", part).await?;
    }
    if statements.is_empty() { Ok(()) } else { commands::update(base, "consent", &statements).await }
}

fn member_document(room: RoomId, user: UserId, standing: &Standing) -> Option<Document> {
    let joined = standing.joined.as_ref()?;
    let mark = joined.mark;
    Some(doc! {
        "_id": member_key(room, user),
        "room": room.to_string(),
        "user": user.to_string(),
        "role": standing.role_or(joined).name(),
        "joined_seq": int(mark.seq),
        "joined_ordinal": int(mark.ordinal),
        "at_seq": int(standing.at),
        "moved_seq": int(if standing.gone { standing.at } else { mark.seq }),
        "gone": standing.gone,
        "own": joined.own,
    })
}

/// The document in place of an older one.
fn member_statement(mut document: Document) -> Document {
    let (id, at) = (document.remove("_id"), document.get("at_seq").cloned());
    doc! { "q": { "_id": id, "at_seq": { "$lt": at } }, "u": { "$set": document, "$currentDate": { "touched": true } } }
}

/// Of somebody who joined before the stretch, or never: then there is nothing to change.
fn change_statement(room: RoomId, user: UserId, standing: &Standing) -> Document {
    let mut set = doc! { "at_seq": int(standing.at) };
    if let Some(role) = standing.role {
        set.insert("role", role.name());
    }
    let query = doc! { "_id": member_key(room, user), "at_seq": { "$lt": int(standing.at) } };
    if !standing.gone {
        // A new role moves nobody: `touched` is the time of coming and going.
        return doc! { "q": query, "u": { "$set": set } };
    }
    set.insert("gone", true);
    set.insert("moved_seq", int(standing.at));
    doc! { "q": query, "u": { "$set": set, "$currentDate": { "touched": true } } }
}

fn touch_statement(room: RoomId, user: UserId) -> Document {
    doc! { "q": { "_id": member_key(room, user) }, "u": { "$currentDate": { "touched": true } } }
}
