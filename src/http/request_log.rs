//! Lines of the log about requests, so that what somebody asks about can be found by the `request_id` that they were told.
//!
//! | the request | has a line |
//! |---|---|
//! | could not be served (5xx), or was slow (`log.slow_millis`) | always |
//! | was refused (4xx), or its client left (499) | unless `log.requests` is `off` |
//! | any other | where `log.requests` is `all` |
//!
//! Anybody can have requests refused, as many as they like: the first two kinds have `log.requests_per_sec` lines each, and what
//! was held back is told with the next line. A line has no query, no body and no token.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use hyper::{Method, StatusCode};
use parking_lot::Mutex;

use super::request_id::RequestId;
use crate::config::{Log, LogRequests};

/// A request that has ended.
pub struct Ended<'a> {
    pub id: &'a RequestId,
    pub method: &'a Method,
    pub route: &'static str,
    /// Whose it was, as far as the proxies are believed.
    pub address: Option<IpAddr>,
    pub status: u16,
    /// Why it was refused, for programs; and for the operator alone.
    pub code: Option<&'static str>,
    pub cause: Option<&'a str>,
    pub elapsed: Duration,
}

pub struct RequestLog {
    wanted: LogRequests,
    slow: Duration,
    refused: Pace,
    unserved: Pace,
}

impl RequestLog {
    pub fn new(config: &Log) -> Self {
        let pace = || Pace { per_sec: config.requests_per_sec, now: Mutex::new(Second::since(Instant::now())) };
        let slow = Duration::from_millis(config.slow_millis);
        Self { wanted: config.requests, slow, refused: pace(), unserved: pace() }
    }

    pub fn write(&self, ended: &Ended<'_>) {
        let Ended { id, method, route, address, status, code, cause, elapsed } = *ended;
        let millis = elapsed.as_millis() as u64;
        let address = address.map(tracing::field::display);
        let unserved = status >= StatusCode::INTERNAL_SERVER_ERROR.as_u16();
        if unserved || elapsed >= self.slow {
            let Some(held_back) = self.unserved.take() else { return };
            let what = if unserved { "a request could not be served" } else { "a request was slow" };
            tracing::warn!(request_id = %id, %method, route, status, code, cause, millis, address, held_back, "{what}");
        } else if self.wanted == LogRequests::All {
            tracing::info!(request_id = %id, %method, route, status, code, cause, millis, address, "a request");
        } else if status >= StatusCode::BAD_REQUEST.as_u16() && self.wanted == LogRequests::Errors {
            let Some(held_back) = self.refused.take() else { return };
            tracing::info!(request_id = %id, %method, route, status, code, millis, address, held_back, "a request was refused");
            if let Some(cause) = cause {
                tracing::debug!(request_id = %id, cause, "why it was refused");
            }
        } else {
            tracing::debug!(request_id = %id, %method, route, status, code, cause, millis, "a request");
        }
    }
}

/// So many lines in a second.
struct Pace {
    per_sec: u32,
    now: Mutex<Second>,
}

struct Second {
    began: Instant,
    written: u32,
    held_back: u64,
}

impl Second {
    fn since(began: Instant) -> Self {
        Self { began, written: 0, held_back: 0 }
    }
}

impl Pace {
    /// `None`: no more in this second. Otherwise how many were held back since the last line, where there were any.
    fn take(&self) -> Option<Option<u64>> {
        self.take_at(Instant::now())
    }

    fn take_at(&self, at: Instant) -> Option<Option<u64>> {
        let mut now = self.now.lock();
        if at.duration_since(now.began) >= Duration::from_secs(1) {
            *now = Second { held_back: now.held_back, ..Second::since(at) };
        }
        if now.written >= self.per_sec {
            now.held_back += 1;
            return None;
        }
        now.written += 1;
        Some(Some(std::mem::take(&mut now.held_back)).filter(|held_back| *held_back > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines_and_the_next_says_how_many_were_held_back() {
        let start = Instant::now();
        let pace = Pace { per_sec: 2, now: Mutex::new(Second::since(start)) };
        let at = |millis| pace.take_at(start + Duration::from_millis(millis));
        assert_eq!((at(0), at(10)), (Some(None), Some(None)));
        assert_eq!((at(20), at(999)), (None, None));
        assert_eq!((at(1_000), at(1_001)), (Some(Some(2)), Some(None)));
        assert_eq!(at(1_500), None);
    }
}
