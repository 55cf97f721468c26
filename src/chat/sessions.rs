//! Logins: beginning, renewing and ending them.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use sha2::{Digest, Sha256};

use super::{Caller, Chat, ChatError, Result, accounts::Asks};
use crate::{
    auth::token::Bearer,
    store::{RefreshHash, SessionRecord, UserRecord},
    types::{SessionId, Timestamp},
};

/// A login just begun or renewed: the refresh token is shown once and stored hashed.
pub struct Login {
    pub user: Arc<UserRecord>,
    pub session: SessionRecord,
    pub refresh_token: String,
}

/// Scanners for leaked secrets know a token by its beginning.
const REFRESH_PREFIX: &str = "nrt_";

fn new_refresh_token() -> (String, RefreshHash) {
    let token = format!("{REFRESH_PREFIX}{}", BASE64.encode(rand::random::<[u8; 32]>()));
    let hash = refresh_hash(&token);
    (token, hash)
}

/// The token has 256 bits of chance in it, so one round of SHA-256 is enough.
fn refresh_hash(token: &str) -> RefreshHash {
    Sha256::digest(token.as_bytes()).into()
}

/// Logins forgotten in one write.
const PURGED_AT_ONCE: usize = 1_000;

impl Chat {
    /// Begins a login of `user`, whose password was just compared. Refuses with `InvalidToken` where the record has
    /// changed since in a way that ends logins.
    pub async fn begin_session(self: &Arc<Self>, user: UserRecord) -> Result<Login> {
        let now = Timestamp::now();
        let session = SessionRecord {
            session_id: SessionId::fresh(),
            user_id: user.user_id,
            created_at: now,
            expires_at: now.plus_secs(self.login_secs()),
        };
        let (refresh_token, hash) = new_refresh_token();
        let user = self.begin_login(user, session.clone(), hash).await?;
        Ok(Login { user: Arc::new(user), session, refresh_token })
    }

    /// Replaces a refresh token. One that was replaced before is a copy in two hands: its login ends.
    pub async fn refresh_session(self: &Arc<Self>, refresh_token: &str) -> Result<Login> {
        let (next, next_hash) = new_refresh_token();
        let now = Timestamp::now();
        let expires_at = now.plus_secs(self.login_secs());
        let session = self.rotate(refresh_hash(refresh_token), next_hash, now, expires_at).await?;
        let user = self.store.user(session.user_id).await?.filter(|user| !user.disabled);
        let user = Arc::new(user.ok_or(ChatError::InvalidToken)?);
        Ok(Login { user, session, refresh_token: next })
    }

    /// Ends the login a refresh token belongs to.
    pub async fn revoke_refresh(self: &Arc<Self>, refresh_token: &str) -> Result<()> {
        let session = self.store.session_of_refresh(refresh_hash(refresh_token)).await?;
        let session = session.ok_or(ChatError::InvalidToken)?;
        self.end_session(session.user_id, session.session_id).await
    }

    /// Whether a token that is well signed and not expired is still good: its login stands, its user is enabled and has
    /// the same token epoch.
    ///
    /// Whoever keeps the answer (a socket) must validate once more after it has begun to listen for hints, for a hint that
    /// came in between was heard by nobody.
    pub async fn validate(&self, bearer: &Bearer, asks: Asks) -> Result<Caller> {
        self.accounts.validate(&*self.store, bearer, Timestamp::now(), asks).await
    }

    /// As [`Chat::validate`], for a caller it was true of a moment ago.
    pub async fn validate_again(&self, caller: &Caller) -> Result<()> {
        let &Caller { user_id, session_id, token_epoch, expires_at, seen, .. } = caller;
        if self.accounts.seen(user_id, session_id) == seen {
            return Ok(());
        }
        let username = caller.username.clone();
        let bearer = Bearer { user_id, username, session_id, token_epoch, expires_at };
        self.validate(&bearer, Asks::Once).await.map(drop)
    }

    /// Forgets logins that expired; to be called from time to time.
    pub async fn purge(&self) -> Result<()> {
        while self.store.purge_sessions(Timestamp::now(), PURGED_AT_ONCE).await? == PURGED_AT_ONCE {}
        Ok(())
    }

    fn login_secs(&self) -> u64 {
        self.config.auth.refresh_token_days.saturating_mul(86_400)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refresh_tokens_are_recognisable_and_never_alike() {
        let ((one, hash), (other, _)) = (new_refresh_token(), new_refresh_token());
        assert!(one.starts_with("nrt_") && one.len() == 47, "{one}");
        assert_ne!(one, other);
        assert_eq!(hash, refresh_hash(&one));
    }
}
