//! The rooms of one user.
//!
//! A list of rooms takes five round trips, however long it is: memberships and what is hidden; the heads of what is hidden; the heads of those rooms, sorted; what is shown
//! of each room on the page; the names of the people in it. Their sizes are bounded by `limits.rooms_per_user` and by the page.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::{
    bson::{Bson, Document, doc},
    options::FindOptions,
};

use super::{
    attention,
    base::Base,
    codec::{count_or_zero, date, int, room_id, room_role, user_id},
    codec_log::member_key,
    commands::{find_all, find_each},
    forms,
    members::{read_mark, usernames},
    rooms,
};
use crate::{
    event::{fold::ReadMark, folded::Folded},
    store::{Result, RoomCursor, RoomSummary, deletion::Nameless},
    types::{Ordinal, RoomId, UserId},
};

/// Rooms whose first members are looked up at once, where the members of all do not fit into one answer; and of which it is
/// counted what is deleted.
const LOOKUPS: usize = 8;

/// What `own` says is not known of members of before it was noted: they count.
fn of_own_doing(user: UserId) -> Document {
    doc! { "user": user.to_string(), "gone": false, "own": { "$ne": false } }
}

fn of_user(user: UserId) -> Document {
    doc! { "user": user.to_string(), "gone": false }
}

pub(super) async fn count_of(base: &Base, user: UserId) -> Result<usize> {
    let members = base.collection("members");
    let count = base.again(|| async { members.count_documents(of_own_doing(user)).await }).await?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

pub(super) async fn ids_of(base: &Base, user: UserId, after: Option<RoomId>, limit: usize) -> Result<Vec<RoomId>> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let mut filter = of_user(user);
    if let Some(after) = after {
        filter.insert("room", doc! { "$gt": after.to_string() });
    }
    let members = find_all(base, "members", filter, first(limit, doc! { "room": 1 }, doc! { "room": true })).await?;
    members.iter().map(|member| room_id(member, "room")).collect()
}

fn first(limit: usize, sort: Document, fields: Document) -> FindOptions {
    let batch = u32::try_from(limit).unwrap_or(u32::MAX).min(i32::MAX as u32 - 1);
    FindOptions::builder().sort(sort).limit(int(limit as u64)).batch_size(batch).projection(fields).build()
}

pub(super) async fn list_of(
    base: &Base,
    nameless: &Nameless,
    user: UserId,
    after: Option<RoomCursor>,
    limit: usize,
    names: usize,
) -> Result<Vec<RoomSummary>> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let all = FindOptions::builder().batch_size(10_000).build();
    let (members, hidden) =
        tokio::try_join!(find_all(base, "members", of_user(user), all), attention::hidden_of(base, user))?;
    let mut members = by_key(members, "room", room_id)?;
    members.retain(|room, _| !hidden.contains(room));
    let heads = page_of_heads(base, members.keys(), after, limit).await?;
    let page = heads.iter().map(|head| room_id(head, "_id")).collect::<Result<Vec<RoomId>>>()?;

    let ids = page.iter().map(RoomId::to_string).collect();
    let marks = page.iter().map(|room| member_key(*room, user)).collect();
    let (rooms, marks, last_messages, people) = tokio::try_join!(
        find_each(base, "rooms", ids, Some(doc! { "opening": false })),
        find_each(base, "marks", marks, None),
        last_messages(base, &page, &heads),
        first_members(base, &page, names),
    )?;
    let names = usernames(base, people.values().flatten().copied().collect()).await?;

    let (rooms, marks) = (by_key(rooms, "_id", room_id)?, by_key(marks, "room", room_id)?);
    let mut reads = HashMap::new();
    for (id, member) in page.iter().filter_map(|id| Some((id, members.get(id)?))) {
        reads.insert(*id, read_mark(member, marks.get(id))?);
    }
    let deleted = deleted_of(base, &page, &heads, &reads).await?;
    let mut summaries = Vec::with_capacity(page.len());
    for (id, head) in page.iter().zip(&heads) {
        let (Some(room), Some(member), Some(read)) = (rooms.get(id), members.get(id), reads.get(id)) else { continue };
        let people = people.get(id).into_iter().flatten();
        let room = rooms::record(room, head)?;
        let deleted = deleted.get(id).copied().unwrap_or_default();
        summaries.push(RoomSummary {
            unread: room.messages.saturating_sub(read.ordinal).saturating_sub(deleted),
            room,
            role: room_role(member, "role")?,
            read: *read,
            last_message: last_messages.get(id).map(|last| nameless.folded(last.clone()).body()),
            usernames: people.filter_map(|user| names.get(user).cloned()).collect(),
        });
    }
    Ok(summaries)
}

