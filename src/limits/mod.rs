//! What anybody may cost: connections, and the rates of requests, posts and sign-ins, and how much of each a client has used.
//!
//! - `connections.rs` has the places of connections, `shares.rs` how many of them an address may have, `files.rs` how many there
//!   are files for.
//! - `network.rs` says which addresses are one client.
//! - `budget.rs` is bytes that all clients share: what is on its way in, and answers on their way out.
//! - `rate.rs` is a rate of many keys; `failures.rs` counts what can be given back, and `sign_in.rs` what sign-ins cost.
//!
//! This room knows neither HTTP nor sockets: who refuses says it in their own words. `limits.rates = off` turns every rate
//! off. Rates are kept per user, or per address where nobody is signed in.

pub mod budget;
pub mod connections;
pub mod failures;
pub mod files;
pub mod network;
mod rate;
mod shares;
mod sign_in;

use std::{net::IpAddr, sync::Arc, time::Duration};

pub use self::sign_in::Attempt;
use self::{network::Network, rate::Rate, sign_in::SignIns};
use crate::{
    config::{Config, Rates},
    metrics::Metrics,
    types::{SessionId, UserId},
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
    probes: Rate<Network>,
    searches: Rate<UserId>,
    sign_ins: Option<SignIns>,
    things_per_request: usize,
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
        let (count, burst) = (limits.probes_per_sec, limits.probes_burst);
        let probes = Rate::new("limits.probes_per_sec", count, second, burst, limits, &metrics);
        let (count, burst) = (limits.posts_per_sec, limits.posts_burst);
        let posts = Rate::new("limits.posts_per_sec", count, second, burst, limits, &metrics);
        let (count, burst) = (limits.searches_per_minute, limits.searches_burst);
        let searches = Rate::new("limits.searches_per_minute", count, minute, burst, limits, &metrics);
        let sign_ins = (limits.rates == Rates::On).then(|| SignIns::new(config));
        let things_per_request = limits.things_per_request.max(1);
        Self { requests, signups, posts, probes, searches, sign_ins, things_per_request, metrics }
    }

    /// Forgets those who have used nothing lately; to be called from time to time.
    pub async fn forget_unused(&self) {
        self.requests.forget_unused().await;
        self.signups.forget_unused().await;
        self.posts.forget_unused().await;
        self.probes.forget_unused().await;
        self.searches.forget_unused().await;
        if let Some(sign_ins) = &self.sign_ins {
            sign_ins.forget_unused().await;
        }
    }

    pub fn request(&self, who: Who) -> Result<(), RetryAfter> {
        self.requests.check(who, &self.metrics)
    }

    pub fn probe(&self, address: IpAddr) -> Result<(), RetryAfter> {
        self.probes.check(Network::of(address), &self.metrics)
    }

    pub fn sign_up(&self, address: IpAddr) -> Result<(), RetryAfter> {
        self.signups.check(Network::of(address), &self.metrics)
    }

    /// Posts over REST and sockets together.
    pub fn post(&self, user: UserId) -> Result<(), RetryAfter> {
        self.posts.check(user, &self.metrics)
    }

    pub fn search(&self, user: UserId) -> Result<(), RetryAfter> {
        self.searches.check(user, &self.metrics)
    }

    /// Events of any kind, and members: each is a post.
    pub fn write(&self, user: UserId, events: usize) -> Result<(), RetryAfter> {
        self.posts.charge(user, events, &self.metrics)
    }

    /// Things that a frame names and that are looked up: `limits.things_per_request` of them are a request.
    pub fn look_up(&self, user: UserId, things: usize) -> Result<(), RetryAfter> {
        self.requests.charge(Who::User(user), things.div_ceil(self.things_per_request), &self.metrics)
    }

    /// Things that a request or a frame, let in as one, turned out to be about.
    pub fn listed(&self, user: UserId, things: usize) {
        self.requests.owe(&Who::User(user), things.saturating_sub(1) / self.things_per_request);
    }

    /// Charges a sign-in to the account (by its folded name, where the text can be one), its address and device before the
    /// password is looked at, so that guesses made at once count too. To be told what came of it.
    pub fn sign_in(
        &self,
        account: Option<String>,
        address: IpAddr,
        device: Option<SessionId>,
    ) -> Result<Option<Attempt>, RetryAfter> {
        let Some(sign_ins) = &self.sign_ins else { return Ok(None) };
        sign_ins.begin(account.unwrap_or_default(), Network::of(address), device, &self.metrics).map(Some)
    }

    /// The password was right; who signs in too often is refused all the same.
    pub fn signed_in(&self, attempt: &Option<Attempt>) -> Result<(), RetryAfter> {
        self.told(attempt).map_or(Ok(()), |(sign_ins, attempt)| sign_ins.right(attempt, &self.metrics))
    }

    pub fn wrong_password(&self, attempt: &Option<Attempt>) {
        if let Some((sign_ins, attempt)) = self.told(attempt) {
            sign_ins.wrong(attempt);
        }
    }

    /// The password was never looked at.
    pub fn not_judged(&self, attempt: &Option<Attempt>) {
        if let Some((sign_ins, attempt)) = self.told(attempt) {
            sign_ins.not_judged(attempt);
        }
    }

    /// A login of the account was renewed from there.
    pub fn renewed(&self, account: &str, address: IpAddr) {
        if let Some(sign_ins) = &self.sign_ins {
            sign_ins.know(account, Network::of(address));
        }
    }

    fn told<'a>(&'a self, attempt: &'a Option<Attempt>) -> Option<(&'a SignIns, &'a Attempt)> {
        self.sign_ins.as_ref().zip(attempt.as_ref())
    }
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

    #[tokio::test]
    async fn what_costs_more_than_the_burst_is_let_in_and_owed_as_a_whole() {
        let limiters = limiters(|limits| {
            (limits.posts_per_sec, limits.posts_burst) = (1, 10);
            (limits.requests_per_sec, limits.requests_burst, limits.things_per_request) = (1, 10, 50);
        });
        let (user, other) = (UserId::fresh(), UserId::fresh());
        assert_eq!(limiters.write(user, 1_000), Ok(()));
        let wait = limiters.post(user).unwrap_err();
        assert!((985..=992).contains(&wait.secs), "{wait:?}");
        limiters.forget_unused().await;
        assert!(limiters.post(user).is_err(), "who owes is not forgotten");
        assert_eq!(limiters.post(other), Ok(()));
        assert_eq!(limiters.look_up(user, 1), Ok(()));
        limiters.listed(user, 50);
        for _ in 0..8 {
            assert_eq!(limiters.look_up(user, 50), Ok(()));
        }
        limiters.listed(user, 451);
        let wait = limiters.look_up(user, 1).unwrap_err();
        assert!((8..=10).contains(&wait.secs), "{wait:?}");
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
            assert!(limiters.sign_in(Some("ann".into()), ip("192.0.2.1"), None).is_ok());
        }
    }

    type Tried = Result<Option<Attempt>, RetryAfter>;

    fn failed(tried: Tried) -> Option<&'static str> {
        tried.err().map(|wait| wait.setting)
    }

    #[test]
    fn wrong_passwords_count_for_the_account_at_its_address_and_for_the_accounts_of_an_address() {
        let limiters = limiters(|limits| (limits.failed_logins_per_account, limits.failed_logins_per_address) = (2, 3));
        let attempt = |name: &str, address: &str| failed(limiters.sign_in(Some(name.into()), ip(address), None));
        for _ in 0..2 {
            assert_eq!(attempt("ann", "192.0.2.1"), None);
        }
        assert_eq!(attempt("ann", "192.0.2.1"), Some("limits.failed_logins_per_account"));
        assert_eq!(attempt("ann", "192.0.2.2"), None, "elsewhere she is not stopped");
        assert_eq!((attempt("bob", "192.0.2.1"), attempt("bob", "192.0.2.1")), (None, None));
        assert_eq!(attempt("cat", "192.0.2.1"), None, "three accounts");
        assert_eq!(attempt("dan", "192.0.2.1"), Some("limits.failed_logins_per_address"));
        assert_eq!(attempt("dan", "192.0.2.2"), None);
    }

    #[test]
    fn many_addresses_are_bounded_and_never_stop_who_is_known() {
        let limiters = limiters(|limits| limits.failed_logins_from_strangers = 5);
        let attempt = |address: &str, device| limiters.sign_in(Some("ann".into()), ip(address), device);
        limiters.signed_in(&attempt("198.51.100.1", None).unwrap()).unwrap();
        limiters.renewed("ann", ip("198.51.100.2"));
        for number in 0..5 {
            assert_eq!(failed(attempt(&format!("192.0.2.{number}"), None)), None);
        }
        assert_eq!(failed(attempt("192.0.2.9", None)), Some("limits.failed_logins_from_strangers"));
        for known in ["198.51.100.1", "198.51.100.2"] {
            assert!(attempt(known, None).unwrap().is_some_and(|attempt| attempt.known));
        }
        let device = SessionId::fresh();
        // A device guesses no more than an address does, wherever it is.
        for number in 0..10 {
            assert_eq!(failed(attempt(&format!("203.0.113.{number}"), Some(device))), None);
        }
        assert_eq!(failed(attempt("203.0.113.10", Some(device))), Some("limits.failed_logins_per_account"));
        let other = limiters.sign_in(Some("bob".into()), ip("198.51.100.1"), None);
        assert!(other.unwrap().is_some_and(|attempt| !attempt.known), "known to ann's account alone");
    }

    #[test]
    fn a_sign_in_that_worked_or_was_not_judged_costs_nothing() {
        let limiters = limiters(|limits| (limits.failed_logins_per_account, limits.failed_logins_per_address) = (2, 2));
        let attempt = |name: &str| limiters.sign_in(Some(name.into()), ip("192.0.2.1"), None);
        for _ in 0..5 {
            limiters.signed_in(&attempt("ann").unwrap()).unwrap();
            limiters.not_judged(&attempt("ann").unwrap());
            limiters.not_judged(&attempt("bob").unwrap());
        }
        attempt("bob").unwrap();
        attempt("cat").unwrap();
        limiters.signed_in(&attempt("ann").unwrap()).unwrap();
        assert!(attempt("dan").is_err(), "one's own account gives nobody more guesses at others' from one address");
    }

    #[test]
    fn right_passwords_have_a_rate_of_their_account_and_of_their_address() {
        let limiters = limiters(|limits| (limits.logins_per_account, limits.logins_per_address) = (2, 3));
        let attempt = |name: &str, address: &str| limiters.sign_in(Some(name.into()), ip(address), None);
        let right = |name: &str, address: &str| {
            let signed_in = attempt(name, address).and_then(|attempt| limiters.signed_in(&attempt));
            signed_in.err().map(|wait| wait.setting)
        };
        assert_eq!((right("ann", "192.0.2.1"), right("ann", "192.0.2.2")), (None, None));
        assert_eq!(right("ann", "192.0.2.3"), Some("limits.logins_per_account"));
        assert_eq!((right("bob", "192.0.2.1"), right("cat", "192.0.2.1")), (None, None));
        assert_eq!(right("dan", "192.0.2.1"), Some("limits.logins_per_address"));
        // Wrong ones are counted elsewhere.
        for number in 0..5 {
            limiters.wrong_password(&attempt(&format!("guess{number}"), "192.0.2.2").unwrap());
        }
        assert_eq!(right("dan", "192.0.2.2"), None);
    }
}
