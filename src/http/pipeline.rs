//! The way of a request, from top to bottom: id, sizes, route, who asks, rate, what they may, handler.
//!
//! [`answer`] cannot fail and sees to everything an answer owes: id, CORS, HEAD, the log and the metrics. [`run`] is the
//! way itself, and leaves it at the first refusal. Neither logs a token, a query or a body.

use std::{
    future::poll_fn,
    net::IpAddr,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use hyper::{
    HeaderMap, Method, StatusCode,
    body::{Body, Incoming},
    header::{CONNECTION, CONTENT_LENGTH, HeaderValue, LOCATION, X_CONTENT_TYPE_OPTIONS},
};

use super::{
    address, answers,
    authenticate::{Via, authenticate},
    authorize,
    cors::Cors,
    head, host,
    request::{Client, Request},
    request_id::{RequestId, X_REQUEST_ID},
    request_log::Ended,
    respond::{self, Rejection, Response},
    routes::{self, Found, Handler, Route},
};
use crate::{
    app::App,
    chat::Caller,
    limits::{Who, network::Network},
    metrics::{Answer, Metrics, OfRoute},
};

/// What a request counts as whose client did not wait for the answer. Never sent to anybody.
const CLIENT_GONE: u16 = 499;

/// Answers one request, whatever happens.
pub async fn answer(app: &Arc<App>, inner: hyper::Request<Incoming>, client: &Arc<Client>) -> Response {
    let found = routes::find(inner.uri());
    let path = match &found {
        Found::Path(entry, _) => Some(*entry),
        Found::Redirect(_) | Found::Nothing => None,
    };
    let mut asked = Asked {
        app,
        method: inner.method().clone(),
        route: path.map_or("none", |path| path.path),
        id: RequestId::of(inner.headers()),
        started: Instant::now(),
        address: None,
        status: None,
        code: None,
        cause: None,
    };
    let cors = Cors::of(&app.config.server.allowed_origins, inner.method(), inner.headers());

    client.unread.store(!inner.body().is_end_stream(), Ordering::Relaxed);
    tell_of_proxies(app, client.address, inner.headers());
    let request = Request {
        peer: address::client_address(&app.config.server, client.address, inner.headers()),
        inner,
        params: Vec::new(),
        client: client.clone(),
        id: asked.id.clone(),
    };
    asked.address = Some(request.peer);
    let work = run(app, request, found);
    let answered = guard(&app.metrics, &asked.id, app.config.limits.request_secs, work).await;
    let mut response = match answered.and_then(|response| answers::count(response, &app.budgets.answers)) {
        Ok(response) => response,
        Err(rejection) => {
            (asked.code, asked.cause) = (Some(rejection.code), rejection.cause.clone());
            // What is left of its body stands before the next request, and the connection ends with this one: a client that keeps
            // its connections must know.
            let unread = client.unread.load(Ordering::Relaxed);
            let rejection = if unread { rejection.closing() } else { rejection };
            rejection.into_response(asked.id.as_str())
        }
    };

    if asked.method == Method::HEAD {
        drop_body(&mut response);
    }
    let headers = response.headers_mut();
    cors.apply(headers, path.map(|path| &path.allow));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_REQUEST_ID, asked.id.header());
    if client.place.is_not_for_strangers() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    asked.status = Some(response.status());
    response
}

/// Gives work a time limit, and turns a panic into one 500.
async fn guard(
    metrics: &Metrics,
    id: &RequestId,
    most_secs: u64,
    work: impl Future<Output = Result<Response, Rejection>>,
) -> Result<Response, Rejection> {
    let mut work = pin!(AssertUnwindSafe(work).catch_unwind());
    // What is done at once needs no timer.
    let done = match poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => tokio::time::timeout(Duration::from_secs(most_secs), work).await,
    };
    match done {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => {
            // The panic hook has said what and where; this says in which request.
            metrics.panics.inc();
            tracing::error!(request_id = %id, "a handler panicked");
            Err(Rejection::defect())
        }
        Err(_) => {
            metrics.bound_hit("limits.request_secs");
            let detail = format!("The server could not answer within {most_secs} s; what was asked may still happen.");
            Err(Rejection::unavailable("timeout", &detail))
        }
    }
}

async fn run(app: &Arc<App>, mut request: Request, found: Found) -> Result<Response, Rejection> {
    let inner = &request.inner;
    head::check(&app.config.limits, inner.version(), inner.uri(), inner.headers(), &app.metrics)?;
    if !matches!(&found, Found::Path(path, _) if path.is_probe()) {
        let checked = host::check(&app.config.server, inner.uri(), inner.headers(), request.client.address);
        checked.or_else(|refused| admit_address(app, &request).and(Err(refused)))?;
    }
    let method = request.inner.method();
    match found {
        Found::Path(path, params) => match path.route(method) {
            Some(route) => {
                request.params = params;
                serve(app, route, request).await
            }
            None => {
                admit_address(app, &request)?;
                if method == Method::OPTIONS {
                    Ok(respond::options(&path.allow))
                } else {
                    Err(Rejection::method_not_allowed(&path.allow))
                }
            }
        },
        Found::Redirect(location) => {
            admit_address(app, &request)?;
            Ok(redirect(location))
        }
        Found::Nothing => {
            admit_address(app, &request)?;
            Err(Rejection::not_found())
        }
    }
}

