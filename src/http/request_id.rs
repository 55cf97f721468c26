//! What a request is called, in its answer and in the log.

use std::fmt;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use uuid::{Builder, fmt::Hyphenated};

use crate::types::Timestamp;

pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[derive(Clone)]
pub enum RequestId {
    /// The client's own, fit to be logged.
    Given(HeaderValue),
    Made([u8; Hyphenated::LENGTH]),
}

impl RequestId {
    /// The client's own where it is fit to be logged, or else a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        match headers.get(X_REQUEST_ID).filter(|value| is_fit(value.as_bytes())) {
            Some(value) => Self::Given(value.clone()),
            None => {
                let mut text = [0; Hyphenated::LENGTH];
                // Not `Uuid::now_v7`, whose order within a millisecond takes a lock that all requests would share.
                let millis = Timestamp::now().0.unsigned_abs();
                let uuid = Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid();
                uuid.hyphenated().encode_lower(&mut text);
                Self::Made(text)
            }
        }
    }

    pub fn as_str(&self) -> &str {
        let bytes = match self {
            Self::Given(value) => value.as_bytes(),
            Self::Made(text) => text,
        };
        std::str::from_utf8(bytes).expect("an id is checked or made to be ASCII")
    }

    pub fn header(&self) -> HeaderValue {
        match self {
            Self::Given(value) => value.clone(),
            Self::Made(text) => HeaderValue::from_bytes(text).expect("a UUID is header text"),
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_fit(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=128).contains(&id.len()) && id.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_request_id_is_kept_and_others_are_replaced() {
        let id_of = |given: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, given.parse().unwrap());
            RequestId::of(&headers).to_string()
        };
        let longest = "x".repeat(128);
        for fit in ["a", "Req-1.2_3", &longest] {
            assert_eq!(id_of(fit), fit);
        }
        for unfit in ["", "a b", "a\tb", "a/b", "<script>", &"x".repeat(129)] {
            assert_eq!(id_of(unfit).len(), 36, "{unfit:?}");
        }
        let fresh = || RequestId::of(&HeaderMap::new());
        assert_ne!(fresh().as_str(), fresh().as_str());
        assert_eq!(fresh().header().len(), 36);
    }
}
