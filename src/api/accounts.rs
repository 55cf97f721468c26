//! Signing up, signing in, and one's own account.

use std::{net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{audit::by, logins::described};
use crate::{
    app::App,
    audit::{By, What},
    auth::{
        password::{Asker, Busy, QUEUE_SETTING, Verdict},
        token::Claims,
    },
    chat::{Caller, ChatError, account::Account, sessions::Login, users::Username},
    config::Signup,
    http::{
        authenticate,
        request::Request,
        respond::{Rejection, Response, encoded, json, json_bytes, message},
    },
    limits::{Attempt, RetryAfter, network::Network},
    names,
    store::{UserChange, UserRecord},
    types::{Role, SessionId, Timestamp, UserId},
};

/// A login's tokens.
#[derive(Serialize, ToSchema)]
#[schema(as = Tokens)]
pub(super) struct TokenAnswer {
    /// For `authorization: Bearer …`, and for sockets.
    access_token: String,
    #[schema(value_type = TokenType)]
    token_type: &'static str,
    /// Seconds until the access token ends.
    #[schema(minimum = 0)]
    expires_in: i64,
    /// Gives the next tokens. One that was used is answered again for `auth.refresh_grace_secs` (its answer may have been lost)
    /// until the next is used; after that it ends the login.
    refresh_token: String,
}

/// How a token is to be sent.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(dead_code, reason = "it only tells the value of `token_type`")]
enum TokenType {
    Bearer,
}

/// What a sign-in form holds, urlencoded or multipart.
#[derive(ToSchema)]
#[allow(dead_code, reason = "forms are read field by field; this tells their fields")]
pub(super) struct SignIn {
    username: String,
    #[schema(format = "password")]
    password: String,
    /// Left out, or `password`, or empty: what OAuth 2 clients send.
    #[schema(value_type = Option<GrantType>, nullable = false)]
    grant_type: Option<String>,
}

/// The only one there is; empty means the same.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it only tells the values of `grant_type`")]
enum GrantType {
    #[serde(rename = "password")]
    Password,
    #[serde(rename = "")]
    Empty,
}

/// A login, by its refresh token.
#[derive(Deserialize, ToSchema)]
pub(super) struct RefreshToken {
    refresh_token: String,
}

/// A new account.
#[derive(Deserialize, ToSchema)]
pub(super) struct Registration {
    /// 1 to 64 characters after NFKC, neither control, bidirectional nor invisible ones, no space at its ends, not `.` or `..`;
    /// unique by its case-folded form, and by what it looks like (the skeleton of Unicode TR39).
    #[schema(min_length = 1)]
    pub(super) username: String,
    /// At least `auth.password_min_length` characters (8, unless the operator chose another number), at most 72 bytes, no NUL.
    #[schema(min_length = 1, max_length = 72, format = "password")]
    pub(super) password: String,
}

/// What is to be changed; what is left out or null stays.
#[derive(Deserialize, ToSchema)]
#[schema(as = AccountChange)]
pub(super) struct ChangeMe {
    /// 1 to `limits.display_name_chars` characters (100, unless the operator chose another number), neither control,
    /// bidirectional nor invisible ones (but in emoji and between joined letters), no space at its ends.
    #[schema(min_length = 1)]
    display_name: Option<String>,
    /// A new one ends every other login.
    password: Option<NewPassword>,
}

/// The password as it is and as it shall be.
#[derive(Deserialize, ToSchema)]
#[schema(as = PasswordChange)]
struct NewPassword {
    #[schema(format = "password")]
    current: String,
    /// The rules of `POST /users/register`.
    #[schema(min_length = 1, max_length = 72, format = "password")]
    new: String,
}

/// One's own account.
#[derive(Serialize, ToSchema)]
pub(super) struct Profile<'a> {
    /// As `user_id`.
    #[serde(rename = "_id")]
    id: UserId,
    user_id: UserId,
    username: &'a str,
    /// The username until it is changed.
    display_name: &'a str,
    roles: Vec<RoleShown>,
    created_at: Timestamp,
}

