//! How many bytes of answers may be on their way to clients at once (`limits.answer_bytes`).
//!
//! Short answers are not counted: `limits.http_connections` bounds them. A long one takes its share of the budget with it,
//! inside its bytes, so that the share comes back when the last of them is written or the connection ends.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::respond::{Rejection, Response};
use crate::{config::Limits, metrics::Metrics};

/// Answers up to so many bytes are not counted.
const SHORT: usize = 16 * 1024;
/// The budget is counted in pieces of so many bytes.
const PIECE: usize = 1024;

pub struct Answers {
    pieces: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

struct Counted {
    bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Answers {
    pub fn new(limits: &Limits, metrics: Arc<Metrics>) -> Self {
        let pieces = (limits.answer_bytes / PIECE).min(Semaphore::MAX_PERMITS);
        Self { pieces: Arc::new(Semaphore::new(pieces)), metrics }
    }

    /// The answer, counted; refused with 503 where there is no room for it.
    pub fn count(&self, response: Response) -> Result<Response, Rejection> {
        let bytes = response.body().size_hint().exact().unwrap_or(0) as usize;
        if bytes <= SHORT {
            return Ok(response);
        }
        let pieces = u32::try_from(bytes.div_ceil(PIECE)).unwrap_or(u32::MAX);
        let Ok(share) = self.pieces.clone().try_acquire_many_owned(pieces) else {
            self.metrics.bound_hit("limits.answer_bytes");
            let detail = "Too many long answers wait for their clients (limits.answer_bytes); try again in a moment.";
            return Err(Rejection::unavailable("busy", detail));
        };
        let (head, body) = response.into_parts();
        Ok(Response::from_parts(head, held(body, share)))
    }
}

/// The same bytes, with their share of the budget.
fn held(body: Full<Bytes>, share: OwnedSemaphorePermit) -> Full<Bytes> {
    let bytes = whole(body);
    Full::new(Bytes::from_owner(Counted { bytes, _share: share }))
}

/// A `Full` is one piece that is there already.
fn whole(body: Full<Bytes>) -> Bytes {
    use futures_util::FutureExt;
    use http_body_util::BodyExt;
    let collected = body.collect().now_or_never().expect("a whole body waits for nothing");
    match collected {
        Ok(collected) => collected.to_bytes(),
        Err(never) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::respond::with_type;

    fn answer(bytes: usize) -> Response {
        with_type(vec![b'x'; bytes].into(), "text/plain")
    }

    #[test]
    fn long_answers_share_a_budget_and_give_it_back_when_they_are_gone() {
        let limits = Limits { answer_bytes: 100 * 1024, ..Limits::default() };
        let answers = Answers::new(&limits, Arc::default());
        let Ok(first) = answers.count(answer(60 * 1024)) else { panic!("there is room for one") };
        assert!(answers.count(answer(60 * 1024)).is_err());
        assert!(answers.count(answer(SHORT)).is_ok());
        let bytes = whole(first.into_body());
        assert_eq!(bytes.len(), 60 * 1024);
        assert!(answers.count(answer(60 * 1024)).is_err(), "its bytes are still there");
        drop(bytes);
        assert!(answers.count(answer(60 * 1024)).is_ok());
    }
}
