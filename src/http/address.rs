//! Where a request comes from: through trusted proxies to the client.

use std::net::IpAddr;

use hyper::HeaderMap;

use crate::{config::Server, limits::network::UNKNOWN};

/// Who is asking, behind proxies ([`UNKNOWN`] where a proxy does not say it readably): as long as an address is that of a trusted proxy, the one that this proxy appended to
/// `X-Forwarded-For` is taken instead, from right to left. What stands further left was written by who knows whom.
pub fn client_address(config: &Server, socket_peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let trusted = |address: &IpAddr| config.trusted_proxies.iter().any(|network| network.contains(address));
    let mut address = socket_peer.to_canonical();
    if config.trusted_proxies.is_empty() {
        return address;
    }
    let told = headers.get_all("x-forwarded-for").iter().rev();
    let mut told = told.flat_map(|value| value.to_str().unwrap_or("?").rsplit(','));
    while trusted(&address) {
        match told.next().map(parse_address) {
            Some(Some(next)) => address = next,
            Some(None) => return UNKNOWN,
            // The proxy asks for itself.
            None => break,
        }
    }
    address
}

/// Whether a header claims what is not believed, because nobody listed the proxy that it may have come from.
pub fn is_not_believed(config: &Server, socket_peer: IpAddr, headers: &HeaderMap) -> bool {
    headers.contains_key("x-forwarded-for")
        && !config.trusted_proxies.iter().any(|network| network.contains(&socket_peer.to_canonical()))
}

/// `192.0.2.1`, `2001:db8::1`, either with a port or in quotes, and an interface that an IPv6 address is of.
fn parse_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let text = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let text = text.split_once('%').map_or(text, |(address, _)| address);
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_client_is_the_rightmost_untrusted_address() {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap()).to_vec();
        let server = Server { trusted_proxies: trusted, ..Server::default() };
        for (peer, told, client) in [
            ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["6.6.6.6, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["6.6.6.6", "198.51.100.1", "10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("fd00::1", &["[2001:db8::7]:443"], "2001:db8::7"),
            ("fd00::1", &["[2001:db8::7]"], "2001:db8::7"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["\"[2001:db8::7]:443\""], "2001:db8::7"),
            ("10.0.0.1", &["fe80::7%eth0"], "fe80::7"),
            ("10.0.0.1", &["nonsense"], "::"),
            ("10.0.0.1", &["unknown"], "::"),
            ("10.0.0.1", &[""], "::"),
            ("10.0.0.1", &["198.51.100.1,"], "::"),
            ("10.0.0.1", &["6.6.6.6, nonsense, 10.0.0.2"], "::"),
            ("10.0.0.1", &["nonsense, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &[], "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            for value in told {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            assert_eq!(client_address(&server, ip(peer), &headers), ip(client), "{peer} {told:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "198.51.100.1".parse().unwrap());
        assert_eq!(client_address(&Server::default(), ip("10.0.0.1"), &headers), ip("10.0.0.1"), "nobody is trusted");
    }
}