/// Asks for what the route needs, and hands it to the handler.
async fn serve(app: &Arc<App>, route: &'static Route, request: Request) -> Result<Response, Rejection> {
    if let Handler::Probe(handler) = &route.handler {
        return handler(app, request).await;
    }
    if app.draining.load(Ordering::Relaxed) {
        let detail = "The server is stopping; try again in a moment.";
        return Err(Rejection::unavailable("draining", detail).closing());
    }
    match &route.handler {
        Handler::Anyone(_) if request.client.place.is_not_for_strangers() => Err(Rejection::no_room()),
        Handler::Probe(handler) | Handler::Anyone(handler) => {
            admit_address(app, &request)?;
            handler(app, request).await
        }
        Handler::SignedIn(via, handler) => {
            let caller = caller(app, &request, *via).await?;
            handler(app, caller, request).await
        }
        Handler::Holder(role, handler) => {
            let caller = caller(app, &request, Via::Rest).await?;
            authorize::role(&caller, *role)?;
            handler(app, caller, request).await
        }
        Handler::Member(via, need, outsider, handler) => {
            let caller = caller(app, &request, *via).await?;
            let grant = authorize::room(app, caller, request.param("chat_id"), *need, *outsider).await?;
            handler(app, grant, request).await
        }
    }
}

/// Who asks, counted: a user for themselves, everybody else for their address.
async fn caller(app: &App, request: &Request, via: Via) -> Result<Caller, Rejection> {
    match authenticate(app, request, via).await {
        Ok(caller) => {
            request.client.place.is_a_members();
            app.limiters.request(Who::User(caller.user_id))?;
            Ok(caller)
        }
        Err(rejection) => {
            admit_address(app, request)?;
            Err(rejection)
        }
    }
}

fn admit_address(app: &App, request: &Request) -> Result<(), Rejection> {
    Ok(app.limiters.request(Who::Address(Network::of(request.peer)))?)
}

/// An operator whose proxy is not listed sees all clients as one, and is told why.
fn tell_of_proxies(app: &App, peer: IpAddr, headers: &HeaderMap) {
    if address::is_not_believed(&app.config.server, peer, headers) && !app.told_of_proxies.swap(true, Ordering::Relaxed)
    {
        tracing::warn!(
            %peer,
            "a request has X-Forwarded-For, and does not come from a proxy of server.trusted_proxies: it counts for the address \
             that it came from. If that is your proxy, list it there, or all its clients share one address's limits"
        );
    }
}

fn redirect(location: HeaderValue) -> Response {
    let mut response = respond::empty(StatusCode::TEMPORARY_REDIRECT);
    response.headers_mut().insert(LOCATION, location);
    response
}

/// HEAD: everything of the answer but its body.
fn drop_body(response: &mut Response) {
    // Its length would have to be that of the 200.
    if response.status() == StatusCode::NOT_MODIFIED {
        return;
    }
    let length = response.body().size_hint().exact().unwrap_or_default();
    *response.body_mut() = Default::default();
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
}

/// A request under way. When it ends it is counted and logged: with its answer, or without one because the client has
/// gone and the HTTP library has dropped the rest of it.
struct Asked<'a> {
    app: &'a App,
    method: Method,
    route: &'static str,
    id: RequestId,
    started: Instant,
    address: Option<IpAddr>,
    status: Option<StatusCode>,
    code: Option<&'static str>,
    cause: Option<String>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let Self { app, method, route, id, started, address, status, code, cause } = self;
        let elapsed = started.elapsed();
        let status = status.map_or(CLIENT_GONE, |status| status.as_u16());
        let labels = Answer { route, method: known(method), status };
        app.metrics.requests.get_or_create(&labels).inc();
        app.metrics.request_seconds.get_or_create(&OfRoute { route }).observe(elapsed.as_secs_f64());
        let (address, code, cause) = (*address, *code, cause.as_deref());
        app.request_log.write(&Ended { id, method, route, address, status, code, cause, elapsed });
    }
}

/// A client can make up methods; a label must not.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];
    KNOWN.into_iter().find(|name| *name == method.as_str()).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_one_500_and_counted() {
        let (metrics, id) = (Metrics::default(), RequestId::of(&Default::default()));
        let refused = guard(&metrics, &id, 10, async { panic!("a defect") }).await.expect_err("a panic is refused");
        assert_eq!(refused.into_response("r").status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(metrics.panics.get(), 1);
        assert!(guard(&metrics, &id, 10, async { Ok(respond::message("fine")) }).await.is_ok());
    }

    #[tokio::test]
    async fn what_takes_too_long_is_a_503() {
        let (metrics, id) = (Metrics::default(), RequestId::of(&Default::default()));
        let refused = guard(&metrics, &id, 0, std::future::pending()).await.expect_err("it never ends");
        assert_eq!(refused.into_response("r").status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
