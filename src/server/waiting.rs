//! What a server answers while it waits for its store at the start: it lives, and is not ready for anything.
//!
//! A supervisor that asks `/healthz` lets it be, a load balancer that asks `/readyz` sends nobody, and clients are told to come
//! back: a database that is away for an hour costs no restart.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use super::tls::Tls;
use crate::{
    config::{Config, Switch},
    http::{
        request_id::{RequestId, X_REQUEST_ID},
        respond::{self, Rejection, Response},
    },
    metrics::{Metrics, format::Format},
    store::StoreError,
};

/// Connections that are answered at once; the next waits in the kernel.
const CONNECTIONS: usize = 256;

/// Until `work` is done, which is given back. Each connection is answered once and closed, so that its client comes back to the
/// server itself.
pub async fn answer_until<T>(
    listener: &TcpListener,
    tls: Option<&Arc<Tls>>,
    config: &Arc<Config>,
    metrics: &Arc<Metrics>,
    work: impl Future<Output = T>,
) -> T {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut work = pin!(work);
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            done = &mut work => return done,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (tls, config, metrics) = (tls.cloned(), config.clone(), metrics.clone());
                tokio::spawn(async move {
                    let within = Duration::from_secs(config.limits.header_secs + config.limits.answer_secs);
                    if tokio::time::timeout(within, converse(stream, tls, &config, &metrics)).await.is_err() {
                        tracing::debug!("a connection took too long while the store is away");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection failed while the store is away");
                tokio::time::sleep(super::REST).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, tls: Option<Arc<Tls>>, config: &Config, metrics: &Metrics) {
    let service = service_fn(async |request| Ok::<_, Infallible>(answer(&request, config, metrics)));
    let mut http = http1::Builder::new();
    http.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(config.limits.header_secs));
    let served = match tls {
        None => http.serve_connection(TokioIo::new(stream), service).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await,
            Err(error) => return tracing::debug!(%error, "a TLS handshake failed"),
        },
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
    }
}

fn answer(request: &Request<Incoming>, config: &Config, metrics: &Metrics) -> Response {
    let id = RequestId::of(request.headers());
    let has_metrics = config.server.metrics == Switch::On && config.server.metrics_bind.is_none();
    let mut response = match request.uri().path() {
        "/healthz" => respond::with_type(r#"{"status":"ok"}"#.into(), "application/json"),
        "/metrics" if has_metrics => respond::with_type(metrics.render().into(), Format::Text.content_type()),
        _ => Rejection::from(StoreError::Unavailable("it was not there yet at the start".into()))
            .closing()
            .into_response(id.as_str()),
    };
    response.headers_mut().insert(X_REQUEST_ID, id.header());
    response
}
