//! The members of one room, and how far each has read.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use mongodb::{
    bson::{Document, doc},
    options::FindOptions,
};

use super::{
    base::Base,
    codec::{count, count_or_zero, damaged, flag, int, room_id, room_role, text, user_id},
    codec_log::{event_key, member_key},
    commands::{find_all, find_each},
    log::Log,
    marks::{furthest, mark},
};
use crate::{
    event::fold::ReadMark,
    store::{MemberRecord, Result},
    types::{RoomId, Seq, UserId},
};

pub(super) async fn member(base: &Base, room: RoomId, user: UserId) -> Result<Option<MemberRecord>> {
    let (key, user) = (member_key(room, user), user.to_string());
    let (member, marked, user) =
        tokio::try_join!(base.find("members", &key), base.find("marks", &key), base.find("users", &user))?;
    match (member, user) {
        (Some(member), Some(user)) if !flag(&member, "gone")? => {
            record(&member, marked.as_ref(), text(&user, "username")?).map(Some)
        }
        _ => Ok(None),
    }
}

/// The list goes on after somebody also when they have left: their document stays, with their place.
pub(super) async fn members(
    base: &Base,
    room: RoomId,
    after: Option<UserId>,
    limit: usize,
) -> Result<Vec<MemberRecord>> {
    let joined_seq = match after {
        None => 0,
        Some(user) => match base.find("members", &member_key(room, user)).await? {
            Some(member) => count(&member, "joined_seq")?,
            None => return Ok(Vec::new()),
        },
    };
    if limit == 0 {
        return Ok(Vec::new());
    }
    // Nobody shares a `joined_seq`: it is the seq of the event that added them.
    let filter = doc! { "room": room.to_string(), "gone": false, "joined_seq": { "$gt": int(joined_seq) } };
    let options = FindOptions::builder()
        .sort(doc! { "joined_seq": 1 })
        .limit(int(limit as u64))
        .batch_size(u32::try_from(limit).unwrap_or(u32::MAX).min(i32::MAX as u32 - 1))
        .build();
    let members = find_all(base, "members", filter, options).await?;
    let users = members.iter().map(|member| user_id(member, "user")).collect::<Result<Vec<_>>>()?;
    let keys = users.iter().map(|user| member_key(room, *user)).collect();
    let (marked, names) = tokio::try_join!(find_each(base, "marks", keys, None), usernames(base, users))?;
    let marked = marked.into_iter().map(|marked| Ok((user_id(&marked, "user")?, marked)));
    let marked = marked.collect::<Result<HashMap<UserId, Document>>>()?;
    let mut records = Vec::with_capacity(members.len());
    for member in members {
        let user = user_id(&member, "user")?;
        if let Some(name) = names.get(&user) {
            records.push(record(&member, marked.get(&user), name)?);
        }
    }
    Ok(records)
}

/// The names of these users, as they write them.
pub(super) async fn usernames(base: &Base, mut users: Vec<UserId>) -> Result<HashMap<UserId, String>> {
    users.sort_unstable();
    users.dedup();
    let ids = users.iter().map(UserId::to_string).collect();
    let users = find_each(base, "users", ids, Some(doc! { "username": true })).await?;
    users.iter().map(|user| Ok((user_id(user, "_id")?, text(user, "username")?.to_owned()))).collect()
}

fn record(member: &Document, marked: Option<&Document>, username: &str) -> Result<MemberRecord> {
    Ok(MemberRecord {
        user_id: user_id(member, "user")?,
        username: username.to_owned(),
        role: room_role(member, "role")?,
        read: read_mark(member, marked)?,
        wrote: marked.map(|marked| count_or_zero(marked, "wrote")).transpose()?.unwrap_or_default() > 0,
    })
}

/// Whoever joins has read everything up to then, whatever they had read in an earlier stay.
pub(super) fn read_mark(member: &Document, marked: Option<&Document>) -> Result<ReadMark> {
    let joined = ReadMark { seq: count(member, "joined_seq")?, ordinal: count(member, "joined_ordinal")? };
    Ok(furthest(joined, marked.map(mark).transpose()?.unwrap_or_default()))
}

pub(super) async fn set_read(log: &Arc<Log>, room: RoomId, user: UserId, seq: Seq) -> Result<Option<ReadMark>> {
    let (key, id) = (member_key(room, user), room.to_string());
    let base = &log.base;
    let (member, marked, head) =
        tokio::try_join!(base.find("members", &key), base.find("marks", &key), base.find("heads", &id))?;
    let (Some(member), Some(head)) = (member, head) else { return Ok(None) };
    if flag(&member, "gone")? {
        return Ok(None);
    }
    let now = read_mark(&member, marked.as_ref())?;
    let head_seq = count(&head, "head_seq")?;
    let seq = seq.min(head_seq);
    if seq <= now.seq {
        return Ok(Some(now));
    }
    let ordinal = if seq == head_seq {
        count(&head, "messages")?
    } else {
        let event = base.find("events", &event_key(room, seq)).await?;
        let event = event.ok_or_else(|| damaged(&head, "head_seq", "the end of a log without holes"))?;
        count(&event, "ordinal")?
    };
    let mark = ReadMark { seq, ordinal };
    let _place = log.place()?;
    log.marks.advance(vec![((room, user), mark)], false).await?;
    Ok(Some(mark))
}

/// Everybody who is in a room with the user, themselves included.
pub(super) async fn sharing_with(base: &Base, user: UserId) -> Result<Vec<String>> {
    let all = |field: &str| FindOptions::builder().batch_size(10_000).projection(doc! { field: true }).build();
    let mine = doc! { "user": user.to_string(), "gone": false };
    let mine = find_all(base, "members", mine, all("room")).await?;
    let rooms = mine.iter().map(|one| Ok(room_id(one, "room")?.to_string())).collect::<Result<Vec<_>>>()?;
    let theirs = doc! { "room": { "$in": rooms }, "gone": false };
    let theirs = find_all(base, "members", theirs, all("user")).await?;
    let mut users = theirs.iter().map(|one| user_id(one, "user")).collect::<Result<HashSet<_>>>()?;
    users.insert(user);
    Ok(users.into_iter().map(|user| user.to_string()).collect())
}
