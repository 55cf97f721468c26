//! Who is heard on the bus, and whether all that they said was: numbers and times, and no network.
//!
//! - A node numbers what it says. A number that is missing was lost, wherever that happened, and is told once. Numbers at
//!   or below the last one come late, and mean nothing.
//! - A node that is heard for the first time, or again, has said `number` messages that were not heard. Where that is more
//!   than none, something was lost.
//! - This node hears itself too. That alone proves that the bus carries; whenever it begins to, something may be lost.
//! - A node is remembered until it has been silent for too long, so there are never more than have just spoken.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::wire::{Header, Kind};
use crate::{bus::Heard, types::NodeId};

pub struct Peers {
    own: NodeId,
    silence: Duration,
    others: HashMap<NodeId, Peer>,
    /// This node's connection, counted; what it said over an earlier one proves nothing of this one.
    link: u32,
    linked_at: Option<Instant>,
    /// When this node last heard itself over this connection.
    echo: Option<Instant>,
}

struct Peer {
    /// The number of the last message that is known of.
    number: u64,
    at: Instant,
}

impl Peers {
    pub fn new(own: NodeId, silence: Duration) -> Self {
        Self { own, silence, others: HashMap::new(), link: 0, linked_at: None, echo: None }
    }

    pub fn linked(&mut self, link: u32, now: Instant) {
        (self.link, self.linked_at, self.echo) = (link, Some(now), None);
    }

    pub fn cut(&mut self) {
        (self.linked_at, self.echo) = (None, None);
    }

    /// What a message tells, before the hints in it; and how many messages were lost before it.
    pub fn hear(&mut self, header: &Header, now: Instant) -> (Vec<Heard>, u64) {
        match header.node == self.own {
            true => (self.hear_self(header.kind, now), 0),
            false => self.hear_other(header, now),
        }
    }

    fn hear_self(&mut self, kind: Kind, now: Instant) -> Vec<Heard> {
        if self.linked_at.is_none() || kind != (Kind::Beat { link: self.link }) {
            return Vec::new();
        }
        let heard_before = self.carries(now);
        self.echo = Some(now);
        if heard_before { Vec::new() } else { vec![Heard::Lost] }
    }

    fn hear_other(&mut self, header: &Header, now: Instant) -> (Vec<Heard>, u64) {
        let node = header.node;
        let before = self.others.get(&node).map(|peer| peer.number);
        if before.is_none() && header.kind == Kind::Bye {
            return (Vec::new(), 0);
        }
        let mut told = Vec::new();
        if before.is_none() {
            told.push(Heard::Came(node));
        }
        let known = before.unwrap_or(0);
        let own_number = u64::from(header.kind == Kind::Hints);
        let missed = header.number.saturating_sub(own_number).saturating_sub(known);
        if missed > 0 {
            told.push(Heard::Lost);
        }
        if header.kind == Kind::Bye {
            self.others.remove(&node);
            told.push(Heard::Went(node));
        } else {
            self.others.insert(node, Peer { number: known.max(header.number), at: now });
        }
        // What was said before this node listened is not lost to anybody.
        (told, before.map_or(0, |_| missed))
    }

    /// Forgets the nodes that have been silent for too long.
    pub fn silent(&mut self, now: Instant) -> Vec<Heard> {
        let gone = self.others.extract_if(|_, peer| now.duration_since(peer.at) > self.silence);
        gone.map(|(node, _)| Heard::Went(node)).collect()
    }

    /// Whether this node has just heard itself.
    pub fn carries(&self, now: Instant) -> bool {
        self.echo.is_some_and(|echo| now.duration_since(echo) <= self.silence)
    }

    /// How long this connection has carried nothing back.
    pub fn deaf_for(&self, now: Instant) -> Duration {
        self.echo.or(self.linked_at).map_or(Duration::ZERO, |since| now.duration_since(since))
    }

