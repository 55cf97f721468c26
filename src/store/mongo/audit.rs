//! The audit: one document an entry, in the order of their ids, which is that of time.

use mongodb::{
    bson::{Bson, Document, doc},
    options::FindOptions,
};
use uuid::Uuid;

use super::{
    base::Base,
    codec::{batch, count, damaged, date, int, optional_text, text, time},
    commands::{find_all, insert_unless_there},
};
use crate::{
    store::{AuditQuery, AuditRecord, Result},
    types::Timestamp,
};

fn document(entry: &AuditRecord) -> Document {
    doc! {
        "_id": entry.id.to_string(),
        "at": date(entry.at),
        "who": entry.who.as_deref(),
        "address": entry.address.as_deref(),
        "what": &entry.what,
        "whom": entry.whom.as_deref(),
        "detail": entry.detail.as_deref(),
        "request_id": entry.request_id.as_deref(),
        "count": int(entry.count),
    }
}

fn record(entry: &Document) -> Result<AuditRecord> {
    let said = |key: &str| Ok(optional_text(entry, key)?.map(str::to_owned));
    let id = text(entry, "_id")?.parse::<Uuid>();
    Ok(AuditRecord {
        id: id.map_err(|_| damaged(entry, "_id", "the id of an entry"))?,
        at: time(entry, "at")?,
        who: said("who")?,
        address: said("address")?,
        what: text(entry, "what")?.to_owned(),
        whom: said("whom")?,
        detail: said("detail")?,
        request_id: said("request_id")?,
        count: count(entry, "count")?,
    })
}

pub(super) async fn append(base: &Base, entries: &[AuditRecord]) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let documents: Vec<Document> = entries.iter().map(document).collect();
    insert_unless_there(base, "audit", &documents).await.map(drop)
}

pub(super) async fn list(base: &Base, query: &AuditQuery) -> Result<Vec<AuditRecord>> {
    if query.limit == 0 {
        return Ok(Vec::new());
    }
    let mut filter = doc! {};
    if let Some(after) = query.after {
        filter.insert("_id", doc! { "$lt": after.to_string() });
    }
    if let Some(who) = &query.who {
        filter.insert("$or", vec![doc! { "who": who }, doc! { "whom": who }]);
    }
    if let Some(what) = &query.what {
        filter.insert("what", what);
    }
    let options = FindOptions::builder()
        .sort(doc! { "_id": -1 })
        .limit(int(query.limit as u64))
        .batch_size(batch(query.limit))
        .build();
    find_all(base, "audit", filter, options).await?.iter().map(record).collect()
}

pub(super) async fn purge(base: &Base, before: Timestamp, keep: usize, limit: usize) -> Result<usize> {
    let audit = base.collection("audit");
    let all = base.again(|| async { audit.count_documents(doc! {}).await }).await?;
    let beyond = usize::try_from(all).unwrap_or(usize::MAX).saturating_sub(keep).min(limit);
    let too_many = forget(base, doc! {}, beyond).await?;
    let too_old = forget(base, doc! { "at": { "$lt": date(before) } }, limit.saturating_sub(too_many)).await?;
    Ok(too_many + too_old)
}

/// The oldest of these.
async fn forget(base: &Base, filter: Document, limit: usize) -> Result<usize> {
    if limit == 0 {
        return Ok(0);
    }
    let options = FindOptions::builder()
        .sort(doc! { "_id": 1 })
        .limit(int(limit as u64))
        .batch_size(batch(limit))
        .projection(doc! { "_id": true })
        .build();
    let oldest = find_all(base, "audit", filter, options).await?;
    let ids: Vec<Bson> = oldest.into_iter().filter_map(|mut entry| entry.remove("_id")).collect();
    if ids.is_empty() {
        return Ok(0);
    }
    let (audit, these) = (base.collection("audit"), doc! { "_id": { "$in": ids } });
    let gone = base.again(|| async { audit.delete_many(these.clone()).await }).await?;
    Ok(gone.deleted_count as usize)
}