/// A role of the server.
#[derive(Serialize, ToSchema)]
#[schema(as = RoleOfServer)]
pub struct RoleShown {
    role_id: &'static str,
    #[schema(value_type = Role)]
    role_name: &'static str,
}

impl From<Role> for RoleShown {
    fn from(role: Role) -> Self {
        Self { role_id: role.id(), role_name: role.name() }
    }
}

impl From<Busy> for Rejection {
    fn from(_: Busy) -> Self {
        ChatError::Busy(QUEUE_SETTING).into()
    }
}

/// `POST /token`
pub async fn sign_in(app: &Arc<App>, mut request: Request) -> Result<Response, Rejection> {
    let form = request.form().await?;
    let [username, password] = form.require(["username", "password"])?;
    if form.get("grant_type").is_some_and(|grant| !grant.is_empty() && grant != "password") {
        return Err(Rejection::invalid("value_error", &["body", "grant_type"], "Input should be 'password'"));
    }
    let user = app.chat.user_named(&username).await?;
    let known = user.as_ref().map(|user| user.username.clone());
    let device = device(app, &request, user.as_ref());
    let attempt = attempt(app, &username, &request, device)?;
    // A disabled account is compared as if there were none: who knows its password learns nothing by it.
    let user = user.filter(|user| !user.disabled);
    let hash = user.as_ref().map(|user| user.password_hash.clone());
    let asker = asker(&attempt, request.peer);
    let verdict = judged(app, &attempt, app.passwords.verify(password.clone(), hash, asker).await)?;
    let Some(user) = user.filter(|_| verdict != Verdict::Wrong) else {
        app.limiters.wrong_password(&attempt);
        return Err(wrong_credentials(app, by(&request, known.as_deref())));
    };
    // Not later: the client may leave while its login is stored, and its password was right all the same.
    app.limiters.signed_in(&attempt).map_err(|wait| too_many_attempts(app, wait, &request))?;
    let login = begin(app, user, &password, asker, &request).await?;
    if verdict == Verdict::Outdated {
        renew_hash(app, &login.user, password, asker).await;
    }
    app.metrics.logins.inc();
    app.audit.note(What::SignIn, by(&request, Some(&login.user.username)), None, None);
    Ok(tokens(app, &login))
}

/// Begins a login, once more where the user's hash was brought up to date by another sign-in just now.
async fn begin(
    app: &Arc<App>,
    user: UserRecord,
    password: &str,
    asker: Asker,
    request: &Request,
) -> Result<Login, Rejection> {
    let seen = described(request);
    let (id, name) = (user.user_id, user.username.clone());
    match app.chat.begin_session(user, seen.clone()).await {
        Err(ChatError::InvalidToken) => {}
        login => return Ok(login?),
    }
    let user = app.chat.user_named(&name).await?.filter(|user| user.user_id == id && !user.disabled);
    let Some(user) = user else { return Err(wrong_credentials(app, by(request, Some(&name)))) };
    if app.passwords.verify(password.to_owned(), Some(user.password_hash.clone()), asker).await? == Verdict::Wrong {
        return Err(wrong_credentials(app, by(request, Some(&name))));
    }
    match app.chat.begin_session(user, seen).await {
        Err(ChatError::InvalidToken) => Err(wrong_credentials(app, by(request, Some(&name)))),
        login => Ok(login?),
    }
}

/// Brings a hash to today's cost and form. Where that fails, the next sign-in does it.
async fn renew_hash(app: &Arc<App>, user: &UserRecord, password: String, asker: Asker) {
    if app.passwords.check_new(&password).is_err() {
        // Too short for today, or too long once composed: its hash stays as it is.
        return;
    }
    let Ok(to) = app.passwords.hash(password, asker).await else { return };
    let change = UserChange::Rehash { from: user.password_hash.clone(), to };
    if let Err(error) = app.chat.apply(user.user_id, vec![change]).await {
        tracing::debug!(%error, user_id = %user.user_id, "a password's hash could not be brought up to date");
    }
}

