//! Answers and refusals. Every answer that leaves is made here, and every error of a lower layer gets its status here.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{chat::ChatError, limits::RetryAfter, store::StoreError};

pub type Response = hyper::Response<Full<Bytes>>;

const USUAL_HEADERS: usize = 4;

/// Why a request is not served.
#[derive(Debug)]
pub struct Rejection {
    pub(crate) status: StatusCode,
    /// For programs: `snake_case`, stable.
    pub(crate) code: &'static str,
    /// For people: a sentence, or the list of fields that are not acceptable.
    pub(crate) detail: Box<Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// For the log only: what the caller must not be told.
    pub(crate) cause: Option<String>,
}

/// What every refusal says.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorBody<'a> {
    /// For people: a sentence that says what they can do.
    #[schema(value_type = String)]
    detail: &'a Value,
    /// For programs.
    code: &'static str,
    /// What the server's log calls this request; as `x-request-id`.
    request_id: &'a str,
}

/// One field that is not acceptable. A 422 has a list of them as its `detail`.
#[derive(Serialize, ToSchema)]
pub(crate) struct FieldError<L: Serialize> {
    /// For programs.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Where it is: `["body", "username"]`, `["query", "limit"]`; a number is an index, or the byte at which the JSON breaks off.
    #[schema(value_type = Vec<Step>, min_items = 1)]
    loc: L,
    /// For people. It never repeats what was sent.
    msg: String,
}

/// A field's name, or a number.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it only tells the shape of what `loc` holds")]
enum Step {
    Name(String),
    Number(u64),
}

/// The answer to most changes.
#[derive(Serialize, ToSchema)]
pub(crate) struct Message<'a> {
    message: &'a str,
}

/// A JSON answer. Nothing of this API is for shared caches, and most of it is for one person's eyes.
pub fn json(body: &impl Serialize) -> Response {
    json_bytes(encoded(body))
}

pub fn encoded(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body).expect("answers are plain data with text keys").into()
}

/// As [`json`], encoded already.
pub fn json_bytes(body: Bytes) -> Response {
    with_type(body, "application/json")
}

/// `{"message": …}`, the answer to most changes.
pub fn message(text: &str) -> Response {
    json(&Message { message: text })
}

pub fn with_type(body: Bytes, content_type: &'static str) -> Response {
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    // One allocation for these and for what every answer has.
    headers.reserve(USUAL_HEADERS);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

/// 204 with the methods of a path.
pub fn options(allow: &HeaderValue) -> Response {
    let mut response = empty(StatusCode::NO_CONTENT);
    response.headers_mut().insert(ALLOW, allow.clone());
    response
}

impl Rejection {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<Value>) -> Self {
        Self { status, code, detail: Box::new(detail.into()), headers: Vec::new(), cause: None }
    }

    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not Found")
    }

    pub fn method_not_allowed(allow: &HeaderValue) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method Not Allowed").with(ALLOW, allow.clone())
    }

    pub fn unauthorized(code: &'static str, detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, detail).with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    pub fn not_authenticated() -> Self {
        Self::unauthorized("not_authenticated", "Not authenticated")
    }

    pub fn invalid_token() -> Self {
        Self::unauthorized("invalid_token", "Invalid token")
    }

    pub fn forbidden(code: &'static str, detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }

    pub fn insufficient_permissions() -> Self {
        Self::forbidden("insufficient_permissions", "Insufficient permissions")
    }

    pub fn no_such_room() -> Self {
        Self::new(StatusCode::NOT_FOUND, "chat_not_found", "Chatroom not found")
    }

    /// 422 for one field; `loc` says where it is: `["body", "username"]`. Never put what was sent into `msg`.
    pub fn invalid(kind: &'static str, loc: &[&str], msg: impl Into<String>) -> Self {
        Self::invalid_fields(vec![field_error(kind, loc, msg)])
    }

    /// 422 for several, each `{"type", "loc", "msg"}`.
    pub fn invalid_fields(fields: Vec<Value>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "validation_error", fields)
    }

    pub fn too_many(code: &'static str, detail: &str, retry_secs: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail).retry_after(retry_secs)
    }

    pub fn unavailable(code: &'static str, detail: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).retry_after(1)
    }

    /// A handler panicked.
    pub fn defect() -> Self {
        let detail = "The server made a mistake, and has written it down under this request_id.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", detail)
    }

    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The words are those of a connection that is refused before it has asked anything.
    pub fn no_room() -> Self {
        Self::unavailable("busy", "The server has all the connections it takes; try again in a moment.").closing()
    }

    pub fn retry_after(self, secs: u64) -> Self {
        self.with(RETRY_AFTER, HeaderValue::from(secs.max(1)))
    }

    /// The connection ends after the answer: what the client is still sending will not be read.
    pub fn closing(self) -> Self {
        self.with(CONNECTION, HeaderValue::from_static("close"))
    }

    pub fn because(mut self, cause: impl ToString) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    pub fn into_response(self, request_id: &str) -> Response {
        let mut response = json(&ErrorBody { detail: &self.detail, code: self.code, request_id });
        *response.status_mut() = self.status;
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// For [`Rejection::invalid_fields`].
pub fn field_error(kind: &'static str, loc: impl Serialize, msg: impl Into<String>) -> Value {
    json!(FieldError { kind, loc, msg: msg.into() })
}

impl From<RetryAfter> for Rejection {
    fn from(wait: RetryAfter) -> Self {
        let detail = format!("Too many requests ({}): wait {} s and try again.", wait.setting, wait.secs);
        Self::too_many("rate_limited", &detail, wait.secs)
    }
}

impl From<ChatError> for Rejection {
    fn from(error: ChatError) -> Self {
        match error {
            ChatError::NoSuchUser(_) | ChatError::NoSuchMember(_) => {
                Self::new(StatusCode::NOT_FOUND, error.code(), error.to_string())
            }
            ChatError::UserExists => Self::new(StatusCode::BAD_REQUEST, "user_exists", "User already exists"),
            ChatError::NoSuchRoom => Self::no_such_room(),
            ChatError::NoSuchMessage => Self::new(StatusCode::NOT_FOUND, error.code(), error.to_string()),
            ChatError::Deleted | ChatError::TooManyEdits => {
                Self::new(StatusCode::CONFLICT, error.code(), error.to_string())
            }
            ChatError::Overtaken => Self::too_many(error.code(), &error.to_string(), 1),
            ChatError::ReadOnly | ChatError::NotTaken(_) => Self::forbidden(error.code(), &error.to_string()),
            ChatError::Forbidden(why) => Self::forbidden("forbidden", why),
            ChatError::Conflict(why) => Self::new(StatusCode::CONFLICT, "conflict", why),
            ChatError::Invalid { field, msg } => Self::invalid("value_error", &["body", field], msg),
            ChatError::InvalidToken => Self::invalid_token(),
            ChatError::Busy(_) => Self::too_many("busy", &error.to_string(), 1),
            ChatError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Rejection {
    fn from(error: StoreError) -> Self {
        Self::unavailable(error.code(), error.advice()).because(error)
    }
}
