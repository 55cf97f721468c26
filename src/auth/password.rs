//! bcrypt on a bounded pool, never on the event loop: one hash of cost 12 holds a core for some 200 ms.
//!
//! `auth.password_threads` hash at once, `auth.password_queue` more may wait, and whoever comes then is told to come back.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::{config::Auth, metrics::Metrics};

/// bcrypt reads no further, so a longer password would be weaker than it looks: refused, never cut.
const MAX_BYTES: usize = 72;

/// As many hashes wait as `auth.password_queue` allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Too many passwords wait to be checked (auth.password_queue); try again in a moment.")]
pub struct Busy;

/// The setting that [`Busy`] is about.
pub const QUEUE_SETTING: &str = "auth.password_queue";

/// Hashes and compares passwords.
pub struct Passwords {
    cost: u32,
    min_chars: usize,
    /// What a password is compared with where there is no user: a valid hash of the configured cost that nothing matches.
    nobody: String,
    /// Whoever hashes or waits has one of these…
    places: Semaphore,
    /// …and whoever hashes one of these as well.
    workers: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Passwords {
    pub fn new(config: &Auth, metrics: Arc<Metrics>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let threads = if config.password_threads == 0 { (cores / 2).max(1) } else { config.password_threads };
        Self {
            cost: config.bcrypt_cost,
            min_chars: config.password_min_length,
            nobody: format!("$2b${:02}$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", config.bcrypt_cost),
            places: Semaphore::new((threads + config.password_queue).min(Semaphore::MAX_PERMITS)),
            workers: Arc::new(Semaphore::new(threads.min(Semaphore::MAX_PERMITS))),
            metrics,
        }
    }

    /// Whether a password may be chosen; a sentence where it may not.
    pub fn check_new(&self, password: &str) -> Result<(), String> {
        if password.chars().count() < self.min_chars {
            return Err(format!("Choose a password of at least {} characters.", self.min_chars));
        }
        if password.len() > MAX_BYTES {
            return Err(format!("Choose a password of at most {MAX_BYTES} bytes."));
        }
        if password.contains('\0') {
            return Err("A password cannot contain the character NUL.".into());
        }
        Ok(())
    }

    /// For passwords that passed [`Self::check_new`].
    pub async fn hash(&self, password: String) -> Result<String, Busy> {
        let cost = self.cost;
        self.run(move || {
            // It reads 72 bytes and no further, which is all that `check_new` lets a password have.
            bcrypt::hash(password, cost).expect("the cost is one of bcrypt's")
        })
        .await
    }

    /// Whether `password` belongs to `hash` (any bcrypt cost and prefix). Takes the same time where there is no hash to
    /// compare with, where the password is one that nobody can have, and where the hash is not bcrypt's.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Busy> {
        let nobody = self.nobody.clone();
        self.run(move || {
            let possible = password.len() <= MAX_BYTES && !password.contains('\0');
            if let (true, Some(hash)) = (possible, &hash)
                && let Ok(same) = bcrypt::verify(&password, hash)
            {
                return same;
            }
            // For the time it takes only.
            std::hint::black_box(bcrypt::verify("", &nobody).is_ok());
            false
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let Ok(_place) = self.places.try_acquire() else {
            self.metrics.bound_hit(QUEUE_SETTING);
            return Err(Busy);
        };
        let waiting = Waiting::begin(&self.metrics);
        let worker = self.workers.clone().acquire_owned().await.expect("the semaphore is never closed");
        drop(waiting);
        // The permit goes along: where the request is given up, the thread is still busy until the hash is done.
        let task = tokio::task::spawn_blocking(move || {
            let _worker = worker;
            work()
        });
        match task.await {
            Ok(result) => Ok(result),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down.
                Err(_) => Err(Busy),
            },
        }
    }
}

/// Counts one sign-in that waits for a thread, also where its request is given up.
struct Waiting<'a>(&'a Metrics);

impl<'a> Waiting<'a> {
    fn begin(metrics: &'a Metrics) -> Self {
        metrics.password_queue.inc();
        Self(metrics)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.password_queue.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwords(queue: usize) -> Passwords {
        let config = Auth { bcrypt_cost: 4, password_threads: 1, password_queue: queue, ..Auth::default() };
        Passwords::new(&config, Arc::default())
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let passwords = passwords(8);
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$2b$04$"));
        assert_eq!(passwords.verify("correct horse".into(), Some(hash.clone())).await, Ok(true));
        assert_eq!(passwords.verify("correct horsf".into(), Some(hash)).await, Ok(false));
    }

    #[tokio::test]
    async fn hashes_of_other_costs_and_prefixes_match() {
        let hash = bcrypt::hash("correct horse", 5).unwrap();
        for prefix in ["$2a$", "$2b$", "$2y$"] {
            let hash = hash.replace("$2b$", prefix);
            assert_eq!(passwords(8).verify("correct horse".into(), Some(hash)).await, Ok(true), "{prefix}");
        }
    }

    #[test]
    fn the_hash_of_nobody_is_a_whole_one() {
        let nobody = passwords(8).nobody;
        assert_eq!(bcrypt::verify("", &nobody).ok(), Some(false));
        assert_eq!(nobody.parse::<bcrypt::HashParts>().unwrap().get_cost(), 4);
    }

    #[tokio::test]
    async fn what_nobody_can_have_is_simply_wrong() {
        let passwords = passwords(8);
        // bcrypt itself would take this for the same password.
        let long = "x".repeat(73);
        let cut = bcrypt::hash(&long[..72], 4).unwrap();
        assert_eq!(passwords.verify(long, Some(cut.clone())).await, Ok(false));
        assert_eq!(passwords.verify("a\0b".into(), Some(cut)).await, Ok(false));
        assert_eq!(passwords.verify("anything".into(), None).await, Ok(false));
        assert_eq!(passwords.verify("anything".into(), Some("plain text".into())).await, Ok(false));
    }

    #[tokio::test]
    async fn past_the_queue_it_is_busy() {
        let passwords = passwords(0);
        let (first, second) = tokio::join!(passwords.hash("one".into()), passwords.hash("two".into()));
        assert!(first.is_ok());
        assert_eq!(second, Err(Busy));
        assert!(passwords.hash("three".into()).await.is_ok());
    }

    #[test]
    fn new_passwords_have_rules() {
        let passwords = passwords(8);
        assert!(passwords.check_new("éééééééé").is_ok(), "characters count, not bytes");
        assert!(passwords.check_new(&"x".repeat(72)).is_ok());
        for bad in ["short", &"x".repeat(73), &"é".repeat(37), "with\0nul in it"] {
            assert!(passwords.check_new(bad).is_err(), "{bad:?}");
        }
    }
}
