//! Who is connected: to this node, with which connections, and to which of the others.

use std::{
    collections::{HashMap, HashSet},
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use parking_lot::Mutex;

use super::subscriber::{Subscriber, SubscriberId};
use crate::{
    config::Config,
    metrics::Metrics,
    types::{NodeId, UserId},
};

const SHARDS: usize = 64;

/// Somebody who is connected, was a moment ago, or is on another node.
/// - `connections` is what the user has open here; empty while a handshake is under way, while they still count as online
///   (`presence.ttl_secs`), or while they are online on another node.
/// - `coming` is how many handshakes have a place already.
/// - `shown` is what the people here were told last, `told` what the other nodes were.
#[derive(Default)]
struct Entry {
    connections: Connections,
    away: Option<Box<Away>>,
    coming: u32,
    /// Counted in the metric: they have or lately had a connection here.
    counted: bool,
    shown: bool,
    told: bool,
}

/// Nearly everybody has one, which then takes no memory of its own.
enum Connections {
    One(Arc<dyn Subscriber>),
    Others(Option<Box<Several>>),
}

struct Several {
    by_id: HashMap<u64, Arc<dyn Subscriber>>,
}

impl Default for Connections {
    fn default() -> Self {
        Connections::Others(None)
    }
}

impl Connections {
    fn len(&self) -> usize {
        match self {
            Connections::One(_) => 1,
            Connections::Others(others) => others.as_ref().map_or(0, |others| others.by_id.len()),
        }
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn add(&mut self, connection: Arc<dyn Subscriber>) {
        *self = match std::mem::take(self) {
            Connections::Others(None) => Connections::One(connection),
            Connections::One(one) => {
                let both = [one, connection].map(|connection| (connection.id().0, connection));
                Connections::Others(Some(Box::new(Several { by_id: both.into() })))
            }
            Connections::Others(Some(mut others)) => {
                others.by_id.insert(connection.id().0, connection);
                Connections::Others(Some(others))
            }
        };
    }

    fn remove(&mut self, id: SubscriberId) {
        match self {
            Connections::One(one) if one.id() == id => *self = Connections::default(),
            Connections::One(_) | Connections::Others(None) => {}
            Connections::Others(Some(others)) => {
                others.by_id.remove(&id.0);
                if others.by_id.is_empty() {
                    *self = Connections::default();
                }
            }
        }
    }

    fn all(&self) -> Vec<Arc<dyn Subscriber>> {
        match self {
            Connections::One(one) => vec![one.clone()],
            Connections::Others(others) => others.iter().flat_map(|others| others.by_id.values().cloned()).collect(),
        }
    }
}

/// What there is to know of those who are not simply connected here.
#[derive(Default)]
struct Away {
    left_at: Option<Instant>,
    /// The other nodes that have them.
    elsewhere: Vec<NodeId>,
    /// When the last other node that had them fell silent.
    missed_at: Option<Instant>,
}

impl Entry {
    fn away(&mut self) -> &mut Away {
        self.away.get_or_insert_default()
    }

    fn is_elsewhere(&self) -> bool {
        self.away.as_ref().is_some_and(|away| !away.elsewhere.is_empty())
    }

    /// They are on that node no more; gives whether they were.
    fn leave_node(&mut self, node: NodeId) -> bool {
        let Some(away) = &mut self.away else { return false };
        let before = away.elsewhere.len();
        away.elsewhere.retain(|other| *other != node);
        away.elsewhere.len() < before
    }

    /// Forgets what matters no more to somebody who is connected here.
    fn rest(&mut self) {
        if !self.connections.is_empty() {
            self.away.take_if(|away| away.elsewhere.is_empty());
        }
    }
}

pub struct Online {
    shards: Box<[Mutex<HashMap<UserId, Entry>>]>,
    hasher: std::hash::RandomState,
    /// Whose presence may have changed since others were told last.
    touched: Mutex<HashSet<UserId>>,
    others: Mutex<Others>,
    /// How many entries of `elsewhere` there are.
    remote: AtomicUsize,
    most_remote: usize,
    per_user: usize,
    presence: bool,
    ttl_secs: u64,
    metrics: Arc<Metrics>,
}

/// What was heard of the other nodes, until it is taken in.
#[derive(Default)]
struct Others {
    news: Vec<News>,
    tell_everything: bool,
    ask: bool,
}

enum News {
    List { node: NodeId, users: Vec<(UserId, bool)>, whole: bool },
    Went(NodeId),
}

/// Lists that may wait to be taken in; past it all are dropped and asked for anew.
const MOST_NEWS: usize = 4_096;

/// Somebody whose presence others must hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turned {
    pub user: UserId,
    pub online: bool,
}

/// What has to be told now; from here on it counts as told.
#[derive(Default)]
pub(super) struct Told {
    /// To the people here.
    pub people: Vec<Turned>,
    /// To the other nodes: who is connected to this one.
    pub nodes: Vec<(UserId, bool)>,
}

/// What the other nodes want to know, or this one of them.
#[derive(Default)]
pub(super) struct Wanted {
    pub tell_everything: bool,
    pub ask: bool,
}

impl Online {
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: std::hash::RandomState::new(),
            touched: Mutex::default(),
            others: Mutex::default(),
            remote: AtomicUsize::new(0),
            most_remote: config.cluster.remote_users,
            per_user: config.sockets.connections_per_user,
            presence: config.presence.enabled,
            ttl_secs: config.presence.ttl_secs,
            metrics,
        }
    }

    fn shard(&self, user: UserId) -> &Mutex<HashMap<UserId, Entry>> {
        &self.shards[self.hasher.hash_one(user) as usize % SHARDS]
    }

    /// Takes a place for a connection to come, before its handshake is answered. It is used by [`Online::add`] or given
    /// back by [`Online::give_up`]. `false`: the user has as many as one may have (`sockets.connections_per_user`).
    pub fn reserve(&self, user: UserId) -> bool {
        let mut shard = self.shard(user).lock();
        let entry = shard.entry(user).or_default();
        if !entry.counted {
            entry.counted = true;
            self.metrics.users_online.inc();
        }
        if entry.connections.len() + entry.coming as usize >= self.per_user {
            self.metrics.bound_hit("sockets.connections_per_user");
            return false;
        }
        entry.coming += 1;
        true
    }

    /// The handshake that had a place came to nothing.
    pub fn give_up(&self, user: UserId) {
        self.leave(user, |entry| entry.coming -= 1);
    }

    /// From now on the connection hears what concerns its user. It has a place.
    pub fn add(&self, connection: Arc<dyn Subscriber>) {
        let user = connection.user();
        let mut shard = self.shard(user).lock();
        let Some(entry) = shard.get_mut(&user) else { return };
        entry.coming -= 1;
        entry.connections.add(connection);
        if let Some(away) = &mut entry.away {
            away.left_at = None;
        }
        entry.rest();
        if self.presence && !(entry.shown && entry.told) {
            self.touched.lock().insert(user);
        }
    }

    pub fn remove(&self, user: UserId, connection: SubscriberId) {
        self.leave(user, |entry| entry.connections.remove(connection));
    }

    fn leave(&self, user: UserId, change: impl FnOnce(&mut Entry)) {
        let mut shard = self.shard(user).lock();
        let Some(entry) = shard.get_mut(&user) else { return };
        change(entry);
        if !entry.connections.is_empty() || entry.coming > 0 {
            return;
        }
        if self.presence {
            entry.away().left_at = Some(Instant::now());
            self.touched.lock().insert(user);
        } else {
            shard.remove(&user);
            self.metrics.users_online.dec();
        }
    }

    pub fn connections_of(&self, user: UserId) -> Vec<Arc<dyn Subscriber>> {
        self.shard(user).lock().get(&user).map(|entry| entry.connections.all()).unwrap_or_default()
    }

    /// Somebody who has just gone still counts, for `presence.ttl_secs`.
    pub fn is_online(&self, user: UserId) -> bool {
        self.shard(user).lock().contains_key(&user)
    }

    /// Everybody whom the other nodes were told to be connected here.
    pub(super) fn told_online(&self) -> Vec<UserId> {
        let told = |shard: &Mutex<HashMap<UserId, Entry>>| {
            shard.lock().iter().filter(|(_, entry)| entry.told).map(|(user, _)| *user).collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(told).collect()
    }

    /// Whose presence has to be told now.
    pub(super) fn turned(&self) -> Told {
        let now = Instant::now();
        let lately =
            |at: Option<Instant>| at.is_some_and(|at| now.saturating_duration_since(at).as_secs() < self.ttl_secs);
        let mut turned = Told::default();
        let touched = std::mem::take(&mut *self.touched.lock());
        for user in touched {
            let mut shard = self.shard(user).lock();
            let Some(entry) = shard.get_mut(&user) else { continue };
            let connected = !entry.connections.is_empty();
            let elsewhere = entry.is_elsewhere();
            let (left_at, missed_at) = entry.away.as_ref().map_or((None, None), |away| (away.left_at, away.missed_at));
            let waits = !connected && (entry.coming > 0 || lately(left_at));
            let missed = !elsewhere && lately(missed_at);
            if waits || missed {
                self.touched.lock().insert(user);
            }
            if connected != entry.told && !waits {
                entry.told = connected;
                turned.nodes.push((user, connected));
            }
            let online = connected || elsewhere;
            if online != entry.shown && (online || !(waits || missed)) {
                entry.shown = online;
                turned.people.push(Turned { user, online });
            }
            if !connected && !waits && std::mem::take(&mut entry.counted) {
                self.metrics.users_online.dec();
            }
            if !online && !waits && !missed {
                shard.remove(&user);
            } else if !missed {
                entry.rest();
            }
        }
        turned
    }

    /// Keeps what another node says until [`Online::take_in_others`]: hearing must not take long.
    pub(super) fn hear_others(&self, node: NodeId, users: Vec<(UserId, bool)>, whole: bool) {
        self.keep(News::List { node, users, whole });
    }

    pub(super) fn node_went(&self, node: NodeId) {
        self.keep(News::Went(node));
    }

    fn keep(&self, news: News) {
        if !self.presence {
            return;
        }
        let mut others = self.others.lock();
        if others.news.len() >= MOST_NEWS {
            // Who went says so only once.
            others.news.retain(|news| matches!(news, News::Went(_)));
            others.ask = true;
        }
        others.news.push(news);
    }

    /// A node came or asked: all nodes are told everything once more.
    pub(super) fn tell_everything(&self) {
        self.others.lock().tell_everything = true;
    }

    /// Something was lost: the other nodes must tell everything once more, and so must this one.
    pub(super) fn doubt_others(&self) {
        let mut others = self.others.lock();
        others.ask = true;
        others.tell_everything = true;
    }

    /// Takes in what was heard of the other nodes. Looks at everybody where a node is gone.
    pub(super) fn take_in_others(&self, me: NodeId) -> Wanted {
        let Others { news, tell_everything, ask } = std::mem::take(&mut *self.others.lock());
        for news in news {
            match news {
                News::List { node, .. } if node == me => {}
                News::List { node, users, whole } => {
                    if whole {
                        self.forget(node);
                    }
                    for (user, online) in users {
                        self.set_elsewhere(node, user, online);
                    }
                }
                News::Went(node) => self.forget(node),
            }
        }
        Wanted { tell_everything, ask }
    }

    fn set_elsewhere(&self, node: NodeId, user: UserId, online: bool) {
        let mut shard = self.shard(user).lock();
        if !online {
            let Some(entry) = shard.get_mut(&user) else { return };
            self.remote.fetch_sub(usize::from(entry.leave_node(node)), Relaxed);
            self.touched.lock().insert(user);
            return;
        }
        if self.remote.load(Relaxed) >= self.most_remote {
            return self.metrics.bound_hit("cluster.remote_users");
        }
        let away = shard.entry(user).or_default().away();
        away.missed_at = None;
        if !away.elsewhere.contains(&node) {
            away.elsewhere.push(node);
            self.remote.fetch_add(1, Relaxed);
            self.touched.lock().insert(user);
        }
    }

    /// The people of a node that is gone count as online for a while: they are about to come to another.
    fn forget(&self, node: NodeId) {
        let now = Instant::now();
        for shard in &self.shards {
            for (user, entry) in shard.lock().iter_mut() {
                if entry.leave_node(node) {
                    self.remote.fetch_sub(1, Relaxed);
                    entry.away().missed_at = Some(now);
                    self.touched.lock().insert(*user);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a user who is connected costs here, beside the map's own words.
    #[test]
    fn somebody_online_is_small() {
        assert!(size_of::<(UserId, Entry)>() <= 48, "{}", size_of::<(UserId, Entry)>());
    }
}
