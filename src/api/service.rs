//! What monitors ask.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hyper::{
    HeaderMap,
    header::{ACCEPT, HeaderValue, VARY},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    config::Switch,
    http::{
        request::Request,
        respond::{self, Rejection, Response},
    },
    metrics::Metrics,
};

/// A yes.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`.
    status: &'static str,
}

/// A yes to whether it may be sent requests.
#[derive(Serialize, ToSchema)]
pub(super) struct Ready {
    /// `ready`.
    status: &'static str,
    /// Whether the other nodes are heard at once. While they are not, everything goes on somewhat later.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    bus: Option<BusState>,
}

/// Whether the other nodes are heard at once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum BusState {
    Up,
    Away,
}

/// `GET /healthz`: the process serves.
pub async fn healthz(_app: &Arc<App>, _request: Request) -> Result<Response, Rejection> {
    Ok(respond::json(&Health { status: "ok" }))
}

/// Probes have a rate of their own, which no other traffic of the same address uses up; who is over it has to come back by a new
/// connection.
fn rated(app: &App, request: &Request) -> Result<(), Rejection> {
    app.limiters.probe(request.peer).map_err(|wait| Rejection::from(wait).closing())
}

/// `GET /readyz`: a load balancer may send requests here.
pub async fn readyz(app: &Arc<App>, request: Request) -> Result<Response, Rejection> {
    rated(app, &request)?;
    if app.draining.load(Ordering::Relaxed) {
        return Err(Rejection::unavailable("draining", "The server is stopping."));
    }
    let fresh = Duration::from_millis(app.config.limits.ready_millis);
    app.readiness.of(app.chat.store.as_ref(), fresh).await?;
    // It never says no: every node would at once, and no post needs the bus.
    let state = || if app.chat.bus.hears().is_ok() { BusState::Up } else { BusState::Away };
    Ok(respond::json(&Ready { status: "ready", bus: app.chat.bus.has_others().then(state) }))
}

/// `GET /metrics`, unless they have a listener of their own.
pub async fn metrics(app: &Arc<App>, request: Request) -> Result<Response, Rejection> {
    rated(app, &request)?;
    if app.config.server.metrics_bind.is_some() || app.config.server.metrics == Switch::Off {
        return Err(Rejection::not_found());
    }
    Ok(metrics_text(&app.metrics, request.inner.headers()))
}

/// All metrics, in the form that `Accept` asks for.
fn metrics_text(metrics: &Metrics, headers: &HeaderMap) -> Response {
    let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let (format, text) = metrics.render_for(&accept.join(","));
    let mut answer = respond::with_type(text.into(), format.content_type());
    answer.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
    answer
}
