//! Logins.
//!
//! A login is its document in `sessions`, as long as its user's floor lets it live. The order of writes is what makes up for
//! transactions: a login's token is there before the login, and goes after it.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};

use super::{
    base::Base,
    codec::{count, date, int, optional_text, session_id, text, time, user_id},
    tokens::{Tokens, expired},
    users::{Floor, Users},
};
use crate::{
    store::{
        Device, LoginRecord, Presented, RefreshKey, Renewal, Result, Rotation, SessionRecord, StoreError,
        refresh::Verdict,
    },
    types::{SessionId, Timestamp, UserId},
};

/// Times a rotation looks again because one in another process was ahead of it.
const TRIES: usize = 50;

fn record(session: &Document) -> Result<SessionRecord> {
    Ok(SessionRecord {
        session_id: session_id(session, "_id")?,
        user_id: user_id(session, "user")?,
        created_at: time(session, "created_at")?,
        expires_at: time(session, "expires_at")?,
    })
}

fn lives(session: &Document, floor: &Floor) -> Result<bool> {
    Ok(floor.lets_live(text(session, "_id")?, count(session, "floor")?))
}

pub(super) async fn create(
    base: &Base,
    users: &Users,
    tokens: &Tokens,
    session: &SessionRecord,
    first: &RefreshKey,
    keep: usize,
) -> Result<Vec<SessionId>> {
    // Read before the login is there: logins that end in the meantime take it along.
    let floor = users.floor(session.user_id).await?.map_or(0, |floor| floor.floor);
    let id = session.session_id.to_string();
    tokens.begin(session.session_id, first, session.expires_at).await?;
    let login = doc! {
        "_id": &id,
        "user": session.user_id.to_string(),
        "created_at": date(session.created_at),
        "expires_at": date(session.expires_at),
        "floor": int(floor),
    };
    // Nobody else can have its `_id`: a duplicate is our own, of a try whose answer got lost.
    if !base.insert("sessions", &login).await? {
        let found = base.kept("sessions", &doc! { "_id": &id }).await?;
        found.ok_or_else(|| StoreError::Unavailable("a write was taken back".into()))?;
    }
    end_beyond(base, users, tokens, session, keep).await
}

/// Ends the oldest of the user's logins, so that with `session` there are `keep`. That one stays even where a clock was
/// set back and it looks older than the rest.
async fn end_beyond(
    base: &Base,
    users: &Users,
    tokens: &Tokens,
    session: &SessionRecord,
    keep: usize,
) -> Result<Vec<SessionId>> {
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
        tokens.retire(&ids).await?;
    }
    Ok(ended)
}

