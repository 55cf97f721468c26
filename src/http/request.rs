//! A request as handlers see it: found, admitted, its body not read yet.

use std::{
    net::IpAddr,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    StatusCode,
    body::{Body, Incoming},
    header::CONTENT_TYPE,
};
use serde::de::DeserializeOwned;

use super::{form::Form, json, request_id::RequestId, respond::Rejection};
use crate::{
    config::Config,
    limits::{
        budget::{Budgets, Share},
        connections::Place,
    },
    metrics::Metrics,
    types::Seq,
};

/// What all requests of one connection share.
pub struct Client {
    /// The other end of the connection.
    pub(crate) address: IpAddr,
    pub(crate) config: Arc<Config>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) place: Place,
    /// Of the body of the request that is being answered, something may not have been read.
    pub(crate) unread: AtomicBool,
}

pub struct Request {
    /// hyper's own, body included.
    pub(crate) inner: hyper::Request<Incoming>,
    /// The client's address (behind a trusted proxy: the one it tells).
    pub(crate) peer: IpAddr,
    /// What the route's `{…}` matched, in order, percent-decoded.
    pub(crate) params: Vec<(String, String)>,
    pub(crate) client: Arc<Client>,
    pub(crate) id: RequestId,
}

impl Request {
    /// What the route's `{name}` matched. Bytes that are not UTF-8 have become U+FFFD, which no name contains.
    pub fn param(&self, name: &str) -> &str {
        let found = self.params.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).expect("handlers ask for what their route's path names")
    }

    /// A header as text; `None` also where it is not text.
    pub fn header(&self, name: impl hyper::header::AsHeaderName) -> Option<&str> {
        self.inner.headers().get(name)?.to_str().ok()
    }

    /// The last `name=…` of the query, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        let pairs = form_urlencoded::parse(self.inner.uri().query()?.as_bytes());
        pairs.filter(|(key, _)| key == name).last().map(|(_, value)| value.into_owned())
    }

    /// As [`Request::query`], and 422 where the value is not a `T`; `expected` says what one is.
    pub fn query_as<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>, Rejection> {
        let Some(text) = self.query(name) else { return Ok(None) };
        let value = text.parse().map_err(|_| Rejection::invalid("value_error", &["query", name], expected))?;
        Ok(Some(value))
    }

    pub fn query_seq(&self, name: &str) -> Result<Option<Seq>, Rejection> {
        self.query_as(name, "Input should be a sequence number, 0 or more")
    }

    /// `?limit=`: how many entries a page may have.
    pub fn page_limit(&self) -> Result<usize, Rejection> {
        let limits = &self.client.config.limits;
        let expected = format!("Input should be a number from 1 to {}", limits.page_max);
        match self.query_as::<usize>("limit", &expected)? {
            None => Ok(limits.page_default.min(limits.page_max)),
            Some(limit) if (1..=limits.page_max).contains(&limit) => Ok(limit),
            Some(_) => Err(Rejection::invalid("value_error", &["query", "limit"], expected)),
        }
    }

    /// The body as a JSON object. Refuses with 415, 413, 408 and 422.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Rejection> {
        let is_json = |kind: &str| kind == "application/json" || kind.ends_with("+json");
        // A page of another site can send what has no type, or a form's, without asking. No body is told as one that lacks fields.
        if !self.content_type().as_deref().map_or(self.inner.body().is_end_stream(), is_json) {
            return Err(unsupported("Send JSON, with Content-Type: application/json."));
        }
        json::object(&self.body().await?.bytes, self.client.config.limits.json_depth)
    }

    /// The body as a form, urlencoded or multipart. Refuses with 415, 413, 408 and 422.
    pub async fn form(&mut self) -> Result<Form, Rejection> {
        match self.content_type().as_deref() {
            None | Some("application/x-www-form-urlencoded") => Ok(Form::urlencoded(&self.body().await?.bytes)),
            Some("multipart/form-data") => {
                let boundary = self.header(CONTENT_TYPE).and_then(|kind| multer::parse_boundary(kind).ok());
                let bad = || Rejection::invalid("form_invalid", &["body"], "The multipart form is not well-formed.");
                let boundary = boundary.ok_or_else(bad)?;
                Form::multipart(self.body().await?.bytes, boundary).await.map_err(|_| bad())
            }
            Some(_) => Err(unsupported("Send a form: application/x-www-form-urlencoded or multipart/form-data.")),
        }
    }

    /// The media type without its parameters, in lower case.
    fn content_type(&self) -> Option<String> {
        let value = self.inner.headers().get(CONTENT_TYPE)?;
        let kind = value.to_str().unwrap_or("?").split(';').next().unwrap_or_default();
        Some(kind.trim().to_ascii_lowercase())
    }

    /// The whole body, no larger than `limits.body_bytes` and within `limits.body_secs`.
    async fn body(&mut self) -> Result<Whole, Rejection> {
        let limits = &self.client.config.limits;
        let body = self.inner.body_mut();
        // What the client announces is refused before a byte of it is read.
        if body.size_hint().lower() > limits.body_bytes as u64 {
            return Err(too_large(limits.body_bytes, &self.client.metrics));
        }
        let share = self.client.budgets.incoming.share();
        let whole = collect(Limited::new(body, limits.body_bytes), share);
        match tokio::time::timeout(Duration::from_secs(limits.body_secs), whole).await {
            Ok(Ok(body)) => {
                self.client.unread.store(false, Relaxed);
                Ok(body)
            }
            Ok(Err(Unread::NoRoom)) => {
                let detail = "Too much is on its way in (limits.incoming_bytes); try again in a moment.";
                Err(Rejection::unavailable("busy", detail).closing())
            }
            Ok(Err(Unread::Failed(error))) if error.is::<LengthLimitError>() => {
                Err(too_large(limits.body_bytes, &self.client.metrics))
            }
            Ok(Err(Unread::Failed(error))) => {
                let detail = "The body of this request is not whole.";
                Err(Rejection::new(StatusCode::BAD_REQUEST, "bad_request", detail).closing().because(error))
            }
            Err(_) => {
                self.client.metrics.bound_hit("limits.body_secs");
                let detail = format!("The body of this request took more than {} s to arrive.", limits.body_secs);
                Err(Rejection::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail).closing())
            }
        }
    }
}

