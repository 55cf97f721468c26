//! Users: one document each, unique by folded name, and every change is one update of it.
//!
//! Ending logins is part of that one update: a login remembers the `logins_floor` that its user had when it began, and
//! lives while it is not below the user's ([`Floor`]). What changes raises `changed_at`, by which other nodes learn it.
//!
//! The last enabled admin stays one without transactions, by a fence. Who takes an admin away draws a number greater than
//! all before, writes it into every enabled admin, looks whether there is another, and changes the one only if it still
//! holds that number. Of two rivals the later one invalidates the earlier one's number, and looks after it has.

use std::{future::IntoFuture, sync::Arc};

use futures_util::TryStreamExt;
use mongodb::{
    Collection,
    bson::{Bson, Document, doc},
    options::ReturnDocument,
};
use tokio::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard};

use super::{
    base::{Base, is_duplicate, store_error},
    codec::{batch, count, count_or_zero, date, flag, int, optional_text, role_names, roles, text, time, user_id},
    members::sharing_with,
};
use crate::{
    names,
    store::{
        DELETED_NAME, Deletion, Result, StoreError, UserChange, UserChanged, UserQuery, UserRecord,
        deletion::{Nameless, folded_of_nobody},
        prefix::end_of_prefix,
    },
    types::{Role, SessionId, UserId},
};

/// Rounds of a change that others get in the way of, before it is given up as `Busy`.
const TRIES: usize = 20;

/// Users whose changes wait for each other in this process.
const STRIPES: usize = 64;

/// What decides which of a user's logins live.
pub(super) struct Floor {
    pub floor: u64,
    kept: Option<String>,
}

impl Floor {
    fn of(user: &Document) -> Result<Self> {
        let kept = optional_text(user, "kept_login")?.map(str::to_owned);
        Ok(Self { floor: count_or_zero(user, "logins_floor")?, kept })
    }

    /// Whether a login lives that began at `floor`.
    pub fn lets_live(&self, session: &str, floor: u64) -> bool {
        floor >= self.floor || self.kept.as_deref() == Some(session)
    }
}

/// What one process has to keep in order about users, besides the database.
pub(super) struct Users {
    base: Arc<Base>,
    /// Updates of one document at once could undo each other where they are not atomic (FerretDB). One user's wait for
    /// each other; the fence, which writes to many users, waits for all.
    all: RwLock<()>,
    each: [Mutex<()>; STRIPES],
    /// Noted as their records are read.
    pub nameless: Nameless,
}

impl Users {
    pub fn new(base: Arc<Base>) -> Self {
        Self {
            base,
            all: RwLock::default(),
            each: [const { Mutex::const_new(()) }; STRIPES],
            nameless: Nameless::default(),
        }
    }

    fn users(&self) -> Collection<Document> {
        self.base.collection("users")
    }

    async fn turn(&self, user: UserId) -> (RwLockReadGuard<'_, ()>, MutexGuard<'_, ()>) {
        let all = self.all.read().await;
        let stripe = (user.0.as_u128() % STRIPES as u128) as usize;
        (all, self.each[stripe].lock().await)
    }

    pub async fn create(&self, user: &UserRecord) -> Result<bool> {
        self.insert(user, (!user.is_nobody()).then(|| names::skeleton(&user.folded))).await
    }

    /// Whose name looks like another's has no skeleton here: the first one guards it.
    pub async fn bring(&self, user: &UserRecord) -> Result<bool> {
        Ok(self.create(user).await? || self.insert(user, None).await?)
    }

    async fn insert(&self, user: &UserRecord, skeleton: Option<String>) -> Result<bool> {
        let mut document = doc! {
            "_id": user.user_id.to_string(),
            "username": &user.username,
            "folded": &user.folded,
            "display_name": &user.display_name,
            "password_hash": &user.password_hash,
            "roles": role_names(&user.roles),
            "created_at": date(user.created_at),
            "disabled": user.disabled,
            "token_epoch": int(user.token_epoch),
            "logins_floor": 0_i64,
            "fence": 0_i64,
            "rev": 0_i64,
        };
        document.extend(user.deletion.map(|deletion| ("deletion".to_owned(), i64::from(deletion.to_bits()).into())));
        document.extend(skeleton.map(|skeleton| ("skeleton".to_owned(), skeleton.into())));
        if self.base.insert("users", &document).await? {
            return Ok(true);
        }
        // Ours, where the answer to an earlier try got lost; somebody else's name otherwise.
        Ok(self.base.kept("users", &doc! { "_id": user.user_id.to_string() }).await?.is_some())
    }