async fn of_user(base: &Base, user: UserId) -> Result<Vec<Document>> {
    let sessions = base.collection("sessions");
    let filter = doc! { "user": user.to_string() };
    base.again(|| async { sessions.find(filter.clone()).await?.try_collect().await }).await
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

pub(super) async fn see(base: &Base, session: SessionId, at: Timestamp, device: &Device) -> Result<()> {
    let sessions = base.collection("sessions");
    let seen = doc! {
        "seen_at": date(at),
        "address": device.address.as_deref(),
        "agent": device.agent.as_deref(),
    };
    let (filter, change) = (doc! { "_id": session.to_string() }, doc! { "$set": seen });
    base.again(|| async { sessions.update_one(filter.clone(), change.clone()).await }).await.map(drop)
}

pub(super) async fn living_of(base: &Base, users: &Users, user: UserId) -> Result<Vec<LoginRecord>> {
    let Some(floor) = users.floor(user).await? else { return Ok(Vec::new()) };
    let mut living = Vec::new();
    for session in of_user(base, user).await? {
        if lives(&session, &floor)? {
            living.push(login(&session)?);
        }
    }
    Ok(living)
}

/// Of logins that an earlier version began it is not known when and by what they were renewed.
fn login(session: &Document) -> Result<LoginRecord> {
    let seen_at = if session.contains_key("seen_at") { "seen_at" } else { "created_at" };
    let said = |key: &str| Ok(optional_text(session, key)?.map(str::to_owned));
    let device = Device { address: said("address")?, agent: said("agent")? };
    Ok(LoginRecord { session: record(session)?, seen_at: time(session, seen_at)?, device })
}

/// The login that a token names, and until when the token is good.
async fn named(
    base: &Base,
    users: &Users,
    tokens: &Tokens,
    presented: &Presented,
) -> Result<Option<(SessionRecord, Timestamp)>> {
    let (id, good_until) = match presented {
        Presented::Key(key) => (key.session.to_string(), None),
        Presented::Bare(hash) => match tokens.of_bare(hash).await? {
            Some((id, until)) => (id, Some(until)),
            None => return Ok(None),
        },
    };
    let session = living(base, users, &id).await?;
    Ok(session.map(|session| {
        let ends = session.expires_at;
        (session, good_until.map_or(ends, |until| ends.min(until)))
    }))
}

pub(super) async fn by_token(
    base: &Base,
    users: &Users,
    tokens: &Tokens,
    presented: &Presented,
) -> Result<Option<SessionRecord>> {
    let Some((session, _)) = named(base, users, tokens, presented).await? else { return Ok(None) };
    let is_own = match presented {
        Presented::Bare(_) => true,
        Presented::Key(key) => {
            let current = tokens.current(session.session_id).await?;
            current.is_some_and(|current| current.held.family == Some(key.family))
        }
    };
    Ok(is_own.then_some(session))
}

/// The expiry moves first: a rotation that is cut off after it has changed nothing that the client would miss.
pub(super) async fn rotate(base: &Base, users: &Users, tokens: &Tokens, renewal: &Renewal) -> Result<Rotation> {
    let &Renewal { presented, next, now, expires_at, .. } = renewal;
    let _turn = tokens.turn(next.session).await;
    for _ in 0..TRIES {
        let Some((session, good_until)) = named(base, users, tokens, &presented).await? else {
            return Ok(Rotation::Unknown);
        };
        if good_until <= now {
            return Ok(Rotation::Unknown);
        }
        let id = session.session_id;
        let Some(current) = tokens.current(id).await? else { return Ok(Rotation::Unknown) };
        match current.held.judge(renewal) {
            Verdict::Refuse => return Ok(Rotation::Unknown),
            Verdict::End => {
                // Whoever finds the login still there has ended it; the others come too late to know the token.
                let ended = end_record(base, users, tokens, &session).await?;
                return Ok(if ended { Rotation::Reused(session) } else { Rotation::Unknown });
            }
            Verdict::Follow(used) => {
                if !prolong(base, id, expires_at).await? {
                    return Ok(Rotation::Unknown);
                }
                if tokens.follow(id, current.next_rev, &next, used, expires_at).await? {
                    return Ok(Rotation::Rotated(SessionRecord { expires_at, ..session }));
                }
            }
        }
    }
    Err(StoreError::Busy)
}

/// `false`: the login has ended.
async fn prolong(base: &Base, session: SessionId, expires_at: Timestamp) -> Result<bool> {
    let sessions = base.collection("sessions");
    let (filter, change) = (doc! { "_id": session.to_string() }, doc! { "$set": { "expires_at": date(expires_at) } });
    let done = base.again(|| async { sessions.update_one(filter.clone(), change.clone()).await }).await?;
    Ok(done.matched_count > 0)
}

/// `false`: it had ended before.
pub(super) async fn end(base: &Base, users: &Users, tokens: &Tokens, session: SessionId) -> Result<bool> {
    match living(base, users, &session.to_string()).await? {
        Some(session) => end_record(base, users, tokens, &session).await,
        None => Ok(false),
    }
}

/// `true` for one of those who end it at once. Where an answer got lost, nobody knows who it was, and it counts as us.
/// The user is touched before as well as after: other nodes look again and again for a while after a touch, so that they
/// learn of it also where this process dies in between.
async fn end_record(base: &Base, users: &Users, tokens: &Tokens, session: &SessionRecord) -> Result<bool> {
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
        tokens.retire(&[id]).await?;
    }
    Ok(ours)
}

/// Removes what a user's risen floor has ended already. It changes nothing that anybody sees.
pub(super) async fn sweep(base: &Base, users: &Users, tokens: &Tokens, user: UserId) -> Result<()> {
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
    tokens.retire(&ids).await
}

pub(super) async fn purge(base: &Base, tokens: &Tokens, now: Timestamp, limit: usize) -> Result<usize> {
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
    let of_tokens = tokens.purge(now, limit.saturating_sub(purged)).await?;
    Ok(purged + of_tokens)
}
