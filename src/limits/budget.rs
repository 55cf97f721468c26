//! Bytes that many clients share: who would hold more than is left of them is refused.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use prometheus_client::metrics::gauge::Gauge;

use crate::{config::Limits, metrics::Metrics};

/// What the server holds for clients, in bytes.
pub struct Budgets {
    /// On their way in, and not whole yet: heads, bodies, halves of frames.
    pub incoming: Arc<Budget>,
    /// Answers on their way out.
    pub answers: Arc<Budget>,
}

pub struct Budget {
    setting: &'static str,
    most: usize,
    held: AtomicUsize,
    told: Gauge,
    metrics: Arc<Metrics>,
}

/// What one client holds of a budget; given back when it is dropped.
pub struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budgets {
    pub fn new(limits: &Limits, metrics: &Arc<Metrics>) -> Self {
        let budget = |setting, most, told: &Gauge| Budget::new(setting, most, told.clone(), metrics.clone());
        Self {
            incoming: budget("limits.incoming_bytes", limits.incoming_bytes, &metrics.incoming_bytes),
            answers: budget("limits.answer_bytes", limits.answer_bytes, &metrics.answer_bytes),
        }
    }
}

impl Budget {
    /// `told` is what an operator sees of it.
    pub fn new(setting: &'static str, most: usize, told: Gauge, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { setting, most, held: AtomicUsize::new(0), told, metrics })
    }

    /// A share of nothing yet.
    pub fn share(self: &Arc<Self>) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }
}

impl Share {
    /// Holds so many bytes from now on, instead of what it held. `false`: there is no room for more, and nothing has changed.
    pub fn hold(&mut self, bytes: usize) -> bool {
        let Budget { setting, most, held, told, metrics } = &*self.budget;
        let others = |all: usize| all - self.bytes;
        let taken = held.fetch_update(Relaxed, Relaxed, |all| {
            (bytes <= self.bytes || others(all).saturating_add(bytes) <= *most).then(|| others(all) + bytes)
        });
        if taken.is_err() {
            metrics.bound_hit(setting);
            return false;
        }
        told.inc_by(bytes as i64 - self.bytes as i64);
        self.bytes = bytes;
        true
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.hold(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_together_stay_within_the_budget_and_come_back_when_they_are_dropped() {
        let budget = Budget::new("limits.test", 100, Gauge::default(), Arc::default());
        let (mut one, mut other) = (budget.share(), budget.share());
        assert!(one.hold(60) && !other.hold(41) && other.hold(40));
        assert!(!one.hold(61), "it holds what it held");
        assert!(one.hold(10) && other.hold(90));
        drop(one);
        assert!(other.hold(100));
        drop(other);
        assert_eq!(budget.held.load(Relaxed), 0);
    }
}
