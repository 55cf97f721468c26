//! How requests fail whatever they ask: by their head, by who sends them, by their body.

use super::told::{Body, Fault, JSON, Parameter, bad_field, fault};
use crate::{
    http::{
        authenticate::Via,
        authorize::{Need, Outsider},
    },
    types::Role,
};

/// Who may ask for a route: its row in the table, without the handler.
#[derive(Clone, Copy)]
pub enum Access {
    Probe,
    Anyone,
    SignedIn(Via),
    Holder(Role),
    Member(Via, Need, Outsider),
}

const ALWAYS: &[Fault] = &[
    fault(400, "bad_request", "Send one Host header."),
    fault(414, "uri_too_long", "The address of this request has more bytes than 8192 (limits.uri_bytes)."),
    fault(415, "bad_request", "Send the body as it is, without a Content-Encoding."),
    fault(
        421,
        "unknown_host",
        "This server does not answer to the name in this request's Host header. If it should, the operator lists the name in \
         server.hosts.",
    ),
    fault(431, "too_many_headers", "This request has more headers than 100 (limits.headers)."),
    fault(431, "headers_too_large", "The headers of this request have more bytes than 32768 (limits.header_bytes)."),
    fault(500, "internal_error", "The server made a mistake, and has written it down under this request_id."),
    fault(501, "bad_request", "The only transfer coding understood here is chunked, given once."),
    fault(503, "timeout", "The server could not answer within 30 s; what was asked may still happen."),
];
/// Whose answers may be long.
pub const LONG: Fault =
    fault(503, "busy", "Too many long answers wait for their clients (limits.answer_bytes); try again in a moment.");
const OF_A_PROBE: &[Fault] =
    &[fault(429, "rate_limited", "Too many requests (limits.probes_per_sec): wait 1 s and try again.")];
const UNLESS_A_PROBE: &[Fault] = &[
    fault(429, "rate_limited", "Too many requests (limits.requests_per_sec): wait 1 s and try again."),
    fault(503, "draining", "The server is stopping; try again in a moment."),
    // Of any route, while a start waits for the store.
    AWAY,
];
const AWAY: Fault = fault(503, "store_unavailable", "The server cannot reach its data; try again in a moment.");
/// Whatever needs the store.
pub const STORE: &[Fault] = &[
    AWAY,
    fault(503, "store_full", "The server's disk is full; try again once its operator has made room."),
    fault(503, "store_damaged", "The server's data is damaged; its operator must restore it."),
    fault(503, "store_busy", "The server is busy; try again in a moment."),
];
const SIGNED_IN: &[Fault] = &[
    fault(401, "not_authenticated", "Not authenticated"),
    fault(401, "invalid_token", "Invalid token"),
    fault(401, "token_expired", "Token expired"),
];
const BY_COOKIE: &[Fault] = &[fault(
    403,
    "origin_not_allowed",
    "A page of this origin may not sign in by cookie; the operator can list it in server.allowed_origins.",
)];
const NOT_PERMITTED: &[Fault] = &[fault(403, "insufficient_permissions", "Insufficient permissions")];
const IN_A_ROOM: &[Fault] = &[
    fault(404, "chat_not_found", "Chatroom not found"),
    fault(429, "busy", "The server is busy (rooms.live); try again in a moment."),
];
const POSTS: &[Fault] = &[
    fault(403, "read_only", "You may read this room, but not post in it; an owner or moderator can change your role."),
    fault(403, "forbidden", "Insufficient permissions"),
];
const MODERATES: &[Fault] = &[
    fault(403, "forbidden", "Only an owner or moderator of this room may do that."),
    fault(409, "conflict", "A private room has no name, and its two members stay for ever; make a group for others."),
];
const BODY: &[Fault] = &[
    fault(400, "bad_request", "The body of this request is not whole."),
    fault(408, "body_too_slow", "The body of this request took more than 15 s to arrive."),
    fault(413, "body_too_large", "The body of this request has more than 262144 bytes (limits.body_bytes)."),
];
const JSON_BODY: &[Fault] = &[
    fault(415, "unsupported_media_type", "Send JSON, with Content-Type: application/json."),
    bad_field("missing", &["body", "username"], "Field required"),
];
const FORM_BODY: &[Fault] = &[
    fault(415, "unsupported_media_type", "Send a form: application/x-www-form-urlencoded or multipart/form-data."),
    bad_field("missing", &["body", "password"], "Field required"),
];
const QUERY: &[Fault] = &[bad_field("value_error", &["query", "limit"], "Input should be a number from 1 to 500")];

impl Access {
    /// How a request fails by what its row says.
    pub fn faults(self) -> Vec<Fault> {
        let mut all = vec![ALWAYS];
        all.push(if matches!(self, Access::Probe) { OF_A_PROBE } else { UNLESS_A_PROBE });
        if let Some(via) = self.via() {
            all.extend([SIGNED_IN, STORE]);
            if via == Via::Socket {
                all.push(BY_COOKIE);
            }
        }
        match self {
            Access::Probe | Access::Anyone | Access::SignedIn(_) => {}
            Access::Holder(_) => all.push(NOT_PERMITTED),
            Access::Member(_, need, outsider) => {
                all.push(IN_A_ROOM);
                if outsider == Outsider::Told {
                    all.push(NOT_PERMITTED);
                }
                match need {
                    Need::Read => {}
                    Need::Post => all.push(POSTS),
                    Need::Moderate => all.push(MODERATES),
                }
            }
        }
        all.concat()
    }

    /// Where a token may be; `None` where none is asked for.
    pub fn via(self) -> Option<Via> {
        match self {
            Access::Probe | Access::Anyone => None,
            Access::SignedIn(via) | Access::Member(via, ..) => Some(via),
            Access::Holder(_) => Some(Via::Rest),
        }
    }

    /// Who may, in one word or a few.
    pub fn who(self) -> &'static str {
        match self {
            Access::Probe | Access::Anyone => "anyone",
            Access::SignedIn(_) => "signed in",
            Access::Holder(role) => role.name(),
            Access::Member(_, Need::Read, _) => "member",
            Access::Member(_, Need::Post, _) => "member who may post",
            Access::Member(_, Need::Moderate, _) => "owner or moderator",
        }
    }
}

impl Body {
    pub fn faults(&self) -> Vec<Fault> {
        [BODY, if self.kinds == [JSON] { JSON_BODY } else { FORM_BODY }].concat()
    }
}

impl Parameter {
    /// A text is always acceptable.
    pub fn faults(&self) -> Vec<Fault> {
        let may_be_wrong = self.schema["type"] == "integer" || ["after", "cursor"].contains(&self.name);
        if may_be_wrong { QUERY.to_vec() } else { Vec::new() }
    }
}
