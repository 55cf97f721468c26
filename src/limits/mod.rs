//! What anybody may cost: the rates of requests, posts and sign-ins, and how much of each a client has used.
//!
//! - `network.rs` says which addresses are one client.
//! - `rate.rs` is a rate of many keys; `failures.rs` counts what can be given back.
//!
//! This room knows neither HTTP nor sockets: who refuses says it in their own words. `limits.rates = off` turns every rate
//! off. Rates are kept per user, or per address where nobody is signed in.

pub mod failures;
pub mod network;
mod rate;

use std::{net::IpAddr, sync::Arc, time::Duration};

use self::{failures::Failures, network::Network, rate::Rate};
use crate::{
    config::{Config, Rates},
    metrics::Metrics,
    types::UserId,
};

/// How long to wait, and which setting says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter {
    pub secs: u64,
    pub setting: &'static str,
}

/// Who a request is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who {
    User(UserId),
    Address(Network),
}

/// Every rate of the server, and how much of it each client has used.
pub struct Limiters {
    requests: Rate<Who>,
    signups: Rate<Network>,
    posts: Rate<UserId>,
    sign_ins: Option<(Failures<String>, Failures<Network>)>,
    metrics: Arc<Metrics>,
}

impl Limiters {
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        let limits = &config.limits;
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let (count, burst) = (limits.requests_per_sec, limits.requests_burst);
        let requests = Rate::new("limits.requests_per_sec", count, second, burst, limits, &metrics);
        let (count, burst) = (limits.signups_per_minute, limits.signups_burst);
        let signups = Rate::new("limits.signups_per_minute", count, minute, burst, limits, &metrics);
        let (count, burst) = (limits.posts_per_sec, limits.posts_burst);
        let posts = Rate::new("limits.posts_per_sec", count, second, burst, limits, &metrics);
        let counts_for = Duration::from_secs(limits.failed_login_secs);
        let sign_ins = (limits.rates == Rates::On).then(|| {
            let account =
                Failures::new("limits.failed_logins_per_account", limits.failed_logins_per_account, counts_for, limits);
            let address =
                Failures::new("limits.failed_logins_per_address", limits.failed_logins_per_address, counts_for, limits);
            (account, address)
        });
        Self { requests, signups, posts, sign_ins, metrics }
    }

    /// Forgets those who have used nothing lately; to be called from time to time.
    pub async fn forget_unused(&self) {
        self.requests.forget_unused().await;
        self.signups.forget_unused().await;
        self.posts.forget_unused().await;
        if let Some((accounts, addresses)) = &self.sign_ins {
            accounts.forget_unused().await;
            addresses.forget_unused().await;
        }
    }

    pub fn request(&self, who: Who) -> Result<(), RetryAfter> {
        self.requests.check(who, &self.metrics)
    }

    pub fn sign_up(&self, address: IpAddr) -> Result<(), RetryAfter> {
        self.signups.check(Network::of(address), &self.metrics)
    }

    /// Posts over REST and sockets together.
    pub fn post(&self, user: UserId) -> Result<(), RetryAfter> {
        self.posts.check(user, &self.metrics)
    }

    /// Charges a failed sign-in to the account (by its folded name, where the text can be one) and the address before the
    /// password is looked at, so that guesses made at once count too. Give the charge back by what came of it.
    pub fn sign_in(&self, account: Option<String>, address: IpAddr) -> Result<Attempt, RetryAfter> {
        let attempt = Attempt { account, network: Network::of(address) };
        let Some((accounts, addresses)) = &self.sign_ins else { return Ok(attempt) };
        addresses.charge(&attempt.network, &self.metrics)?;
        if let Some(account) = &attempt.account
            && let Err(wait) = accounts.charge(account, &self.metrics)
        {
            addresses.give_back(&attempt.network);
            return Err(wait);
        }
        Ok(attempt)
    }

    /// The password was right: the account's earlier failures are forgotten, the address only gets this one back.
    pub fn signed_in(&self, attempt: &Attempt) {
        let Some((accounts, addresses)) = &self.sign_ins else { return };
        addresses.give_back(&attempt.network);
        if let Some(account) = &attempt.account {
            accounts.forget(account);
        }
    }

    /// The password was never looked at.
    pub fn not_judged(&self, attempt: &Attempt) {
        let Some((accounts, addresses)) = &self.sign_ins else { return };
        addresses.give_back(&attempt.network);
        if let Some(account) = &attempt.account {
            accounts.give_back(account);
        }
    }
}

