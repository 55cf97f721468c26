//! The cache that tells without a look-up whether a token is valid now.
//!
//! It may only ever say *yes* by itself: before a token is refused the store is asked, so nobody stays locked out by
//! something remembered. And a *yes* ends in time: a hint forgets it at once, `auth.cache_secs` without one.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{Caller, ChatError, Result, account::Account};
use crate::{
    auth::token::Bearer,
    bounded::{BoundedMap, UNUSED},
    bus::{Ended, Hint},
    config::Config,
    metrics::Metrics,
    store::{SessionRecord, Store, UserRecord},
    types::{SessionId, Timestamp, UserId},
};

/// What is believed about users and logins, for `auth.cache_secs` at most. Bounded by `auth.cached_users`; what nobody asks
/// for is let go within some seconds, so that somebody who only listens costs nothing here.
///
/// - A login is believed only together with the very look at its user's record that it was read after (`look`), so that
///   forgetting a user forgets all of the user's logins.
/// - What was read before a hint arrived is never remembered after it: a hint raises the version of the map's shard, and
///   an entry goes in only where the version is still the one from before the read.
pub struct Accounts {
    users: BoundedMap<UserId, KnownUser>,
    sessions: BoundedMap<SessionId, KnownSession>,
    looks: AtomicU64,
    /// Knows passwords' hashes apart, which are not kept.
    prints: RandomState,
    believe: Duration,
    metrics: Arc<Metrics>,
}

/// A user's record as it was at some look.
#[derive(Clone)]
struct KnownUser {
    /// Shared with every caller.
    account: Arc<Account>,
    /// Of the password's hash: another password is another record.
    print: u64,
    look: u64,
    since: Instant,
}

#[derive(Clone, Copy)]
struct KnownSession {
    user: UserId,
    expires_at: Timestamp,
    /// The look at the user's record that came before.
    look: u64,
    since: Instant,
}

/// How far hints had come when something was looked at: while they have come no further, it is still so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    user: u64,
    session: u64,
}

/// Whether what is found of a token's bearer will be asked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    Often,
    /// A socket is opened, which hears of every change from then on. A million of them leave nothing in memory.
    Once,
}

