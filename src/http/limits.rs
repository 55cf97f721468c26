//! Request rates and sizes: what one client may ask for, however politely.
//!
//! Sizes hold always; `limits.rates = off` turns every rate off. Rates are kept per user, or per address where nobody is
//! signed in; an IPv6 client owns a /64, so that is its address. At most `limits.rate_keys` are remembered in each table:
//! past that, those not seen for longest are forgotten, which gives them their burst anew. Whoever has all of their burst
//! again is forgotten too, so that somebody who only listens costs nothing here. A rate of 0 is none.

use std::{hash::Hash, net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use governor::{Quota, RateLimiter, clock::Clock, clock::DefaultClock, nanos::Nanos, state::StateStore};
use hyper::{
    HeaderMap, StatusCode, Uri, Version,
    header::{CONTENT_ENCODING, HOST, HeaderValue, TRANSFER_ENCODING},
};

use super::{
    address::Network,
    respond::Rejection,
    throttle::{Failures, RetryAfter},
};
use crate::{
    bounded::BoundedMap,
    config::{Config, Limits, Rates},
    metrics::Metrics,
    types::UserId,
};

impl From<RetryAfter> for Rejection {
    fn from(wait: RetryAfter) -> Self {
        let detail = format!("Too many requests ({}): wait {} s and try again.", wait.setting, wait.secs);
        Self::too_many("rate_limited", &detail, wait.secs)
    }
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

/// One rate, kept for each of many keys.
struct Rate<K: Hash + Eq + Clone> {
    setting: &'static str,
    /// `None`: rates are off, or this one is 0.
    kept: Option<Kept<K>>,
}

struct Kept<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, Keys<K>, DefaultClock>,
    used: Arc<BoundedMap<K, Nanos>>,
    /// After so long without use a key has all of its burst, as if it had never been seen.
    whole_after: Duration,
}

impl<K: Hash + Eq + Clone> Rate<K> {
    /// `count` in each `period`, and `burst` at once.
    fn new(
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
            Some(Kept { limiter, used, whole_after: quota.burst_size_replenished_in() })
        });
        Self { setting, kept }
    }

    async fn forget_unused(&self) {
        if let Some(Kept { used, whole_after, .. }) = &self.kept {
            used.forget_unused(*whole_after).await;
        }
    }

    fn check(&self, key: K, metrics: &Metrics) -> Result<(), RetryAfter> {
        let Some(Kept { limiter, .. }) = &self.kept else { return Ok(()) };
        limiter.check_key(&key).map_err(|not_until| {
            metrics.bound_hit(self.setting);
            let wait = not_until.wait_time_from(limiter.clock().now());
            RetryAfter { secs: wait.as_secs_f64().ceil().max(1.0) as u64, setting: self.setting }
        })
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

/// What RFC 9112 wants refused: a message that two readers could understand in two ways.
fn check_message(version: Version, headers: &HeaderMap) -> Result<(), Rejection> {
    let bad = |status, detail: &str| Err(Rejection::new(status, "bad_request", detail).closing());
    let hosts = headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && version >= Version::HTTP_11) {
        return bad(StatusCode::BAD_REQUEST, "Send one Host header.");
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let only_chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    if codings.next().is_some_and(|value| !only_chunked(value)) || codings.next().is_some() {
        return bad(StatusCode::NOT_IMPLEMENTED, "The only transfer coding understood here is chunked, given once.");
    }
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().any(|value| !plain(value)) {
        return bad(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Send the body as it is, without a Content-Encoding.");
    }
    Ok(())
}

/// Refuses a request whose head is larger than the settings allow.
pub fn check_head(
    limits: &Limits,
    version: Version,
    uri: &Uri,
    headers: &HeaderMap,
    metrics: &Metrics,
) -> Result<(), Rejection> {
    let refuse = |setting, status, code, what: &str, most| {
        metrics.bound_hit(setting);
        Err(Rejection::new(status, code, format!("{what} than {most} ({setting}).")).closing())
    };
    check_message(version, headers)?;
    let uri_bytes = uri.path_and_query().map_or(1, |path| path.as_str().len());
    if uri_bytes > limits.uri_bytes {
        let what = "The address of this request has more bytes";
        return refuse("limits.uri_bytes", StatusCode::URI_TOO_LONG, "uri_too_long", what, limits.uri_bytes);
    }
    let too_large = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    if headers.len() > limits.headers {
        let what = "This request has more headers";
        return refuse("limits.headers", too_large, "too_many_headers", what, limits.headers);
    }
    if header_bytes(headers) > limits.header_bytes {
        let what = "The headers of this request have more bytes";
        return refuse("limits.header_bytes", too_large, "headers_too_large", what, limits.header_bytes);
    }
    Ok(())
}

/// As on the wire: `name: value\r\n`.
fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let used = |limiters: &Limiters| {
            let (requests, posts) = (&limiters.requests.kept, &limiters.posts.kept);
            requests.as_ref().map(|kept| kept.used.len()).zip(posts.as_ref().map(|kept| kept.used.len()))
        };
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
