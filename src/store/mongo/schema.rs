//! The collections and their indexes, as a list of numbered steps that only ever grows at its end.
//!
//! A database says which steps it has seen in the document `schema` of `meta`, the first thing that natter writes into
//! one. Several nodes may start at once: every step can be taken twice, also at the same time.

use std::{future::IntoFuture, time::Duration};

use futures_util::TryStreamExt;
use mongodb::{
    IndexModel,
    bson::{Bson, Document, doc},
    error::ErrorKind,
    options::IndexOptions,
};
use uuid::Uuid;

use super::{
    attention,
    base::{Base, is_duplicate, sentence, store_error},
    codec::{count, text},
    users,
};
use crate::store::{Result as StoreResult, StoreError};

/// The version this binary writes.
pub const VERSION: usize = MIGRATIONS.len();

/// From this version on it is noted who has written.
const WITH_WRITERS: usize = 2;

/// Errors of making an index where there is another one of its name, or of its fields.
const DIFFERENT: [i32; 2] = [85, 86];

struct Index {
    collection: &'static str,
    fields: &'static [&'static str],
    kind: IndexKind,
}

#[derive(PartialEq, Eq)]
enum IndexKind {
    Plain,
    Unique,
    /// Documents without the field do not count.
    UniqueWherePresent,
}

