//! How many bytes of answers may be on their way to clients at once (`limits.answer_bytes`).
//!
//! Short answers are not counted: `limits.http_connections` bounds them. A long one takes its share of the budget with it,
//! inside its bytes, so that the share comes back when the last of them is written or the connection ends.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;

use super::respond::{Rejection, Response};
use crate::limits::budget::{Budget, Share};

/// Answers up to so many bytes are not counted.
const SHORT: usize = 16 * 1024;

struct Counted {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The answer, counted; refused with 503 where there is no room for it.
pub fn count(response: Response, budget: &Arc<Budget>) -> Result<Response, Rejection> {
    let bytes = response.body().size_hint().exact().unwrap_or(0) as usize;
    if bytes <= SHORT {
        return Ok(response);
    }
    let mut share = budget.share();
    if !share.hold(bytes) {
        let detail = "Too many long answers wait for their clients (limits.answer_bytes); try again in a moment.";
        return Err(Rejection::unavailable("busy", detail));
    }
    let (head, body) = response.into_parts();
    Ok(Response::from_parts(head, held(body, share)))
}

/// The same bytes, with their share of the budget.
fn held(body: Full<Bytes>, share: Share) -> Full<Bytes> {
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
        let budget = Budget::new("limits.answer_bytes", 100 * 1024, Default::default(), Arc::default());
        let Ok(first) = count(answer(60 * 1024), &budget) else { panic!("there is room for one") };
        assert!(count(answer(60 * 1024), &budget).is_err());
        assert!(count(answer(SHORT), &budget).is_ok());
        let bytes = whole(first.into_body());
        assert_eq!(bytes.len(), 60 * 1024);
        assert!(count(answer(60 * 1024), &budget).is_err(), "its bytes are still there");
        drop(bytes);
        assert!(count(answer(60 * 1024), &budget).is_ok());
    }
}
