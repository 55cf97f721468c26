//! Everybody's accounts: finding people, and what admins do.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    accounts::{Registration, RoleShown, check_password},
    audit::by,
    cursor,
};
use crate::{
    app::App,
    audit::What,
    auth::password::Asker,
    chat::{Caller, ChatError, users::Username},
    http::{
        request::Request,
        respond::{Rejection, Response, json, message},
    },
    limits::network::Network,
    store::{Deletion, UserChange},
    types::{Role, Timestamp, UserId},
};

/// A page of all accounts, in order of their names.
#[derive(Serialize, ToSchema)]
pub(super) struct Users {
    users: Vec<UserShown>,
    /// For `?after=`; null at the end.
    #[schema(required)]
    next: Option<String>,
}

/// An account as admins see it.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
struct UserShown {
    user_id: UserId,
    username: String,
    display_name: String,
    roles: Vec<RoleShown>,
    created_at: Timestamp,
    /// May not sign in.
    disabled: bool,
    /// Left out where the account is not being deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    deletion: Option<Going>,
}

/// An account that is being deleted.
#[derive(Serialize, ToSchema)]
#[schema(as = DeletionGoingOn)]
struct Going {
    /// Of its messages, by this server since its last start.
    erased: u64,
}

/// Somebody.
#[derive(Serialize, ToSchema)]
pub(super) struct Name {
    pub(super) username: String,
}

/// A role to give or to take.
#[derive(Deserialize, ToSchema)]
#[schema(as = RoleOfUser)]
pub(super) struct RoleChange {
    username: String,
    role_name: Role,
}

/// What becomes of a deleted account's messages.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum MessagesAfter {
    /// They stay, as those of `deleted user`.
    Keep,
    /// Their text is erased.
    Erase,
}

/// What becomes of a deleted account's name.
#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum NameAfter {
    /// Nobody can have it.
    #[default]
    Keep,
    /// Whoever comes next may have it.
    Free,
}

/// How an account is deleted.
#[derive(Deserialize, ToSchema)]
#[schema(as = Deletion)]
pub(super) struct DeletionOf {
    messages: MessagesAfter,
    /// `keep` where it is left out.
    #[serde(default)]
    name: NameAfter,
}

/// A password that an admin chooses for somebody.
#[derive(Deserialize, ToSchema)]
#[schema(as = PasswordReset)]
pub(super) struct PasswordOf {
    /// The rules of `POST /users/register`.
    #[schema(min_length = 1, max_length = 72, format = "password")]
    password: String,
}

/// `GET /users/`
pub async fn list(app: &Arc<App>, admin: Caller, request: Request) -> Result<Response, Rejection> {
    let (limit, after) = (request.page_limit()?, cursor::after::<String>(&request)?);
    let prefix = request.query("q").unwrap_or_default();
    let mut users = app.chat.users(&prefix, after, limit + 1, true).await?;
    let next = cursor::cut(&mut users, limit, |user| user.folded.clone());
    app.limiters.listed(admin.user_id, users.len());
    let shown = users.into_iter().map(|user| UserShown {
        user_id: user.user_id,
        username: user.username,
        display_name: user.display_name,
        roles: user.roles.into_iter().map(RoleShown::from).collect(),
        created_at: user.created_at,
        disabled: user.disabled,
        deletion: user.deletion.map(|_| Going { erased: app.chat.erased_of(user.user_id).unwrap_or_default() }),
    });
    Ok(json(&Users { users: shown.collect(), next }))
}

/// `GET /users/users`: as many names as a page may have, and no more; `?q=` finds the others, of those whom `auth.directory` lets
/// one find.
pub async fn names(app: &Arc<App>, caller: Caller, request: Request) -> Result<Response, Rejection> {
    let prefix = request.query("q").unwrap_or_default();
    let users = app.chat.directory(&caller, &prefix, app.config.limits.page_max).await?;
    app.limiters.listed(caller.user_id, users.len());
    let names: Vec<Name> = users.into_iter().map(|user| Name { username: user.username }).collect();
    Ok(json(&names))
}

/// `POST /users/add-role`
pub async fn add_role(app: &Arc<App>, admin: Caller, mut request: Request) -> Result<Response, Rejection> {
    let body: RoleChange = request.json().await?;
    change(app, &admin, &request, &body.username, UserChange::AddRole(body.role_name)).await?;
    Ok(message("Role added successfully"))
}

