//! Users: one row each, unique by folded name.

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, named_params, params, types::Value};

use super::{
    codec::{count, int, roles_from_bits, roles_to_bits, time, user_id},
    sessions,
};
use crate::{
    names,
    store::{
        DELETED_NAME, Deletion, UserChange, UserChanged, UserQuery, UserRecord, deletion::folded_of_nobody,
        prefix::end_of_prefix,
    },
    types::{Role, UserId},
};

const COLUMNS: &str =
    "user_id, username, folded, display_name, password_hash, roles, created_at, disabled, token_epoch, deletion";

fn record(row: &Row<'_>) -> rusqlite::Result<UserRecord> {
    Ok(UserRecord {
        user_id: user_id(row, 0)?,
        username: row.get(1)?,
        folded: row.get(2)?,
        display_name: row.get(3)?,
        password_hash: row.get(4)?,
        roles: roles_from_bits(row.get(5)?),
        created_at: time(row, 6)?,
        disabled: row.get(7)?,
        token_epoch: count(row, 8)?,
        deletion: row.get::<_, Option<u8>>(9)?.map(Deletion::from_bits),
    })
}

fn select<'a>(db: &'a Connection, rest: &str) -> rusqlite::Result<CachedStatement<'a>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM users {rest}"))
}

pub(super) fn create(db: &Connection, user: &UserRecord) -> rusqlite::Result<bool> {
    insert(db, user, (!user.is_nobody()).then(|| names::skeleton(&user.folded)))
}

/// Whose name looks like another's has no skeleton here: the first one guards it.
pub(super) fn bring(db: &Connection, user: &UserRecord) -> rusqlite::Result<bool> {
    Ok(create(db, user)? || insert(db, user, None)?)
}

fn insert(db: &Connection, user: &UserRecord, skeleton: Option<String>) -> rusqlite::Result<bool> {
    let sql = format!("INSERT INTO users ({COLUMNS}, skeleton) VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING");
    let made = db.prepare_cached(&sql)?.execute(params![
        user.user_id.0.as_bytes(),
        user.username,
        user.folded,
        user.display_name,
        user.password_hash,
        roles_to_bits(&user.roles),
        user.created_at.0,
        user.disabled,
        int(user.token_epoch),
        user.deletion.map(Deletion::to_bits),
        skeleton,
    ])?;
    Ok(made == 1)
}

/// Gives everybody a skeleton who has none, in the order in which they came; of those whose names look alike, the first.
pub(super) fn fill_skeletons(db: &Connection) -> rusqlite::Result<()> {
    let mut all =
        db.prepare("SELECT user_id, folded FROM users WHERE skeleton IS NULL ORDER BY created_at, user_id")?;
    let all: Vec<(Vec<u8>, String)> =
        all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let mut fill = db.prepare("UPDATE OR IGNORE users SET skeleton = ? WHERE user_id = ?")?;
    all.into_iter().try_for_each(|(user, folded)| fill.execute(params![names::skeleton(&folded), user]).map(drop))
}

pub(super) fn by_id(db: &Connection, user: UserId) -> rusqlite::Result<Option<UserRecord>> {
    select(db, "WHERE user_id = ?")?.query_row([user.0.as_bytes()], record).optional()
}

pub(super) fn by_name(db: &Connection, folded: &str) -> rusqlite::Result<Option<UserRecord>> {
    select(db, "WHERE folded = ?")?.query_row([folded], record).optional()
}

/// A range of the index on `folded`, so that `%` and `_` in a prefix are themselves and a page costs what it shows.
pub(super) fn list(db: &Connection, query: &UserQuery) -> rusqlite::Result<Vec<UserRecord>> {
    let after = query.after.as_deref().unwrap_or("");
    // Any BLOB is greater than every TEXT, so an empty one is "no end".
    let end = end_of_prefix(&query.prefix).map_or(Value::Blob(Vec::new()), Value::Text);
    select(
        db,
        "WHERE folded >= :from AND folded < :end AND +folded <> :after AND (:with_disabled OR NOT disabled)
         AND (:with_deleted OR deletion IS NULL OR deletion < :done)
         AND (:with IS NULL OR user_id IN (
            SELECT theirs.user_id FROM members AS mine JOIN members AS theirs USING (room_id) WHERE mine.user_id = :with
            UNION SELECT :with
         ))
         ORDER BY folded LIMIT :limit",
    )?
    .query_map(
        named_params! {
            ":from": query.prefix.as_str().max(after),
            ":end": end,
            ":after": after,
            ":with_disabled": query.with_disabled,
            ":with_deleted": query.with_deleted,
            ":done": Deletion::FIRST_DONE,
            ":with": query.sharing_with.as_ref().map(|user| user.0.as_bytes().as_slice()),
            ":limit": int(query.limit as u64),
        },
        record,
    )?
    .collect()
}

