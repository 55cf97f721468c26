//! Users of the original as users of natter: one name each, their password hashes, and an account for everybody who is
//! named anywhere.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    str::FromStr,
};

use mongodb::bson::{Bson, Document};
use unicode_normalization::UnicodeNormalization;

use super::{
    report::{Kind, Report},
    source::Source,
    times,
    values::{derived, id_text, made_at, place, reference, uuid_of},
};
use crate::{
    chat::users::Username,
    store::UserRecord,
    transfer::progress::Progress,
    types::{Role, Timestamp, UserId},
};

/// What stands in for a hash that nobody has: no password matches it.
const NO_HASH: &str = "!";

const USERNAME_CHARS: usize = 64;

pub(super) struct People {
    users: Vec<UserRecord>,
    /// As the original's records name them: the first who had the name, or the id.
    by_name: HashMap<String, UserId>,
    by_id: HashMap<String, UserId>,
    /// Named, and nobody's account; filled while chats and messages are read.
    unknown: BTreeMap<String, UserId>,
    taken: HashSet<String>,
    names: HashMap<UserId, String>,
}

/// A record on its way.
struct Account {
    place: String,
    name: Option<String>,
    user: UserRecord,
}

impl People {
    pub(super) async fn read(source: &Source, report: &mut Report, progress: &Progress) -> Result<Self, String> {
        let records = source.in_order("users", progress).await?;

        let mut people = Self {
            users: Vec::new(),
            by_name: HashMap::new(),
            by_id: HashMap::new(),
            unknown: BTreeMap::new(),
            taken: HashSet::new(),
            names: HashMap::new(),
        };
        let mut accounts = Vec::with_capacity(records.len());
        let mut ids = HashSet::new();
        for (order, record) in records {
            accounts.push(people.account(&order, &record, &mut ids, report)?);
        }
        for account in &accounts {
            if let Some(name) = &account.name
                && people.by_id.get(&reference(name)).is_some_and(|other| *other != account.user.user_id)
            {
                let what =
                    format!("its name {name:?} is the user_id of another; wherever it stands it counts as the name");
                report.tell(Kind::AmbiguousName, &account.place, &what)?;
            }
        }
        people.give_names(accounts, report)?;
        Ok(people)
    }

    fn account(
        &mut self,
        order: &[u8],
        record: &Document,
        ids: &mut HashSet<UserId>,
        report: &mut Report,
    ) -> Result<Account, String> {
        let place = place("users", record);
        let said = id_text(record.get("user_id"));
        let mut user_id = UserId(said.as_deref().and_then(uuid_of).unwrap_or_else(|| derived("user", order)));
        report.replaced_ids += u64::from(said.as_deref().is_some_and(|said| uuid_of(said).is_none()));
        if !ids.insert(user_id) || said.as_ref().is_some_and(|said| self.by_id.contains_key(&reference(said))) {
            let fresh = UserId(derived("user again", order));
            let what =
                format!("another user has the user_id {}; this one has {fresh} now", said.as_deref().unwrap_or("?"));
            report.tell(Kind::DuplicateUserId, &place, &what)?;
            ids.insert(fresh);
            user_id = fresh;
        }
        for text in [said, id_text(record.get("_id"))].into_iter().flatten() {
            self.by_id.entry(reference(&text)).or_insert(user_id);
        }
        let name = id_text(record.get("username"));
        if let Some(name) = &name {
            self.by_name.entry(name.clone()).or_insert(user_id);
        }
        // Whoever is named by something odd is found by its JSON, and gets a name that can be typed.
        let is_text = matches!(record.get("username"), Some(Bson::String(_)));
        let name = name.filter(|name| is_text || !name.starts_with(['{', '[']));
        let (password_hash, shut_out) = hash(record, &place, report)?;
        let user = UserRecord {
            user_id,
            username: String::new(),
            folded: String::new(),
            display_name: String::new(),
            password_hash,
            roles: roles(record, &place, report)?,
            created_at: Timestamp(created_at(record)),
            // Asked first, so that it is told of in any case.
            disabled: disabled(record, &place, report)? || shut_out,
            token_epoch: 0,
            deletion: None,
        };
        Ok(Account { place, name, user })
    }

    /// Whoever comes first, by `_id`, with a name that natter takes keeps it. Then the others get names, in the same order.
    fn give_names(&mut self, accounts: Vec<Account>, report: &mut Report) -> Result<(), String> {
        let mut later = Vec::new();
        for account in accounts {
            match account.name.as_deref().map(Username::parse) {
                Some(Ok(name)) if self.taken.insert(name.folded.clone()) => self.add(account.user, name),
                Some(Ok(_)) => later.push((account, Kind::DuplicateName)),
                Some(Err(_)) | None => later.push((account, Kind::RefusedName)),
            }
        }
        for (account, kind) in later {
            let asked = account.name.clone().unwrap_or_default();
            let name = self.free_name(&asked, "user");
            let why = if kind == Kind::DuplicateName { "is somebody else's already" } else { "is no name here" };
            let what = format!("{asked:?} {why}; this one is {:?} now, and signs in so", name.shown);
            report.tell(kind, &account.place, &what)?;
            self.add(account.user, name);
        }
        Ok(())
    }

    fn add(&mut self, user: UserRecord, name: Username) {
        self.names.insert(user.user_id, name.shown.clone());
        let display_name = name.shown.clone();
        self.users.push(UserRecord { username: name.shown, folded: name.folded, display_name, ..user });
    }

