//! Who was in a room, and as what, at each place of its log: the log's own account of it.

use std::collections::BTreeMap;

use super::index::Event;

/// Of each user, the seqs at which their role changed, and to what; `None`: outside.
#[derive(Default)]
pub struct Members(BTreeMap<String, Vec<(u64, Option<String>)>>);

impl Members {
    pub fn of(events: &[Event]) -> Self {
        let mut members = Self::default();
        for event in events.iter().filter(|event| event.kind == "member") {
            // Who is asked is outside still.
            if ["invited", "declined"].contains(&event.change.as_str()) {
                continue;
            }
            let role = match event.change.as_str() {
                "added" | "role" => event.role.clone(),
                _ => None,
            };
            members.0.entry(event.username.clone()).or_default().push((event.seq, role));
        }
        members
    }

    /// After the event at `seq`.
    pub fn role_at(&self, user: &str, seq: u64) -> Option<&str> {
        let changes = self.0.get(user)?;
        let last = changes.iter().take_while(|(at, _)| *at <= seq).last()?;
        last.1.as_deref()
    }

    pub fn is_in(&self, user: &str, seq: u64) -> bool {
        self.role_at(user, seq).is_some()
    }

    pub fn may_post(&self, user: &str, seq: u64) -> bool {
        self.role_at(user, seq).is_some_and(|role| role != "reader")
    }

    pub fn may_moderate(&self, user: &str, seq: u64) -> bool {
        self.role_at(user, seq).is_some_and(|role| ["owner", "moderator"].contains(&role))
    }

    /// Everybody who is in after the event at `seq`.
    pub fn at(&self, seq: u64) -> impl Iterator<Item = (&str, &str)> {
        self.0.keys().filter_map(move |user| Some((user.as_str(), self.role_at(user, seq)?)))
    }

    /// The event that ended the last stay of somebody who is outside at `seq`; `None` where they were never in.
    pub fn left_at(&self, user: &str, seq: u64) -> Option<u64> {
        let changes = self.0.get(user)?;
        changes.iter().take_while(|(at, _)| *at <= seq).filter(|(_, role)| role.is_none()).last().map(|(at, _)| *at)
    }

    /// The next event after `seq` that takes the user in.
    pub fn joined_after(&self, user: &str, seq: u64) -> Option<u64> {
        self.0.get(user)?.iter().find(|(at, role)| *at > seq && role.is_some()).map(|(at, _)| *at)
    }

    /// The event that began the stay the user is in at `seq`.
    pub fn joined_at(&self, user: &str, seq: u64) -> Option<u64> {
        let changes: Vec<_> = self.0.get(user)?.iter().take_while(|(at, _)| *at <= seq).collect();
        let stay = changes.iter().rev().take_while(|(_, role)| role.is_some());
        stay.last().map(|(at, _)| *at)
    }
}
