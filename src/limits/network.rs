//! Which addresses are one client.

use std::net::{IpAddr, Ipv6Addr};

/// Whoever is behind a trusted proxy that does not say readably who it is: they all count as one, and not as the proxy.
pub const UNKNOWN: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// What counts as one client's address: an IPv4 address, or the /64 that an IPv6 address is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_ipv6_client_is_its_64() {
        let one = Network::of(ip("2001:db8:1:2:3::4"));
        assert_eq!(one, Network::of(ip("2001:db8:1:2:ffff::")));
        assert_ne!(one, Network::of(ip("2001:db8:1:3::4")));
        assert_eq!(Network::of(ip("::ffff:192.0.2.1")), Network::of(ip("192.0.2.1")));
        assert_ne!(Network::of(ip("192.0.2.1")), Network::of(ip("192.0.2.2")));
    }
}