/// `POST /token/refresh`
pub async fn refresh(app: &Arc<App>, mut request: Request) -> Result<Response, Rejection> {
    let body: RefreshToken = request.json().await?;
    let login = app.chat.refresh_session(&body.refresh_token, described(&request)).await?;
    app.limiters.renewed(&login.user.folded, request.peer);
    Ok(tokens(app, &login))
}

/// `POST /token/revoke`
pub async fn revoke(app: &Arc<App>, mut request: Request) -> Result<Response, Rejection> {
    let body: RefreshToken = request.json().await?;
    let user = app.chat.revoke_refresh(&body.refresh_token).await?;
    let username = app.chat.account(user).await?.map(|account| account.username.clone());
    app.audit.note(What::SignOut, by(&request, username.as_deref()), None, None);
    Ok(message("Logged out successfully"))
}

/// `POST /users/register`
pub async fn register(app: &Arc<App>, mut request: Request) -> Result<Response, Rejection> {
    if app.config.auth.signup == Signup::Closed {
        let detail = "Sign-up is closed here: ask the operator for an account.";
        return Err(Rejection::forbidden("signup_closed", detail));
    }
    let body: Registration = request.json().await?;
    let username = Username::choose(&body.username)?;
    check_password(app, &body.password)?;
    app.limiters.sign_up(request.peer)?;
    // A look before the hash saves the work; the store decides.
    if app.chat.user_named(&username.shown).await?.is_some() {
        return Err(ChatError::UserExists.into());
    }
    let asker = Asker { network: Some(Network::of(request.peer)), known: false };
    let hash = app.passwords.hash(body.password, asker).await?;
    let user = app.chat.register(username, hash, &[Role::BasicUser]).await?;
    app.audit.note(What::SignUp, by(&request, Some(&user.username)), None, None);
    Ok(message("User created successfully"))
}

/// `GET /users/me`
pub fn me(caller: &Caller) -> Response {
    profile(&caller.account)
}

/// `PATCH /users/me`: everything is checked before anything is changed.
pub async fn change_me(app: &Arc<App>, caller: Caller, mut request: Request) -> Result<Response, Rejection> {
    let body: ChangeMe = request.json().await?;
    if let Some(name) = &body.display_name {
        check_display_name(name, app.config.limits.display_name_chars)?;
    }
    let mut changes = Vec::new();
    if let Some(password) = body.password {
        changes.push(new_password(app, &caller, password, &request).await?);
    }
    let new_password = !changes.is_empty();
    changes.extend(body.display_name.map(UserChange::DisplayName));
    let account = Account::from(&app.chat.apply(caller.user_id, changes).await?);
    if new_password {
        app.audit.note(What::PasswordChanged, by(&request, Some(&caller.username)), None, None);
    }
    Ok(profile(&account))
}

/// The change of the caller's password, once the current one has been compared.
async fn new_password(
    app: &App,
    caller: &Caller,
    password: NewPassword,
    request: &Request,
) -> Result<UserChange, Rejection> {
    app.passwords
        .check_new(&password.new)
        .map_err(|msg| Rejection::invalid("value_error", &["body", "password", "new"], msg))?;
    let attempt = attempt(app, &caller.username, request, Some(caller.session_id))?;
    let asker = asker(&attempt, request.peer);
    let user = judged(app, &attempt, app.chat.require_user(&caller.username).await)?;
    let compared = app.passwords.verify(password.current, Some(user.password_hash), asker).await;
    if judged(app, &attempt, compared)? == Verdict::Wrong {
        app.audit.note(What::PasswordWrong, by(request, Some(&caller.username)), None, None);
        app.limiters.wrong_password(&attempt);
        return Err(Rejection::forbidden("wrong_password", "The current password is not right."));
    }
    app.limiters.signed_in(&attempt).map_err(|wait| too_many_attempts(app, wait, request))?;
    let hash = app.passwords.hash(password.new, asker).await?;
    Ok(UserChange::Password { hash, keep: Some(caller.session_id) })
}

