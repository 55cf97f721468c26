//! One's own logins: where one is signed in, and ending that.

use std::sync::Arc;

use hyper::{StatusCode, header::USER_AGENT};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::audit::by;
use crate::{
    app::App,
    audit::What,
    chat::Caller,
    http::{
        request::Request,
        respond::{Rejection, Response, json, message},
    },
    store::{Device, LoginRecord, SessionRecord},
    types::{SessionId, Timestamp},
};

/// Where one is signed in; the login that was seen last comes first.
#[derive(Serialize, ToSchema)]
pub(super) struct Logins {
    /// At most `auth.sessions_per_user`.
    logins: Vec<Login>,
}

/// Somewhere where one is signed in.
#[derive(Serialize, ToSchema)]
struct Login {
    /// Names it; access tokens have it too.
    sid: SessionId,
    /// When somebody signed in.
    created_at: Timestamp,
    /// When it was renewed last, which clients in use do at least as often as access tokens end.
    seen_at: Timestamp,
    /// Where that was asked from, where it is known.
    #[schema(required)]
    address: Option<String>,
    /// What asked, by its own words.
    #[schema(required)]
    agent: Option<String>,
    /// The login that asks for this list.
    current: bool,
}

/// What signs in or goes on with a login by this request. What it says of itself is cut to `auth.agent_chars`.
pub(super) fn described(request: &Request) -> Device {
    let said = request.inner.headers().get(USER_AGENT);
    let said = said.map(|agent| String::from_utf8_lossy(agent.as_bytes()).into_owned()).unwrap_or_default();
    let shown = said.chars().filter(|c| !c.is_control());
    let agent: String = shown.take(request.client.config.auth.agent_chars).collect();
    Device { address: Some(request.peer.to_string()), agent: Some(agent).filter(|agent| !agent.is_empty()) }
}

/// `GET /users/me/logins`
pub async fn list(app: &Arc<App>, caller: Caller, _request: Request) -> Result<Response, Rejection> {
    let shown = |LoginRecord { session, seen_at, device }: LoginRecord| {
        let SessionRecord { session_id: sid, created_at, .. } = session;
        let current = sid == caller.session_id;
        Login { sid, created_at, seen_at, address: device.address, agent: device.agent, current }
    };
    let logins = app.chat.logins(caller.user_id).await?;
    Ok(json(&Logins { logins: logins.into_iter().map(shown).collect() }))
}

/// `DELETE /users/me/logins/{sid}`
pub async fn end(app: &Arc<App>, caller: Caller, request: Request) -> Result<Response, Rejection> {
    let session = request.param("sid").parse::<Uuid>().ok().map(SessionId);
    let ended = match session {
        Some(session) => app.chat.end_login(caller.user_id, session).await?,
        None => false,
    };
    if ended {
        app.audit.note(What::LoginEnded, by(&request, Some(&caller.username)), None, None);
        Ok(message("Login ended"))
    } else {
        Err(Rejection::new(StatusCode::NOT_FOUND, "login_not_found", "You have no such login."))
    }
}

/// `DELETE /users/me/logins`
pub async fn end_others(app: &Arc<App>, caller: Caller, request: Request) -> Result<Response, Rejection> {
    app.chat.end_other_logins(&caller).await?;
    app.audit.note(What::OtherLoginsEnded, by(&request, Some(&caller.username)), None, None);
    Ok(message("All other logins ended"))
}
