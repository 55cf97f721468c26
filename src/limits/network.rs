//! Which addresses are one client.

use std::net::{IpAddr, Ipv6Addr};

/// The IPv6 networks around a /64 that have limits of their own where connections are counted, and how many times the limit of one.
pub(super) const WIDER: [(u8, usize); 2] = [(56, 4), (48, 16)];

/// Whoever is behind a trusted proxy that does not say who it is: they all count as one, and not as the proxy.
pub const UNKNOWN: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// What counts as one client's address: an IPv4 address, or the /64 that an IPv6 address is in; or a wider network of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    first: u64,
    prefix: u8,
}

/// IPv4 addresses, between networks of IPv6 that nobody has: 0:1::/32.
const IPV4: u64 = 1 << 32;

impl Network {
    pub fn of(address: IpAddr) -> Self {
        let first = match address.to_canonical() {
            IpAddr::V4(address) => IPV4 | u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        Self { first, prefix: 64 }
    }

    /// It, and for IPv6 those around it.
    pub(super) fn and_wider(self) -> impl Iterator<Item = Self> {
        let wider = WIDER.iter().filter(move |_| self.first >> 32 != IPV4 >> 32);
        let around = move |prefix: u8| Self { first: self.first & (u64::MAX << (64 - prefix)), prefix };
        std::iter::once(self).chain(wider.map(move |(prefix, _)| around(*prefix)))
    }

    /// In one word.
    pub(super) fn to_word(self) -> u64 {
        self.first
    }

    pub(super) fn from_word(first: u64) -> Self {
        Self { first, prefix: 64 }
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

    #[test]
    fn an_ipv6_network_is_in_wider_ones_and_an_ipv4_address_in_none() {
        let all = |text: &str| Network::of(ip(text)).and_wider().collect::<Vec<_>>();
        let (one, near, far) = (all("2001:db8:1:2::1"), all("2001:db8:1:3::1"), all("2001:db8:1:ff00::1"));
        assert_eq!(one.len(), 3);
        assert_eq!((one[0] == near[0], one[1] == near[1], one[2] == near[2]), (false, true, true));
        assert_eq!((one[0] == far[0], one[1] == far[1], one[2] == far[2]), (false, false, true));
        assert_eq!(all("192.0.2.1"), [Network::of(ip("192.0.2.1"))]);
    }
}