impl Accounts {
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        Self {
            users: BoundedMap::new(config.auth.cached_users),
            sessions: BoundedMap::new(config.auth.cached_users),
            looks: AtomicU64::new(0),
            prints: RandomState::new(),
            believe: Duration::from_secs(config.auth.cache_secs),
            metrics,
        }
    }

    /// Forgets what a hint makes doubtful.
    pub fn heard(&self, hint: &Hint) {
        match hint {
            Hint::UserChanged { user } | Hint::LoginEnded { user, which: Ended::All { .. } } => {
                self.users.at(user).remove();
            }
            Hint::LoginEnded { which: Ended::One(session), .. } => self.sessions.at(session).remove(),
            Hint::RoomAdvanced { .. }
            | Hint::MembershipChanged { .. }
            | Hint::ReadMoved { .. }
            | Hint::Invited { .. }
            | Hint::Blocked { .. }
            | Hint::Typing { .. }
            | Hint::RoomWanted { .. }
            | Hint::Presence { .. }
            | Hint::AskPresence => {}
        }
    }

    /// How far hints about a user and a login have come.
    pub(super) fn seen(&self, user: UserId, session: SessionId) -> Seen {
        Seen { user: self.users.at(&user).version(), session: self.sessions.at(&session).version() }
    }

    /// Who a well signed token stands for, where it is still good.
    pub(super) async fn validate(
        &self,
        store: &dyn Store,
        bearer: &Bearer,
        now: Timestamp,
        asks: Asks,
    ) -> Result<Caller> {
        let seen = self.seen(bearer.user_id, bearer.session_id);
        if let Some(caller) = self.believed(bearer, now) {
            return Ok(Caller { seen, ..caller });
        }
        let caller = match asks {
            Asks::Often => self.look(store, bearer, now).await?,
            Asks::Once => look_once(store, bearer, now).await?.ok_or(ChatError::InvalidToken)?,
        };
        Ok(Caller { seen, ..caller })
    }

    async fn look(&self, store: &dyn Store, bearer: &Bearer, now: Timestamp) -> Result<Caller> {
        let (user, session) = (bearer.user_id, bearer.session_id);
        let versions = (self.users.at(&user).version(), self.sessions.at(&session).version());
        let since = Instant::now();
        let Some((user, session)) = store.user_and_session(user, session).await? else {
            return Err(ChatError::InvalidToken);
        };
        let user = self.remember_user(versions.0, since, &user);
        let session = session.map(|session| self.remember_session(versions.1, since, &session, user.look));
        let good = user.lets_in(bearer) && session.is_some_and(|session| session.lets_in(bearer, now));
        if good { Ok(user.caller(bearer)) } else { Err(ChatError::InvalidToken) }
    }

    /// A user's account, from memory where it is believed.
    pub(super) async fn account(&self, store: &dyn Store, id: UserId) -> Result<Option<Arc<Account>>> {
        let known = self
            .users
            .at(&id)
            .get()
            .filter(|user| user.since.elapsed() < self.believe)
            .map(|user| user.account.clone());
        if known.is_some() {
            return Ok(known);
        }
        Ok(self.look_at_user(store, id).await?.map(|user| user.account))
    }

    /// To be called from time to time.
    pub(super) async fn forget_unused(&self) {
        let unused = self.believe.min(UNUSED);
        self.users.forget_unused(unused).await;
        self.sessions.forget_unused(unused).await;
    }

    /// `None` is no refusal: it says that the store must be asked.
    fn believed(&self, bearer: &Bearer, now: Timestamp) -> Option<Caller> {
        let looked = Instant::now();
        let is_fresh = |since: Instant| looked.saturating_duration_since(since) < self.believe;
        let user = self.users.at(&bearer.user_id).get().filter(|user| is_fresh(user.since)).cloned()?;
        let session = self.sessions.at(&bearer.session_id).get().filter(|session| is_fresh(session.since)).copied()?;
        let good = session.look == user.look && user.lets_in(bearer) && session.lets_in(bearer, now);
        good.then(|| user.caller(bearer))
    }

    async fn look_at_user(&self, store: &dyn Store, id: UserId) -> Result<Option<KnownUser>> {
        let (version, since) = (self.users.at(&id).version(), Instant::now());
        let record = store.user(id).await?;
        Ok(record.map(|record| self.remember_user(version, since, &record)))
    }

    /// `version` and `since` are from before the record was read.
    fn remember_user(&self, version: u64, since: Instant, record: &UserRecord) -> KnownUser {
        let (id, account, print) = (record.user_id, Account::from(record), self.prints.hash_one(&record.password_hash));
        let mut place = self.users.at(&id);
        let user = match place.get() {
            // The same record once more: logins that were read after the first look are still as good.
            Some(known) if (known.print, &*known.account) == (print, &account) => KnownUser { since, ..known.clone() },
            _ => KnownUser { account: Arc::new(account), print, look: self.looks.fetch_add(1, Relaxed), since },
        };
        if place.version() == version && place.insert(user.clone()) {
            self.metrics.bound_hit("auth.cached_users");
        }
        user
    }

    fn remember_session(&self, version: u64, since: Instant, record: &SessionRecord, look: u64) -> KnownSession {
        let session = KnownSession { user: record.user_id, expires_at: record.expires_at, look, since };
        let mut place = self.sessions.at(&record.session_id);
        if place.version() == version && place.insert(session) {
            self.metrics.bound_hit("auth.cached_users");
        }
        session
    }
}

