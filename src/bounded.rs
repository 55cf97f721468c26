//! A map that cannot grow past its bound, shared by threads. Caches and rate limiters keep their keys here.
//!
//! Each shard keeps two generations. New and touched entries live in the young one; when that is full it becomes the old
//! one, and what was old and never touched since is forgotten. So both the bound and the choice of what to forget cost
//! nothing per entry: no clock, no list, no scan. (The same idea as a two-space copying collector.)
//!
//! A map of those who rest is empty: [`BoundedMap::forget_unused`] turns the generations by the clock too.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::{BuildHasher, Hash},
    mem,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

const SHARDS: usize = 64;

/// At most `capacity` entries (rounded up to a multiple of twice the number of shards).
pub struct BoundedMap<K, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    hasher: RandomState,
    /// When the generations were last turned by the clock.
    turned: Mutex<Instant>,
}

/// One part of the map, under its own lock.
pub struct Shard<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// Entries that one generation may hold.
    room: usize,
    /// Counts `remove`s and `advance`s: who has read something elsewhere can tell whether it may have changed since.
    version: u64,
}

impl<K: Hash + Eq, V> BoundedMap<K, V> {
    pub fn new(capacity: usize) -> Self {
        // Small maps get one shard, so that tiny bounds are exact enough.
        let shards = if capacity < 16 * SHARDS { 1 } else { SHARDS };
        let room = capacity.div_ceil(2 * shards).max(1);
        let shard = || Mutex::new(Shard { young: HashMap::new(), old: HashMap::new(), room, version: 0 });
        Self {
            shards: (0..shards).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            turned: Mutex::new(Instant::now()),
        }
    }

    /// The shard that `key` belongs to. Never hold it over an `.await`.
    pub fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K, V>> {
        let index = self.hasher.hash_one(key) as usize % self.shards.len();
        locked(&self.shards[index])
    }

    /// Forgets what was not touched for `unused`, and gives its memory back. To be called from time to time: it does nothing
    /// until `unused` has passed since it last did something, so that an entry is forgotten after once to twice that time.
    pub async fn forget_unused(&self, unused: Duration) {
        {
            let mut turned = self.turned.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if turned.elapsed() < unused {
                return;
            }
            *turned = Instant::now();
        }
        for shard in &self.shards {
            // Let go outside the lock, and with pauses: the entries of a large map take a while to free.
            let forgotten = locked(shard).turn();
            drop(forgotten);
            tokio::task::yield_now().await;
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().expect("no test panics here")).map(|s| s.young.len() + s.old.len()).sum()
    }
}

/// A panic under the lock leaves a map that is whole: every change is one insert or one remove.
fn locked<K, V>(shard: &Mutex<Shard<K, V>>) -> MutexGuard<'_, Shard<K, V>> {
    shard.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl<K, V> Shard<K, V> {
    /// Makes the young generation the old one. Gives what was old and is forgotten.
    fn turn(&mut self) -> HashMap<K, V> {
        mem::replace(&mut self.old, mem::take(&mut self.young))
    }
}

impl<K: Hash + Eq + Clone, V> Shard<K, V> {
    /// The entry, which counts as touched.
    pub fn get(&mut self, key: &K) -> Option<&mut V> {
        if let Some((key, value)) = self.old.remove_entry(key) {
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    /// Returns whether entries had to be forgotten to keep the bound.
    pub fn insert(&mut self, key: K, value: V) -> bool {
        self.old.remove(&key);
        let mut forgot = false;
        if self.young.len() >= self.room && !self.young.contains_key(&key) {
            forgot = !self.turn().is_empty();
        }
        self.young.insert(key, value);
        forgot
    }

    pub fn remove(&mut self, key: &K) {
        self.version += 1;
        self.young.remove(key);
        self.old.remove(key);
    }

    pub fn version(&self) -> u64 {
        self.version
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
                map.shard(&key).insert(key, ());
                map.shard(&(key / 2)).get(&(key / 2));
            }
            assert!(map.len() <= capacity + 2 * SHARDS, "{} entries in a map of {capacity}", map.len());
        }
    }

    #[test]
    fn what_is_touched_outlives_what_is_not() {
        let map = BoundedMap::new(10);
        map.shard(&0).insert(0u32, "touched");
        map.shard(&1).insert(1, "forgotten");
        for key in 2..100 {
            map.shard(&key).insert(key, "new");
            assert_eq!(map.shard(&0).get(&0), Some(&mut "touched"));
        }
        assert_eq!(map.shard(&1).get(&1), None);
    }

    #[tokio::test]
    async fn what_is_not_used_is_forgotten_by_the_clock() {
        let map = BoundedMap::new(5_000);
        for key in 0..1_000u32 {
            map.shard(&key).insert(key, ());
        }
        map.forget_unused(Duration::from_secs(600)).await;
        map.forget_unused(Duration::from_secs(600)).await;
        assert_eq!(map.len(), 1_000, "it is not time yet");
        map.forget_unused(Duration::ZERO).await;
        assert!(map.shard(&7).get(&7).is_some(), "whatever was touched stays once more");
        map.forget_unused(Duration::ZERO).await;
        assert_eq!(map.len(), 1);
        map.forget_unused(Duration::ZERO).await;
        assert_eq!(map.len(), 0);
        let rooms =
            map.shards.iter().map(|shard| locked(shard)).map(|shard| shard.young.capacity() + shard.old.capacity());
        assert_eq!(rooms.sum::<usize>(), 0, "and their memory is given back");
    }
}
