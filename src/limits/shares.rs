//! How many connections one address may have, HTTP and WebSockets together.
//!
//! An IPv4 address has `limits.connections_per_address`, and so has the /64 of an IPv6 address. Whoever rents a /48 has 65,536
//! of these: so the /56 around it has four times as many, and the /48 sixteen times, and no more.

use std::{collections::HashMap, net::IpAddr, num::NonZeroU64};

use ipnet::IpNet;
use parking_lot::Mutex;

use super::network::{Network, WIDER};

pub(super) struct Shares {
    /// Of a [`Network`], and of each that is wider; `usize::MAX` is no limit.
    most: [usize; 1 + WIDER.len()],
    /// Theirs are the connections of many clients.
    proxies: Vec<IpNet>,
    /// Those who have any. Every connection is counted in each of its networks.
    open: Mutex<HashMap<Network, usize>>,
}

impl Shares {
    /// `of_one`: what an address may have, 0 for no limit. It is never more than half of `room`, and all that are in one wider
    /// network have never more than three quarters of it.
    pub fn new(of_one: usize, room: usize, proxies: Vec<IpNet>) -> Self {
        let most = match of_one {
            0 => [usize::MAX; 3],
            of_one => {
                let wider = |(_, times): (u8, usize)| of_one.saturating_mul(times).min(room - room / 4).max(1);
                [of_one.min(room / 2).max(1), wider(WIDER[0]), wider(WIDER[1])]
            }
        };
        Self { most, proxies, open: Mutex::default() }
    }

    /// `None`: they have as many as they may.
    #[must_use]
    pub fn take(&self, address: IpAddr) -> Option<Share> {
        if self.is_exempt(address) {
            return Some(Share::EXEMPT);
        }
        let network = Network::of(address);
        let mut open = self.open.lock();
        let networks = || network.and_wider().zip(self.most);
        if networks().any(|(network, most)| open.get(&network).is_some_and(|count| *count >= most)) {
            return None;
        }
        for (network, _) in networks() {
            *open.entry(network).or_default() += 1;
        }
        Some(Share::of(network))
    }

    pub fn give_back(&self, share: Share) {
        let Some(network) = share.network() else { return };
        let mut open = self.open.lock();
        for network in network.and_wider() {
            if let Some(count) = open.get_mut(&network) {
                *count -= 1;
                if *count == 0 {
                    open.remove(&network);
                }
            }
        }
    }

    fn is_exempt(&self, address: IpAddr) -> bool {
        self.most[0] == usize::MAX || self.proxies.iter().any(|network| network.contains(&address.to_canonical()))
    }
}

/// One connection of somebody's in one word: whose it is.
#[derive(Debug)]
pub struct Share(NonZeroU64);

impl Share {
    /// Of a proxy, or where there is no limit: it is counted nowhere.
    const EXEMPT: Self = Self(NonZeroU64::MIN);

    /// Upside down, where the first two are networks of multicast, which nobody comes from.
    fn of(network: Network) -> Self {
        NonZeroU64::new(!network.to_word()).map_or(Self::EXEMPT, Self)
    }

    fn network(&self) -> Option<Network> {
        (self.0 != Self::EXEMPT.0).then(|| Network::from_word(!self.0.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let shares = Shares::new(2, 100, Vec::new());
        let take = |address| shares.take(ip(address));
        let (first, mapped) = (take("192.0.2.1").unwrap(), take("::ffff:192.0.2.1").unwrap());
        assert!(take("192.0.2.1").is_none());
        let other = take("192.0.2.2").expect("another address has its own");
        shares.give_back(first);
        let again = take("192.0.2.1").unwrap();
        [mapped, other, again].into_iter().for_each(|share| shares.give_back(share));
        assert!(shares.open.lock().is_empty(), "who has none is forgotten");
    }

    #[test]
    fn whoever_has_many_ipv6_networks_has_no_more_for_each() {
        let shares = Shares::new(2, 1_000, Vec::new());
        let took = |host: &dyn Fn(u32) -> String| (0..500).filter(|n| shares.take(ip(&host(*n))).is_some()).count();
        assert_eq!(took(&|n| format!("2001:db8:0:1::{n:x}")), 2, "one /64");
        assert_eq!(took(&|n| format!("2001:db8:0:{:x}::1", n % 256)), 6, "the rest of its /56");
        assert_eq!(took(&|n| format!("2001:db8:0:{:x}00::1", n % 256)), 24, "the rest of its /48");
    }

    #[test]
    fn half_of_the_room_is_the_most_for_an_address_and_proxies_need_none() {
        let shares = Shares::new(4_000, 10, vec!["10.0.0.0/8".parse().unwrap()]);
        assert_eq!((0..20).filter(|_| shares.take(ip("192.0.2.1")).is_some()).count(), 5);
        assert_eq!((0..20).filter(|_| shares.take(ip("10.1.2.3")).is_some()).count(), 20);
        let unlimited = Shares::new(0, 10, Vec::new());
        assert_eq!((0..20).filter(|_| unlimited.take(ip("192.0.2.1")).is_some()).count(), 20);
    }
}