/// The same look, and nothing of it is remembered.
async fn look_once(store: &dyn Store, bearer: &Bearer, now: Timestamp) -> Result<Option<Caller>> {
    let Some((user, session)) = store.user_and_session(bearer.user_id, bearer.session_id).await? else {
        return Ok(None);
    };
    let account = Arc::new(Account::from(&user));
    let stands = session.is_some_and(|session| session.user_id == bearer.user_id && now < session.expires_at);
    Ok((stands && account.lets_in(bearer)).then(|| caller(account, bearer)))
}

fn caller(account: Arc<Account>, bearer: &Bearer) -> Caller {
    Caller {
        user_id: account.user_id,
        username: account.username.clone(),
        session_id: bearer.session_id,
        roles: account.roles,
        token_epoch: bearer.token_epoch,
        expires_at: bearer.expires_at,
        account,
        seen: Seen::default(),
    }
}

impl Account {
    fn lets_in(&self, bearer: &Bearer) -> bool {
        !self.disabled && self.token_epoch == bearer.token_epoch && self.username == bearer.username
    }
}

impl KnownUser {
    fn lets_in(&self, bearer: &Bearer) -> bool {
        self.account.lets_in(bearer)
    }

    fn caller(self, bearer: &Bearer) -> Caller {
        caller(self.account, bearer)
    }
}

