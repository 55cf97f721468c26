//! Accounts: registering, looking up, changing. Passwords arrive here hashed.

use std::sync::Arc;

use unicode_normalization::UnicodeNormalization;

use super::{Caller, Chat, ChatError, Result};
use crate::{
    config::Directory,
    names::{self, fold},
    store::{AuditQuery, AuditRecord, DELETED_NAME, UserChange, UserQuery, UserRecord},
    types::{Role, Timestamp, UserId},
};

const USERNAME_CHARS: usize = 64;

/// A username as it is kept (NFKC) and as it is compared (case-folded).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Username {
    pub shown: String,
    pub folded: String,
}

impl Username {
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |msg: String| Err(ChatError::Invalid { field: "username", msg });
        // NFKC makes no text much shorter: what is far too long need not be normalized first.
        let too_long = || invalid(format!("Choose a username of at most {USERNAME_CHARS} characters."));
        if text.len() > USERNAME_CHARS * 32 {
            return too_long();
        }
        let shown: String = text.nfkc().collect();
        if shown.is_empty() {
            return invalid("A username has at least one character.".into());
        }
        if shown.chars().count() > USERNAME_CHARS {
            return too_long();
        }
        if !names::is_plain(&shown) {
            return invalid(format!("A username {}.", names::UNSEEN));
        }
        if shown.trim() != shown {
            return invalid("A username cannot begin or end with a space.".into());
        }
        let folded = fold(&shown);
        Ok(Self { shown, folded })
    }

    /// Of an account that is to be made. Those that were made before keep the names they have.
    pub fn choose(text: &str) -> Result<Self> {
        let name = Self::parse(text)?;
        if !names::is_no_step(&name.shown) {
            let msg = "A username cannot be `.` or `..`, which browsers take for a step in a path.".into();
            return Err(ChatError::Invalid { field: "username", msg });
        }
        if names::skeleton(&name.folded) == names::skeleton(DELETED_NAME) {
            return Err(ChatError::UserExists);
        }
        Ok(name)
    }
}

impl Chat {
    pub async fn register(
        self: &Arc<Self>,
        username: Username,
        password_hash: String,
        roles: &[Role],
    ) -> Result<UserRecord> {
        let mut roles = roles.to_vec();
        roles.sort();
        roles.dedup();
        let user = UserRecord {
            user_id: UserId::fresh(),
            display_name: username.shown.clone(),
            username: username.shown,
            folded: username.folded,
            password_hash,
            roles,
            created_at: Timestamp::now(),
            disabled: false,
            token_epoch: 0,
            deletion: None,
        };
        if self.make_user(user.clone()).await? { Ok(user) } else { Err(ChatError::UserExists) }
    }

    /// By any spelling of the name; `None` also for text that cannot be a username, and for who was deleted.
    pub async fn user_named(&self, username: &str) -> Result<Option<UserRecord>> {
        Ok(self.account_named(username).await?.filter(|user| !user.is_deleted()))
    }

    /// The same, also who was deleted and whose name nobody else may have.
    pub(super) async fn account_named(&self, username: &str) -> Result<Option<UserRecord>> {
        match Username::parse(username) {
            Ok(name) => Ok(self.store.user_by_name(&name.folded).await?),
            Err(_) => Ok(None),
        }
    }

    /// Like [`Chat::user_named`], and refuses with `NoSuchUser`.
    pub async fn require_user(&self, username: &str) -> Result<UserRecord> {
        self.user_named(username).await?.ok_or_else(|| ChatError::NoSuchUser(username.to_owned()))
    }

    /// In order of their folded names: those whose names begin with `prefix`, in any spelling.
    pub async fn users(
        &self,
        prefix: &str,
        after: Option<String>,
        limit: usize,
        with_disabled: bool,
    ) -> Result<Vec<UserRecord>> {
        let query = UserQuery { prefix: fold(prefix), after, limit, with_disabled, ..Default::default() };
        Ok(self.store.users(query).await?)
    }

    /// Those whom `auth.directory` lets somebody find, by prefix.
    pub async fn directory(&self, by: &Caller, prefix: &str, limit: usize) -> Result<Vec<UserRecord>> {
        let everybody = self.config.auth.directory == Directory::Open || by.roles.contains(Role::Admin);
        if self.config.auth.directory == Directory::Closed && !everybody {
            return Ok(Vec::new());
        }
        let sharing_with = (!everybody).then_some(by.user_id);
        Ok(self.store.users(UserQuery { prefix: fold(prefix), limit, sharing_with, ..Default::default() }).await?)
    }

    /// What was written down of sign-ins and of what admins did.
    pub async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRecord>> {
        Ok(self.store.audit(query).await?)
    }

    /// Applies the change, and tells every cache and socket that must know.
    pub async fn change_user(self: &Arc<Self>, user: UserId, change: UserChange) -> Result<UserRecord> {
        self.apply(user, vec![change]).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(text: &str) -> String {
        Username::parse(text).unwrap().folded
    }

    #[test]
    fn spellings_of_one_name_fold_alike() {
        for (one, other) in [
            ("Ann", "aNN"),
            ("Straße", "STRASSE"),
            ("Ａｎｎ", "ann"),
            ("Σίσυφος", "ΣΊΣΥΦΟΣ"),
            ("e\u{301}ric", "\u{c9}RIC"),
            ("ﬁn", "FIN"),
        ] {
            assert_eq!(folded(one), folded(other), "{one} and {other}");
        }
        assert_ne!(folded("ann"), folded("anne"));
    }

    #[test]
    fn names_are_kept_as_they_were_written() {
        assert_eq!(Username::parse("Ann Lee").unwrap().shown, "Ann Lee");
        assert_eq!(Username::parse("Ａｎｎ").unwrap().shown, "Ann", "after NFKC");
    }

    #[test]
    fn a_new_name_is_no_step_in_a_path() {
        for step in [".", "..", "\u{2024}", "\u{2025}", "．．"] {
            assert!(Username::parse(step).is_ok(), "who has it keeps it: {step:?}");
            assert!(matches!(Username::choose(step), Err(ChatError::Invalid { field: "username", .. })), "{step:?}");
        }
        for name in ["...", "ann.", ".ann", "a/b", "a\\b", "%2e%2e", "../a", "-"] {
            assert!(Username::choose(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn names_have_rules() {
        assert!(Username::parse(&"é".repeat(64)).is_ok());
        assert!(Username::parse("👩🚀").is_ok());
        let too_long = "x".repeat(65);
        let huge = "x".repeat(100_000);
        // One character that NFKC makes eighteen of.
        let grows = "\u{fdfa}".repeat(4);
        for bad in [
            "",
            " ",
            " ann",
            "ann ",
            "\u{a0}ann",
            "a\nb",
            "a\0b",
            "a\u{7f}",
            "a\u{85}b",
            "a\u{202e}b",
            "a\u{2066}b",
            "a\u{200f}",
            "\u{61c}a",
            "a\u{200b}b",
            "a\u{200d}b",
            "ab\u{fe0f}",
            "ab\u{e0041}",
            "ab\u{3164}",
            "ab\u{ffff}",
            "\u{feff}a",
            "a\u{2028}b",
            &too_long,
            &huge,
            &grows,
        ] {
            assert!(matches!(Username::parse(bad), Err(ChatError::Invalid { field: "username", .. })), "{bad:?}");
        }
    }
}