/// Bodies up to so many bytes are not counted, and so are taken when others have used up what may be on its way in.
const SMALL: usize = 8 * 1024;

/// By how much the room for a larger one grows.
const STEP: usize = 32 * 1024;

/// Why a body was not read.
enum Unread {
    NoRoom,
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

/// A body that is whole, and its share of what may be on its way in, which it has until it is parsed.
struct Whole {
    bytes: Bytes,
    _share: Share,
}

/// What came is copied to where it stays: a piece may be a small part of one of hyper's buffers, and would keep all of it.
async fn collect(mut body: Limited<&mut Incoming>, mut share: Share) -> Result<Whole, Unread> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Unread::Failed)?.into_data() else { continue };
        if whole.is_empty() && body.is_end_stream() && data.len() <= SMALL {
            return Ok(Whole { bytes: data, _share: share });
        }
        let bytes = whole.len() + data.len();
        if bytes > SMALL && !share.hold(bytes) {
            return Err(Unread::NoRoom);
        }
        if bytes > whole.capacity() {
            // Not doubled: what somebody announces and never sends costs nothing, and what they send no more than it is.
            let to_come = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
            whole.reserve_exact(data.len() + to_come.min(STEP));
        }
        whole.extend_from_slice(&data);
    }
    Ok(Whole { bytes: whole.into(), _share: share })
}

fn too_large(most: usize, metrics: &Metrics) -> Rejection {
    metrics.bound_hit("limits.body_bytes");
    let detail = format!("The body of this request has more than {most} bytes (limits.body_bytes).");
    Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail).closing()
}

fn unsupported(detail: &str) -> Rejection {
    Rejection::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
}
