//! The head of a request, before anything is asked of it: that two readers understand it in one way, and that it is no larger
//! than the settings allow.

use hyper::{
    HeaderMap, StatusCode, Uri, Version,
    header::{CONTENT_ENCODING, HOST, HeaderValue, TRANSFER_ENCODING},
};

use super::respond::Rejection;
use crate::{config::Limits, metrics::Metrics};

/// What RFC 9112 wants refused: a message that two readers could understand in two ways.
fn check_message(version: Version, headers: &HeaderMap) -> Result<(), Rejection> {
    let bad = |status, detail: &str| Err(Rejection::new(status, "bad_request", detail).closing());
    let hosts = headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && version >= Version::HTTP_11) {
        return bad(StatusCode::BAD_REQUEST, "Send one Host header.");
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let only_chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    if codings.next().is_some_and(|value| !only_chunked(value)) || codings.next().is_some() {
        return bad(StatusCode::NOT_IMPLEMENTED, "The only transfer coding understood here is chunked, given once.");
    }
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().any(|value| !plain(value)) {
        return bad(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Send the body as it is, without a Content-Encoding.");
    }
    Ok(())
}

/// Refuses a request whose head is larger than the settings allow.
pub fn check(
    limits: &Limits,
    version: Version,
    uri: &Uri,
    headers: &HeaderMap,
    metrics: &Metrics,
) -> Result<(), Rejection> {
    let refuse = |setting, status, code, what: &str, most| {
        metrics.bound_hit(setting);
        Err(Rejection::new(status, code, format!("{what} than {most} ({setting}).")).closing())
    };
    check_message(version, headers)?;
    let uri_bytes = uri.path_and_query().map_or(1, |path| path.as_str().len());
    if uri_bytes > limits.uri_bytes {
        let what = "The address of this request has more bytes";
        return refuse("limits.uri_bytes", StatusCode::URI_TOO_LONG, "uri_too_long", what, limits.uri_bytes);
    }
    let too_large = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    if headers.len() > limits.headers {
        let what = "This request has more headers";
        return refuse("limits.headers", too_large, "too_many_headers", what, limits.headers);
    }
    if header_bytes(headers) > limits.header_bytes {
        let what = "The headers of this request have more bytes";
        return refuse("limits.header_bytes", too_large, "headers_too_large", what, limits.header_bytes);
    }
    Ok(())
}

/// As on the wire: `name: value\r\n`.
fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}
