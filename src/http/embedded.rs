//! Files that are part of the binary: told apart by their content, compressed once, never read from a disk.
//!
//! The tag is weak and the same for both encodings: it says that the content is the same, which is all that a browser asks.
//! There are no ranges: the files are small.

use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use hyper::{
    StatusCode,
    header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY},
    header::{HeaderMap, HeaderName, HeaderValue},
};
use sha2::{Digest, Sha256};

use super::{
    request::Request,
    respond::{self, Response},
};

/// How long a client may keep a file.
#[derive(Clone, Copy, PartialEq)]
pub enum Keep {
    /// For good: the path names the content.
    ForEver,
    /// As long as it asks each time whether it is still the same.
    Asking,
}

pub struct Embedded {
    plain: Bytes,
    /// Where it is shorter.
    gzip: Option<Bytes>,
    headers: HeaderMap,
}

impl Embedded {
    /// `name` tells the type, by its ending.
    pub fn new(name: &str, bytes: impl Into<Bytes>, keep: Keep) -> Self {
        let plain: Bytes = bytes.into();
        let gzip = Some(compressed(&plain)).filter(|gzip| gzip.len() < plain.len());
        Self::of(name, plain, gzip, keep)
    }

    /// Of bytes that were compressed when the binary was built.
    pub fn unpacked(name: &str, gzip: &'static [u8], keep: Keep) -> io::Result<Self> {
        let mut plain = Vec::new();
        GzDecoder::new(gzip).read_to_end(&mut plain)?;
        Ok(Self::of(name, plain.into(), Some(Bytes::from_static(gzip)), keep))
    }

    pub fn plain(&self) -> &[u8] {
        &self.plain
    }

    fn of(name: &str, plain: Bytes, gzip: Option<Bytes>, keep: Keep) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(name)));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(keep.cache_control()));
        let tag = format!("W/\"{}\"", digest([plain.as_ref()]));
        headers.insert(ETAG, HeaderValue::try_from(tag).expect("hexadecimal digits are header text"));
        if gzip.is_some() {
            headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        Self { plain, gzip, headers }
    }

    /// With a header that every answer has, a 304 too.
    pub fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.insert(name, HeaderValue::from_str(value).expect("our own words are header text"));
        self
    }

    /// The file, or 304 to a client that has it.
    pub fn answer(&self, request: &Request) -> Response {
        let asked = request.inner.headers();
        let mut response = respond::empty(StatusCode::OK);
        response.headers_mut().extend(self.headers.clone());
        if has_it(asked, &self.headers[ETAG]) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response.headers_mut().remove(CONTENT_TYPE);
            return response;
        }
        let bytes = match &self.gzip {
            Some(gzip) if takes_gzip(asked) => {
                response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                gzip
            }
            _ => &self.plain,
        };
        *response.body_mut() = bytes.clone().into();
        response
    }
}

impl Keep {
    fn cache_control(self) -> &'static str {
        match self {
            Keep::ForEver => "public, max-age=31536000, immutable",
            Keep::Asking => "no-cache",
        }
    }
}

/// What names this content among all others: enough of a SHA-256 that no two files of ours ever share it.
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // With its length, so that no two lists of parts are one text.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn compressed(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).and_then(|()| encoder.finish()).expect("memory takes what is written").into()
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

/// The elements of a list header, over all its lines. No value of those read here has a comma inside.
fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// Whether `If-None-Match` names the tag. Tags compare without what says that they are weak.
fn has_it(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let opaque = |tag: &'_ str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    let own = tag.to_str().map(opaque).unwrap_or_default();
    elements(headers, &IF_NONE_MATCH).any(|given| given == "*" || opaque(given) == own)
}

/// Whether gzip is named with a weight above 0, or else everything is.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let weight = |coding: &str| {
        elements(headers, &ACCEPT_ENCODING).find_map(|element| {
            let mut parts = element.split(';').map(str::trim);
            let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(coding));
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            named.then(|| weight.map_or(1.0, |weight| weight.trim().parse().unwrap_or(0.0)))
        })
    };
    weight("gzip").or_else(|| weight("x-gzip")).or_else(|| weight("*")).is_some_and(|weight: f32| weight > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn gzip_is_for_those_who_take_it() {
        for (values, takes) in [
            (&["gzip, deflate, br, zstd"][..], true),
            (&["br", "gzip"], true),
            (&["GZIP"], true),
            (&["x-gzip"], true),
            (&["*"], true),
            (&["br;q=1.0, gzip;q=0.8, *;q=0.1"], true),
            (&["gzip ; q=0.001"], true),
            (&["gzip;q=0"], false),
            (&["gzip;q=0.000, *"], false),
            (&["*;q=0"], false),
            (&["gzip;q=much"], false),
            (&["identity"], false),
            (&["br, gzipped"], false),
            (&[""], false),
            (&[], false),
        ] {
            assert_eq!(takes_gzip(&headers(ACCEPT_ENCODING, values)), takes, "{values:?}");
        }
    }

    #[test]
    fn a_client_has_it_where_one_of_its_tags_is_ours() {
        let own = HeaderValue::from_static("W/\"0123\"");
        for (values, has) in [
            (&["W/\"0123\""][..], true),
            (&["\"0123\""], true),
            (&["\"x\", W/\"0123\""], true),
            (&["\"x\"", "\"0123\""], true),
            (&["*"], true),
            (&["0123"], false),
            (&["\"01234\""], false),
            (&[], false),
        ] {
            assert_eq!(has_it(&headers(IF_NONE_MATCH, values), &own), has, "{values:?}");
        }
    }

    #[test]
    fn a_digest_tells_lists_apart() {
        assert_eq!(digest([&b"a"[..], b"b"]), digest([&b"a"[..], b"b"]));
        assert_ne!(digest([&b"a"[..], b"b"]), digest([&b"ab"[..]]));
        assert_ne!(digest([&b"a"[..], b"b"]), digest([&b"b"[..], b"a"]));
        assert_eq!(digest([]).len(), 16);
    }

    #[test]
    fn what_does_not_shrink_stays_as_it_is() {
        assert!(Embedded::new("a.txt", &b"short"[..], Keep::Asking).gzip.is_none());
        let long = Embedded::new("a.js", "again and ".repeat(50), Keep::Asking);
        assert!(long.gzip.is_some_and(|gzip| gzip.len() < 60));
        assert_eq!(long.headers[VARY], "Accept-Encoding");
    }
}
