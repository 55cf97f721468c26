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
    /// `ok` where the process serves, `ready` where it may be sent requests.
    status: &'static str,
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
    if let Err(why) = app.chat.bus.hears() {
        return Err(Rejection::unavailable("bus_unavailable", "The other nodes cannot be reached.").because(why));
    }
    Ok(respond::json(&Health { status: "ready" }))
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
