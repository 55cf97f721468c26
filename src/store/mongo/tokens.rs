//! Refresh tokens.
//!
//! Of a login's documents here the one with the highest `rev` counts: it has the current token and the one used last. Who
//! rotates them inserts the next `rev`, and the uniqueness of `_id` decides between two; the documents before it go at once.
//! A process that had read one of those and was held up can still insert its successor once they are gone. That one is not
//! the highest and counts for nothing, and whoever inserted it sees so by a look afterwards.
//!
//! A login begun by a version before has no `rev` until its token is used here: each of its tokens is a document whose `_id`
//! is the token's hash, and the current one is that which no other has as its `prev`.

use std::sync::Arc;

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use tokio::sync::{Mutex, MutexGuard};

use super::{
    base::Base,
    codec::{count, damaged, date, int, optional_text, text, time},
};
use crate::{
    store::{
        RefreshHash, RefreshKey, Result, StoreError,
        refresh::{Held, Used},
    },
    types::{SessionId, Timestamp},
};

/// How long tokens are kept once they have expired or their login has ended: longer than clocks differ.
const RETIRED_MILLIS: i64 = 600_000;

/// Logins whose rotations wait for each other in this process.
const STRIPES: usize = 64;

pub(super) struct Tokens {
    base: Arc<Base>,
    each: [Mutex<()>; STRIPES],
}

/// What counts of a login's tokens, and the number under which the next is to be stored.
pub(super) struct Current {
    pub held: Held,
    pub next_rev: u64,
}