    pub async fn by_id(&self, user: UserId) -> Result<Option<UserRecord>> {
        let found = self.base.find("users", &user.to_string()).await?.as_ref().map(record).transpose()?;
        found.iter().for_each(|user| self.nameless.note(user));
        Ok(found)
    }

    pub async fn by_name(&self, folded: &str) -> Result<Option<UserRecord>> {
        let users = self.users();
        let found = self.base.again(|| async { users.find_one(doc! { "folded": folded }).await }).await?;
        found.as_ref().map(record).transpose()
    }

    pub async fn list(&self, query: &UserQuery) -> Result<Vec<UserRecord>> {
        if query.limit == 0 {
            return Ok(Vec::new());
        }
        let after = query.after.as_deref().unwrap_or("");
        let mut range = doc! { "$gte": &query.prefix };
        if after >= query.prefix.as_str() {
            range = doc! { "$gt": after };
        }
        if let Some(end) = end_of_prefix(&query.prefix) {
            range.insert("$lt", end);
        }
        let mut filter = doc! { "folded": range };
        if !query.with_disabled {
            filter.insert("disabled", false);
        }
        if !query.with_deleted {
            filter.insert("deletion", doc! { "$not": { "$gte": i64::from(Deletion::FIRST_DONE) } });
        }
        if let Some(user) = query.sharing_with {
            filter.insert("_id", doc! { "$in": sharing_with(&self.base, user).await? });
        }
        let users = self.users();
        let (limit, batch) = (int(query.limit as u64), batch(query.limit));
        let op = || async {
            let page = users.find(filter.clone()).sort(doc! { "folded": 1 });
            page.limit(limit).batch_size(batch).await?.try_collect::<Vec<_>>().await
        };
        self.base.again(op).await?.iter().map(record).collect()
    }

    /// Which logins of a user live; `None` where there is no such user.
    pub async fn floor(&self, user: UserId) -> Result<Option<Floor>> {
        self.base.find("users", &user.to_string()).await?.as_ref().map(Floor::of).transpose()
    }

    /// Lets other nodes know that something about the user changed.
    pub async fn touch(&self, user: UserId) -> Result<()> {
        let _turn = self.turn(user).await;
        let users = self.users();
        let (filter, touch) = (doc! { "_id": user.to_string() }, doc! { "$currentDate": { "changed_at": true } });
        self.base.again(|| async { users.update_one(filter.clone(), touch.clone()).await }).await.map(drop)
    }

    pub async fn change(&self, user: UserId, change: &UserChange) -> Result<UserChanged> {
        match change {
            UserChange::RemoveRole(Role::Admin) | UserChange::Disable | UserChange::Delete(_) => {
                let _all = self.all.write().await;
                self.change_admin(user, change).await
            }
            UserChange::Password { keep: Some(keep), .. } | UserChange::EndOtherLogins { keep } => {
                let _turn = self.turn(user).await;
                self.change_keeping(user, change, *keep).await
            }
            UserChange::Deleted => {
                let _turn = self.turn(user).await;
                self.end_deletion(user).await
            }
            UserChange::Rehash { .. } | UserChange::Enable => {
                let _turn = self.turn(user).await;
                let unchanged = match change {
                    UserChange::Rehash { from, .. } => doc! { "password_hash": from },
                    _ => doc! { "deletion": { "$exists": false } },
                };
                match done(self.update(&user.to_string(), unchanged, change).await?)? {
                    Some(done) => Ok(done),
                    // Another password, an account that is deleted, or already done.
                    None => Ok(self.by_id(user).await?.map_or(UserChanged::NoSuchUser, UserChanged::Done)),
                }
            }
            _ => {
                let _turn = self.turn(user).await;
                Ok(done(self.update(&user.to_string(), doc! {}, change).await?)?.unwrap_or(UserChanged::NoSuchUser))
            }
        }
    }

