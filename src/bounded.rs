//! A map that cannot grow past its bound, shared by threads. Caches and rate limiters keep their keys here.
//!
//! Each shard keeps two generations. New and touched entries live in the young one; when that is full it becomes the old
//! one, and what was old and never touched since is forgotten. So both the bound and the choice of what to forget cost
//! nothing per entry: no clock, no list, no scan. (The same idea as a two-space copying collector.)
//!
//! A map of those who rest is empty: [`BoundedMap::forget_unused`] turns the generations by the clock too.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hash},
    mem,
    time::{Duration, Instant},
};

use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};

const SHARDS: usize = 64;

/// What was not asked for so long need not be remembered: asking anew costs no more than it did the first time.
pub const UNUSED: Duration = Duration::from_secs(5);

/// At most `capacity` entries (rounded up to a multiple of twice the number of shards).
pub struct BoundedMap<K, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    hasher: RandomState,
}

/// One part of the map, under its own lock.
struct Shard<K, V> {
    young: HashTable<(K, V)>,
    old: HashTable<(K, V)>,
    /// Entries that one generation may hold.
    room: usize,
    /// Counts `remove`s: who has read something elsewhere can tell whether it may have changed since.
    version: u64,
    /// When the young generation began.
    turned: Instant,
}

/// The place of one key: the shard it belongs to, locked. Never hold it over an `.await`.
pub struct Place<'a, K, V> {
    key: &'a K,
    hash: u64,
    shard: MutexGuard<'a, Shard<K, V>>,
    hasher: &'a RandomState,
}

impl<K: Hash + Eq, V> BoundedMap<K, V> {
    pub fn new(capacity: usize) -> Self {
        // Small maps get one shard, so that tiny bounds are exact enough.
        let shards = if capacity < 16 * SHARDS { 1 } else { SHARDS };
        let room = capacity.div_ceil(2 * shards).max(1);
        let turned = Instant::now();
        let shard = || Mutex::new(Shard { young: HashTable::new(), old: HashTable::new(), room, version: 0, turned });
        let shards = (0..shards).map(|_| shard()).collect();
        Self { shards, hasher: RandomState::new() }
    }

    pub fn at<'a>(&'a self, key: &'a K) -> Place<'a, K, V> {
        let hash = self.hasher.hash_one(key);
        // The tables choose by the other end of the hash.
        let shard = self.shards[(hash >> 16) as usize % self.shards.len()].lock();
        Place { key, hash, shard, hasher: &self.hasher }
    }

    /// Forgets what was not touched for `unused`, and gives its memory back. To be called from time to time: a shard is left alone
    /// until `unused` has passed since its generations were last turned, so that an entry is forgotten after once to twice that time.
    pub async fn forget_unused(&self, unused: Duration) {
        for shard in &self.shards {
            let forgotten = {
                let mut shard = shard.lock();
                (shard.turned.elapsed() >= unused).then(|| shard.turn())
            };
            // Let go outside the lock, and with pauses: the entries of a large map take a while to free.
            drop(forgotten);
            tokio::task::yield_now().await;
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock()).map(|shard| shard.young.len() + shard.old.len()).sum()
    }
}

impl<K, V> Shard<K, V> {
    /// Makes the young generation the old one. Gives what was old and is forgotten.
    fn turn(&mut self) -> HashTable<(K, V)> {
        self.turned = Instant::now();
        mem::replace(&mut self.old, mem::take(&mut self.young))
    }
}

impl<K: Hash + Eq + Clone, V> Place<'_, K, V> {
    /// The entry, which counts as touched.
    pub fn get(&mut self) -> Option<&mut V> {
        let key = self.key;
        if let Ok(old) = self.shard.old.find_entry(self.hash, |(other, _)| other == key) {
            let ((_, value), _) = old.remove();
            self.insert(value);
        }
        self.shard.young.find_mut(self.hash, |(other, _)| other == key).map(|(_, value)| value)
    }

    /// Returns whether entries had to be forgotten to keep the bound.
    pub fn insert(&mut self, value: V) -> bool {
        let Self { key, hash, shard, hasher } = self;
        if let Ok(old) = shard.old.find_entry(*hash, |(other, _)| other == *key) {
            old.remove();
        }
        if let Some((_, place)) = shard.young.find_mut(*hash, |(other, _)| other == *key) {
            *place = value;
            return false;
        }
        let forgot = shard.young.len() >= shard.room && !shard.turn().is_empty();
        shard.young.insert_unique(*hash, ((*key).clone(), value), |(other, _)| hasher.hash_one(other));
        forgot
    }

    pub fn remove(&mut self) {
        let Shard { young, old, version, .. } = &mut *self.shard;
        *version += 1;
        for generation in [young, old] {
            if let Ok(entry) = generation.find_entry(self.hash, |(other, _)| other == self.key) {
                entry.remove();
            }
        }
    }

    /// Of the shard: raised by every `remove` in it.
    pub fn version(&self) -> u64 {
        self.shard.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_holds_more_than_its_bound() {
        for capacity in [1, 2, 10, 5_000] {
            let map = BoundedMap::new(capacity);
            for key in 0..20_000u32 {
                map.at(&key).insert(());
                map.at(&(key / 2)).get();
            }
            assert!(map.len() <= capacity + 2 * SHARDS, "{} entries in a map of {capacity}", map.len());
        }
    }

    #[test]
    fn what_is_touched_outlives_what_is_not() {
        let map = BoundedMap::new(10);
        map.at(&0u32).insert("touched");
        map.at(&1).insert("forgotten");
        for key in 2..100 {
            map.at(&key).insert("new");
            assert_eq!(map.at(&0).get(), Some(&mut "touched"));
        }
        assert_eq!(map.at(&1).get(), None);
    }

    #[tokio::test]
    async fn what_was_just_used_is_not_forgotten_because_many_came() {
        let map = BoundedMap::new(10);
        map.shards[0].lock().turned = Instant::now() - Duration::from_secs(600);
        for key in 0..6u32 {
            map.at(&key).insert(());
        }
        assert_eq!(map.shards[0].lock().old.len(), 5, "the sixth has begun another generation");
        map.forget_unused(Duration::from_secs(600)).await;
        assert_eq!(map.len(), 6);
    }

    #[tokio::test]
    async fn what_is_not_used_is_forgotten_by_the_clock() {
        let map = BoundedMap::new(5_000);
        for key in 0..1_000u32 {
            map.at(&key).insert(());
        }
        map.forget_unused(Duration::from_secs(600)).await;
        map.forget_unused(Duration::from_secs(600)).await;
        assert_eq!(map.len(), 1_000, "it is not time yet");
        map.forget_unused(Duration::ZERO).await;
        assert!(map.at(&7).get().is_some(), "whatever was touched stays once more");
        map.forget_unused(Duration::ZERO).await;
        assert_eq!(map.len(), 1);
        map.forget_unused(Duration::ZERO).await;
        assert_eq!(map.len(), 0);
        let rooms =
            map.shards.iter().map(|shard| shard.lock()).map(|shard| shard.young.capacity() + shard.old.capacity());
        assert_eq!(rooms.sum::<usize>(), 0, "and their memory is given back");
    }
}
