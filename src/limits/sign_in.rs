//! Sign-ins: how often wrong passwords may be tried, and how often right ones.
//!
//! A wrong password counts from near to wide:
//! - for the account at the place that it came from, an address or a device that has signed in to the account before:
//!   `limits.failed_logins_per_account`. Whoever guesses is stopped where they are, and the owner elsewhere is not;
//! - for the address, which may try so many accounts in vain: `limits.failed_logins_per_address`. One colleague's mistakes
//!   lock nobody else out of an office behind one address;
//! - for the account, from wherever: `limits.failed_logins_from_strangers` bounds an attack from many addresses.
//!
//! The two wide ones neither count nor stop who is known: a device, or an address from which somebody has signed in to the
//! account. A right password counts too, for its address and its account, as each costs a hash.

use std::time::{Duration, Instant};

use super::{RetryAfter, failures::Failures, network::Network};
use crate::{bounded::BoundedMap, config::Config, metrics::Metrics, types::SessionId};

/// Where a password is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    Address(Network),
    /// It holds a token of a login of the account, an ended one perhaps.
    Device(SessionId),
}

pub(super) struct SignIns {
    near: Failures<(String, Place)>,
    addresses: Failures<Network>,
    accounts: Failures<String>,
    right_at_address: Failures<Network>,
    right_of_account: Failures<String>,
    /// When somebody signed in to an account from an address, or renewed a login of it there.
    known: BoundedMap<(String, Network), Instant>,
    known_for: Duration,
}

/// A sign-in under way, charged as a failure and as a success until it is told what it is.
pub struct Attempt {
    /// The account's folded name; empty for a text that can be none.
    account: String,
    network: Network,
    place: Place,
    /// The account's owner, by all appearances.
    pub known: bool,
    /// It is the account's first failure at this place that counts.
    first: bool,
}

impl Attempt {
    pub fn network(&self) -> Network {
        self.network
    }

    fn near(&self) -> (String, Place) {
        (self.account.clone(), self.place)
    }
}

impl SignIns {
    pub fn new(config: &Config) -> Self {
        let limits = &config.limits;
        let failed = Duration::from_secs(limits.failed_login_secs);
        let right = Duration::from_secs(limits.login_secs);
        // What an address may do in all, it may not do more of to one account.
        let near = limits.failed_logins_per_account.min(limits.failed_logins_per_address);
        let (address, strangers) = (limits.failed_logins_per_address, limits.failed_logins_from_strangers);
        Self {
            near: Failures::new("limits.failed_logins_per_account", near, failed, limits),
            addresses: Failures::new("limits.failed_logins_per_address", address, failed, limits),
            accounts: Failures::new("limits.failed_logins_from_strangers", strangers, failed, limits),
            right_at_address: Failures::new("limits.logins_per_address", limits.logins_per_address, right, limits),
            right_of_account: Failures::new("limits.logins_per_account", limits.logins_per_account, right, limits),
            known: BoundedMap::new(limits.rate_keys),
            known_for: Duration::from_secs(config.auth.refresh_token_days.saturating_mul(86_400)),
        }
    }

    pub async fn forget_unused(&self) {
        self.near.forget_unused().await;
        self.addresses.forget_unused().await;
        self.accounts.forget_unused().await;
        self.right_at_address.forget_unused().await;
        self.right_of_account.forget_unused().await;
    }

    pub fn begin(
        &self,
        account: String,
        network: Network,
        device: Option<SessionId>,
        metrics: &Metrics,
    ) -> Result<Attempt, RetryAfter> {
        let known = device.is_some() || self.knows(&account, network);
        let place = device.map_or(Place::Address(network), Place::Device);
        let mut attempt = Attempt { account, network, place, known, first: false };
        self.right_at_address.charge(&network, metrics)?;
        let near = self.near.charge(&attempt.near(), metrics);
        let charged = near.and_then(|count| {
            attempt.first = count == 1;
            self.charge_wide(&attempt, metrics).inspect_err(|_| self.near.give_back(&attempt.near()))
        });
        match charged {
            Ok(()) => Ok(attempt),
            Err(wait) => {
                self.right_at_address.give_back(&network);
                Err(wait)
            }
        }
    }

    fn charge_wide(&self, attempt: &Attempt, metrics: &Metrics) -> Result<(), RetryAfter> {
        if attempt.known {
            return Ok(());
        }
        if attempt.first {
            self.addresses.charge(&attempt.network, metrics)?;
        }
        self.accounts.charge(&attempt.account, metrics).map(drop).inspect_err(|_| self.give_back_address(attempt))
    }

    fn give_back_address(&self, attempt: &Attempt) {
        if attempt.first {
            self.addresses.give_back(&attempt.network);
        }
    }

    fn give_back_wide(&self, attempt: &Attempt) {
        if !attempt.known {
            self.give_back_address(attempt);
            self.accounts.give_back(&attempt.account);
        }
    }

    /// The account's failures at this place are forgotten. Refused where it signs in too often.
    pub fn right(&self, attempt: &Attempt, metrics: &Metrics) -> Result<(), RetryAfter> {
        self.near.forget(&attempt.near());
        self.give_back_wide(attempt);
        self.right_of_account.charge(&attempt.account, metrics)?;
        self.know(&attempt.account, attempt.network);
        Ok(())
    }

    pub fn wrong(&self, attempt: &Attempt) {
        self.right_at_address.give_back(&attempt.network);
    }

    pub fn not_judged(&self, attempt: &Attempt) {
        self.right_at_address.give_back(&attempt.network);
        self.near.give_back(&attempt.near());
        self.give_back_wide(attempt);
    }

    /// A login of the account is at this address.
    pub fn know(&self, account: &str, network: Network) {
        self.known.at(&(account.to_owned(), network)).insert(Instant::now());
    }

    fn knows(&self, account: &str, network: Network) -> bool {
        let key = (account.to_owned(), network);
        let mut place = self.known.at(&key);
        place.get().is_some_and(|since| since.elapsed() < self.known_for)
    }
}
