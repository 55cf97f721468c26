//! What an operator does from the command line: admins, accounts, backups, exports.
//!
//! [`operate`] is the one place that does it. A running server runs it for whoever connects to the control socket in its
//! data folder (`socket.rs`), so that caches and live sockets know at once; without a server the command line opens the
//! store and runs it itself. Both ways give the same replies.

pub mod socket;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    audit::{Audit, By, What},
    auth::password::{Asker, Passwords},
    chat::{Chat, ChatError, users::Username},
    names,
    store::{DELETED_NAME, Deletion, Store, UserChange, UserQuery, UserRecord},
    transfer::{
        export::{self, Exported},
        progress::Progress,
        reindex,
        survey::{self, Survey},
    },
    types::{Role, Timestamp},
};

/// Users read from the store at once.
const PAGE: usize = 500;

/// One line of JSON on the control socket. It has no `Debug`, because some hold a password.
#[derive(Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    CreateAdmin {
        username: String,
        password: String,
    },
    CreateUser {
        username: String,
        password: String,
    },
    ListAdmins,
    /// At most so many whose folded names begin with `prefix` and come after `after`.
    ListUsers {
        prefix: String,
        after: Option<String>,
        limit: usize,
    },
    Grant {
        username: String,
    },
    Revoke {
        username: String,
    },
    Disable {
        username: String,
    },
    Enable {
        username: String,
    },
    ResetPassword {
        username: String,
        password: String,
    },
    Delete {
        username: String,
        erase_messages: bool,
        free_name: bool,
    },
    /// An absolute path, as the server's working directory is not the caller's.
    Backup {
        file: PathBuf,
    },
    /// An absolute path too.
    Export {
        file: PathBuf,
    },
    Verify,
    Reindex,
}

