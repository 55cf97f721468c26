//! What the processes that share the database learn of each other from it: changes by the time the database wrote them
//! down, and the nodes that live.
//!
//! Changes become readable in the order in which the primary made them, and their times were taken a moment before; so
//! what has a time shortly before the mark is told again. After a failover the new primary's clock may be behind: then
//! the mark is too far ahead, and counts as "now".

use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::bson::{DateTime, Document, doc};

use super::{
    base::{Base, is_duplicate},
    codec::{count, flag, node_id, room_id, time, user_id},
};
use crate::{
    store::{
        Result, StoreError,
        shared::{Changes, Mark, Moved},
    },
    types::{NodeId, RoomId, Seq, Timestamp, UserId},
};

/// How much earlier than the mark a change may say it was and still be told.
const OVERLAP: i64 = 5_000;
/// How far a clock that went back is followed.
const LOOK_BACK: i64 = 60_000;

/// Changes of one kind that are told at once.
const PART: usize = 10_000;

/// A node that has been silent for so many times what makes it count as gone is forgotten.
const FORGOTTEN_AFTER: u32 = 20;

/// One kind of change: where it is written down, and in which fields.
struct Kind {
    collection: &'static str,
    time: &'static str,
    fields: &'static [&'static str],
}

const USERS: Kind = Kind { collection: "users", time: "changed_at", fields: &[] };
const MEMBERS: Kind = Kind { collection: "members", time: "touched", fields: &["room", "user", "moved_seq", "gone"] };
const ROOMS: Kind = Kind { collection: "heads", time: "touched", fields: &["head_seq"] };

pub(super) async fn changes(base: &Base, mark: Mark, with_rooms: bool) -> Result<Changes> {
    changes_in_parts(base, mark, with_rooms, PART).await
}

async fn changes_in_parts(base: &Base, mark: Mark, with_rooms: bool, part: usize) -> Result<Changes> {
    let now = server_time(base).await?;
    let rooms = async {
        if with_rooms { since(base, &ROOMS, mark.rooms, now, part).await } else { Ok((Vec::new(), mark.rooms)) }
    };
    let users = since(base, &USERS, mark.users, now, part);
    let members = since(base, &MEMBERS, mark.members, now, part);
    let ((users, users_mark), (members, members_mark), (rooms, rooms_mark)) = tokio::try_join!(users, members, rooms)?;
    Ok(Changes {
        users: users.iter().map(changed_user).collect::<Result<_>>()?,
        members: members.iter().map(moved).collect::<Result<_>>()?,
        rooms: rooms.iter().map(grown).collect::<Result<_>>()?,
        more: [users.len(), members.len(), rooms.len()].iter().any(|found| *found >= part),
        mark: Mark { users: users_mark, members: members_mark, rooms: rooms_mark },
    })
}

fn changed_user(user: &Document) -> Result<UserId> {
    user_id(user, "_id")
}

fn moved(member: &Document) -> Result<Moved> {
    Ok(Moved {
        room: room_id(member, "room")?,
        user: user_id(member, "user")?,
        seq: count(member, "moved_seq")?,
        added: !flag(member, "gone")?,
    })
}

fn grown(head: &Document) -> Result<(RoomId, Seq)> {
    Ok((room_id(head, "_id")?, count(head, "head_seq")?))
}

/// The primary's clock.
async fn server_time(base: &Base) -> Result<Timestamp> {
    let hello = base.again(|| async { base.db.run_command(doc! { "hello": 1 }).await }).await?;
    time(&hello, "localTime").map_err(|_| StoreError::Unavailable("the database does not tell its time".into()))
}

