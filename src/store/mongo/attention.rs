//! What people want to hear of: `blocks`, `{ _id: "<user>:<blocked>", user, blocked }`, and `hidden`, the rooms that somebody hid
//! from their list: `{ _id: "<room>:<user>", room, user, seq }`, where `seq` was the room's head.
//!
//! A block touches the record of who blocks, so that every node learns of it.

use std::collections::HashSet;

use futures_util::TryStreamExt;
use mongodb::{
    bson::{Document, doc},
    options::FindOptions,
};

use super::{
    base::Base,
    codec::{batch, count, count_or_zero, date, flag, int, optional_text, room_id, room_role, text, time, user_id},
    codec_log::{event_key, log_range, member_key},
    commands::{find_all, find_each, update},
    members::usernames,
    users::Users,
};
use crate::{
    store::{BlockSet, BlockedRecord, InvitationRecord, Result, RoomCursor},
    types::{RoomId, RoomRole, UserId},
};

fn block_key(user: UserId, other: UserId) -> String {
    format!("{user}:{other}")
}

pub(super) async fn set_block(
    base: &Base,
    users: &Users,
    user: UserId,
    other: UserId,
    blocked: bool,
    most: usize,
) -> Result<BlockSet> {
    let (key, blocks) = (block_key(user, other), base.collection("blocks"));
    if !blocked {
        base.again(|| async { blocks.delete_one(doc! { "_id": &key }).await }).await?;
    } else if base.find("blocks", &key).await?.is_none() {
        let of_user = doc! { "user": user.to_string() };
        let there = base.again(|| async { blocks.count_documents(of_user.clone()).await }).await?;
        if there >= most as u64 {
            return Ok(BlockSet::TooMany);
        }
        let block = doc! { "_id": &key, "user": user.to_string(), "blocked": other.to_string() };
        base.insert("blocks", &block).await?;
    }
    // Also where nothing changed: an earlier try may have written it and not come to this.
    users.touch(user).await?;
    Ok(BlockSet::Done)
}

pub(super) async fn blocks_of(
    base: &Base,
    user: UserId,
    after: Option<UserId>,
    limit: usize,
) -> Result<Vec<BlockedRecord>> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let mut filter = doc! { "user": user.to_string() };
    if let Some(after) = after {
        filter.insert("blocked", doc! { "$gt": after.to_string() });
    }
    let sorted = FindOptions::builder().sort(doc! { "blocked": 1 }).limit(int(limit as u64)).batch_size(batch(limit));
    let blocks = find_all(base, "blocks", filter, sorted.build()).await?;
    let people = blocks.iter().map(|block| user_id(block, "blocked")).collect::<Result<Vec<_>>>()?;
    let names = usernames(base, people.clone()).await?;
    let named = |user_id: UserId| Some(BlockedRecord { user_id, username: names.get(&user_id)?.clone() });
    Ok(people.into_iter().filter_map(named).collect())
}

pub(super) async fn between(base: &Base, one: UserId, other: UserId) -> Result<Vec<UserId>> {
    let keys = vec![block_key(one, other), block_key(other, one)];
    find_each(base, "blocks", keys, None).await?.iter().map(|block| user_id(block, "user")).collect()
}

pub(super) async fn apart_from(base: &Base, user: UserId) -> Result<Vec<UserId>> {
    let id = user.to_string();
    let all = || FindOptions::builder().batch_size(10_000).build();
    let (blocked, blocking) = tokio::try_join!(
        find_all(base, "blocks", doc! { "user": &id }, all()),
        find_all(base, "blocks", doc! { "blocked": &id }, all()),
    )?;
    let others = blocked.iter().map(|block| user_id(block, "blocked"));
    let others: HashSet<UserId> =
        others.chain(blocking.iter().map(|block| user_id(block, "user"))).collect::<Result<_>>()?;
    Ok(others.into_iter().collect())
}

pub(super) async fn private_room(base: &Base, pair: &str) -> Result<Option<RoomId>> {
    let rooms = base.collection("rooms");
    let found = base.again(|| async { rooms.find_one(doc! { "pair": pair }).await }).await?;
    found.map(|room| room_id(&room, "_id")).transpose()
}

pub(super) async fn set_hidden(base: &Base, room: RoomId, user: UserId, hidden: bool) -> Result<bool> {
    let (key, id) = (member_key(room, user), room.to_string());
    let (member, head) = tokio::try_join!(base.find("members", &key), base.find("heads", &id))?;
    let (Some(member), Some(head)) = (member, head) else { return Ok(false) };
    if flag(&member, "gone")? {
        return Ok(false);
    }
    if hidden {
        let set = doc! { "room": id, "user": user.to_string(), "seq": int(count(&head, "head_seq")?) };
        update(base, "hidden", &[doc! { "q": { "_id": key }, "u": { "$set": set }, "upsert": true }]).await?;
    } else {
        let all = base.collection("hidden");
        base.again(|| async { all.delete_one(doc! { "_id": &key }).await }).await?;
    }
    Ok(true)
}

/// Those of a user's rooms that are hidden: nothing was said since.
pub(super) async fn hidden_of(base: &Base, user: UserId) -> Result<HashSet<RoomId>> {
    let options = FindOptions::builder().batch_size(10_000).build();
    let hidden = find_all(base, "hidden", doc! { "user": user.to_string() }, options).await?;
    let ids = hidden.iter().map(|one| Ok(room_id(one, "room")?.to_string())).collect::<Result<Vec<_>>>()?;
    let mut still = HashSet::new();
    let heads = find_each(base, "heads", ids, None).await?;
    for head in &heads {
        let room = room_id(head, "_id")?;
        let said = count_or_zero(head, "last_message_seq")?;
        let of_room = hidden.iter().find(|one| room_id(one, "room").is_ok_and(|id| id == room));
        if let Some(one) = of_room
            && said <= count(one, "seq")?
        {
            still.insert(room);
        }
    }
    Ok(still)
}