impl Command {
    /// For logs: what, and to whom, and no secret.
    pub fn name(&self) -> &'static str {
        match self {
            Command::CreateAdmin { .. } => "admin create",
            Command::CreateUser { .. } => "admin create-user",
            Command::ListAdmins => "admin list",
            Command::ListUsers { .. } => "user list",
            Command::Grant { .. } => "admin grant",
            Command::Revoke { .. } => "admin revoke",
            Command::Disable { .. } => "admin disable",
            Command::Enable { .. } => "admin enable",
            Command::ResetPassword { .. } => "admin reset-password",
            Command::Delete { .. } => "admin delete",
            Command::Backup { .. } => "backup",
            Command::Export { .. } => "export",
            Command::Verify => "verify",
            Command::Reindex => "reindex",
        }
    }

    pub fn username(&self) -> Option<&str> {
        match self {
            Command::CreateAdmin { username, .. }
            | Command::CreateUser { username, .. }
            | Command::Grant { username }
            | Command::Revoke { username }
            | Command::Disable { username }
            | Command::Enable { username }
            | Command::ResetPassword { username, .. }
            | Command::Delete { username, .. } => Some(username),
            Command::ListAdmins
            | Command::ListUsers { .. }
            | Command::Backup { .. }
            | Command::Export { .. }
            | Command::Verify
            | Command::Reindex => None,
        }
    }

    /// What the audit says of it once it is done; nothing of what only looks.
    fn audited(&self) -> Option<(What, Option<String>)> {
        let admin = || Some(Role::Admin.name().to_owned());
        let file = |file: &Path| Some(file.display().to_string());
        Some(match self {
            Command::CreateAdmin { .. } => (What::AccountCreated, admin()),
            Command::CreateUser { .. } => (What::AccountCreated, None),
            Command::Grant { .. } => (What::RoleAdded, admin()),
            Command::Revoke { .. } => (What::RoleRemoved, admin()),
            Command::Disable { .. } => (What::Disabled, None),
            Command::Enable { .. } => (What::Enabled, None),
            Command::ResetPassword { .. } => (What::PasswordReset, None),
            Command::Delete { .. } => (What::Deleted, None),
            Command::Backup { file: to } => (What::Backup, file(to)),
            Command::Export { file: to } => (What::Export, file(to)),
            Command::ListAdmins | Command::ListUsers { .. } | Command::Verify | Command::Reindex => return None,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It is done, in a sentence.
    Done(String),
    Admins(Vec<Admin>),
    /// Accounts of any role, and whether there are more behind them.
    Users {
        users: Vec<Admin>,
        more: bool,
    },
    /// What a look at everything found: a line for each problem, how many there are in all, and what there is.
    Looked {
        problems: Vec<String>,
        found: u64,
        summary: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admin {
    pub username: String,
    pub display_name: String,
    pub created_at: String,
    pub disabled: bool,
}

/// What the command line prints.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Done(sentence) => f.write_str(sentence),
            Reply::Admins(admins) if admins.is_empty() => {
                f.write_str("no admin yet: natter admin create --username NAME")
            }
            Reply::Users { users, .. } if users.is_empty() => f.write_str("nobody"),
            Reply::Users { users, more } => {
                table(f, users)?;
                let last = users.last().filter(|_| *more);
                last.map_or(Ok(()), |last| write!(f, "\n… and more: --after {}", last.username))
            }
            Reply::Admins(admins) => table(f, admins),
            Reply::Looked { problems, found, summary } => {
                for problem in problems {
                    writeln!(f, "{problem}")?;
                }
                if *found > problems.len() as u64 {
                    writeln!(f, "… and {} more", found - problems.len() as u64)?;
                }
                f.write_str(summary)
            }
        }
    }
}

fn table(f: &mut fmt::Formatter<'_>, users: &[Admin]) -> fmt::Result {
    let width = users.iter().map(|user| user.username.chars().count()).max().unwrap_or(0).max("username".len());
    write!(f, "{:width$}  {:24}  display name", "username", "created")?;
    for user in users {
        let mark = if user.disabled { "  (disabled)" } else { "" };
        write!(f, "\n{:width$}  {:24}  {}{mark}", user.username, user.created_at, user.display_name)?;
    }
    Ok(())
}

/// What [`operate`] works with; a server has all of it, and the command line puts it together.
pub struct Operator {
    pub chat: Arc<Chat>,
    pub store: Arc<dyn Store>,
    pub passwords: Arc<Passwords>,
    pub audit: Arc<Audit>,
}

/// Does what a command says; long ones count how far they are. An error is a sentence that says what to do instead.
pub async fn operate(operator: &Operator, command: Command, progress: &Progress) -> Result<Reply, String> {
    let (audited, whom) = (command.audited(), command.username().map(str::to_owned));
    let reply = perform(operator, command, progress).await?;
    if let Some((what, detail)) = audited {
        operator.audit.note(what, By::operator(), whom.as_deref(), detail.as_deref());
    }
    Ok(reply)
}

async fn perform(operator: &Operator, command: Command, progress: &Progress) -> Result<Reply, String> {
    match command {
        Command::CreateAdmin { username, password } => {
            create(operator, &username, password, &[Role::Admin, Role::BasicUser], "is an admin and may sign in").await
        }
        Command::CreateUser { username, password } => {
            create(operator, &username, password, &[Role::BasicUser], "may sign in").await
        }
        Command::ListAdmins => Ok(Reply::Admins(admins(operator.store.as_ref()).await?)),
        Command::ListUsers { prefix, after, limit } => list_users(operator.store.as_ref(), &prefix, after, limit).await,
        Command::Grant { username } => {
            let user = change(operator, &username, UserChange::AddRole(Role::Admin)).await?;
            let note = if user.disabled { "; the account is disabled: natter admin enable" } else { "" };
            done(format!("{} is an admin{note}", user.username))
        }
        Command::Revoke { username } => {
            let user = change(operator, &username, UserChange::RemoveRole(Role::Admin)).await?;
            done(format!("{} is no admin any more", user.username))
        }
        Command::Disable { username } => {
            let user = change(operator, &username, UserChange::Disable).await?;
            done(format!("{} is disabled, and every login of theirs has ended", user.username))
        }
        Command::Enable { username } => {
            let user = change(operator, &username, UserChange::Enable).await?;
            done(format!("{} is enabled and may sign in", user.username))
        }
        Command::ResetPassword { username, password } => {
            let hash = hash(operator, password).await?;
            let user = change(operator, &username, UserChange::Password { hash, keep: None }).await?;
            done(format!("{} has the new password, and every login of theirs has ended", user.username))
        }
        Command::Delete { username, erase_messages, free_name } => {
            let wanted = Deletion { erase: erase_messages, free_name, done: false };
            let user = operator.chat.begin_deletion(&username, wanted).await.map_err(|error| error.to_string())?;
            if erase_messages {
                progress.begin("erasing", "messages", 0);
            }
            let erased = |count| progress.reach(count);
            operator.chat.end_deletion(user.user_id, erased).await.map_err(|error| error.to_string())?;
            let name = if user.is_deleted() { username } else { user.username };
            let said = if erase_messages { "erased".to_owned() } else { format!("told as by {DELETED_NAME}") };
            done(format!("{name} is deleted, and what they said is {said}"))
        }
        Command::Backup { file } => {
            if !file.is_absolute() {
                return Err(format!("{} is not an absolute path", file.display()));
            }
            operator.store.backup(&file).await.map_err(|error| error.to_string())?;
            done(format!("everything up to now is in {}", file.display()))
        }
        Command::Export { file } => {
            if !file.is_absolute() {
                return Err(format!("{} is not an absolute path", file.display()));
            }
            let Exported { counts, digest } = export::export(operator.store.as_ref(), &file, progress).await?;
            done(format!(
                "exported {counts} to {}\ncontent sha256:{digest}\nlogins are not in it: after an import people sign in \
                 again. Password hashes and messages are: keep it safe",
                file.display()
            ))
        }
        Command::Verify => {
            let Survey { counts, digest, problems, found } = survey::verify(operator.store.as_ref(), progress).await?;
            let sound = if found == 0 { "all sound: " } else { "" };
            Ok(Reply::Looked { problems, found, summary: format!("{sound}{counts}\ncontent sha256:{digest}") })
        }
        Command::Reindex => {
            let events = reindex::reindex(operator.store.as_ref(), progress).await?;
            done(format!("searches find everything that is said in {events} events"))
        }
    }
}

/// Whether somebody who may sign in is an admin.
pub async fn has_admin(store: &dyn Store) -> Result<bool, String> {
    let mut after = None;
    loop {
        let page = users_after(store, after, false).await?;
        if page.iter().any(|user| user.roles.contains(&Role::Admin)) {
            return Ok(true);
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.folded.clone()),
            _ => return Ok(false),
        }
    }
}

