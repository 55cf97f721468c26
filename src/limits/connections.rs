//! Places for connections: who gets one, who is kept out, and who has to go when there is none left.
//!
//! A connection has a [`Place`] from the moment it is accepted. It counts for its address ([`super::shares`]), for
//! `limits.http_connections`, and for the files that the process may open. When it becomes a WebSocket, the place becomes a
//! [`SocketPlace`], which counts for the first and the last.
//!
//! - `limits.reserved_connections` of the places are not for strangers: where the others are taken, a newcomer gets one of
//!   these only to say that it is a probe, or somebody who is signed in; everybody else is told that there is no room.
//! - Before that, the stranger who has been silent for longest goes: one that has sent no whole head, or nothing since its last
//!   answer. Those who are signed in go last, and a request in flight is never cut off.
//!
//! The order of those who are silent costs a request two stores and no lock: a guest writes down since when it is silent, and who
//! looks for the oldest puts those who were not where they were into their new place.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::task::AbortHandle;

pub use super::shares::Share;
use super::{files, shares::Shares};
use crate::{
    config::Config,
    metrics::Metrics,
    seldom::{self, Line},
};

/// Guests looked at for one newcomer, at most.
const LOOKS: usize = 256;

/// Refusals told at once, at most.
const REFUSALS: usize = 256;

/// Written where a request is being answered.
const BUSY: u64 = u64::MAX;

pub struct Connections {
    shares: Shares,
    /// Places in all, and those of them that HTTP may have.
    all: Most,
    http: Most,
    open: Mutex<Open>,
    started: Instant,
    metrics: Arc<Metrics>,
}

struct Most {
    places: usize,
    for_strangers: usize,
}

#[derive(Default)]
struct Open {
    all: usize,
    http: usize,
    next: u64,
    /// HTTP connections, those who were silent for longest first; a guest may have been busy, or signed in, since.
    strangers: BTreeMap<Turn, Arc<Guest>>,
    members: BTreeMap<Turn, Arc<Guest>>,
}

/// Who goes first: by the time since which it is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    since: u64,
    id: u64,
}

impl Open {
    fn guests(&mut self, members: bool) -> &mut BTreeMap<Turn, Arc<Guest>> {
        if members { &mut self.members } else { &mut self.strangers }
    }

    fn forget(&mut self, turn: Turn) {
        if self.strangers.remove(&turn).is_none() {
            self.members.remove(&turn);
        }
    }
}

/// An HTTP connection, as those who look for a place to free see it.
pub struct Guest {
    /// Where it is among the guests, written under their lock; `None` once it is none any more.
    turn: Mutex<Option<Turn>>,
    /// Milliseconds since the start, or [`BUSY`].
    silent_since: AtomicU64,
    member: AtomicBool,
    task: OnceLock<AbortHandle>,
}

/// Why a newcomer gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Its address has as many as it may (`limits.connections_per_address`).
    Share,
    /// Everything is taken, and nobody is silent.
    Full,
}

