//! One user, as everyone here who has to do with them shares it: the cache, callers, sockets, rooms. It holds no secret.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::{
    store::UserRecord,
    types::{Roles, Timestamp, UserId},
};

/// A user's record as it was at some look, without what only signing in and searching ask for. It never changes: a change
/// makes another one.
#[derive(Debug)]
pub struct Account {
    pub user_id: UserId,
    pub username: Arc<str>,
    /// The username itself, until it is changed.
    pub display_name: Arc<str>,
    pub created_at: Timestamp,
    pub token_epoch: u64,
    pub roles: Roles,
    pub disabled: bool,
    shown: OnceLock<Bytes>,
}

impl Account {
    /// What the edge shows of this account: made at the first question, and as good as the account is.
    pub fn shown(&self, make: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.shown.get_or_init(|| make(self)).clone()
    }
}

impl From<&UserRecord> for Account {
    fn from(user: &UserRecord) -> Self {
        let username: Arc<str> = user.username.as_str().into();
        let own_name = user.display_name == user.username;
        Self {
            user_id: user.user_id,
            display_name: if own_name { username.clone() } else { user.display_name.as_str().into() },
            username,
            created_at: user.created_at,
            token_epoch: user.token_epoch,
            roles: user.roles.iter().copied().collect(),
            disabled: user.disabled,
            shown: OnceLock::new(),
        }
    }
}

/// Of what was read; what was made of it is left out.
impl PartialEq for Account {
    fn eq(&self, other: &Self) -> bool {
        let Self { user_id, username, display_name, created_at, token_epoch, roles, disabled, shown: _ } = self;
        (user_id, created_at, token_epoch) == (&other.user_id, &other.created_at, &other.token_epoch)
            && (username, display_name) == (&other.username, &other.display_name)
            && (roles, disabled) == (&other.roles, &other.disabled)
    }
}