    /// The user as it is afterwards; `None` where there is nobody of whom `filter` is true.
    ///
    /// Each change is of one revision: a command that we gave up on, and that the server carries out later, finds another
    /// revision and undoes nothing that was done meanwhile. Doing our own change twice changes nothing more.
    async fn update(&self, id: &str, filter: Document, change: &UserChange) -> Result<Option<Document>> {
        self.update_by(id, filter, update(change)).await
    }

    async fn update_by(&self, id: &str, filter: Document, update: Document) -> Result<Option<Document>> {
        let users = self.users();
        for _ in 0..TRIES {
            let Some(found) = self.base.find("users", id).await? else { return Ok(None) };
            let rev = count(&found, "rev")?;
            let mut this = doc! { "_id": id, "rev": int(rev) };
            this.extend(filter.clone());
            let op = || async {
                users.find_one_and_update(this.clone(), update.clone()).return_document(ReturnDocument::After).await
            };
            if let Some(done) = self.base.again(op).await? {
                return Ok(Some(done));
            }
            let now = self.base.find("users", id).await?;
            if now.is_some_and(|now| count(&now, "rev").is_ok_and(|now| now == rev)) {
                return Ok(None);
            }
        }
        Err(StoreError::Busy)
    }

    /// The login that ends the others goes on, but only if it lives: one that was just ended must not come back.
    async fn change_keeping(&self, user: UserId, change: &UserChange, keep: SessionId) -> Result<UserChanged> {
        let keep_id = keep.to_string();
        for _ in 0..TRIES {
            let Some(found) = self.base.find("users", &user.to_string()).await? else {
                return Ok(UserChanged::NoSuchUser);
            };
            let floor = Floor::of(&found)?;
            let lives = match self.base.find("sessions", &keep_id).await? {
                Some(session) => {
                    user_id(&session, "user")? == user && floor.lets_live(&keep_id, count(&session, "floor")?)
                }
                None => false,
            };
            let without = match change {
                UserChange::Password { hash, .. } => UserChange::Password { hash: hash.clone(), keep: None },
                _ => UserChange::EndLogins,
            };
            let change = if lives { change } else { &without };
            let unchanged = doc! { "logins_floor": int(floor.floor) };
            if let Some(done) = done(self.update(&user.to_string(), unchanged, change).await?)? {
                return Ok(done);
            }
        }
        Err(StoreError::Busy)
    }

    async fn change_admin(&self, user: UserId, change: &UserChange) -> Result<UserChanged> {
        let (id, enabled_admin) = (user.to_string(), doc! { "roles": Role::Admin.name(), "disabled": false });
        for _ in 0..TRIES {
            let Some(found) = self.by_id(user).await? else { return Ok(UserChanged::NoSuchUser) };
            let (mut as_found, mut whole) = (doc! {}, change.clone());
            if let UserChange::Delete(wanted) = change {
                let all = found.deletion.unwrap_or(*wanted).and(*wanted);
                if found.deletion == Some(all) {
                    return Ok(UserChanged::Done(found));
                }
                let noted = found.deletion.map(|noted| i64::from(noted.to_bits()));
                as_found.insert("deletion", noted.map_or(doc! { "$exists": false }.into(), Bson::from));
                whole = UserChange::Delete(all);
            }
            let change = &whole;
            let changed = if found.disabled || !found.roles.contains(&Role::Admin) {
                // Nobody is lost by this change, unless the user becomes an enabled admin just now.
                as_found.insert("$nor", vec![enabled_admin.clone()]);
                self.update(&id, as_found, change).await?
            } else {
                let fence = self.raise_fence(&enabled_admin).await?;
                let mut another = enabled_admin.clone();
                another.insert("_id", doc! { "$ne": id.as_str() });
                let users = self.users();
                if self.base.again(|| async { users.find_one(another.clone()).await }).await?.is_none() {
                    return self.last_or_gone(user).await;
                }
                as_found.insert("fence", fence);
                self.update(&id, as_found, change).await?
            };
            if let Some(done) = done(changed)? {
                return Ok(done);
            }
        }
        Err(StoreError::Busy)
    }