impl Connections {
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        Self::with_room(config, metrics, files::room())
    }

    fn with_room(config: &Config, metrics: Arc<Metrics>, room: usize) -> Self {
        let limits = &config.limits;
        let most = |places: usize| Most { places, for_strangers: places - limits.reserved_connections.min(places / 4) };
        Self {
            shares: Shares::new(limits.connections_per_address, room, config.server.trusted_proxies.clone()),
            all: most(room),
            http: most(limits.http_connections),
            open: Mutex::default(),
            started: Instant::now(),
            metrics,
        }
    }

    /// A place for a connection that was just accepted.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Refused> {
        let Some(share) = self.shares.take(address) else {
            self.metrics.bound_hit("limits.connections_per_address");
            return Err(Refused::Share);
        };
        let mut open = self.open.lock();
        let in_reserve = match self.make_room(&mut open) {
            Ok(in_reserve) => in_reserve,
            Err(refused) => {
                self.shares.give_back(share);
                return Err(refused);
            }
        };
        open.all += 1;
        open.http += 1;
        open.next += 1;
        let since = self.now();
        let turn = Turn { since, id: open.next };
        let guest = Arc::new(Guest {
            turn: Mutex::new(Some(turn)),
            silent_since: AtomicU64::new(since),
            member: AtomicBool::new(false),
            task: OnceLock::new(),
        });
        open.strangers.insert(turn, guest.clone());
        Ok(Place { connections: self.clone(), guest, address, share: Mutex::new(Some(share)), in_reserve })
    }

    /// Whether the next place is one of the reserve; another connection may have to go for it.
    fn make_room(&self, open: &mut Open) -> Result<bool, Refused> {
        if open.all < self.all.for_strangers && open.http < self.http.for_strangers {
            return Ok(false);
        }
        if open.http >= self.http.for_strangers {
            self.metrics.bound_hit("limits.http_connections");
        } else if let Some(Line { held_back }) = seldom::due("no files for more connections") {
            let most = self.all.places;
            tracing::warn!(
                most,
                held_back,
                "there are files for no more connections (ulimit -n): silent ones are closed"
            );
        }
        if self.close_one(open, false, BUSY) {
            return Ok(false);
        }
        if open.all < self.all.places && open.http < self.http.places || self.close_one(open, true, BUSY) {
            return Ok(true);
        }
        Err(Refused::Full)
    }

    /// Closes the stranger who has been silent for longest, or else a member, where that is longer than `least`. `false`: there is
    /// none.
    pub fn close_oldest(&self, least: Duration) -> bool {
        let mut open = self.open.lock();
        let until = self.now().checked_sub(least.as_millis() as u64);
        until.is_some_and(|until| self.close_one(&mut open, true, until))
    }

    /// How many may be told at once that there is no place for them: each takes a file as well.
    pub fn refusals(&self) -> usize {
        (self.all.places / 16).clamp(1, REFUSALS)
    }

    /// `false`: nobody has been silent since `until` who may be closed.
    fn close_one(&self, open: &mut Open, members_too: bool, until: u64) -> bool {
        let mut silent = self.silent_for_longest(open, false, until);
        if silent.is_none() && members_too {
            silent = self.silent_for_longest(open, true, until);
        }
        let Some(guest) = silent else { return false };
        *guest.turn.lock() = None;
        open.all -= 1;
        open.http -= 1;
        self.metrics.silent_closed.inc();
        guest.end();
        true
    }

    /// Takes out the stranger (or the member) whose turn it is. Those met before who have been busy get a later turn, and those
    /// who have signed in go to the members.
    fn silent_for_longest(&self, open: &mut Open, members: bool, until: u64) -> Option<Arc<Guest>> {
        for _ in 0..LOOKS.min(open.guests(members).len()) {
            let first = open.guests(members).first_entry().filter(|first| first.key().since <= until)?;
            let (turn, guest) = first.remove_entry();
            let (silent_since, member) = (guest.silent_since.load(Relaxed), guest.member.load(Relaxed));
            if silent_since == turn.since && member == members {
                return Some(guest);
            }
            // Who is busy now comes after all who are silent.
            let turn = Turn { since: silent_since.min(self.now() + 1), id: turn.id };
            *guest.turn.lock() = Some(turn);
            open.guests(member).insert(turn, guest);
        }
        None
    }

    /// With what [`SocketPlace::fill`] gave.
    pub fn socket_closed(&self, share: Option<Share>) {
        if let Some(share) = share {
            self.open.lock().all -= 1;
            self.shares.give_back(share);
        }
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

/// The place of an HTTP connection, given back when it is dropped.
pub struct Place {
    connections: Arc<Connections>,
    guest: Arc<Guest>,
    address: IpAddr,
    /// `None`: a [`SocketPlace`] has what this counted for.
    share: Mutex<Option<Share>>,
    in_reserve: bool,
}

impl Guest {
    /// Has a newcomer end the connection by ending the task that serves it.
    pub fn is_served_by(&self, task: AbortHandle) {
        let had_to_go = self.turn.lock().is_none();
        if had_to_go {
            task.abort();
        } else if self.task.set(task).is_ok() && self.turn.lock().is_none() {
            // It had to go in between; once too often harms nobody.
            self.end();
        }
    }

    fn end(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

impl Place {
    pub fn guest(&self) -> Arc<Guest> {
        self.guest.clone()
    }

    /// A request is being answered.
    pub fn is_busy(&self) {
        self.guest.silent_since.store(BUSY, Relaxed);
    }

    /// It has its answer.
    pub fn is_silent(&self) {
        self.guest.silent_since.store(self.connections.now(), Relaxed);
    }

    /// Somebody has signed in by it.
    pub fn is_a_members(&self) {
        // Most requests of a member are not the first.
        if !self.guest.member.load(Relaxed) {
            self.guest.member.store(true, Relaxed);
        }
    }

    /// A stranger has it who would have to be a probe or a member.
    pub fn is_not_for_strangers(&self) -> bool {
        self.in_reserve && !self.guest.member.load(Relaxed)
    }

    /// The connection becomes a WebSocket of `client`, who may be behind a proxy that this place is of. `None`: the client's
    /// address has as many connections as it may, or the connection is one already.
    pub fn to_socket(&self, client: IpAddr) -> Option<SocketPlace> {
        let Self { connections, guest, address, .. } = self;
        let mut held = self.share.lock();
        let share = held.take()?;
        let share = if client == *address {
            share
        } else if let Some(of_client) = connections.shares.take(client) {
            connections.shares.give_back(share);
            of_client
        } else {
            connections.metrics.bound_hit("limits.connections_per_address");
            *held = Some(share);
            return None;
        };
        let mut open = connections.open.lock();
        match guest.turn.lock().take() {
            Some(turn) => {
                open.forget(turn);
                open.http -= 1;
            }
            // It is being closed; its task ends before anything else happens.
            None => open.all += 1,
        }
        Some(SocketPlace { connections: connections.clone(), share: Some(share) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(share) = self.share.get_mut().take() else { return };
        let mut open = self.connections.open.lock();
        if let Some(turn) = self.guest.turn.lock().take() {
            open.forget(turn);
            open.all -= 1;
            open.http -= 1;
        }
        drop(open);
        self.connections.shares.give_back(share);
    }
}

/// The place of a WebSocket that is on its way, given back when it is dropped.
pub struct SocketPlace {
    connections: Arc<Connections>,
    share: Option<Share>,
}

impl SocketPlace {
    /// The socket is open: whoever it belongs to keeps this one word, and gives it back by [`Connections::socket_closed`].
    pub fn fill(mut self) -> Option<Share> {
        self.share.take()
    }
}

impl Drop for SocketPlace {
    fn drop(&mut self) {
        self.connections.socket_closed(self.share.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn connections(room: usize, http: usize, reserved: usize) -> Arc<Connections> {
        let mut config = Config::default();
        config.limits.connections_per_address = 0;
        (config.limits.http_connections, config.limits.reserved_connections) = (http, reserved);
        Arc::new(Connections::with_room(&config, Arc::default(), room))
    }

    fn is_gone(place: &Place) -> bool {
        place.guest.turn.lock().is_none()
    }

    /// As if it had been silent since then.
    fn silent_since(place: &Place, millis: u64) {
        place.guest.silent_since.store(millis, Relaxed);
    }

    #[test]
    fn the_stranger_who_was_silent_for_longest_goes_first() {
        let connections = connections(100, 4, 1);
        let take = || connections.take(ip("192.0.2.1"));
        let (first, second, third) = (take().unwrap(), take().unwrap(), take().unwrap());
        silent_since(&third, BUSY);
        second.is_a_members();
        let fourth = take().unwrap();
        assert_eq!([&first, &second, &third, &fourth].map(is_gone), [true, false, false, false]);
        assert!(!fourth.in_reserve);
        silent_since(&fourth, BUSY);
        let fifth = take().unwrap();
        assert!(fifth.is_not_for_strangers(), "of the strangers nobody is silent");
        silent_since(&fifth, BUSY);
        let sixth = take().unwrap();
        assert!(is_gone(&second), "a member goes when nothing is left");
        silent_since(&sixth, BUSY);
        assert_eq!(take().err(), Some(Refused::Full));
        sixth.is_a_members();
        assert!(!sixth.is_not_for_strangers());
    }

    #[test]
    fn a_place_is_given_back_once_whatever_became_of_it() {
        let connections = connections(8, 8, 0);
        let place = || connections.take(ip("192.0.2.1")).unwrap();
        let (gone, socket, plain) = (place(), place(), place());
        silent_since(&plain, BUSY);
        silent_since(&socket, BUSY);
        assert!(connections.close_oldest(Duration::ZERO) && is_gone(&gone));
        assert!(!connections.close_oldest(Duration::ZERO), "the others are busy");
        let socket_place = socket.to_socket(ip("192.0.2.1")).unwrap();
        let count = || {
            let open = connections.open.lock();
            (open.all, open.http)
        };
        assert_eq!(count(), (2, 1));
        drop((gone, socket));
        assert_eq!(count(), (2, 1));
        drop(plain);
        assert_eq!(count(), (1, 0));
        drop(socket_place);
        assert_eq!(count(), (0, 0));
        assert!(connections.open.lock().strangers.is_empty());
    }

    #[test]
    fn a_socket_counts_for_the_client_behind_the_proxy() {
        let mut config = Config::default();
        config.limits.connections_per_address = 1;
        config.server.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        let connections = Arc::new(Connections::with_room(&config, Arc::default(), 100));
        let from_proxy = || connections.take(ip("10.0.0.1")).unwrap();
        let socket = from_proxy().to_socket(ip("192.0.2.1")).expect("the first");
        assert!(from_proxy().to_socket(ip("192.0.2.1")).is_none());
        assert_eq!(connections.take(ip("192.0.2.1")).err(), Some(Refused::Share), "directly neither");
        drop(socket);
        let direct = connections.take(ip("192.0.2.1")).unwrap();
        assert_eq!(connections.take(ip("192.0.2.1")).err(), Some(Refused::Share));
        let socket = direct.to_socket(ip("192.0.2.1")).expect("it has its share already");
        drop(direct);
        assert_eq!(connections.take(ip("192.0.2.1")).err(), Some(Refused::Share));
        drop(socket);
        assert!(connections.take(ip("192.0.2.1")).is_ok());
    }
}
