//! Logins and their refresh tokens.
//!
//! A login is its document in `sessions`, as long as its user's floor lets it live. A token is used when another one
//! follows it (`prev`), and only one can: the unique index on `prev` decides between rotations. The order of writes is
//! what makes up for transactions: a login's token is there before the login, and goes after it.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};

use super::{
    base::Base,
    codec::{count, date, int, session_id, text, time, user_id},
    users::{Floor, Users},
};
use crate::{
    store::{RefreshHash, Result, Rotation, SessionRecord, StoreError},
    types::{SessionId, Timestamp, UserId},
};

/// Times a rotation is tried again because the one that was ahead of it was taken back.
const TRIES: usize = 5;

/// How long tokens are kept once they have expired or their login has ended: longer than any request lasts and clocks differ.
/// Until every rotation is over that found its login alive, they hold their places under the unique index.
const RETIRED_MILLIS: i64 = 600_000;

fn record(session: &Document) -> Result<SessionRecord> {
    Ok(SessionRecord {
        session_id: session_id(session, "_id")?,
        user_id: user_id(session, "user")?,
        created_at: time(session, "created_at")?,
        expires_at: time(session, "expires_at")?,
    })
}

fn token_id(hash: &RefreshHash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lives(session: &Document, floor: &Floor) -> Result<bool> {
    Ok(floor.lets_live(text(session, "_id")?, count(session, "floor")?))
}

pub(super) async fn create(
    base: &Base,
    users: &Users,
    session: &SessionRecord,
    refresh: &RefreshHash,
    keep: usize,
) -> Result<Vec<SessionId>> {
    // Read before the login is there: logins that end in the meantime take it along.
    let floor = users.floor(session.user_id).await?.map_or(0, |floor| floor.floor);
    let id = session.session_id.to_string();
    let token = doc! { "_id": token_id(refresh), "session": &id, "expires_at": date(session.expires_at) };
    insert_own(base, "tokens", &token).await?;
    let login = doc! {
        "_id": &id,
        "user": session.user_id.to_string(),
        "created_at": date(session.created_at),
        "expires_at": date(session.expires_at),
        "floor": int(floor),
    };
    insert_own(base, "sessions", &login).await?;
    end_beyond(base, users, session, keep).await
}

/// For documents whose `_id` nobody else can have: a duplicate is our own, of a try whose answer got lost.
async fn insert_own(base: &Base, collection: &str, document: &Document) -> Result<()> {
    if !base.insert(collection, document).await? {
        let id = doc! { "_id": document.get("_id") };
        base.kept(collection, &id).await?.ok_or_else(|| StoreError::Unavailable("a write was taken back".into()))?;
    }
    Ok(())
}

/// Ends the oldest of the user's logins, so that with `session` there are `keep`. That one stays even where a clock was
/// set back and it looks older than the rest.
async fn end_beyond(base: &Base, users: &Users, session: &SessionRecord, keep: usize) -> Result<Vec<SessionId>> {
    let Some(floor) = users.floor(session.user_id).await? else { return Ok(Vec::new()) };
    let mut others = Vec::new();
    for login in of_user(base, session.user_id).await? {
        let id = session_id(&login, "_id")?;
        if id != session.session_id && lives(&login, &floor)? {
            others.push((time(&login, "created_at")?, id));
        }
    }
    others.sort_unstable();
    others.truncate(others.len().saturating_sub(keep.max(1) - 1));
    let ended: Vec<SessionId> = others.into_iter().map(|(_, id)| id).collect();
    let ids: Vec<String> = ended.iter().map(SessionId::to_string).collect();
    if !ids.is_empty() {
        let sessions = base.collection("sessions");
        let gone = doc! { "_id": { "$in": &ids } };
        users.touch(session.user_id).await?;
        base.again(|| async { sessions.delete_many(gone.clone()).await }).await?;
        users.touch(session.user_id).await?;
        retire_tokens(base, &ids).await?;
    }
    Ok(ended)
}

async fn of_user(base: &Base, user: UserId) -> Result<Vec<Document>> {
    let sessions = base.collection("sessions");
    let filter = doc! { "user": user.to_string() };
    base.again(|| async { sessions.find(filter.clone()).await?.try_collect().await }).await
}

fn of_sessions(ids: &[String]) -> Document {
    match ids {
        [one] => doc! { "session": one },
        many => doc! { "session": { "$in": many } },
    }
}

/// Leaves the tokens of logins that have ended to a later purge.
async fn retire_tokens(base: &Base, sessions: &[String]) -> Result<()> {
    let tokens = base.collection("tokens");
    let (filter, change) = (of_sessions(sessions), doc! { "$min": { "expires_at": date(Timestamp::now()) } });
    base.again(|| async { tokens.update_many(filter.clone(), change.clone()).await }).await.map(drop)
}

pub(super) async fn by_id(base: &Base, users: &Users, session: SessionId) -> Result<Option<SessionRecord>> {
    living(base, users, &session.to_string()).await
}

async fn living(base: &Base, users: &Users, session: &str) -> Result<Option<SessionRecord>> {
    let Some(found) = base.find("sessions", session).await? else { return Ok(None) };
    let floor = users.floor(user_id(&found, "user")?).await?;
    match floor {
        Some(floor) if lives(&found, &floor)? => record(&found).map(Some),
        _ => Ok(None),
    }
}

pub(super) async fn by_token(base: &Base, users: &Users, hash: &RefreshHash) -> Result<Option<SessionRecord>> {
    match base.find("tokens", &token_id(hash)).await? {
        Some(token) => living(base, users, text(&token, "session")?).await,
        None => Ok(None),
    }
}

/// The expiry moves first: a rotation that is cut off after it has changed nothing that the client would miss.
pub(super) async fn rotate(
    base: &Base,
    users: &Users,
    presented: &RefreshHash,
    next: &RefreshHash,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<Rotation> {
    let Some(token) = base.find("tokens", &token_id(presented)).await? else { return Ok(Rotation::Unknown) };
    let Some(session) = living(base, users, text(&token, "session")?).await? else { return Ok(Rotation::Unknown) };
    let good_until = time(&token, "expires_at")?;
    if session.expires_at.min(good_until) <= now {
        return Ok(Rotation::Unknown);
    }
    if !is_used(base, presented).await? && !prolong(base, session.session_id, expires_at).await? {
        return Ok(Rotation::Unknown);
    }
    if follow(base, session.session_id, presented, next, expires_at.max(good_until)).await? {
        return Ok(Rotation::Rotated(SessionRecord { expires_at, ..session }));
    }
    // Whoever finds the login still there has ended it; the others come too late to know the token.
    Ok(if end_record(base, users, &session).await? { Rotation::Reused(session) } else { Rotation::Unknown })
}

/// Only to leave the expiry alone where the outcome is known already: the insert of the next token decides.
async fn is_used(base: &Base, token: &RefreshHash) -> Result<bool> {
    let (tokens, filter) = (base.collection("tokens"), doc! { "prev": token_id(token) });
    Ok(base.again(|| async { tokens.find_one(filter.clone()).await }).await?.is_some())
}

/// `false`: the login has ended.
async fn prolong(base: &Base, session: SessionId, expires_at: Timestamp) -> Result<bool> {
    let sessions = base.collection("sessions");
    let (filter, change) = (doc! { "_id": session.to_string() }, doc! { "$set": { "expires_at": date(expires_at) } });
    let done = base.again(|| async { sessions.update_one(filter.clone(), change.clone()).await }).await?;
    Ok(done.matched_count > 0)
}

/// Puts `next` after `presented`; `false` where another token follows it already.
async fn follow(
    base: &Base,
    session: SessionId,
    presented: &RefreshHash,
    next: &RefreshHash,
    expires_at: Timestamp,
) -> Result<bool> {
    let (next, prev) = (token_id(next), token_id(presented));
    let token = doc! { "_id": &next, "session": session.to_string(), "prev": &prev, "expires_at": date(expires_at) };
    for _ in 0..TRIES {
        if base.insert("tokens", &token).await? {
            return Ok(true);
        }
        if let Some(follower) = base.kept("tokens", &doc! { "prev": &prev }).await? {
            return Ok(text(&follower, "_id")? == next);
        }
    }
    Err(StoreError::Unavailable("writes are being taken back".into()))
}

/// `false`: it had ended before.
pub(super) async fn end(base: &Base, users: &Users, session: SessionId) -> Result<bool> {
    match living(base, users, &session.to_string()).await? {
        Some(session) => end_record(base, users, &session).await,
        None => Ok(false),
    }
}

/// `true` for one of those who end it at once. Where an answer got lost, nobody knows who it was, and it counts as us.
/// The user is touched before as well as after: other nodes look again and again for a while after a touch, so that they
/// learn of it also where this process dies in between.
async fn end_record(base: &Base, users: &Users, session: &SessionRecord) -> Result<bool> {
    let id = session.session_id.to_string();
    let sessions = base.collection("sessions");
    let tries = AtomicUsize::new(0);
    let op = || async {
        tries.fetch_add(1, Ordering::Relaxed);
        sessions.delete_one(doc! { "_id": &id }).await
    };
    users.touch(session.user_id).await?;
    let deleted = base.again(op).await?.deleted_count;
    let ours = deleted > 0 || tries.into_inner() > 1;
    if ours {
        users.touch(session.user_id).await?;
        retire_tokens(base, &[id]).await?;
    }
    Ok(ours)
}

/// Removes what a user's risen floor has ended already. It changes nothing that anybody sees.
pub(super) async fn sweep(base: &Base, users: &Users, user: UserId) -> Result<()> {
    let Some(floor) = users.floor(user).await? else { return Ok(()) };
    let mut ids = Vec::new();
    for session in of_user(base, user).await? {
        if !lives(&session, &floor)? {
            ids.push(text(&session, "_id")?.to_owned());
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    let (sessions, dead) = (base.collection("sessions"), doc! { "_id": { "$in": &ids } });
    base.again(|| async { sessions.delete_many(dead.clone()).await }).await?;
    retire_tokens(base, &ids).await
}

pub(super) async fn purge(base: &Base, now: Timestamp, limit: usize) -> Result<usize> {
    if limit == 0 {
        return Ok(0);
    }
    let expired = expired(base, "sessions", now, limit).await?;
    let ids = expired.iter().map(|session| text(session, "_id").map(str::to_owned)).collect::<Result<Vec<_>>>()?;
    let mut purged = 0;
    if !ids.is_empty() {
        let sessions = base.collection("sessions");
        // One that was prolonged meanwhile stays.
        let filter = doc! { "_id": { "$in": &ids }, "expires_at": { "$lt": date(now) } };
        purged = base.again(|| async { sessions.delete_many(filter.clone()).await }).await?.deleted_count as usize;
    }
    let tokens = purge_tokens(base, now, limit.saturating_sub(purged)).await?;
    Ok(purged + tokens)
}

/// Of logins that are gone as of those that go on: presenting one would be refused for its age alone.
async fn purge_tokens(base: &Base, now: Timestamp, limit: usize) -> Result<usize> {
    if limit == 0 {
        return Ok(0);
    }
    let expired = expired(base, "tokens", Timestamp(now.0.saturating_sub(RETIRED_MILLIS)), limit).await?;
    if expired.is_empty() {
        return Ok(0);
    }
    let ids = expired.iter().map(|token| text(token, "_id")).collect::<Result<Vec<_>>>()?;
    let (tokens, filter) = (base.collection("tokens"), doc! { "_id": { "$in": ids } });
    let purged = base.again(|| async { tokens.delete_many(filter.clone()).await }).await?;
    Ok(purged.deleted_count as usize)
}

async fn expired(base: &Base, collection: &str, now: Timestamp, limit: usize) -> Result<Vec<Document>> {
    let collection = base.collection(collection);
    let filter = doc! { "expires_at": { "$lt": date(now) } };
    let op = || async {
        let oldest = collection.find(filter.clone()).sort(doc! { "expires_at": 1 }).limit(int(limit as u64));
        oldest.projection(doc! { "_id": 1 }).await?.try_collect().await
    };
    base.again(op).await
}
