//! The mark of an import that has begun and not ended, and the list of all rooms that moving data needs.

use futures_util::TryStreamExt;
use mongodb::bson::doc;

use super::{
    base::Base,
    codec::{batch, int, room_id, text},
};
use crate::{
    store::{Begun, Result},
    types::RoomId,
};

pub(super) async fn unfinished(base: &Base) -> Result<Option<String>> {
    let mark = base.find("meta", "import").await?;
    mark.map(|mark| text(&mark, "name").map(str::to_owned)).transpose()
}

/// The mark comes first and the look for data second, so that of two that begin at once both cannot find it empty.
pub(super) async fn begin(base: &Base, import: &str) -> Result<Begun> {
    if let Some(begun) = marked(base, import).await? {
        return Ok(begun);
    }
    if is_used(base).await? {
        return Ok(Begun::InUse);
    }
    if !base.insert("meta", &doc! { "_id": "import", "name": import }).await? {
        // Another began just now, or it was us and the answer got lost: either way its name tells.
        base.kept("meta", &doc! { "_id": "import" }).await?;
        match marked(base, import).await? {
            Some(Begun::Again) => {}
            other => return Ok(other.unwrap_or(Begun::InUse)),
        }
    }
    if is_used(base).await? {
        let meta = base.collection("meta");
        base.again(|| async { meta.delete_one(doc! { "_id": "import", "name": import }).await }).await?;
        return Ok(Begun::InUse);
    }
    Ok(Begun::Anew)
}

async fn marked(base: &Base, import: &str) -> Result<Option<Begun>> {
    let begun = |name: String| if name == import { Begun::Again } else { Begun::Other(name) };
    Ok(unfinished(base).await?.map(begun))
}

/// By its name, so that a command which comes late takes no other import's mark away.
pub(super) async fn end(base: &Base) -> Result<()> {
    let Some(name) = unfinished(base).await? else { return Ok(()) };
    let meta = base.collection("meta");
    base.again(|| async { meta.delete_one(doc! { "_id": "import", "name": &name }).await }).await.map(drop)
}

async fn is_used(base: &Base) -> Result<bool> {
    for name in ["users", "rooms"] {
        let collection = base.collection(name);
        if base.again(|| async { collection.find_one(doc! {}).projection(doc! { "_id": 1 }).await }).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The ids of all rooms, ascending: the first `limit` after `after`.
pub(super) async fn room_ids(base: &Base, after: Option<RoomId>, limit: usize) -> Result<Vec<RoomId>> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let rooms = base.collection("rooms");
    let filter = after.map_or(doc! {}, |after| doc! { "_id": { "$gt": after.to_string() } });
    let (most, batch) = (int(limit as u64), batch(limit));
    let op = || async {
        let page = rooms.find(filter.clone()).sort(doc! { "_id": 1 }).projection(doc! { "_id": 1 });
        page.limit(most).batch_size(batch).await?.try_collect::<Vec<_>>().await
    };
    base.again(op).await?.iter().map(|room| room_id(room, "_id")).collect()
}