/// Whether a new account may have it.
pub(super) fn check_password(app: &App, password: &str) -> Result<(), Rejection> {
    app.passwords.check_new(password).map_err(|msg| Rejection::invalid("value_error", &["body", "password"], msg))
}

fn check_display_name(name: &str, most: usize) -> Result<(), Rejection> {
    let invalid = |msg: String| Err(Rejection::invalid("value_error", &["body", "display_name"], msg));
    if name.trim().is_empty() || name.trim() != name {
        return invalid("A display name has at least one character, and no space at its ends.".into());
    }
    if name.chars().count() > most {
        return invalid(format!("A display name has at most {most} characters."));
    }
    if !names::is_showable(name) {
        return invalid(format!("A display name {}.", names::UNSEEN));
    }
    Ok(())
}

/// Charges the attempt before the password is looked at.
fn attempt(
    app: &App,
    username: &str,
    request: &Request,
    device: Option<SessionId>,
) -> Result<Option<Attempt>, Rejection> {
    let account = Username::parse(username).ok().map(|name| name.folded);
    app.limiters.sign_in(account, request.peer, device).map_err(|wait| too_many_attempts(app, wait, request))
}

fn too_many_attempts(app: &App, wait: RetryAfter, request: &Request) -> Rejection {
    app.audit.note(What::SignInRefused, by(request, None), None, Some(wait.setting));
    let detail = format!("Too many sign-ins ({}): wait {} s and try again.", wait.setting, wait.secs);
    Rejection::too_many("too_many_attempts", &detail, wait.secs)
}

/// The login of a device that has signed in to this account before, as far as its request shows it.
fn device(app: &App, request: &Request, user: Option<&UserRecord>) -> Option<SessionId> {
    let bearer = authenticate::device(app, request)?;
    // Where the account's logins were all ended, by an admin or because it was disabled, a token of before tells nothing.
    let user = user.filter(|user| user.user_id == bearer.user_id && user.token_epoch == bearer.token_epoch)?;
    (user.username == *bearer.username).then_some(bearer.session_id)
}

fn asker(attempt: &Option<Attempt>, peer: IpAddr) -> Asker {
    Asker { network: Some(Network::of(peer)), known: attempt.as_ref().is_some_and(|attempt| attempt.known) }
}

/// Gives the charge back where the server failed, and not the password.
fn judged<T, E: Into<Rejection>>(app: &App, attempt: &Option<Attempt>, result: Result<T, E>) -> Result<T, Rejection> {
    result.map_err(|error| {
        app.limiters.not_judged(attempt);
        error.into()
    })
}

fn wrong_credentials(app: &App, by: By) -> Rejection {
    app.metrics.failed_logins.inc();
    app.audit.note(What::SignInFailed, by, None, None);
    Rejection::unauthorized("wrong_credentials", "Incorrect username or password")
}

fn tokens(app: &App, login: &Login) -> Response {
    let now = Timestamp::now();
    let claims = Claims {
        sub: login.user.username.clone(),
        uid: login.user.user_id,
        sid: login.session.session_id,
        ver: login.user.token_epoch,
        iat: now.unix_secs(),
        exp: app.tokens.expiry(now, login.session.expires_at),
        nbf: None,
    };
    json(&TokenAnswer {
        access_token: app.tokens.issue(&claims),
        token_type: "bearer",
        expires_in: claims.exp - claims.iat,
        refresh_token: login.refresh_token.clone(),
    })
}

fn profile(account: &Account) -> Response {
    json_bytes(account.shown(|account| {
        let profile = Profile {
            id: account.user_id,
            user_id: account.user_id,
            username: &account.username,
            display_name: &account.display_name,
            roles: account.roles.iter().map(RoleShown::from).collect(),
            created_at: account.created_at,
        };
        encoded(&profile)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_have_rules() {
        assert!(check_display_name("Ann Lee 🚀", 10).is_ok());
        for bad in ["", " ", "Ann ", "A\nnn", "A\u{202e}nn", "12345678901"] {
            assert_eq!(check_display_name(bad, 10).unwrap_err().status, 422, "{bad:?}");
        }
    }
}