const fn index(collection: &'static str, fields: &'static [&'static str], kind: IndexKind) -> Index {
    Index { collection, fields, kind }
}

use IndexKind::{Plain, Unique, UniqueWherePresent};

/// Step `n` leads from version `n` to `n + 1`: it makes these indexes. A released step is never edited: add one after it.
const MIGRATIONS: &[&[Index]] = &[
    // 1: users, logins, rooms, members, the logs.
    &[
        index("users", &["folded"], Unique),
        // Who could be the last admin.
        index("users", &["roles", "disabled"], Plain),
        index("users", &["changed_at"], Plain),
        index("sessions", &["user", "created_at"], Plain),
        index("sessions", &["expires_at"], Plain),
        // One token followed a token, in version 1.
        index("tokens", &["prev"], UniqueWherePresent),
        index("tokens", &["session"], Plain),
        index("tokens", &["expires_at"], Plain),
        index("rooms", &["pair"], UniqueWherePresent),
        index("heads", &["touched"], Plain),
        index("members", &["room", "gone", "joined_seq", "user"], Plain),
        index("members", &["user", "gone", "room"], Plain),
        index("members", &["touched"], Plain),
        // One message for each (room, sender, client_id).
        index("events", &["once"], UniqueWherePresent),
    ],
    // 2: who blocks whom, and what people hide; who has written is noted in `marks`.
    &[
        index("blocks", &["user", "blocked"], Plain),
        index("blocks", &["blocked"], Plain),
        index("hidden", &["user"], Plain),
    ],
    // 3: tokens with a `rev`, which versions before would not take for tokens (`tokens.rs`).
    &[],
    // 4: what a username looks like; none where another had a name that looks the same before. The step goes on with
    // `fill_skeletons`.
    &[SKELETONS],
    // 5: who is to be asked before they are in a room.
    &[index("consent", &["user", "state", "at"], Plain), index("consent", &["room", "state"], Plain)],
    // 6: the audit.
    &[index("audit", &["at"], Plain)],
    // 7: accounts that are being deleted or were.
    &[index("users", &["deletion"], Plain)],
    // 8: messages by their ids, and how those stand that were changed.
    &[index("events", &["event_id"], Plain), index("forms", &["room", "deleted"], Plain)],
    // 9: the index of searches, which is filled in the background.
    &[index("words", &["words", "place", "room"], Plain)],
];

const SKELETONS: Index = index("users", &["skeleton"], UniqueWherePresent);

/// What kind of database it turned out to be.
pub(super) enum Kind {
    Empty,
    /// Ours, at this version.
    Natter(usize),
    /// Ours, of a version that this binary does not know.
    Newer(usize),
    /// Somebody else's, with these collections.
    Foreign(Vec<String>),
}

pub(super) async fn kind(base: &Base) -> StoreResult<Kind> {
    // In this order: a node that starts at the same time makes collections only once its `schema` is there.
    let mut collections = base.again(|| async { base.db.list_collection_names().await }).await?;
    collections.retain(|name| !name.starts_with("system."));
    collections.sort_unstable();
    let meta = base.collection("meta");
    let anything = base.again(|| async { meta.find_one(doc! {}).await }).await?;
    let Some(schema) = base.find("meta", "schema").await? else {
        let empty = anything.is_none() && collections.iter().all(|name| name == "meta");
        return Ok(if empty { Kind::Empty } else { Kind::Foreign(collections) });
    };
    let (Ok(version), Ok(_)) = (count(&schema, "version"), text(&schema, "cluster")) else {
        return Ok(Kind::Foreign(collections));
    };
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    Ok(if version > VERSION { Kind::Newer(version) } else { Kind::Natter(version) })
}

/// Brings an empty database or one of ours to [`VERSION`], sees that every index is as it should be, and gives the name
/// of the data. The error is a sentence for the operator.
pub(super) async fn bring_up(base: &Base, from: usize) -> Result<String, String> {
    let failed = |error| format!("The database {:?} cannot be brought up to date: {error}.", base.db.name());
    let first = doc! { "_id": "schema", "version": 0_i64, "cluster": Uuid::now_v7().to_string() };
    if from == 0 {
        base.insert("meta", &first).await.map_err(failed)?;
    }
    let schema = base.kept("meta", &doc! { "_id": "schema" }).await.map_err(failed)?.ok_or_else(|| {
        format!("The database {:?} was emptied while natter started. Start natter again.", base.db.name())
    })?;
    let cluster = text(&schema, "cluster").map_err(failed)?.to_owned();
    for (done, step) in MIGRATIONS.iter().enumerate() {
        // Also those of steps long taken, because somebody may have dropped one.
        for index in *step {
            make(base, index).await?;
        }
        if done >= from {
            if done + 1 == WITH_WRITERS && from > 0 {
                attention::note_who_wrote(base).await.map_err(failed)?;
            }
            if step.iter().any(|index| index.fields == SKELETONS.fields) {
                users::fill_skeletons(base).await.map_err(failed)?;
            }
            tracing::info!(database = base.db.name(), version = done + 1, "the database is brought up to date");
            raise(base, done + 1).await.map_err(failed)?;
        }
    }
    check(base).await?;
    Ok(cluster)
}

async fn raise(base: &Base, version: usize) -> StoreResult<()> {
    let meta = base.collection("meta");
    let change = doc! { "$max": { "version": version as i64 } };
    base.again(|| async { meta.update_one(doc! { "_id": "schema" }, change.clone()).await }).await.map(drop)
}

impl Index {
    fn keys(&self) -> Document {
        self.fields.iter().map(|field| (field.to_string(), Bson::Int32(1))).collect()
    }

    fn name(&self) -> String {
        self.fields.join("_")
    }

    fn model(&self) -> IndexModel {
        let mut options = IndexOptions::builder().name(self.name()).build();
        options.unique = (self.kind != Plain).then_some(true);
        options.sparse = (self.kind == UniqueWherePresent).then_some(true);
        IndexModel::builder().keys(self.keys()).options(options).build()
    }

    /// Whether an index of the database is this one. A server need not say `sparse`: where it does, it refuses to make an
    /// index that differs only there.
    fn is(&self, found: &IndexModel) -> bool {
        let unique = found.options.as_ref().and_then(|options| options.unique).unwrap_or(false);
        let keys = |keys: &Document| -> Vec<(String, i64)> {
            let direction =
                |value: &Bson| value.as_i64().or(value.as_i32().map(i64::from)).or(value.as_f64().map(|f| f as i64));
            keys.iter().map(|(field, value)| (field.clone(), direction(value).unwrap_or(0))).collect()
        };
        keys(&found.keys) == keys(&self.keys()) && unique == (self.kind != Plain)
    }
}

fn in_one_collection(one: &Index, other: &Index) -> bool {
    one.collection == other.collection
}

/// Building one over a large log takes long, and is waited for; a connection lost meanwhile is no reason to give up.
/// One by one: not every server takes several of which some are there already.
async fn make(base: &Base, index: &Index) -> Result<(), String> {
    const TRIES: usize = 5;
    const PAUSE: Duration = Duration::from_millis(500);
    let (name, collection) = (index.collection, base.collection(index.collection));
    let mut tries = 1;
    loop {
        let error = match collection.create_index(index.model()).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let why = sentence(&error);
        match &*error.kind {
            ErrorKind::Command(refused) if DIFFERENT.contains(&refused.code) => return Err(differs(name, &why)),
            _ if tries == TRIES => return Err(format!("An index of {name:?} cannot be made: {why}.")),
            _ => tries += 1,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Every index is there, and is unique where it must be: the order of writes relies on it.
async fn check(base: &Base) -> Result<(), String> {
    for indexes in MIGRATIONS.iter().flat_map(|step| step.chunk_by(in_one_collection)) {
        let name = indexes[0].collection;
        let collection = base.collection(name);
        let found: Vec<IndexModel> = base
            .again(|| async { collection.list_indexes().await?.try_collect().await })
            .await
            .map_err(|error| format!("The indexes of {name:?} cannot be read: {error}."))?;
        for index in indexes {
            let called = index.name();
            let named = |found: &&IndexModel| {
                found.options.as_ref().is_some_and(|options| options.name.as_ref() == Some(&called))
            };
            match found.iter().find(named) {
                Some(found) if index.is(found) => {}
                Some(_) => return Err(differs(name, &format!("{called:?} has other fields or another uniqueness"))),
                None => return Err(differs(name, &format!("{called:?} is not there"))),
            }
        }
    }
    Ok(())
}

fn differs(collection: &str, why: &str) -> String {
    format!(
        "The indexes of the collection {collection:?} are not as natter needs them: {why}. Drop the index that is wrong and \
         start natter again, which makes it anew."
    )
}

/// The same for every node, and kept with the data: the first one's wins.
pub(super) async fn signing_key(base: &Base, fresh: &str) -> StoreResult<String> {
    if let Some(found) = base.find("meta", "signing_key").await? {
        return text(&found, "key").map(str::to_owned);
    }
    base.insert("meta", &doc! { "_id": "signing_key", "key": fresh }).await?;
    match base.kept("meta", &doc! { "_id": "signing_key" }).await? {
        Some(found) => text(&found, "key").map(str::to_owned),
        None => Err(StoreError::Unavailable("a write was taken back".into())),
    }
}

/// Writes something, as durable as everything else.
pub(super) async fn probe(base: &Base) -> StoreResult<()> {
    let meta = base.collection("meta");
    let touch = meta.update_one(doc! { "_id": "probe" }, doc! { "$currentDate": { "at": true } }).upsert(true);
    match base.once(touch.into_future()).await {
        // Another node writes the first one at the same time.
        Err(error) if !is_duplicate(&error) => Err(store_error(&error)),
        _ => Ok(()),
    }
}
