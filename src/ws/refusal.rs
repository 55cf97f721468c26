//! What a client is told when something it asked is not done.

use serde_json::value::RawValue;

use super::frames::BadFrame;
use crate::{chat::ChatError, limits::RetryAfter, protocol::Said};

/// Every code of an `error` frame, and what it means. The words are those of [`BadFrame`], [`ChatError`] and the tokens.
pub(crate) const CODES: [(&str, &str); 22] = [
    ("not_json", "The frame is not JSON. As many of these as sockets.bad_frames allows close the socket."),
    ("bad_frame", "The frame is no JSON object, gives a field twice, or nests too deep."),
    ("unknown_type", "There is no frame of this type."),
    ("invalid", "A field is missing, or of another type."),
    ("validation_error", "A field's value is not acceptable."),
    ("chat_not_found", "There is no such chat for this user."),
    ("message_not_found", "There is no such message in this chat."),
    ("deleted", "The message has been deleted."),
    ("too_many_edits", "The message has been edited as often as limits.edits allows."),
    ("overtaken", "Others changed the message again and again meanwhile; the same frame may be accepted later."),
    ("read_only", "The user may read this chat, but not post in it."),
    ("not_taken", "The other person of this private chat blocks the user."),
    ("forbidden", "The user may not do that in this chat."),
    ("conflict", "It does not fit what is there: a client_id that had another text, or a bound that is reached."),
    ("invalid_token", "The token is none of this user's, or its login is over."),
    ("token_expired", "The token has ended."),
    ("rate_limited", "Too many posts, or too much that was looked up; retry_after says for how long to wait."),
    ("busy", "The server is busy; the same frame may be accepted later."),
    ("store_unavailable", "The server cannot reach its data; a post may have been stored, and its client_id tells."),
    ("store_full", "The server's disk is full."),
    ("store_damaged", "The server's data is damaged."),
    ("store_busy", "Too much is asked of the store; the same frame may be accepted later."),
];

/// A refusal on its way to the client.
pub(super) struct Refusal {
    pub code: &'static str,
    pub detail: String,
    pub retry_after: Option<u64>,
}

impl From<BadFrame> for Refusal {
    fn from(bad: BadFrame) -> Self {
        Self { code: bad.code, detail: bad.detail, retry_after: None }
    }
}

impl From<ChatError> for Refusal {
    fn from(error: ChatError) -> Self {
        let detail = match &error {
            ChatError::Store(error) => {
                tracing::debug!(%error, "the store could not do what a frame asked");
                error.advice().to_owned()
            }
            _ => error.to_string(),
        };
        Self { code: error.code(), retry_after: error.retry_after_secs(), detail }
    }
}

impl Refusal {
    pub fn too_often(RetryAfter { secs, setting }: RetryAfter) -> Self {
        let detail = format!("You ask for more than {setting} allows; send it again in {secs} s.");
        Self { code: "rate_limited", detail, retry_after: Some(secs) }
    }

    /// `client_id` where it is about a post that has one.
    pub fn said<'a>(&'a self, req: Option<&'a RawValue>, client_id: Option<&'a str>) -> Said<'a> {
        let Refusal { code, detail, retry_after } = self;
        Said::Error { req, code, detail, client_id, retry_after: *retry_after }
    }
}