pub(super) fn change(db: &Connection, user: UserId, change: &UserChange) -> rusqlite::Result<UserChanged> {
    let Some(mut record) = by_id(db, user)? else { return Ok(UserChanged::NoSuchUser) };
    match change {
        UserChange::DisplayName(name) => record.display_name.clone_from(name),
        UserChange::Password { hash, keep } => {
            record.password_hash.clone_from(hash);
            sessions::end_all(db, user, *keep)?;
        }
        UserChange::Rehash { from, to } => {
            if record.password_hash == *from {
                record.password_hash.clone_from(to);
            }
        }
        UserChange::AddRole(role) => {
            record.roles.push(*role);
            record.roles.sort_unstable();
            record.roles.dedup();
        }
        UserChange::RemoveRole(role) => {
            if *role == Role::Admin && is_last_admin(db, &record)? {
                return Ok(UserChanged::LastAdmin);
            }
            record.roles.retain(|held| held != role);
        }
        UserChange::Disable => {
            if is_last_admin(db, &record)? {
                return Ok(UserChanged::LastAdmin);
            }
            record.disabled = true;
            end_logins(db, &mut record)?;
        }
        UserChange::Enable => record.disabled = record.disabled && record.deletion.is_some(),
        UserChange::EndLogins => end_logins(db, &mut record)?,
        UserChange::EndOtherLogins { keep } => sessions::end_all(db, user, Some(*keep))?,
        UserChange::Delete(wanted) => {
            let all = record.deletion.unwrap_or(*wanted).and(*wanted);
            if record.deletion != Some(all) {
                if is_last_admin(db, &record)? {
                    return Ok(UserChanged::LastAdmin);
                }
                (record.disabled, record.deletion) = (true, Some(all));
                end_logins(db, &mut record)?;
            }
        }
        UserChange::Deleted => end_deletion(db, &mut record)?,
    }
    update(db, &record)?;
    Ok(UserChanged::Done(record))
}

fn end_deletion(db: &Connection, record: &mut UserRecord) -> rusqlite::Result<()> {
    let Some(deletion) = record.deletion.filter(|deletion| !deletion.done) else { return Ok(()) };
    record.deletion = Some(Deletion { done: true, ..deletion });
    (record.username, record.display_name) = (DELETED_NAME.into(), DELETED_NAME.into());
    (record.password_hash, record.roles) = (String::new(), Vec::new());
    let id = record.user_id.0.as_bytes();
    if deletion.free_name {
        record.folded = folded_of_nobody(record.user_id);
    }
    db.prepare_cached(
        "UPDATE users SET username = ?, folded = ?, skeleton = iif(?, NULL, skeleton) WHERE user_id = ?",
    )?
    .execute(params![record.username, record.folded, deletion.free_name, id])?;
    for theirs in [
        "DELETE FROM blocks WHERE user_id = ?",
        "DELETE FROM blocks WHERE blocked_id = ?",
        "DELETE FROM consent WHERE user_id = ?",
    ] {
        db.prepare_cached(theirs)?.execute([id])?;
    }
    Ok(())
}

/// Of whom a deletion goes on.
pub(super) fn deletions(db: &Connection, limit: usize) -> rusqlite::Result<Vec<UserId>> {
    db.prepare_cached("SELECT user_id FROM users WHERE deletion < ? LIMIT ?")?
        .query_map(params![Deletion::FIRST_DONE, int(limit as u64)], |row| user_id(row, 0))?
        .collect()
}

/// Who has no name any more.
pub(super) fn nameless(db: &Connection) -> rusqlite::Result<Vec<UserId>> {
    db.prepare_cached("SELECT user_id FROM users WHERE deletion IS NOT NULL AND username = ?")?
        .query_map([DELETED_NAME], |row| user_id(row, 0))?
        .collect()
}

fn end_logins(db: &Connection, record: &mut UserRecord) -> rusqlite::Result<()> {
    record.token_epoch += 1;
    sessions::end_all(db, record.user_id, None)
}

/// Without this one nobody would be admin who may also sign in.
fn is_last_admin(db: &Connection, record: &UserRecord) -> rusqlite::Result<bool> {
    if record.disabled || !record.roles.contains(&Role::Admin) {
        return Ok(false);
    }
    let another = db
        .prepare_cached("SELECT 1 FROM users WHERE roles & 1 AND NOT disabled AND user_id <> ? LIMIT 1")?
        .exists([record.user_id.0.as_bytes()])?;
    Ok(!another)
}

fn update(db: &Connection, record: &UserRecord) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE users SET display_name = ?, password_hash = ?, roles = ?, disabled = ?, token_epoch = ?, deletion = ?
         WHERE user_id = ?",
    )?
    .execute(params![
        record.display_name,
        record.password_hash,
        roles_to_bits(&record.roles),
        record.disabled,
        int(record.token_epoch),
        record.deletion.map(Deletion::to_bits),
        record.user_id.0.as_bytes(),
    ])
    .map(drop)
}