    /// What of `asked` may be in a name, with a number after it where that is taken.
    fn free_name(&mut self, asked: &str, otherwise: &str) -> Username {
        let allowed = |c: &char| Username::parse(&format!("x{c}x")).is_ok();
        let clean: String = asked.nfkc().filter(allowed).collect();
        let base = match clean.trim() {
            "" => otherwise,
            base => base,
        };
        for number in 1u64.. {
            let suffix = if number == 1 { String::new() } else { format!("-{number}") };
            let kept: String = base.chars().take(USERNAME_CHARS - suffix.chars().count()).collect();
            let candidate = format!("{}{suffix}", kept.trim_end());
            if let Ok(name) = Username::parse(&candidate)
                && self.taken.insert(name.folded.clone())
            {
                return name;
            }
        }
        unreachable!("there are more numbers than users")
    }

    /// Whom a record means by a username or an id; somebody without an account gets one in the end.
    pub(super) fn whoever(&mut self, value: Option<&Bson>, place: &str, report: &mut Report) -> Result<UserId, String> {
        let said = id_text(value).filter(|text| !text.is_empty());
        let known = said.as_ref().and_then(|text| self.by_name.get(text).or_else(|| self.by_id.get(&reference(text))));
        if let Some(user) = known {
            return Ok(*user);
        }
        let text = said.unwrap_or_else(|| "unknown".into());
        report.tell(Kind::UnknownUser, place, &format!("{text:?} has no account; a disabled one is made"))?;
        let fresh = || UserId(derived("unknown user", text.as_bytes()));
        Ok(*self.unknown.entry(text.clone()).or_insert_with(fresh))
    }

    /// Makes the accounts of those who had none, once all of them are known.
    pub(super) fn name_the_unknown(&mut self, report: &mut Report) -> Result<(), String> {
        for (text, user_id) in std::mem::take(&mut self.unknown) {
            let name = self.free_name(&text, "unknown");
            let what = format!("the account made for it is {:?}", name.shown);
            report.tell(Kind::UnknownUser, &format!("{text:?}"), &what)?;
            let user = UserRecord {
                user_id,
                username: String::new(),
                folded: String::new(),
                display_name: String::new(),
                password_hash: NO_HASH.into(),
                roles: vec![Role::BasicUser],
                created_at: Timestamp(0),
                disabled: true,
                token_epoch: 0,
                deletion: None,
            };
            self.add(user, name);
        }
        self.users.sort_unstable_by(|one, other| one.folded.cmp(&other.folded));
        Ok(())
    }

    /// Once all are named, ascending by folded name.
    pub(super) fn users(&self) -> &[UserRecord] {
        &self.users
    }

    /// The name of somebody whom [`People::whoever`] gave.
    pub(super) fn name(&self, user: UserId) -> &str {
        self.names.get(&user).map_or("unknown", String::as_str)
    }
}

/// The hash, and whether the account must be disabled for want of one.
fn hash(record: &Document, place: &str, report: &mut Report) -> Result<(String, bool), String> {
    let said = match record.get("hashed_password") {
        Some(Bson::String(hash)) => Some(hash.trim().to_owned()),
        Some(Bson::Binary(hash)) => String::from_utf8(hash.bytes.clone()).ok(),
        _ => None,
    };
    let again = "it is kept and disabled; to let them in: natter admin reset-password, then natter admin enable";
    match said.filter(|hash| !hash.is_empty()) {
        None => {
            report.tell(Kind::NoHash, place, &format!("the account has no password; {again}"))?;
            Ok((NO_HASH.into(), true))
        }
        Some(hash) if bcrypt::HashParts::from_str(&hash).is_ok() => Ok((hash, false)),
        Some(_) => {
            report.tell(Kind::ForeignHash, place, &format!("the password's hash is no bcrypt; {again}"))?;
            Ok((NO_HASH.into(), true))
        }
    }
}

fn roles(record: &Document, place: &str, report: &mut Report) -> Result<Vec<Role>, String> {
    let said = match record.get("roles") {
        Some(Bson::Array(roles)) => roles.as_slice(),
        None | Some(Bson::Null) => &[],
        Some(role) => {
            report.tell(Kind::OddRoles, place, "its roles are no list; what is there is taken as one role")?;
            std::slice::from_ref(role)
        }
    };
    let mut roles = BTreeSet::from([Role::BasicUser]);
    for role in said {
        let name = match role {
            Bson::Document(role) => role.get("role_name").and_then(Bson::as_str),
            role => role.as_str(),
        };
        match name.and_then(Role::from_name) {
            Some(role) => drop(roles.insert(role)),
            None => {
                let what =
                    format!("the role {} is not one of natter's, and is left out", name.unwrap_or("without a name"));
                report.tell(Kind::UnknownRole, place, &what)?;
            }
        }
    }
    Ok(roles.into_iter().collect())
}

/// Whether the record says so in any way: what is no yes and no no keeps people out.
fn disabled(record: &Document, place: &str, report: &mut Report) -> Result<bool, String> {
    let said = match record.get("disabled") {
        Some(Bson::Boolean(said)) => return Ok(*said),
        said => id_text(said),
    };
    let Some(said) = said else { return Ok(false) };
    let disabled = !NO.contains(&said.trim().to_lowercase().as_str());
    let so = if disabled { "it counts as disabled" } else { "it counts as not disabled" };
    report.tell(Kind::OddDisabled, place, &format!("disabled is {said:?} and neither true nor false; {so}"))?;
    Ok(disabled)
}

/// What the original took for false, as text.
const NO: [&str; 8] = ["", "0", "-0", "false", "no", "off", "f", "n"];

fn created_at(record: &Document) -> i64 {
    let said = match record.get("created_at") {
        Some(Bson::DateTime(at)) => Some(at.timestamp_millis()),
        Some(Bson::String(text)) => times::read(text, time::UtcOffset::UTC).map(|read| read.millis),
        _ => None,
    };
    said.or_else(|| made_at(record)).unwrap_or(0)
}
