//! A rate, kept for each of many keys: so many in the long run, and so many at once.
//!
//! At most `limits.rate_keys` are remembered in each table: past that, those not seen for longest are forgotten, which gives
//! them their burst anew. Whoever has all of their burst again is forgotten too, so that somebody who only listens costs
//! nothing here. A rate of 0 is none.
//!
//! What costs more than one is let in where one is, and owed as a whole: the next waits until the debt is paid.

use std::{
    hash::Hash,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use governor::{Quota, RateLimiter, clock::Clock, clock::DefaultClock, nanos::Nanos, state::StateStore};
use parking_lot::Mutex;

use super::RetryAfter;
use crate::{
    bounded::BoundedMap,
    config::{Limits, Rates},
    metrics::Metrics,
};

/// One rate, kept for each of many keys.
pub(super) struct Rate<K: Hash + Eq + Clone> {
    setting: &'static str,
    /// `None`: rates are off, or this one is 0.
    kept: Option<Kept<K>>,
}

struct Kept<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, Keys<K>, DefaultClock>,
    used: Arc<BoundedMap<K, Nanos>>,
    /// After so long without use a key has all of its burst, as if it had never been seen.
    whole_after: Duration,
    /// What one costs, in time.
    each: Duration,
    /// Until then somebody may owe something, and nobody is forgotten.
    owed_until: Mutex<Option<Instant>>,
}

impl<K: Hash + Eq + Clone> Rate<K> {
    /// `count` in each `period`, and `burst` at once.
    pub fn new(
        setting: &'static str,
        count: u32,
        period: Duration,
        burst: u32,
        limits: &Limits,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let on = if limits.rates == Rates::On { NonZeroU32::new(count) } else { None };
        let kept = on.and_then(|count| {
            let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
            let quota = Quota::with_period(period / count.get())?.allow_burst(burst);
            let used = Arc::new(BoundedMap::new(limits.rate_keys));
            let keys = Keys { used: used.clone(), metrics: metrics.clone() };
            let limiter = RateLimiter::new(quota, keys, DefaultClock::default());
            Some(Kept {
                limiter,
                used,
                whole_after: quota.burst_size_replenished_in(),
                each: quota.replenish_interval(),
                owed_until: Mutex::default(),
            })
        });
        Self { setting, kept }
    }

    pub async fn forget_unused(&self) {
        let Some(Kept { used, whole_after, owed_until, .. }) = &self.kept else { return };
        if owed_until.lock().is_some_and(|until| Instant::now() < until) {
            return;
        }
        used.forget_unused(*whole_after).await;
    }

    pub fn check(&self, key: K, metrics: &Metrics) -> Result<(), RetryAfter> {
        let Some(Kept { limiter, .. }) = &self.kept else { return Ok(()) };
        limiter.check_key(&key).map_err(|not_until| {
            metrics.bound_hit(self.setting);
            let wait = not_until.wait_time_from(limiter.clock().now());
            RetryAfter { secs: wait.as_secs_f64().ceil().max(1.0) as u64, setting: self.setting }
        })
    }

    /// Lets in what costs `count` as it would one, which owes the rest.
    pub fn charge(&self, key: K, count: usize, metrics: &Metrics) -> Result<(), RetryAfter> {
        if count == 0 {
            return Ok(());
        }
        self.check(key.clone(), metrics)?;
        self.owe(&key, count - 1);
        Ok(())
    }

    /// Charges what was let in before it was known how much it would be.
    pub fn owe(&self, key: &K, count: usize) {
        let Some(Kept { used, whole_after, each, owed_until, .. }) = &self.kept else { return };
        if count == 0 {
            return;
        }
        let debt = each.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        let mut paid_after = Duration::ZERO;
        if let Some(used) = used.at(key).get() {
            *used = *used + Nanos::from(debt);
            paid_after = debt;
        }
        let until = Instant::now() + *whole_after + paid_after;
        let mut owed_until = owed_until.lock();
        *owed_until = Some(owed_until.map_or(until, |before| before.max(until)));
    }

    /// How many keys are remembered, where the rate is on.
    #[cfg(test)]
    pub fn keys(&self) -> Option<usize> {
        self.kept.as_ref().map(|kept| kept.used.len())
    }
}

/// The limiter's memory of its keys.
struct Keys<K> {
    used: Arc<BoundedMap<K, Nanos>>,
    metrics: Arc<Metrics>,
}

impl<K: Hash + Eq + Clone> StateStore for Keys<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut place = self.used.at(key);
        let (outcome, next) = measure(place.get().copied())?;
        if place.insert(next) {
            self.metrics.bound_hit("limits.rate_keys");
        }
        Ok(outcome)
    }
}
