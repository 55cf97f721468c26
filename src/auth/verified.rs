//! Tokens whose signature was found good: one that comes again need not be verified again.
//!
//! Nothing else is remembered of a token: whether it is still in time and its login still stands is asked anew each time.
//! A token is known by its print, a hash of 128 bits under a key that only this process has, so that nobody can make a
//! second token of the same print; tokens themselves are not kept in memory.

use std::sync::Arc;

use siphasher::sip128::SipHasher24;

use crate::{
    bounded::{BoundedMap, UNUSED},
    config::Auth,
    metrics::Metrics,
    types::{SessionId, UserId},
};

/// Whom a good token was given to, and until when: what is asked of its claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    pub user_id: UserId,
    /// The user's name, as the token has it.
    pub username: Arc<str>,
    pub session_id: SessionId,
    pub token_epoch: u64,
    /// Unix seconds; the token is worth nothing from then on.
    pub expires_at: i64,
}

/// SipHash-2-4 was made to be a message authentication code, also with an output of 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Print(u128);

/// At most `auth.cached_tokens`.
pub(super) struct Verified {
    hasher: SipHasher24,
    bearers: BoundedMap<Print, Bearer>,
    metrics: Arc<Metrics>,
}

impl Verified {
    pub fn new(auth: &Auth, metrics: Arc<Metrics>) -> Self {
        Self {
            hasher: SipHasher24::new_with_key(&rand::random()),
            bearers: BoundedMap::new(auth.cached_tokens),
            metrics,
        }
    }

    pub fn print(&self, token: &str) -> Print {
        Print(self.hasher.hash(token.as_bytes()).as_u128())
    }

    pub fn get(&self, print: Print) -> Option<Bearer> {
        self.bearers.at(&print).get().cloned()
    }

    /// `bearer` is what the verified token of this print says.
    pub fn remember(&self, print: Print, bearer: Bearer) {
        if self.bearers.at(&print).insert(bearer) {
            self.metrics.bound_hit("auth.cached_tokens");
        }
    }

    pub async fn forget_unused(&self) {
        self.bearers.forget_unused(UNUSED).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: usize = 100;

    #[test]
    fn no_more_tokens_are_remembered_than_the_bound_and_hitting_it_is_counted() {
        let metrics = Arc::new(Metrics::default());
        let verified = Verified::new(&Auth { cached_tokens: TOKENS, ..Auth::default() }, metrics.clone());
        let bearer = Bearer {
            user_id: UserId::fresh(),
            username: "ann".into(),
            session_id: SessionId::fresh(),
            token_epoch: 0,
            expires_at: i64::MAX,
        };
        let prints: Vec<Print> = (0..1_000).map(|n| verified.print(&format!("token {n}"))).collect();
        prints.iter().for_each(|print| verified.remember(*print, bearer.clone()));
        let remembered = prints.iter().filter(|print| verified.get(**print).is_some()).count();
        assert!((1..=TOKENS).contains(&remembered), "{remembered}");
        assert!(metrics.render().contains("setting=\"auth.cached_tokens\""));
    }

    #[test]
    fn another_process_gives_a_token_another_print() {
        let verified = || Verified::new(&Auth::default(), Arc::default());
        assert_ne!(verified().print("token"), verified().print("token"));
        let one = verified();
        assert_eq!(one.print("token"), one.print("token"));
        assert_ne!(one.print("token"), one.print("tokeN"));
    }
}
