//! Logins: beginning, renewing and ending them.

use std::sync::Arc;

use super::{Caller, Chat, ChatError, Result, account::Account, accounts::Asks};
use crate::{
    auth::{
        refresh::{Read, RefreshToken},
        token::Bearer,
    },
    store::{Device, LoginRecord, Renewal, SessionRecord, UserChange, UserRecord},
    types::{SessionId, Timestamp, UserId},
};

/// A login just begun or renewed: the refresh token is shown once and stored hashed.
pub struct Login {
    pub user: Arc<UserRecord>,
    pub session: SessionRecord,
    pub refresh_token: String,
}

/// Logins forgotten in one write.
const PURGED_AT_ONCE: usize = 1_000;

impl Chat {
    /// Begins a login of `user`, whose password was just compared. Refuses with `InvalidToken` where the record has
    /// changed since in a way that ends logins.
    pub async fn begin_session(self: &Arc<Self>, user: UserRecord, device: Device) -> Result<Login> {
        let now = Timestamp::now();
        let session = SessionRecord {
            session_id: SessionId::fresh(),
            user_id: user.user_id,
            created_at: now,
            expires_at: now.plus_secs(self.login_secs()),
        };
        let token = RefreshToken::first(session.session_id);
        let user = self.begin_login(user, session.clone(), token.key()).await?;
        self.see(session.session_id, now, device).await;
        Ok(Login { user: Arc::new(user), session, refresh_token: token.text() })
    }

    /// Replaces a refresh token. The one used last is answered again for `auth.refresh_grace_secs`, because its answer may
    /// have been lost; any older one is a copy in two hands: its login ends.
    pub async fn refresh_session(self: &Arc<Self>, refresh_token: &str, device: Device) -> Result<Login> {
        let read = RefreshToken::read(refresh_token).ok_or(ChatError::InvalidToken)?;
        let presented = read.presented();
        let next = match read {
            Read::Token(token) => token.next(),
            Read::Bare(_) => {
                let session = self.store.session_of_refresh(presented).await?.ok_or(ChatError::InvalidToken)?;
                RefreshToken::first(session.session_id).next()
            }
        };
        let now = Timestamp::now();
        let renewal = Renewal {
            presented,
            next: next.key(),
            now,
            grace_secs: self.config.auth.refresh_grace_secs,
            expires_at: now.plus_secs(self.login_secs()),
        };
        let session = self.rotate(renewal).await?;
        let user = self.store.user(session.user_id).await?.filter(|user| !user.disabled);
        let user = Arc::new(user.ok_or(ChatError::InvalidToken)?);
        self.see(session.session_id, now, device).await;
        Ok(Login { user, session, refresh_token: next.text() })
    }

    /// Ends the login a refresh token belongs to; says whose it was.
    pub async fn revoke_refresh(self: &Arc<Self>, refresh_token: &str) -> Result<UserId> {
        let presented = RefreshToken::read(refresh_token).ok_or(ChatError::InvalidToken)?.presented();
        let session = self.store.session_of_refresh(presented).await?.ok_or(ChatError::InvalidToken)?;
        self.end_session(session.user_id, session.session_id).await?;
        Ok(session.user_id)
    }

    /// A user as everyone here shares them.
    pub async fn account(&self, user: UserId) -> Result<Option<Arc<Account>>> {
        self.accounts.account(&*self.store, user).await
    }

    /// The logins of a user that go on, the one that was seen last first.
    pub async fn logins(&self, user: UserId) -> Result<Vec<LoginRecord>> {
        let (now, mut logins) = (Timestamp::now(), self.store.logins_of(user).await?);
        logins.retain(|login| now < login.session.expires_at);
        logins.sort_unstable_by_key(|login| std::cmp::Reverse((login.seen_at, login.session.session_id)));
        Ok(logins)
    }

    /// Ends one login of a user; `false` where they have no such login.
    pub async fn end_login(self: &Arc<Self>, user: UserId, session: SessionId) -> Result<bool> {
        if self.store.session(session).await?.is_none_or(|login| login.user_id != user) {
            return Ok(false);
        }
        self.end_session(user, session).await?;
        Ok(true)
    }

    /// Ends every login of the caller but the one that asks.
    pub async fn end_other_logins(self: &Arc<Self>, by: &Caller) -> Result<()> {
        self.change_user(by.user_id, UserChange::EndOtherLogins { keep: by.session_id }).await.map(drop)
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