/// Notes of the members of private rooms who have written, in a database of before this was noted. It can be done again.
pub(super) async fn note_who_wrote(base: &Base) -> Result<()> {
    let rooms = base.collection("rooms");
    let private = || async {
        let found = rooms.find(doc! { "kind": "private" }).projection(doc! { "_id": true }).await?;
        found.try_collect::<Vec<Document>>().await
    };
    for room in base.again(private).await? {
        let room = room_id(&room, "_id")?;
        let of_room = doc! { "room": room.to_string() };
        let members = find_all(base, "members", of_room, FindOptions::default()).await?;
        for member in &members {
            let user = user_id(member, "user")?;
            let mut said = log_range(room, None, None);
            said.insert("sender", user.to_string());
            said.insert("effect", doc! { "$exists": false });
            let events = base.collection("events");
            let wrote = base.again(|| async { events.find_one(said.clone()).await }).await?.is_some();
            let key = member_key(room, user);
            if wrote && base.find("marks", &key).await?.is_some() {
                update(base, "marks", &[doc! { "q": { "_id": key }, "u": { "$max": { "wrote": 1_i64 } } }]).await?;
            }
        }
    }
    Ok(())
}

fn invited_in(room: RoomId) -> Document {
    doc! { "room": room.to_string(), "state": "invited" }
}

pub(super) async fn invited_to(
    base: &Base,
    room: RoomId,
    after: Option<UserId>,
    limit: usize,
) -> Result<Vec<(UserId, RoomRole)>> {
    let mut filter = invited_in(room);
    if let Some(after) = after {
        filter.insert("user", doc! { "$gt": after.to_string() });
    }
    let sorted = FindOptions::builder().sort(doc! { "user": 1 }).limit(int(limit as u64)).batch_size(batch(limit));
    let invited = find_all(base, "consent", filter, sorted.build()).await?;
    invited.iter().map(|one| Ok((user_id(one, "user")?, room_role(one, "role")?))).collect()
}

pub(super) async fn invitations_of(
    base: &Base,
    user: UserId,
    after: Option<RoomCursor>,
    limit: usize,
) -> Result<Vec<InvitationRecord>> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let mut filter = doc! { "user": user.to_string(), "state": "invited" };
    if let Some(RoomCursor { active_at, room_id }) = after {
        let same_instant = doc! { "at": date(active_at), "room": { "$lt": room_id.to_string() } };
        filter.insert("$or", vec![doc! { "at": { "$lt": date(active_at) } }, same_instant]);
    }
    let sorted = FindOptions::builder().sort(doc! { "at": -1, "room": -1 }).limit(int(limit as u64));
    let invited = find_all(base, "consent", filter, sorted.batch_size(batch(limit)).build()).await?;
    let by = invited.iter().map(|one| user_id(one, "by")).collect::<Result<Vec<_>>>()?;
    let rooms = invited.iter().map(|one| Ok(room_id(one, "room")?.to_string())).collect::<Result<Vec<_>>>()?;
    let (names, rooms) = tokio::try_join!(usernames(base, by), find_each(base, "rooms", rooms, None))?;
    let mut records = Vec::with_capacity(invited.len());
    for one in &invited {
        let id = room_id(one, "room")?;
        let room = rooms.iter().find(|room| room_id(room, "_id").is_ok_and(|found| found == id));
        let (Some(room), Some(by)) = (room, names.get(&user_id(one, "by")?)) else { continue };
        records.push(InvitationRecord {
            room_id: id,
            name: optional_text(room, "name")?.map(str::to_owned),
            role: room_role(one, "role")?,
            by: by.clone(),
            at: time(one, "at")?,
        });
    }
    Ok(records)
}

/// Of those who left before it was noted here, the event tells by whose will they went.
pub(super) async fn has_left(base: &Base, room: RoomId, user: UserId) -> Result<bool> {
    let key = member_key(room, user);
    let (consent, member) = tokio::try_join!(base.find("consent", &key), base.find("members", &key))?;
    if let Some(consent) = consent {
        return Ok(text(&consent, "state")? == "left");
    }
    let Some(member) = member else { return Ok(false) };
    if !flag(&member, "gone")? {
        return Ok(false);
    }
    let event = base.find("events", &event_key(room, count(&member, "moved_seq")?)).await?;
    event.map_or(Ok(false), |event| Ok(user_id(&event, "sender")? == user))
}

pub(super) async fn know_each_other(base: &Base, user: UserId, other: UserId) -> Result<bool> {
    let all = || FindOptions::builder().batch_size(10_000).projection(doc! { "room": true }).build();
    let of = |user: UserId| doc! { "user": user.to_string(), "gone": false };
    let (mine, theirs) =
        tokio::try_join!(find_all(base, "members", of(user), all()), find_all(base, "members", of(other), all()))?;
    let rooms = |members: &[Document]| members.iter().map(|one| room_id(one, "room")).collect::<Result<HashSet<_>>>();
    let (mine, theirs) = (rooms(&mine)?, rooms(&theirs)?);
    let shared: Vec<String> = mine.intersection(&theirs).map(RoomId::to_string).collect();
    for room in find_each(base, "rooms", shared, Some(doc! { "kind": true })).await? {
        if text(&room, "kind")? != "private" {
            return Ok(true);
        }
        let mark = base.find("marks", &member_key(room_id(&room, "_id")?, user)).await?;
        if mark.is_some_and(|mark| count_or_zero(&mark, "wrote").is_ok_and(|wrote| wrote > 0)) {
            return Ok(true);
        }
    }
    Ok(false)
}