/// A sign-in under way, charged as a failure until it is told otherwise.
pub struct Attempt {
    account: Option<String>,
    network: Network,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn limiters(change: impl FnOnce(&mut Limits)) -> Limiters {
        let mut config = Config::default();
        change(&mut config.limits);
        Limiters::new(&config, Arc::default())
    }

    #[test]
    fn a_burst_passes_and_the_next_waits() {
        let limiters = limiters(|limits| (limits.signups_per_minute, limits.signups_burst) = (2, 3));
        for _ in 0..3 {
            assert_eq!(limiters.sign_up(ip("192.0.2.1")), Ok(()));
        }
        let wait = limiters.sign_up(ip("192.0.2.1")).unwrap_err();
        assert_eq!(wait.setting, "limits.signups_per_minute");
        assert!((1..=30).contains(&wait.secs), "{wait:?}");
        assert_eq!(limiters.sign_up(ip("192.0.2.2")), Ok(()), "another address has its own");
    }

    #[tokio::test]
    async fn who_has_all_of_their_burst_again_is_forgotten_and_nobody_else() {
        let limiters = limiters(|limits| {
            (limits.requests_per_sec, limits.requests_burst) = (1_000_000, 1);
            (limits.posts_per_sec, limits.posts_burst) = (1, 100);
        });
        let used = |limiters: &Limiters| limiters.requests.keys().zip(limiters.posts.keys());
        let user = UserId::fresh();
        assert_eq!((limiters.request(Who::User(user)), limiters.post(user)), (Ok(()), Ok(())));
        assert_eq!(used(&limiters), Some((1, 1)));
        while used(&limiters) != Some((0, 1)) {
            limiters.forget_unused().await;
        }
    }

    #[test]
    fn rates_can_be_off() {
        let limiters = limiters(|limits| {
            limits.rates = Rates::Off;
            (limits.posts_per_sec, limits.posts_burst, limits.failed_logins_per_account) = (1, 1, 1);
        });
        let user = UserId::fresh();
        for _ in 0..100 {
            assert!(limiters.post(user).is_ok());
            assert!(limiters.sign_in(Some("ann".into()), ip("192.0.2.1")).is_ok());
        }
    }

    #[test]
    fn failed_sign_ins_run_out_per_account_and_per_address() {
        let limiters = limiters(|limits| (limits.failed_logins_per_account, limits.failed_logins_per_address) = (2, 3));
        let attempt = |name: &str, address: &str| limiters.sign_in(Some(name.into()), ip(address));
        assert!(attempt("ann", "192.0.2.1").is_ok());
        assert!(attempt("ann", "192.0.2.2").is_ok());
        assert_eq!(attempt("ann", "192.0.2.3").err().unwrap().setting, "limits.failed_logins_per_account");
        assert!(attempt("bob", "192.0.2.1").is_ok());
        assert!(attempt("cat", "192.0.2.1").is_ok());
        assert_eq!(attempt("dan", "192.0.2.1").err().unwrap().setting, "limits.failed_logins_per_address");
    }

    #[test]
    fn a_sign_in_that_worked_or_was_not_judged_costs_nothing() {
        let limiters = limiters(|limits| (limits.failed_logins_per_account, limits.failed_logins_per_address) = (2, 2));
        let attempt = || limiters.sign_in(Some("ann".into()), ip("192.0.2.1"));
        for _ in 0..5 {
            limiters.signed_in(&attempt().unwrap());
            limiters.not_judged(&attempt().unwrap());
        }
        attempt().unwrap();
        limiters.signed_in(&attempt().unwrap());
        attempt().unwrap();
        assert!(attempt().is_err(), "one's own account gives nobody more guesses at others' from one address");
    }
}