fn by_key(
    documents: Vec<Document>,
    key: &str,
    read: impl Fn(&Document, &str) -> Result<RoomId>,
) -> Result<HashMap<RoomId, Document>> {
    documents.into_iter().map(|document| Ok((read(&document, key)?, document))).collect()
}

/// A room that is still being made has no head, and is not listed.
async fn page_of_heads(
    base: &Base,
    rooms: impl Iterator<Item = &RoomId>,
    after: Option<RoomCursor>,
    limit: usize,
) -> Result<Vec<Document>> {
    let rooms: Vec<Bson> = rooms.map(|room| room.to_string().into()).collect();
    if rooms.is_empty() {
        return Ok(Vec::new());
    }
    let mut filter = doc! { "_id": { "$in": rooms } };
    if let Some(RoomCursor { active_at, room_id }) = after {
        let same_instant = doc! { "active_at": date(active_at), "_id": { "$lt": room_id.to_string() } };
        filter.insert("$or", vec![doc! { "active_at": { "$lt": date(active_at) } }, same_instant]);
    }
    find_all(base, "heads", filter, first(limit, doc! { "active_at": -1, "_id": -1 }, doc! { "touched": false })).await
}

async fn last_messages(base: &Base, page: &[RoomId], heads: &[Document]) -> Result<HashMap<RoomId, Folded>> {
    let mut lasts = Vec::with_capacity(page.len());
    for (room, head) in page.iter().zip(heads) {
        match count_or_zero(head, "last_message_seq")? {
            0 => {}
            seq => lasts.push((*room, seq)),
        }
    }
    forms::last_of(base, &lasts).await
}

/// How many of the messages that a user has not read are deleted; only those rooms are asked for in which there are any.
async fn deleted_of(
    base: &Base,
    page: &[RoomId],
    heads: &[Document],
    reads: &HashMap<RoomId, ReadMark>,
) -> Result<HashMap<RoomId, Ordinal>> {
    let mut wanted = Vec::new();
    for (room, head) in page.iter().zip(heads) {
        let read = reads.get(room).copied().unwrap_or_default();
        if count_or_zero(head, "last_deleted")? > read.ordinal {
            wanted.push((*room, read.ordinal));
        }
    }
    let counts = wanted.into_iter().map(async |(room, read)| Ok((room, forms::deleted_after(base, room, read).await?)));
    stream::iter(counts).buffer_unordered(LOOKUPS).try_collect().await
}

/// The first members of each room, in order of joining. Most rooms are small: one query asks for the members of all, as
/// many as are wanted altogether. Where large rooms use that up, those that were not reached are asked for one by one.
async fn first_members(base: &Base, page: &[RoomId], most: usize) -> Result<HashMap<RoomId, Vec<UserId>>> {
    let mut people: HashMap<RoomId, Vec<UserId>> = HashMap::new();
    if most == 0 || page.is_empty() {
        return Ok(people);
    }
    let ids: Vec<String> = page.iter().map(RoomId::to_string).collect();
    let wanted = most.saturating_mul(page.len());
    let together = members_of(base, doc! { "$in": ids }, wanted).await?;
    let all_reached = together.len() < wanted;
    let last = together.last().map(|(room, _)| *room);
    for (room, user) in together {
        let first = people.entry(room).or_default();
        if first.len() < most {
            first.push(user);
        }
    }
    if all_reached {
        return Ok(people);
    }
    // They come room by room, so that only the last may have more, and those after it.
    let reached = |room: &RoomId| Some(*room) < last || people.get(room).is_some_and(|first| first.len() == most);
    let left: HashSet<RoomId> = page.iter().filter(|room| !reached(room)).copied().collect();
    let lookups = left.into_iter().map(async |room| Ok((room, members_of(base, room.to_string(), most).await?)));
    let found: Vec<(RoomId, Vec<(RoomId, UserId)>)> =
        stream::iter(lookups).buffer_unordered(LOOKUPS).try_collect().await?;
    people.extend(found.into_iter().map(|(room, members)| (room, members.into_iter().map(|(_, user)| user).collect())));
    Ok(people)
}

/// Members of one room or of several, by room and in order of joining.
async fn members_of(base: &Base, room: impl Into<Bson>, limit: usize) -> Result<Vec<(RoomId, UserId)>> {
    let filter = doc! { "room": room.into(), "gone": false };
    let options = first(limit, doc! { "room": 1, "joined_seq": 1 }, doc! { "room": true, "user": true });
    let members = find_all(base, "members", filter, options).await?;
    members.iter().map(|member| Ok((room_id(member, "room")?, user_id(member, "user")?))).collect()
}
