//! Which web pages of other origins may use the API: those of `server.allowed_origins`, and no others.
//!
//! An origin that is not listed gets the same answer as everybody, without the headers that would let its page read it.

use hyper::{
    HeaderMap, Method,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
        ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN, VARY,
    },
};

/// How long a browser may keep the answer to a preflight.
const PREFLIGHT_SECS: &str = "600";

/// What is owed to the page that a request comes from.
pub struct Cors {
    /// Some origins are listed, so answers differ by origin.
    varies: bool,
    /// The request's origin, where it is listed.
    origin: Option<HeaderValue>,
    preflight: bool,
}

impl Cors {
    pub fn of(allowed: &[String], method: &Method, headers: &HeaderMap) -> Self {
        let origin = headers.get(ORIGIN).filter(|origin| is_listed(allowed, origin)).cloned();
        let preflight =
            origin.is_some() && method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        Self { varies: !allowed.is_empty(), origin, preflight }
    }

    /// Adds what is owed to an answer, errors included. `allow` holds the methods of the request's path, if it is one.
    /// A public file, which says itself that every page may read it, stays as it is.
    pub fn apply(self, headers: &mut HeaderMap, allow: Option<&HeaderValue>) {
        if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            return;
        }
        if self.varies {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = self.origin else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        match allow {
            Some(methods) if self.preflight => {
                headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods.clone());
                let wanted = HeaderValue::from_static("authorization, content-type, x-request-id");
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted);
                headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECS));
            }
            _ => {
                let shown = HeaderValue::from_static("x-request-id, retry-after");
                headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, shown);
            }
        }
    }
}

/// Origins compare without case, as browsers send them in lower case and people don't write them so.
pub fn is_listed(allowed: &[String], origin: &HeaderValue) -> bool {
    let listed = |one: &String| one.trim_end_matches('/').as_bytes().eq_ignore_ascii_case(origin.as_bytes());
    allowed.iter().filter(|one| *one != "*" && *one != "null").any(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(allowed: &[&str], method: Method, request: &[(&'static str, &'static str)]) -> HeaderMap {
        let allowed: Vec<String> = allowed.iter().map(|one| one.to_string()).collect();
        let mut headers = HeaderMap::new();
        for (name, value) in request {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        let mut answer = HeaderMap::new();
        Cors::of(&allowed, &method, &headers).apply(&mut answer, Some(&HeaderValue::from_static("GET, POST")));
        answer
    }

    const PAGE: &str = "https://chat.example.org";

    #[test]
    fn a_listed_origin_may_read_and_send_credentials() {
        let headers = answer(&["https://Chat.example.org/"], Method::GET, &[("origin", PAGE)]);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], PAGE);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(headers[ACCESS_CONTROL_EXPOSE_HEADERS], "x-request-id, retry-after");
        assert_eq!(headers[VARY], "Origin");
        assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_METHODS));
    }

    #[test]
    fn others_get_nothing() {
        for origin in
            ["https://evil.example", "http://chat.example.org", "https://chat.example.org.evil.example", "null", "*"]
        {
            let headers = answer(&[PAGE, "*", "null"], Method::GET, &[("origin", origin)]);
            assert_eq!(headers.len(), 1, "{origin} got {headers:?}");
            assert_eq!(headers[VARY], "Origin");
        }
        assert!(answer(&[], Method::GET, &[("origin", PAGE)]).is_empty());
    }

    #[test]
    fn a_preflight_hears_methods_headers_and_how_long() {
        let asked = [("origin", PAGE), ("access-control-request-method", "POST")];
        let headers = answer(&[PAGE], Method::OPTIONS, &asked);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_METHODS], "GET, POST");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_HEADERS], "authorization, content-type, x-request-id");
        assert_eq!(headers[ACCESS_CONTROL_MAX_AGE], "600");
        let plain = answer(&[PAGE], Method::OPTIONS, &asked[..1]);
        assert!(!plain.contains_key(ACCESS_CONTROL_ALLOW_METHODS), "OPTIONS without the question is no preflight");
    }
}