async fn admins(store: &dyn Store) -> Result<Vec<Admin>, String> {
    let mut admins = Vec::new();
    let mut after = None;
    loop {
        let page = users_after(store, after, true).await?;
        let more = (page.len() == PAGE).then(|| page.last().map(|last| last.folded.clone())).flatten();
        admins.extend(page.into_iter().filter(|user| user.roles.contains(&Role::Admin)).map(listed));
        match more {
            Some(last) => after = Some(last),
            None => return Ok(admins),
        }
    }
}

fn listed(user: UserRecord) -> Admin {
    Admin {
        username: user.username,
        display_name: user.display_name,
        created_at: Timestamp::to_string(&user.created_at),
        disabled: user.disabled,
    }
}

async fn list_users(store: &dyn Store, prefix: &str, after: Option<String>, limit: usize) -> Result<Reply, String> {
    let after = after.map(|name| names::fold(&name));
    let query =
        UserQuery { prefix: names::fold(prefix), after, limit: limit + 1, with_disabled: true, ..Default::default() };
    let mut users = store.users(query).await.map_err(|error| error.to_string())?;
    let more = users.len() > limit;
    users.truncate(limit);
    Ok(Reply::Users { users: users.into_iter().map(listed).collect(), more })
}

async fn users_after(store: &dyn Store, after: Option<String>, with_disabled: bool) -> Result<Vec<UserRecord>, String> {
    let query = UserQuery { prefix: String::new(), after, limit: PAGE, with_disabled, ..Default::default() };
    store.users(query).await.map_err(|error| error.to_string())
}

async fn create(
    operator: &Operator,
    username: &str,
    password: String,
    roles: &[Role],
    what: &str,
) -> Result<Reply, String> {
    let name = Username::choose(username).map_err(|error| error.to_string())?;
    let exists = || format!("{} exists already; to make them an admin: natter admin grant {}", name.shown, name.shown);
    if operator.chat.user_named(username).await.map_err(|error| error.to_string())?.is_some() {
        return Err(exists());
    }
    let hash = hash(operator, password).await?;
    match operator.chat.register(name.clone(), hash, roles).await {
        Ok(user) => done(format!("{} {what}", user.username)),
        Err(ChatError::UserExists) => Err(exists()),
        Err(error) => Err(error.to_string()),
    }
}

async fn change(operator: &Operator, username: &str, change: UserChange) -> Result<UserRecord, String> {
    let user = operator.chat.user_named(username).await.map_err(|error| error.to_string())?;
    let user = user.ok_or_else(|| ChatError::NoSuchUser(username.to_owned()).to_string())?;
    operator.chat.change_user(user.user_id, change).await.map_err(|error| error.to_string())
}

async fn hash(operator: &Operator, password: String) -> Result<String, String> {
    operator.passwords.check_new(&password).map_err(|error| error.to_string())?;
    operator.passwords.hash(password, Asker::OPERATOR).await.map_err(|error| error.to_string())
}

fn done(sentence: String) -> Result<Reply, String> {
    Ok(Reply::Done(sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admins_are_listed_in_a_table_that_marks_the_disabled() {
        let admin = |username: &str, disabled| Admin {
            username: username.into(),
            display_name: "A name".into(),
            created_at: "2026-01-02T03:04:05.678Z".into(),
            disabled,
        };
        let table = Reply::Admins(vec![admin("ann", false), admin("bartholomew", true)]).to_string();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "username     created                   display name");
        assert_eq!(lines[1], "ann          2026-01-02T03:04:05.678Z  A name");
        assert_eq!(lines[2], "bartholomew  2026-01-02T03:04:05.678Z  A name  (disabled)");
    }
}