/// `POST /users/remove-role`
pub async fn remove_role(app: &Arc<App>, admin: Caller, mut request: Request) -> Result<Response, Rejection> {
    let body: RoleChange = request.json().await?;
    change(app, &admin, &request, &body.username, UserChange::RemoveRole(body.role_name)).await?;
    Ok(message("Role removed successfully"))
}

/// `POST /users/{username}/disable`
pub async fn disable(app: &Arc<App>, admin: Caller, request: Request) -> Result<Response, Rejection> {
    change(app, &admin, &request, request.param("username"), UserChange::Disable).await?;
    Ok(message("User disabled successfully"))
}

/// `POST /users/{username}/enable`
pub async fn enable(app: &Arc<App>, admin: Caller, request: Request) -> Result<Response, Rejection> {
    change(app, &admin, &request, request.param("username"), UserChange::Enable).await?;
    Ok(message("User enabled successfully"))
}

/// `POST /users/{username}/logout`
pub async fn logout(app: &Arc<App>, admin: Caller, request: Request) -> Result<Response, Rejection> {
    change(app, &admin, &request, request.param("username"), UserChange::EndLogins).await?;
    Ok(message("User logged out successfully"))
}

/// Admins are known: their hashes wait with those of people who have signed in before.
fn asker(request: &Request) -> Asker {
    Asker { network: Some(Network::of(request.peer)), known: true }
}

/// `POST /users/{username}/reset-password`
pub async fn reset_password(app: &Arc<App>, admin: Caller, mut request: Request) -> Result<Response, Rejection> {
    let body: PasswordOf = request.json().await?;
    check_password(app, &body.password)?;
    let username = request.param("username").to_owned();
    // A look before the hash saves the work.
    app.chat.require_user(&username).await?;
    let hash = app.passwords.hash(body.password, asker(&request)).await?;
    change(app, &admin, &request, &username, UserChange::Password { hash, keep: None }).await?;
    Ok(message("Password reset successfully"))
}

/// `DELETE /users/{username}`
pub async fn delete(app: &Arc<App>, admin: Caller, mut request: Request) -> Result<Response, Rejection> {
    let body: DeletionOf = request.json().await?;
    let (erase, free_name) = (body.messages == MessagesAfter::Erase, body.name == NameAfter::Free);
    let user = app.chat.begin_deletion(request.param("username"), Deletion { erase, free_name, done: false }).await?;
    if !user.is_deleted() {
        app.audit.note(What::Deleted, by(&request, Some(&admin.username)), Some(&user.username), None);
    }
    if erase {
        app.chat.end_deletion_later(user.user_id);
        return Ok(message("User deleted; what they said is being erased"));
    }
    app.chat.end_deletion(user.user_id, |_| {}).await?;
    Ok(message("User deleted successfully"))
}

/// `POST /users/create`: also where sign-up is closed.
pub async fn create(app: &Arc<App>, admin: Caller, mut request: Request) -> Result<Response, Rejection> {
    let body: Registration = request.json().await?;
    let username = Username::choose(&body.username)?;
    check_password(app, &body.password)?;
    if app.chat.user_named(&username.shown).await?.is_some() {
        return Err(ChatError::UserExists.into());
    }
    let hash = app.passwords.hash(body.password, asker(&request)).await?;
    let user = app.chat.register(username, hash, &[Role::BasicUser]).await?;
    app.audit.note(What::AccountCreated, by(&request, Some(&admin.username)), Some(&user.username), None);
    Ok(message("User created successfully"))
}

/// Applies a change to the account of this name, and writes down who did it.
async fn change(
    app: &App,
    admin: &Caller,
    request: &Request,
    username: &str,
    change: UserChange,
) -> Result<(), Rejection> {
    let (what, detail) = match &change {
        UserChange::AddRole(role) => (What::RoleAdded, Some(role.name())),
        UserChange::RemoveRole(role) => (What::RoleRemoved, Some(role.name())),
        UserChange::Disable => (What::Disabled, None),
        UserChange::Delete(_) | UserChange::Deleted => (What::Deleted, None),
        UserChange::Enable => (What::Enabled, None),
        UserChange::EndLogins => (What::AllLoginsEnded, None),
        UserChange::EndOtherLogins { .. } => (What::OtherLoginsEnded, None),
        UserChange::Password { .. } | UserChange::Rehash { .. } | UserChange::DisplayName(_) => {
            (What::PasswordReset, None)
        }
    };
    let user = app.chat.require_user(username).await?;
    let user = app.chat.change_user(user.user_id, change).await?;
    app.audit.note(what, by(request, Some(&admin.username)), Some(&user.username), detail);
    Ok(())
}
