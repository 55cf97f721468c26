//! What counts for a fixed time, such as failed sign-ins: how many may follow each other before a key has to wait.
//!
//! Unlike a rate, a charge can be given back, and every failure counts for exactly `limits.failed_login_secs`.

use std::{
    collections::VecDeque,
    hash::Hash,
    time::{Duration, Instant},
};

use super::RetryAfter;
use crate::{bounded::BoundedMap, config::Limits, metrics::Metrics};

/// The failures of many keys. At most `limits.rate_keys` keys, each with at most `most` times; a `most` of 0 is no limit.
pub struct Failures<K> {
    setting: &'static str,
    most: usize,
    counts_for: Duration,
    /// Oldest first.
    times: BoundedMap<K, VecDeque<Instant>>,
}

impl<K: Hash + Eq + Clone> Failures<K> {
    pub fn new(setting: &'static str, most: u32, counts_for: Duration, limits: &Limits) -> Self {
        Self { setting, most: most as usize, counts_for, times: BoundedMap::new(limits.rate_keys) }
    }

    /// Forgets keys none of whose failures count any more.
    pub async fn forget_unused(&self) {
        self.times.forget_unused(self.counts_for).await;
    }

    /// Gives how many count now, this one included; 0 where there is no limit.
    pub fn charge(&self, key: &K, metrics: &Metrics) -> Result<usize, RetryAfter> {
        self.charge_at(key, Instant::now(), metrics)
    }

    fn charge_at(&self, key: &K, now: Instant, metrics: &Metrics) -> Result<usize, RetryAfter> {
        if self.most == 0 {
            return Ok(0);
        }
        let mut place = self.times.at(key);
        if place.get().is_none() && place.insert(VecDeque::new()) {
            metrics.bound_hit("limits.rate_keys");
        }
        let times = place.get().expect("it was there, or was put there under the same lock");
        while times.front().is_some_and(|first| now.duration_since(*first) >= self.counts_for) {
            times.pop_front();
        }
        if times.len() < self.most {
            times.push_back(now);
            return Ok(times.len());
        }
        metrics.bound_hit(self.setting);
        let wait = times.front().map_or(Duration::ZERO, |first| self.counts_for - now.duration_since(*first));
        Err(RetryAfter { secs: wait.as_secs_f64().ceil().max(1.0) as u64, setting: self.setting })
    }

    /// Takes one charge back: the latest, as one failure is like another.
    pub fn give_back(&self, key: &K) {
        if let Some(times) = self.times.at(key).get() {
            times.pop_back();
        }
    }

    pub fn forget(&self, key: &K) {
        self.times.at(key).remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_counts_for_its_time_and_no_longer() {
        let failures = Failures::new("limits.test", 2, Duration::from_secs(300), &Limits::default());
        let (metrics, start) = (Metrics::default(), Instant::now());
        let charge = |secs| failures.charge_at(&"ann", start + Duration::from_secs(secs), &metrics);
        assert_eq!(charge(0), Ok(1));
        assert_eq!(charge(100), Ok(2));
        assert_eq!(charge(101), Err(RetryAfter { secs: 199, setting: "limits.test" }));
        assert_eq!(charge(300), Ok(2), "the first is over");
        assert_eq!(charge(399), Err(RetryAfter { secs: 1, setting: "limits.test" }));
        assert_eq!(charge(400), Ok(2));
    }
}
