//! Who is connected to this node, and with which connections.

use std::{
    collections::{HashMap, HashSet},
    hash::BuildHasher,
    sync::Arc,
    time::Instant,
};

use parking_lot::Mutex;

use super::room::Subscriber;
use crate::{config::Config, metrics::Metrics, types::UserId};

const SHARDS: usize = 64;

/// - `connections` is what the user has open; empty only while a handshake is under way, or while they still count as
///   online (`presence.ttl_secs`).
/// - `coming` is how many handshakes have a place already.
/// - `shown` is what others were told last.
struct Entry {
    connections: Vec<Arc<dyn Subscriber>>,
    coming: usize,
    shown: bool,
    left_at: Option<Instant>,
}

pub struct Online {
    shards: Box<[Mutex<HashMap<UserId, Entry>>]>,
    hasher: std::hash::RandomState,
    /// Who came or went since others were told last.
    touched: Mutex<HashSet<UserId>>,
    per_user: usize,
    presence: bool,
    ttl_secs: u64,
    metrics: Arc<Metrics>,
}

/// Somebody whose presence others must hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turned {
    pub user: UserId,
    pub online: bool,
}

impl Online {
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: std::hash::RandomState::new(),
            touched: Mutex::default(),
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
        let entry = shard.entry(user).or_insert_with(|| {
            self.metrics.users_online.inc();
            Entry { connections: Vec::with_capacity(1), coming: 0, shown: false, left_at: None }
        });
        if entry.connections.len() + entry.coming >= self.per_user {
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
        entry.connections.push(connection);
        entry.left_at = None;
        if self.presence && !entry.shown {
            self.touched.lock().insert(user);
        }
    }

    /// `connection` is told apart by where it is in memory.
    pub fn remove(&self, user: UserId, connection: *const ()) {
        self.leave(user, |entry| entry.connections.retain(|c| !std::ptr::addr_eq(Arc::as_ptr(c), connection)));
    }

    fn leave(&self, user: UserId, change: impl FnOnce(&mut Entry)) {
        let mut shard = self.shard(user).lock();
        let Some(entry) = shard.get_mut(&user) else { return };
        change(entry);
        if !entry.connections.is_empty() || entry.coming > 0 {
            return;
        }
        if self.presence {
            entry.left_at = Some(Instant::now());
            self.touched.lock().insert(user);
        } else {
            shard.remove(&user);
            self.metrics.users_online.dec();
        }
    }

    pub fn connections_of(&self, user: UserId) -> Vec<Arc<dyn Subscriber>> {
        self.shard(user).lock().get(&user).map(|entry| entry.connections.clone()).unwrap_or_default()
    }

    /// Somebody who has just gone still counts, for `presence.ttl_secs`.
    pub fn is_online(&self, user: UserId) -> bool {
        self.shard(user).lock().contains_key(&user)
    }

    /// Whose presence has to be told now; from here on it counts as told.
    pub(super) fn turned(&self) -> Vec<Turned> {
        let now = Instant::now();
        let touched = std::mem::take(&mut *self.touched.lock());
        let mut turned = Vec::new();
        for user in touched {
            let mut shard = self.shard(user).lock();
            let Some(entry) = shard.get_mut(&user) else { continue };
            let waits = entry.left_at.is_some_and(|at| now.saturating_duration_since(at).as_secs() < self.ttl_secs);
            if !entry.connections.is_empty() {
                if !entry.shown {
                    entry.shown = true;
                    turned.push(Turned { user, online: true });
                }
            } else if waits || entry.coming > 0 {
                self.touched.lock().insert(user);
            } else {
                if entry.shown {
                    turned.push(Turned { user, online: false });
                }
                shard.remove(&user);
                self.metrics.users_online.dec();
            }
        }
        turned
    }
}