    /// First what names the user elsewhere, so that a deletion that was cut off is found again by the record.
    async fn end_deletion(&self, user: UserId) -> Result<UserChanged> {
        let Some(found) = self.by_id(user).await? else { return Ok(UserChanged::NoSuchUser) };
        let Some(deletion) = found.deletion.filter(|deletion| !deletion.done) else {
            return Ok(UserChanged::Done(found));
        };
        let noted = doc! { "deletion": i64::from(deletion.to_bits()) };
        let mut last = update(&UserChange::Deleted);
        let set = last.get_document_mut("$set").expect("it sets names");
        set.insert("deletion", i64::from(Deletion { done: true, ..deletion }.to_bits()));
        if deletion.free_name {
            set.insert("folded", folded_of_nobody(user));
            last.insert("$unset", doc! { "skeleton": "" });
        }
        let id = user.to_string();
        for (collection, field) in [("blocks", "user"), ("blocks", "blocked"), ("consent", "user")] {
            let (theirs, of_user) = (self.base.collection(collection), doc! { field: &id });
            self.base.again(|| async { theirs.delete_many(of_user.clone()).await }).await?;
        }
        let ended = done(self.update_by(&id, noted, last).await?)?;
        // Somebody else ended it, or more is asked now.
        let now = match ended {
            Some(done) => done,
            None => self.by_id(user).await?.map_or(UserChanged::NoSuchUser, UserChanged::Done),
        };
        if let UserChanged::Done(user) = &now {
            self.nameless.note(user);
        }
        Ok(now)
    }

    /// Of whom a deletion goes on.
    pub async fn deletions(&self, limit: usize) -> Result<Vec<UserId>> {
        self.with_deletion(doc! { "$lt": i64::from(Deletion::FIRST_DONE) }, None, Some(limit)).await
    }

    /// Remembers who has no name any more.
    pub async fn note_nameless(&self) -> Result<()> {
        let all = self.with_deletion(doc! { "$gte": 0_i64 }, Some(DELETED_NAME), None).await?;
        self.nameless.extend(all);
        Ok(())
    }