fn hex(hash: &RefreshHash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(doc: &Document, key: &str, text: &str) -> Result<RefreshHash> {
    let byte = |at: usize| text.get(2 * at..2 * at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let mut hash = RefreshHash::default();
    for (at, place) in hash.iter_mut().enumerate() {
        *place = byte(at).ok_or_else(|| damaged(doc, key, "a hash"))?;
    }
    Ok(hash)
}

fn hash(doc: &Document, key: &str) -> Result<RefreshHash> {
    unhex(doc, key, text(doc, key)?)
}

impl Tokens {
    pub fn new(base: Arc<Base>) -> Self {
        Self { base, each: [const { Mutex::const_new(()) }; STRIPES] }
    }

    /// Rotations of one login in this process come one after the other; between processes `_id` decides.
    pub async fn turn(&self, session: SessionId) -> MutexGuard<'_, ()> {
        let stripe = (session.0.as_u128() % STRIPES as u128) as usize;
        self.each[stripe].lock().await
    }

    /// Before the login is there.
    pub async fn begin(&self, session: SessionId, first: &RefreshKey, expires_at: Timestamp) -> Result<()> {
        match self.put(session, 0, first, None, expires_at).await? {
            true => Ok(()),
            false => Err(StoreError::Unavailable("a write was taken back".into())),
        }
    }

    /// The login of a token of a version before, and until when the token is good.
    pub async fn of_bare(&self, bare: &RefreshHash) -> Result<Option<(String, Timestamp)>> {
        let Some(token) = self.base.find("tokens", &hex(bare)).await? else { return Ok(None) };
        Ok(Some((text(&token, "session")?.to_owned(), time(&token, "expires_at")?)))
    }

    pub async fn current(&self, session: SessionId) -> Result<Option<Current>> {
        match self.newest(session).await? {
            Some((rev, token)) => {
                let used = optional_text(&token, "used")?;
                let used = used.map(|used| {
                    Ok::<_, StoreError>(Used { hash: unhex(&token, "used", used)?, at: time(&token, "used_at")? })
                });
                let held = Held {
                    family: Some(hash(&token, "family")?),
                    turn: count(&token, "turn")?,
                    hash: hash(&token, "hash")?,
                    used: used.transpose()?,
                };
                Ok(Some(Current { held, next_rev: rev + 1 }))
            }
            None => self.current_before(session).await,
        }
    }

    /// Of a login begun by a version before.
    async fn current_before(&self, session: SessionId) -> Result<Option<Current>> {
        let tokens = self.of_session(session, false).await?;
        let followed: Vec<&str> = tokens.iter().filter_map(|token| token.get_str("prev").ok()).collect();
        for token in &tokens {
            if !followed.contains(&text(token, "_id")?) {
                let held = Held { family: None, turn: 0, hash: hash(token, "_id")?, used: None };
                return Ok(Some(Current { held, next_rev: 1 }));
            }
        }
        Ok(None)
    }

    /// Makes `key` the current token under this `rev`. `false`: somebody else was first; look again.
    pub async fn follow(
        &self,
        session: SessionId,
        rev: u64,
        key: &RefreshKey,
        used: Used,
        expires_at: Timestamp,
    ) -> Result<bool> {
        if !self.put(session, rev, key, Some(used), expires_at).await? {
            return Ok(false);
        }
        let counts = self.newest(session).await?.is_some_and(|(newest, _)| newest == rev);
        if counts {
            let (tokens, before) =
                (self.base.collection("tokens"), doc! { "session": session.to_string(), "rev": { "$lt": int(rev) } });
            self.base.again(|| async { tokens.delete_many(before.clone()).await }).await?;
        }
        Ok(counts)
    }

    /// `false`: this `rev` is another's, or was a moment ago.
    async fn put(
        &self,
        session: SessionId,
        rev: u64,
        key: &RefreshKey,
        used: Option<Used>,
        expires_at: Timestamp,
    ) -> Result<bool> {
        let (id, hash) = (format!("{session}:{rev}"), hex(&key.hash));
        let mut token = doc! {
            "_id": &id,
            "session": session.to_string(),
            "rev": int(rev),
            "family": hex(&key.family),
            "hash": &hash,
            "turn": int(key.turn),
            "expires_at": date(expires_at),
        };
        if let Some(used) = used {
            token.insert("used", hex(&used.hash));
            token.insert("used_at", date(used.at));
        }
        if self.base.insert("tokens", &token).await? {
            return Ok(true);
        }
        // Ours, where the answer to an earlier try got lost.
        let found = self.base.kept("tokens", &doc! { "_id": &id }).await?;
        Ok(found.is_some_and(|found| found.get_str("hash") == Ok(&hash)))
    }

    async fn newest(&self, session: SessionId) -> Result<Option<(u64, Document)>> {
        let mut newest = None;
        for token in self.of_session(session, true).await? {
            let rev = count(&token, "rev")?;
            if newest.as_ref().is_none_or(|(highest, _)| rev > *highest) {
                newest = Some((rev, token));
            }
        }
        Ok(newest)
    }

    async fn of_session(&self, session: SessionId, with_rev: bool) -> Result<Vec<Document>> {
        let tokens = self.base.collection("tokens");
        let filter = doc! { "session": session.to_string(), "rev": { "$exists": with_rev } };
        self.base.again(|| async { tokens.find(filter.clone()).await?.try_collect().await }).await
    }

    /// Leaves the tokens of logins that have ended to a later purge.
    pub async fn retire(&self, sessions: &[String]) -> Result<()> {
        let filter = match sessions {
            [one] => doc! { "session": one },
            many => doc! { "session": { "$in": many } },
        };
        let (tokens, change) =
            (self.base.collection("tokens"), doc! { "$min": { "expires_at": date(Timestamp::now()) } });
        self.base.again(|| async { tokens.update_many(filter.clone(), change.clone()).await }).await.map(drop)
    }

    /// Of logins that are gone as of those that go on: presenting one would be refused for its age alone.
    pub async fn purge(&self, now: Timestamp, limit: usize) -> Result<usize> {
        if limit == 0 {
            return Ok(0);
        }
        let expired = expired(&self.base, "tokens", Timestamp(now.0.saturating_sub(RETIRED_MILLIS)), limit).await?;
        if expired.is_empty() {
            return Ok(0);
        }
        let ids = expired.iter().map(|token| text(token, "_id")).collect::<Result<Vec<_>>>()?;
        let (tokens, filter) = (self.base.collection("tokens"), doc! { "_id": { "$in": ids } });
        let purged = self.base.again(|| async { tokens.delete_many(filter.clone()).await }).await?;
        Ok(purged.deleted_count as usize)
    }
}

/// The ids of what expired before `now`, the oldest first.
pub(super) async fn expired(base: &Base, collection: &str, now: Timestamp, limit: usize) -> Result<Vec<Document>> {
    let collection = base.collection(collection);
    let filter = doc! { "expires_at": { "$lt": date(now) } };
    let op = || async {
        let oldest = collection.find(filter.clone()).sort(doc! { "expires_at": 1 }).limit(int(limit as u64));
        oldest.projection(doc! { "_id": 1 }).await?.try_collect().await
    };
    base.again(op).await
}