/// What changed since `mark` in the order in which it did, and the next mark.
async fn since(
    base: &Base,
    kind: &Kind,
    mark: Option<Timestamp>,
    now: Timestamp,
    part: usize,
) -> Result<(Vec<Document>, Option<Timestamp>)> {
    let Some(mark) = mark else { return Ok((Vec::new(), Some(latest(base, kind).await?))) };
    let from = begin(mark, now);
    let mut fields = doc! { kind.time: 1 };
    fields.extend(kind.fields.iter().map(|field| (field.to_string(), 1.into())));
    let collection = base.collection(kind.collection);
    let filter = doc! { kind.time: { "$gte": DateTime::from_millis(from.0) } };
    let op = || async {
        let found = collection.find(filter.clone()).sort(doc! { kind.time: 1 }).limit(part as i64);
        found.projection(fields.clone()).batch_size(part as u32).await?.try_collect::<Vec<_>>().await
    };
    let found = base.again(op).await?;
    // Nothing is told for longer than what it may be seen too late by: the next part begins a little before this moment.
    let Some(last) = found.last() else { return Ok((found, Some(now))) };
    let last = time(last, kind.time)?;
    // After a whole part there may be more: the next one begins where this one ended, and not before.
    let next = if found.len() < part { now } else { Timestamp(last.0.saturating_add(OVERLAP)) };
    Ok((found, Some(next)))
}

/// The earliest time that is told again. A mark ahead of the clock is of another primary, whose clock was ahead: what was
/// changed since by this one is looked for farther back.
fn begin(mark: Timestamp, now: Timestamp) -> Timestamp {
    match mark.0 > now.0.saturating_add(OVERLAP) {
        true => Timestamp(now.0.saturating_sub(LOOK_BACK)),
        false => Timestamp(mark.0.saturating_sub(OVERLAP)),
    }
}

/// The time of the latest change: what a reader sees from now on comes after it. 0 where nothing has changed yet.
async fn latest(base: &Base, kind: &Kind) -> Result<Timestamp> {
    let collection = base.collection(kind.collection);
    let filter = doc! { kind.time: { "$gt": DateTime::from_millis(0) } };
    let op = || async { collection.find_one(filter.clone()).sort(doc! { kind.time: -1 }).await };
    let found = base.again(op).await?;
    found.map_or(Ok(Timestamp(0)), |found| time(&found, kind.time))
}

/// Times are compared with this node's own, which the database wrote a moment ago.
pub(super) async fn meet(base: &Base, node: NodeId, within: Duration) -> Result<Vec<NodeId>> {
    let nodes = base.collection("nodes");
    let (own, beat) = (doc! { "_id": node.to_string() }, doc! { "$currentDate": { "at": true } });
    let op = || async {
        match nodes.update_one(own.clone(), beat.clone()).upsert(true).await {
            // Two first signs of life met; now it is there.
            Err(error) if is_duplicate(&error) => nodes.update_one(own.clone(), beat.clone()).await,
            result => result,
        }
    };
    base.again(op).await?;
    let found: Vec<Document> = base.again(|| async { nodes.find(doc! {}).await?.try_collect().await }).await?;
    let mut met = Vec::new();
    for found in &found {
        met.push((node_id(found, "_id")?, time(found, "at")?));
    }
    let now = met.iter().find(|(id, _)| *id == node).map_or(Timestamp(0), |(_, at)| *at);
    let ago = |span: Duration| Timestamp(now.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)));
    if met.iter().any(|(_, at)| *at < ago(within * FORGOTTEN_AFTER)) {
        let gone = doc! { "at": { "$lt": DateTime::from_millis(ago(within * FORGOTTEN_AFTER).0) } };
        base.again(|| async { nodes.delete_many(gone.clone()).await }).await?;
    }
    Ok(met.into_iter().filter(|(_, at)| *at >= ago(within)).map(|(id, _)| id).collect())
}

pub(super) async fn part(base: &Base, node: NodeId) -> Result<()> {
    let nodes = base.collection("nodes");
    base.again(|| async { nodes.delete_one(doc! { "_id": node.to_string() }).await }).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_again_begins_a_little_before_the_mark() {
        assert_eq!(begin(Timestamp(50_000), Timestamp(51_000)), Timestamp(50_000 - OVERLAP));
        // Where a part ended, and its mark is therefore ahead of the clock.
        assert_eq!(begin(Timestamp(51_000 + OVERLAP), Timestamp(51_000)), Timestamp(51_000));
        // The clock went back.
        assert_eq!(begin(Timestamp(90_000), Timestamp(51_000)), Timestamp(51_000 - LOOK_BACK));
        assert_eq!(begin(Timestamp(0), Timestamp(51_000)), Timestamp(-OVERLAP));
    }
}
