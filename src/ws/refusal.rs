//! What a client is told when something it asked is not done.

use serde_json::value::RawValue;

use super::frames::BadFrame;
use crate::{
    chat::ChatError,
    protocol::{Frame, Said},
};

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
    /// `client_id` where it is about a post that has one.
    pub fn frame(&self, req: Option<&RawValue>, client_id: Option<&str>) -> Frame {
        let Refusal { code, detail, retry_after } = self;
        Frame::json(&Said::Error { req, code, detail, client_id, retry_after: *retry_after })
    }
}