    async fn with_deletion(
        &self,
        range: Document,
        username: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Vec<UserId>> {
        let (users, mut filter) = (self.users(), doc! { "deletion": range });
        filter.extend(username.map(|name| ("username".to_owned(), name.into())));
        let op = || async {
            let found = users.find(filter.clone()).projection(doc! { "_id": 1 });
            found.limit(limit.map_or(0, |limit| int(limit as u64))).await?.try_collect::<Vec<_>>().await
        };
        self.base.again(op).await?.iter().map(|user| user_id(user, "_id")).collect()
    }

    /// There is no other enabled admin.
    async fn last_or_gone(&self, user: UserId) -> Result<UserChanged> {
        let found = self.by_id(user).await?;
        Ok(if found.is_some() { UserChanged::LastAdmin } else { UserChanged::NoSuchUser })
    }

    /// Writes a number greater than all before into every enabled admin, and gives it.
    async fn raise_fence(&self, enabled_admin: &Document) -> Result<i64> {
        let meta = self.base.collection("meta");
        let op = || async {
            let next = meta.find_one_and_update(doc! { "_id": "fence" }, doc! { "$inc": { "n": 1_i64 } });
            next.upsert(true).return_document(ReturnDocument::After).await
        };
        let counter = self.base.again(op).await?.unwrap_or_default();
        let fence = int(count(&counter, "n")?);
        let (users, raise) = (self.users(), doc! { "$max": { "fence": fence } });
        self.base.again(|| async { users.update_many(enabled_admin.clone(), raise.clone()).await }).await?;
        Ok(fence)
    }
}

/// Gives everybody a skeleton who has none, in the order in which they came; of those whose names look alike, the first.
pub(super) async fn fill_skeletons(base: &Base) -> Result<()> {
    let (users, none) = (base.collection("users"), doc! { "skeleton": { "$exists": false } });
    let order = doc! { "created_at": 1, "_id": 1 };
    let all: Vec<Document> =
        base.again(|| async { users.find(none.clone()).sort(order.clone()).await?.try_collect().await }).await?;
    for user in all {
        let (id, skeleton) = (text(&user, "_id")?, names::skeleton(text(&user, "folded")?));
        // Asked first: FerretDB says of an update's duplicate only that something failed.
        if base.again(|| async { users.find_one(doc! { "skeleton": &skeleton }).await }).await?.is_some() {
            continue;
        }
        let filter = doc! { "_id": id, "skeleton": { "$exists": false } };
        let change = doc! { "$set": { "skeleton": skeleton } };
        match base.once(users.update_one(filter, change).into_future()).await {
            Err(error) if !is_duplicate(&error) => return Err(store_error(&error)),
            _ => {}
        }
    }
    Ok(())
}

fn done(user: Option<Document>) -> Result<Option<UserChanged>> {
    user.as_ref().map(|user| record(user).map(UserChanged::Done)).transpose()
}

fn record(user: &Document) -> Result<UserRecord> {
    Ok(UserRecord {
        user_id: user_id(user, "_id")?,
        username: text(user, "username")?.to_owned(),
        folded: text(user, "folded")?.to_owned(),
        display_name: text(user, "display_name")?.to_owned(),
        password_hash: text(user, "password_hash")?.to_owned(),
        roles: roles(user, "roles")?,
        created_at: time(user, "created_at")?,
        disabled: flag(user, "disabled")?,
        token_epoch: count(user, "token_epoch")?,
        deletion: deletion(user)?,
    })
}

fn deletion(user: &Document) -> Result<Option<Deletion>> {
    if !user.contains_key("deletion") {
        return Ok(None);
    }
    let bits = u8::try_from(count(user, "deletion")?).unwrap_or_default();
    Ok(Some(Deletion::from_bits(bits)))
}

/// Logins that are below the floor are over, so raising it ends them all, but one that is named.
fn update(change: &UserChange) -> Document {
    let mut update = match change {
        UserChange::DisplayName(name) => doc! { "$set": { "display_name": name } },
        UserChange::Password { hash, keep: Some(keep) } => doc! {
            "$set": { "password_hash": hash, "kept_login": keep.to_string() },
            "$inc": { "logins_floor": 1_i64 },
        },
        UserChange::Password { hash, keep: None } => doc! {
            "$set": { "password_hash": hash },
            "$inc": { "logins_floor": 1_i64 },
            "$unset": { "kept_login": "" },
        },
        UserChange::Rehash { to, .. } => doc! { "$set": { "password_hash": to } },
        UserChange::AddRole(role) => doc! { "$addToSet": { "roles": role.name() } },
        UserChange::RemoveRole(role) => doc! { "$pull": { "roles": role.name() } },
        UserChange::Disable => doc! {
            "$set": { "disabled": true },
            "$inc": { "logins_floor": 1_i64, "token_epoch": 1_i64 },
            "$unset": { "kept_login": "" },
        },
        UserChange::Enable => doc! { "$set": { "disabled": false } },
        UserChange::EndLogins => doc! {
            "$inc": { "logins_floor": 1_i64, "token_epoch": 1_i64 },
            "$unset": { "kept_login": "" },
        },
        UserChange::EndOtherLogins { keep } => doc! {
            "$set": { "kept_login": keep.to_string() },
            "$inc": { "logins_floor": 1_i64 },
        },
        UserChange::Delete(all) => doc! {
            "$set": { "disabled": true, "deletion": i64::from(all.to_bits()) },
            "$inc": { "logins_floor": 1_i64, "token_epoch": 1_i64 },
            "$unset": { "kept_login": "" },
        },
        UserChange::Deleted => doc! {
            "$set": { "username": DELETED_NAME, "display_name": DELETED_NAME, "password_hash": "", "roles": [] },
        },
    };
    update.entry("$inc".into()).or_insert_with(|| doc! {}.into());
    update.get_document_mut("$inc").expect("just put there").insert("rev", 1_i64);
    update.insert("$currentDate", doc! { "changed_at": true });
    update
}