impl KnownSession {
    fn lets_in(&self, bearer: &Bearer, now: Timestamp) -> bool {
        self.user == bearer.user_id && now < self.expires_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Role;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    /// A cache, one user with one login, and whom its token is for.
    struct Case {
        accounts: Accounts,
        user: UserRecord,
        session: SessionRecord,
        bearer: Bearer,
    }

    impl Case {
        fn new() -> Self {
            let user = UserRecord {
                user_id: UserId::fresh(),
                username: "ann".into(),
                folded: "ann".into(),
                display_name: "Ann".into(),
                password_hash: "$2b$04$".into(),
                roles: vec![Role::BasicUser],
                created_at: NOW,
                disabled: false,
                token_epoch: 3,
                deletion: None,
            };
            let session = SessionRecord {
                session_id: SessionId::fresh(),
                user_id: user.user_id,
                created_at: NOW,
                expires_at: NOW.plus_secs(60),
            };
            let bearer = Bearer {
                user_id: user.user_id,
                username: "ann".into(),
                session_id: session.session_id,
                token_epoch: 3,
                expires_at: NOW.unix_secs() + 30,
            };
            Self { accounts: Accounts::new(&Config::default(), Arc::default()), user, session, bearer }
        }

        fn versions(&self) -> (u64, u64) {
            let users = self.accounts.users.at(&self.user.user_id).version();
            (users, self.accounts.sessions.at(&self.session.session_id).version())
        }

        /// Both records are read after `versions` were taken.
        fn remember(&self, versions: (u64, u64)) {
            let user = self.accounts.remember_user(versions.0, Instant::now(), &self.user);
            self.accounts.remember_session(versions.1, Instant::now(), &self.session, user.look);
        }

        fn known() -> Self {
            let case = Self::new();
            case.remember(case.versions());
            case
        }

        fn believed(&self) -> bool {
            self.accounts.believed(&self.bearer, NOW).is_some()
        }

        fn hear(&self, which: Option<Ended>) {
            let user = self.user.user_id;
            self.accounts.heard(&match which {
                Some(which) => Hint::LoginEnded { user, which },
                None => Hint::UserChanged { user },
            });
        }

        fn hints(&self) -> [Option<Ended>; 4] {
            let session = self.session.session_id;
            [None, Some(Ended::One(session)), Some(Ended::All { keep: None }), Some(Ended::All { keep: Some(session) })]
        }
    }

    #[test]
    fn what_was_read_is_believed() {
        let case = Case::known();
        let caller = case.accounts.believed(&case.bearer, NOW).unwrap();
        assert_eq!((caller.user_id, &*caller.username), (case.user.user_id, "ann"));
        assert_eq!((caller.session_id, caller.expires_at), (case.session.session_id, case.bearer.expires_at));
        assert!(!Case::new().believed(), "what was never read is not");
    }

    #[test]
    fn a_hint_forgets_what_it_makes_doubtful() {
        for index in 0..4 {
            let case = Case::known();
            case.hear(case.hints()[index]);
            assert!(!case.believed(), "{:?}", case.hints()[index]);
        }
        let case = Case::known();
        case.hear(Some(Ended::One(SessionId::fresh())));
        assert!(case.believed(), "another login of the same user is none of its business");
    }

    #[test]
    fn a_hint_that_comes_during_a_look_wins() {
        for index in 0..4 {
            let case = Case::new();
            let versions = case.versions();
            case.hear(case.hints()[index]);
            case.remember(versions);
            assert!(!case.believed(), "{:?}", case.hints()[index]);
            case.remember(case.versions());
            assert!(case.believed(), "a later look counts again");
        }
    }

    #[test]
    fn a_login_is_believed_only_with_the_look_before_it() {
        let case = Case::known();
        // All logins end while somebody's look at one of them is under way…
        let versions = case.versions();
        case.hear(Some(Ended::All { keep: None }));
        // …the user is looked at anew by somebody else, and then the old look at the login arrives.
        let mut changed = case.user.clone();
        changed.password_hash = "$2b$05$".into();
        let anew = case.accounts.remember_user(case.versions().0, Instant::now(), &changed);
        case.accounts.remember_session(versions.1, Instant::now(), &case.session, anew.look - 1);
        assert!(!case.believed());
    }

    #[test]
    fn only_a_token_of_this_login_epoch_and_time_is_believed() {
        let case = Case::known();
        let believed = |bearer: &Bearer, now| case.accounts.believed(bearer, now).is_some();
        assert!(believed(&case.bearer, NOW.plus_secs(59)));
        assert!(!believed(&case.bearer, NOW.plus_secs(60)), "the login has expired");
        assert!(!believed(&Bearer { token_epoch: 2, ..case.bearer.clone() }, NOW));
        assert!(!believed(&Bearer { username: "bob".into(), ..case.bearer.clone() }, NOW));
        assert!(!believed(&Bearer { session_id: SessionId::fresh(), ..case.bearer.clone() }, NOW));
        let mut other = Case::new();
        other.accounts = case.accounts;
        other.remember(other.versions());
        let mixed = Bearer { session_id: other.bearer.session_id, ..case.bearer.clone() };
        assert!(other.believed());
        assert!(other.accounts.believed(&mixed, NOW).is_none(), "a login of somebody else");
    }

    #[test]
    fn a_disabled_user_is_not_believed() {
        let mut case = Case::new();
        case.user.disabled = true;
        case.remember(case.versions());
        assert!(!case.believed());
    }

    #[test]
    fn the_same_record_read_again_is_one_account() {
        let case = Case::known();
        let account = || case.accounts.believed(&case.bearer, NOW).expect("it was read").account;
        let first = account();
        case.accounts.remember_user(case.versions().0, Instant::now(), &case.user);
        assert!(Arc::ptr_eq(&first, &account()), "with its logins, and with what is shown of it");
        let renamed = UserRecord { display_name: "Ann Lee".into(), ..case.user.clone() };
        case.accounts.remember_user(case.versions().0, Instant::now(), &renamed);
        assert!(!case.believed(), "of another record the logins are asked for anew");
    }

    #[tokio::test]
    async fn somebody_nobody_asks_for_is_forgotten() {
        let mut case = Case::known();
        case.accounts.believe = Duration::ZERO;
        case.accounts.forget_unused().await;
        case.accounts.forget_unused().await;
        assert_eq!((case.accounts.users.len(), case.accounts.sessions.len()), (0, 0));
    }

    #[test]
    fn belief_ends_by_itself() {
        let mut case = Case::known();
        case.accounts.believe = Duration::ZERO;
        assert!(!case.believed());
    }
}
