//! The audit: what is written into it comes back, latest first, and the oldest goes.

use std::sync::Arc;

use natter::store::{AuditQuery, AuditRecord, Store};
use uuid::{Builder, Uuid};

use super::fixture::{START, at};

/// The entry of millisecond `n`.
fn entry(n: i64, who: Option<&str>, what: &str) -> AuditRecord {
    let text = |text: &str| Some(text.to_owned());
    AuditRecord {
        id: Builder::from_unix_timestamp_millis((START + n) as u64, &[0; 10]).into_uuid(),
        at: at(n),
        who: who.map(str::to_owned),
        address: text("192.0.2.7"),
        what: what.into(),
        whom: (n == 3).then(|| "ann".into()),
        detail: (n == 3).then(|| "admin".into()),
        request_id: text("a request"),
        count: n as u64 + 1,
    }
}

async fn listed(store: &Arc<dyn Store>, query: AuditQuery) -> Vec<i64> {
    store.audit(query).await.unwrap().iter().map(|entry| entry.at.0 - START).collect()
}

pub async fn the_audit_is_listed_latest_first_and_by_who_and_what(store: Arc<dyn Store>) {
    let all = AuditQuery { limit: 99, ..AuditQuery::default() };
    assert_eq!(listed(&store, all.clone()).await, [] as [i64; 0]);
    let names = [Some("ann"), Some("bob"), None, Some("root"), Some("ann")];
    let entries: Vec<_> =
        (0..).zip(names).map(|(n, who)| entry(n, who, if n < 2 { "sign_in" } else { "other" })).collect();
    store.append_audit(entries[2..].to_vec()).await.unwrap();
    // Again with what was there already: a write whose answer was lost.
    store.append_audit(entries.clone()).await.unwrap();
    store.append_audit(Vec::new()).await.unwrap();
    let mut latest_first = entries.clone();
    latest_first.reverse();
    assert_eq!(store.audit(all.clone()).await.unwrap(), latest_first);
    let mut after: Option<Uuid> = None;
    let mut paged = Vec::new();
    loop {
        let page = store.audit(AuditQuery { after, limit: 2, ..all.clone() }).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        paged.extend(page);
    }
    assert_eq!(paged, latest_first);
    let who = |who: &str| AuditQuery { who: Some(who.into()), ..all.clone() };
    assert_eq!(listed(&store, who("ann")).await, [4, 3, 0], "what ann did, and what was done to her");
    assert_eq!(listed(&store, who("%")).await, [] as [i64; 0]);
    let what = AuditQuery { what: Some("sign_in".into()), ..all.clone() };
    assert_eq!(listed(&store, what.clone()).await, [1, 0]);
    assert_eq!(listed(&store, AuditQuery { who: Some("bob".into()), ..what }).await, [1]);
    assert_eq!(listed(&store, AuditQuery { limit: 0, ..all }).await, [] as [i64; 0]);
}

pub async fn the_oldest_entries_of_the_audit_go_by_age_and_by_number(store: Arc<dyn Store>) {
    let all = AuditQuery { limit: 99, ..AuditQuery::default() };
    store.append_audit((0..10).map(|n| entry(n, None, "x")).collect()).await.unwrap();
    assert_eq!(store.purge_audit(at(0), 10, 99).await.unwrap(), 0);
    assert_eq!(store.purge_audit(at(3), 99, 2).await.unwrap(), 2, "no more than asked for at once");
    assert_eq!(store.purge_audit(at(3), 99, 2).await.unwrap(), 1);
    assert_eq!(listed(&store, all.clone()).await, [9, 8, 7, 6, 5, 4, 3]);
    assert_eq!(store.purge_audit(at(0), 4, 99).await.unwrap(), 3);
    assert_eq!(listed(&store, all.clone()).await, [9, 8, 7, 6]);
    assert_eq!(store.purge_audit(at(8), 3, 99).await.unwrap(), 2, "one beyond the number, one of age");
    assert_eq!(listed(&store, all).await, [9, 8]);
}
