//! Counting together what one address repeats.
//!
//! The first of its kind is written at once, with all that is known. What follows from the same network within
//! `audit.gather_secs` is counted, and written as one entry when the time is over. At most `audit.addresses` networks are
//! counted apart at once; all further ones share one entry, without an address.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::What;
use crate::{config, limits::network::Network, metrics::Metrics, store::AuditRecord, types::Timestamp};

/// Failures of one network are one kind, whatever names were tried.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    what: What,
    network: Option<Network>,
    who: Option<String>,
}

struct Counted {
    since: Instant,
    /// The last of those that were not written, with how many there are.
    more: Option<AuditRecord>,
}

pub(super) struct Gathering {
    within: Duration,
    most: usize,
    known: HashMap<Key, Counted>,
}

impl Gathering {
    pub fn new(config: &config::Audit) -> Self {
        Self { within: Duration::from_secs(config.gather_secs), most: config.addresses, known: HashMap::new() }
    }

    /// What is to be written now.
    pub fn take(&mut self, what: What, record: AuditRecord, now: Instant, metrics: &Metrics) -> Option<AuditRecord> {
        let failed = matches!(what, What::SignInFailed | What::SignInRefused | What::PasswordWrong);
        let network = record.address.as_deref().and_then(network);
        let mut key = Key { what, network, who: record.who.clone().filter(|_| !failed) };
        let mut record = record;
        if !self.known.contains_key(&key) && self.known.len() >= self.most {
            metrics.bound_hit("audit.addresses");
            key = Key { what, network: None, who: None };
            (record.address, record.who, record.whom, record.request_id) = (None, None, None, None);
        }
        match self.known.get_mut(&key) {
            None => {
                self.known.insert(key, Counted { since: now, more: None });
                Some(record)
            }
            Some(counted) => {
                let more = match counted.more.take() {
                    None => record,
                    Some(before) => together(before, record),
                };
                counted.more = Some(more);
                None
            }
        }
    }

    /// What was counted for long enough.
    pub fn due(&mut self, now: Instant) -> Vec<AuditRecord> {
        let (within, mut due) = (self.within, Vec::new());
        self.known.retain(|_, counted| {
            if now.saturating_duration_since(counted.since) < within {
                return true;
            }
            counted.since = now;
            match counted.more.take() {
                // It goes on: the next is counted too.
                Some(more) => {
                    due.push(more);
                    true
                }
                None => false,
            }
        });
        due
    }

    pub fn all(&mut self) -> Vec<AuditRecord> {
        self.known.values_mut().filter_map(|counted| counted.more.take()).collect()
    }
}

/// Two that were counted: what they have in common, at the time of the later.
fn together(before: AuditRecord, next: AuditRecord) -> AuditRecord {
    let same = |one: Option<String>, other: &Option<String>| one.filter(|one| Some(one) == other.as_ref());
    AuditRecord {
        id: next.id,
        at: Timestamp(next.at.0.max(before.at.0)),
        who: same(before.who, &next.who),
        address: next.address,
        what: next.what,
        whom: same(before.whom, &next.whom),
        detail: same(before.detail, &next.detail),
        request_id: next.request_id,
        count: before.count + next.count,
    }
}

fn network(address: &str) -> Option<Network> {
    address.parse().ok().map(Network::of)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn gathering() -> Gathering {
        Gathering::new(&config::Audit { gather_secs: 10, addresses: 3, ..config::Audit::default() })
    }

    fn failed(address: &str, who: &str) -> AuditRecord {
        AuditRecord {
            id: Uuid::now_v7(),
            at: Timestamp::now(),
            who: Some(who.into()),
            address: Some(address.into()),
            what: "sign_in_failed".into(),
            whom: None,
            detail: None,
            request_id: Some("r".into()),
            count: 1,
        }
    }

    #[test]
    fn the_first_is_written_at_once_and_what_follows_is_one_entry() {
        let (mut gathering, start) = (gathering(), Instant::now());
        let mut take = |record| gathering.take(What::SignInFailed, record, start, &Metrics::default());
        let first = take(failed("192.0.2.1", "ann")).expect("it is the first");
        assert_eq!((first.who.as_deref(), first.count), (Some("ann"), 1));
        for n in 0..1_000 {
            assert_eq!(take(failed("192.0.2.1", &format!("name-{n}"))), None);
        }
        assert!(take(failed("2001:db8::1", "ann")).is_some());
        assert_eq!(take(failed("2001:db8::ffff:2", "ann")), None, "one network");
        let seconds = |n| start + Duration::from_secs(n);
        assert_eq!(gathering.due(seconds(9)), []);
        let due = gathering.due(seconds(10));
        let counts: Vec<_> = due.iter().map(|entry| (entry.who.as_deref(), entry.count)).collect();
        assert_eq!(due.len(), 2);
        assert!(counts.contains(&(None, 1_000)) && counts.contains(&(Some("ann"), 1)), "{counts:?}");
        assert_eq!(gathering.due(seconds(20)), []);
        assert_eq!(gathering.known.len(), 0, "who has stopped is forgotten");
    }

    #[test]
    fn past_the_bound_all_others_share_one_entry_without_an_address() {
        let (mut gathering, start) = (gathering(), Instant::now());
        let metrics = Metrics::default();
        let written: Vec<_> = (0..100_u8)
            .filter_map(|n| gathering.take(What::SignInFailed, failed(&format!("192.0.2.{n}"), "ann"), start, &metrics))
            .collect();
        assert_eq!(written.len(), 4, "three of their own, and the first of all the others");
        assert_eq!((&written[3].address, &written[3].who), (&None, &None));
        let due = gathering.due(start + Duration::from_secs(10));
        assert_eq!((due.len(), due[0].count, &due[0].address), (1, 96, &None));
        assert!(metrics.render().contains(r#"natter_bound_hits_total{setting="audit.addresses"} 97"#));
    }
}
