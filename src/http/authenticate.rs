//! Who asks: finds the access token of a request and asks whether it is good now.
//!
//! REST takes it from the `Authorization` header alone. A browser cannot set that on a socket, so there the protocol also
//! allows the subprotocol list, the query, and a cookie; a cookie comes along whichever page asks, so then the page's
//! origin must be this server's own or a listed one.

use std::borrow::Cow;

use hyper::{
    HeaderMap, Uri,
    header::{AUTHORIZATION, COOKIE, HOST, HeaderValue, ORIGIN, SEC_WEBSOCKET_PROTOCOL},
};

use super::{cors::is_listed, request::Request, respond::Rejection};
use crate::{
    app::App,
    auth::token::{Bearer, TokenError},
    chat::{Caller, ChatError, accounts::Asks},
};

/// The way a request came, which tells where its token may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    Rest,
    Socket,
}

pub async fn authenticate(app: &App, request: &Request, via: Via) -> Result<Caller, Rejection> {
    let headers = request.inner.headers();
    let token = match via {
        Via::Rest => bearer(headers),
        Via::Socket => socket_token(headers, request, &app.config.server.allowed_origins)?,
    };
    check(app, &token.ok_or_else(Rejection::not_authenticated)?, via).await
}

/// The login that a request shows to have had, though it is over perhaps: the token that a client still sends along is a sign
/// of the device, and opens nothing.
pub fn device(app: &App, request: &Request) -> Option<Bearer> {
    let headers = request.inner.headers();
    let token = bearer(headers).or_else(|| cookie(headers).map(Cow::Owned))?;
    app.tokens.bearer_once(&token)
}

/// Whether a token, wherever it came from, is good now.
pub async fn check(app: &App, token: &str, via: Via) -> Result<Caller, Rejection> {
    let (checked, asks) = match via {
        Via::Rest => (app.tokens.check(token), Asks::Often),
        Via::Socket => (app.tokens.check_once(token), Asks::Once),
    };
    let bearer = checked.map_err(|error| match error {
        TokenError::Expired => Rejection::unauthorized("token_expired", "Token expired"),
        TokenError::Invalid => Rejection::invalid_token(),
    })?;
    app.chat.validate(&bearer, asks).await.map_err(|error| match error {
        ChatError::Store(error) => error.into(),
        _ => Rejection::invalid_token(),
    })
}

/// The first that is present, in the protocol's order.
fn socket_token<'a>(
    headers: &'a HeaderMap,
    request: &Request,
    origins: &[String],
) -> Result<Option<Cow<'a, str>>, Rejection> {
    let in_query = || request.query("token").map(Cow::Owned);
    if let Some(token) = bearer(headers).or_else(|| subprotocol(headers)).or_else(in_query) {
        return Ok(Some(token));
    }
    let Some(token) = cookie(headers) else { return Ok(None) };
    if is_own_page(headers, origins) {
        Ok(Some(token.into()))
    } else {
        let detail = "A page of this origin may not sign in by cookie; the operator can list it in \
                      server.allowed_origins.";
        Err(Rejection::forbidden("origin_not_allowed", detail))
    }
}

/// `Authorization: Bearer <token>`; another scheme is as good as none.
fn bearer(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().into())
}

/// `Sec-WebSocket-Protocol: natter.v1, bearer.<token>`.
fn subprotocol(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let lists = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).find_map(|one| one.trim().strip_prefix("bearer.")).map(Cow::Borrowed)
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let lists = headers.get_all(COOKIE).iter().filter_map(|list| list.to_str().ok());
    let mut cookies = lists.flat_map(cookie::Cookie::split_parse_encoded).flatten();
    cookies.find(|cookie| cookie.name() == "token").map(|cookie| cookie.value_trimmed().to_owned())
}

/// Whether the page that opens the socket is served by this host, or is listed. Browsers always say where a page is from.
fn is_own_page(headers: &HeaderMap, origins: &[String]) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return false };
    is_listed(origins, origin) || is_same_origin(origin, headers.get(HOST))
}

/// Compares host and port. The scheme is not compared: behind a proxy that ends TLS this server does not know its own.
fn is_same_origin(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let parse = |value: &HeaderValue| value.to_str().ok()?.parse::<Uri>().ok();
    let (Some(origin), Some(host)) = (parse(origin), host.and_then(parse)) else { return false };
    let default_port = match origin.scheme_str() {
        Some("https") => 443,
        Some("http") => 80,
        _ => return false,
    };
    let place = |uri: &Uri| {
        let port = uri.port_u16().unwrap_or(default_port);
        Some((uri.host()?.to_ascii_lowercase(), port))
    };
    place(&origin).is_some() && place(&origin) == place(&host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn tokens_are_found_where_they_may_be() {
        assert_eq!(bearer(&headers(&[("authorization", "Bearer a.b.c")])).as_deref(), Some("a.b.c"));
        assert_eq!(bearer(&headers(&[("authorization", "bearer  a.b.c")])).as_deref(), Some("a.b.c"));
        assert_eq!(bearer(&headers(&[("authorization", "Basic YTpi")])), None);
        assert_eq!(bearer(&headers(&[("authorization", "a.b.c")])), None);
        let lists = [("sec-websocket-protocol", "natter.v1, bearer.a.b.c")];
        assert_eq!(subprotocol(&headers(&lists)).as_deref(), Some("a.b.c"));
        let lists = [("sec-websocket-protocol", "natter.v1"), ("sec-websocket-protocol", "bearer.a.b.c")];
        assert_eq!(subprotocol(&headers(&lists)).as_deref(), Some("a.b.c"));
        assert_eq!(subprotocol(&headers(&[("sec-websocket-protocol", "natter.v1")])), None);
        for line in ["token=a.b.c", "x=1; token=a.b.c; y=2", "token=\"a.b.c\""] {
            assert_eq!(cookie(&headers(&[("cookie", line)])).as_deref(), Some("a.b.c"), "{line}");
        }
        assert_eq!(cookie(&headers(&[("cookie", "tokens=a.b.c; atoken=x")])), None);
    }

    #[test]
    fn only_a_page_of_this_host_or_a_listed_one_may_use_its_cookie() {
        let listed = ["https://app.example.org".to_owned()];
        for (origin, host, own) in [
            ("http://chat.example.org", "chat.example.org", true),
            ("http://Chat.example.org:80", "chat.example.org", true),
            ("https://chat.example.org", "chat.example.org:443", true),
            ("http://127.0.0.1:8000", "127.0.0.1:8000", true),
            ("http://[::1]:8000", "[::1]:8000", true),
            ("https://app.example.org", "chat.example.org", true),
            ("http://chat.example.org:81", "chat.example.org", false),
            ("http://evil.example", "chat.example.org", false),
            ("http://chat.example.org.evil.example", "chat.example.org", false),
            ("http://chat.example.org@evil.example", "chat.example.org", false),
            ("null", "null", false),
            ("chat.example.org", "chat.example.org", false),
            ("file://", "chat.example.org", false),
        ] {
            assert_eq!(is_own_page(&headers(&[("origin", origin), ("host", host)]), &listed), own, "{origin} {host}");
        }
        assert!(!is_own_page(&headers(&[("host", "chat.example.org")]), &listed), "no origin, no cookie");
    }
}