    /// Who is heard now, this node first; `None` while it does not hear itself.
    pub fn present(&self, now: Instant) -> Option<Vec<NodeId>> {
        if !self.carries(now) {
            return None;
        }
        let heard = self.others.iter().filter(|(_, peer)| now.duration_since(peer.at) <= self.silence);
        Some([self.own].into_iter().chain(heard.map(|(node, _)| *node)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(1);

    struct Case {
        peers: Peers,
        own: NodeId,
        other: NodeId,
        now: Instant,
    }

    impl Case {
        fn new() -> Self {
            let (own, other) = (NodeId::fresh(), NodeId::fresh());
            let mut peers = Peers::new(own, SILENCE);
            peers.linked(1, Instant::now());
            Self { peers, own, other, now: Instant::now() }
        }

        fn hear(&mut self, node: NodeId, number: u64, kind: Kind) -> (Vec<Heard>, u64) {
            self.peers.hear(&Header { node, number, kind }, self.now)
        }

        fn hints(&mut self, number: u64) -> (Vec<Heard>, u64) {
            self.hear(self.other, number, Kind::Hints)
        }

        fn beat(&mut self, number: u64) -> (Vec<Heard>, u64) {
            self.hear(self.other, number, Kind::Beat { link: 1 })
        }

        fn echo(&mut self, link: u32) -> Vec<Heard> {
            self.hear(self.own, 0, Kind::Beat { link }).0
        }

        fn wait(&mut self, millis: u64) {
            self.now += Duration::from_millis(millis);
        }
    }

    #[test]
    fn a_gap_is_told_once_and_what_comes_late_is_none() {
        let mut case = Case::new();
        assert_eq!(case.hints(1), (vec![Heard::Came(case.other)], 0));
        assert_eq!(case.hints(2), (vec![], 0));
        assert_eq!(case.hints(5), (vec![Heard::Lost], 2));
        for late in [3, 5, 4] {
            assert_eq!(case.hints(late), (vec![], 0));
        }
        assert_eq!(case.hints(6), (vec![], 0));
    }

    #[test]
    fn a_beat_tells_of_a_lost_last_message() {
        let mut case = Case::new();
        assert_eq!(case.beat(0), (vec![Heard::Came(case.other)], 0));
        assert_eq!(case.beat(0), (vec![], 0));
        assert_eq!(case.beat(2), (vec![Heard::Lost], 2));
        assert_eq!(case.beat(2), (vec![], 0));
        assert_eq!(case.hints(3), (vec![], 0));
    }

    #[test]
    fn a_node_that_comes_after_it_has_spoken_may_have_been_missed() {
        let mut case = Case::new();
        assert_eq!(case.hints(9), (vec![Heard::Came(case.other), Heard::Lost], 0));
        assert_eq!(case.hints(10), (vec![], 0));
    }

    #[test]
    fn a_node_goes_by_silence_or_by_saying_so() {
        let mut case = Case::new();
        case.beat(0);
        case.wait(900);
        assert_eq!(case.peers.silent(case.now), []);
        case.beat(0);
        case.wait(900);
        assert_eq!(case.peers.silent(case.now), []);
        case.wait(200);
        assert_eq!(case.peers.silent(case.now), [Heard::Went(case.other)]);
        assert_eq!(case.peers.silent(case.now), []);
        assert_eq!(case.beat(0).0, [Heard::Came(case.other)]);
        assert_eq!(case.hear(case.other, 1, Kind::Bye), (vec![Heard::Lost, Heard::Went(case.other)], 1));
        assert_eq!(case.hear(case.other, 1, Kind::Bye), (vec![], 0));
    }

    #[test]
    fn only_an_echo_over_this_connection_proves_that_it_carries() {
        let mut case = Case::new();
        assert_eq!(case.peers.present(case.now), None);
        assert_eq!(case.echo(7), []);
        assert_eq!(case.hear(case.own, 3, Kind::Hints).0, []);
        assert_eq!(case.peers.present(case.now), None);
        assert_eq!(case.echo(1), [Heard::Lost], "what was said before is not known");
        assert_eq!(case.echo(1), []);
        case.beat(0);
        assert_eq!(case.peers.present(case.now), Some(vec![case.own, case.other]));
        case.wait(1_001);
        assert_eq!(case.peers.present(case.now), None);
        assert!(case.peers.deaf_for(case.now) > SILENCE);
        assert_eq!(case.echo(1), [Heard::Lost]);
        case.peers.cut();
        assert_eq!(case.echo(1), []);
        assert_eq!(case.peers.present(case.now), None);
        case.peers.linked(2, case.now);
        assert_eq!(case.echo(1), []);
        assert_eq!(case.echo(2), [Heard::Lost]);
        assert_eq!(case.peers.present(case.now), Some(vec![case.own]), "the other has been silent");
        case.beat(0);
        assert_eq!(case.peers.present(case.now), Some(vec![case.own, case.other]));
    }
}
