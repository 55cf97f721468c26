//! bcrypt on a bounded pool, never on the event loop: one hash of cost 12 holds a core for some 200 ms.
//!
//! `auth.password_threads` hash at once, `auth.password_queue` more may wait ([`queue`](super::queue)), and whoever comes then
//! is told to come back.
//!
//! A password is one in whichever Unicode form it is typed: its NFC form is hashed and compared. Hashes of other servers, and
//! of the versions before, may be of another form: where NFC does not match, the password is compared as it came.
//!
//! Comparing takes the same time whoever is asked for: where a hash is cheaper than `auth.bcrypt_cost` the rest is worked off,
//! and where some hash is dearer every wrong password waits as long as that one would take.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use unicode_normalization::UnicodeNormalization;

pub use super::queue::Asker;
use super::queue::{Full, Queue};
use crate::{config::Auth, metrics::Metrics};

/// bcrypt reads no further, so a longer password would be weaker than it looks: refused, never cut.
const MAX_BYTES: usize = 72;

/// As many hashes wait as `auth.password_queue` allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Too many passwords wait to be checked (auth.password_queue); try again in a moment.")]
pub struct Busy;

/// The setting that [`Busy`] is about.
pub const QUEUE_SETTING: &str = "auth.password_queue";

/// What comes of comparing a password with a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Wrong,
    Right,
    /// Right, and the hash is of another cost or Unicode form than one made today: to be replaced.
    Outdated,
}

/// Hashes and compares passwords.
pub struct Passwords {
    cost: u32,
    min_chars: usize,
    queue: Arc<Queue>,
    /// The highest cost of the hashes that were compared with.
    dearest: AtomicU32,
    metrics: Arc<Metrics>,
}

/// The form that is hashed.
fn nfc(password: &str) -> String {
    password.nfc().collect()
}

/// A password that can belong to a hash.
fn is_possible(password: &str) -> bool {
    password.len() <= MAX_BYTES && !password.contains('\0')
}

/// The cost of a bcrypt hash.
fn cost_of(hash: &str) -> Option<u32> {
    hash.parse::<bcrypt::HashParts>().ok().map(|parts| parts.get_cost())
}

/// A valid hash that nothing matches.
fn nobody(cost: u32) -> String {
    format!("$2b${cost:02}$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW")
}

/// Works as long as one comparison of this cost takes.
fn idle(cost: u32) {
    black_box(bcrypt::verify("", &nobody(cost)).is_ok());
}

/// Compares, and works off what a hash of `cost` would take longer; without a hash that is all it does. Gives the cost of
/// what was done in all.
fn compare(password: &str, hash: Option<&str>, cost: u32) -> (bool, u32) {
    let of_hash = hash.and_then(cost_of).filter(|_| is_possible(password));
    let (Some(hash), Some(of_hash)) = (hash, of_hash) else {
        idle(cost);
        return (false, cost);
    };
    let same = bcrypt::verify(password, hash).unwrap_or(false);
    if !same {
        // 2^c + (2^c + 2^(c+1) + … + 2^(cost-1)) = 2^cost
        (of_hash..cost).for_each(idle);
    }
    (same, of_hash.max(cost))
}

/// How long to wait after this much work until each comparison has taken as long as one of the dearest hash.
fn rest(took: Duration, costs: &[u32], dearest: u32) -> Duration {
    let done: f64 = costs.iter().map(|cost| f64::from(*cost).exp2()).sum();
    let wanted = f64::from(dearest).exp2() * costs.len() as f64;
    took.mul_f64((wanted / done - 1.0).max(0.0))
}

impl Passwords {
    pub fn new(config: &Auth, metrics: Arc<Metrics>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let threads = if config.password_threads == 0 { (cores / 2).max(1) } else { config.password_threads };
        Self {
            cost: config.bcrypt_cost,
            min_chars: config.password_min_length,
            queue: Queue::new(threads, config.password_queue),
            dearest: AtomicU32::new(config.bcrypt_cost),
            metrics,
        }
    }

    /// Whether a password may be chosen; a sentence where it may not.
    pub fn check_new(&self, password: &str) -> Result<(), String> {
        let password = nfc(password);
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
    pub async fn hash(&self, password: String, asker: Asker) -> Result<String, Busy> {
        let cost = self.cost;
        self.run(asker, move || {
            // It reads 72 bytes and no further, which is all that `check_new` lets a password have.
            bcrypt::hash(nfc(&password), cost).expect("the cost is one of bcrypt's")
        })
        .await
    }

    /// Whether `password` belongs to `hash` (any bcrypt cost and prefix). A wrong password takes the same time where there is
    /// no hash to compare with, where the password is one that nobody can have, and whatever the hash is.
    pub async fn verify(&self, password: String, hash: Option<String>, asker: Asker) -> Result<Verdict, Busy> {
        let (cost, composed) = (self.cost, nfc(&password));
        let of_hash = hash.as_deref().and_then(cost_of).unwrap_or(cost);
        let dearest = self.dearest.fetch_max(of_hash, Relaxed).max(of_hash);
        let work = move || {
            let (began, hash) = (Instant::now(), hash.as_deref());
            let (same, first) = compare(&composed, hash, cost);
            if same {
                return (if of_hash == cost { Verdict::Right } else { Verdict::Outdated }, Duration::ZERO);
            }
            if composed == password {
                return (Verdict::Wrong, rest(began.elapsed(), &[first], dearest));
            }
            match compare(&password, hash, cost) {
                (true, _) => (Verdict::Outdated, Duration::ZERO),
                (false, second) => (Verdict::Wrong, rest(began.elapsed(), &[first, second], dearest)),
            }
        };
        let (verdict, wait) = self.run(asker, work).await?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(verdict)
    }

    async fn run<T: Send + 'static>(&self, asker: Asker, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let waiting = Waiting::begin(&self.metrics);
        let turn = self.queue.turn(asker).await.map_err(|Full| {
            self.metrics.bound_hit(QUEUE_SETTING);
            Busy
        })?;
        drop(waiting);
        // The turn goes along: where the request is given up, the thread is still busy until the hash is done.
        let task = tokio::task::spawn_blocking(move || {
            let _turn = turn;
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

    const OPERATOR: Asker = Asker::OPERATOR;

    fn passwords(queue: usize) -> Passwords {
        let config = Auth { bcrypt_cost: 4, password_threads: 1, password_queue: queue, ..Auth::default() };
        Passwords::new(&config, Arc::default())
    }

    async fn verdict(passwords: &Passwords, password: &str, hash: &str) -> Verdict {
        passwords.verify(password.into(), Some(hash.into()), OPERATOR).await.unwrap()
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let passwords = passwords(8);
        let hash = passwords.hash("correct horse".into(), OPERATOR).await.unwrap();
        assert!(hash.starts_with("$2b$04$"));
        assert_eq!(verdict(&passwords, "correct horse", &hash).await, Verdict::Right);
        assert_eq!(verdict(&passwords, "correct horsf", &hash).await, Verdict::Wrong);
    }

    #[tokio::test]
    async fn hashes_of_other_costs_and_prefixes_match_and_those_of_another_cost_are_outdated() {
        for (cost, right) in [(4, Verdict::Right), (5, Verdict::Outdated)] {
            let hash = bcrypt::hash("correct horse", cost).unwrap();
            for prefix in ["$2a$", "$2b$", "$2y$"] {
                let hash = hash.replace("$2b$", prefix);
                assert_eq!(verdict(&passwords(8), "correct horse", &hash).await, right, "{prefix}");
                assert_eq!(verdict(&passwords(8), "correct horsf", &hash).await, Verdict::Wrong, "{prefix}");
            }
        }
    }

    #[tokio::test]
    async fn a_password_is_one_in_every_unicode_form() {
        let passwords = passwords(8);
        let (composed, decomposed) = ("Passw\u{f6}rt-\u{e9}", "Passwo\u{308}rt-e\u{301}");
        for chosen in [composed, decomposed] {
            let hash = passwords.hash(chosen.into(), OPERATOR).await.unwrap();
            for typed in [composed, decomposed] {
                assert_eq!(verdict(&passwords, typed, &hash).await, Verdict::Right);
            }
            assert_eq!(verdict(&passwords, "Passwort-e", &hash).await, Verdict::Wrong);
        }
        // As another server left it.
        let adopted = bcrypt::hash(decomposed, 4).unwrap();
        assert_eq!(verdict(&passwords, decomposed, &adopted).await, Verdict::Outdated);
        assert_eq!(verdict(&passwords, composed, &adopted).await, Verdict::Wrong);
        // A compatibility form is another character.
        let hash = passwords.hash("\u{ff50}assword".into(), OPERATOR).await.unwrap();
        assert_eq!(verdict(&passwords, "password", &hash).await, Verdict::Wrong);
    }

    #[test]
    fn the_hash_of_nobody_is_a_whole_one() {
        for cost in [4, 12] {
            assert_eq!(cost_of(&nobody(cost)), Some(cost));
        }
        assert_eq!(bcrypt::verify("", &nobody(4)).ok(), Some(false));
    }

    #[tokio::test]
    async fn a_dearer_hash_makes_every_wrong_password_wait_as_long() {
        let passwords = passwords(8);
        let dear = bcrypt::hash("correct horse", 6).unwrap();
        assert_eq!(passwords.dearest.load(Relaxed), 4);
        assert_eq!(verdict(&passwords, "wrong", &dear).await, Verdict::Wrong);
        assert_eq!(passwords.dearest.load(Relaxed), 6);
        let rest = |costs: &[u32]| rest(Duration::from_millis(10), costs, 6);
        assert_eq!(rest(&[4]), Duration::from_millis(30), "10 ms are a quarter of it");
        assert_eq!(rest(&[4, 4]), Duration::from_millis(30));
        assert_eq!(rest(&[6, 4]), Duration::from_millis(6), "the one took 8 ms, and the other would have");
        assert_eq!(rest(&[6]), Duration::ZERO);
    }

    #[test]
    fn comparing_works_off_what_a_cheaper_hash_would_save() {
        let cheap = bcrypt::hash("correct horse", 4).unwrap();
        assert_eq!(compare("correct horse", Some(&cheap), 6), (true, 6));
        for hash in [Some(cheap.as_str()), Some("plain text"), None] {
            assert_eq!(compare("wrong", hash, 6), (false, 6));
        }
        let dear = bcrypt::hash("correct horse", 7).unwrap();
        assert_eq!(compare("wrong", Some(&dear), 6), (false, 7));
        assert_eq!(compare(&"x".repeat(73), Some(&dear), 6), (false, 6), "nobody can have it");
    }

    #[tokio::test]
    async fn what_nobody_can_have_is_simply_wrong() {
        let passwords = passwords(8);
        // bcrypt itself would take this for the same password.
        let long = "x".repeat(73);
        let cut = bcrypt::hash(&long[..72], 4).unwrap();
        assert_eq!(verdict(&passwords, &long, &cut).await, Verdict::Wrong);
        assert_eq!(verdict(&passwords, "a\0b", &cut).await, Verdict::Wrong);
        assert_eq!(verdict(&passwords, "anything", "plain text").await, Verdict::Wrong);
        assert_eq!(passwords.verify("anything".into(), None, OPERATOR).await, Ok(Verdict::Wrong));
    }

    #[tokio::test]
    async fn past_the_queue_it_is_busy() {
        let passwords = passwords(0);
        let (first, second) =
            tokio::join!(passwords.hash("one".into(), OPERATOR), passwords.hash("two".into(), OPERATOR));
        assert!(first.is_ok());
        assert_eq!(second, Err(Busy));
        assert!(passwords.hash("three".into(), OPERATOR).await.is_ok());
    }

    #[test]
    fn new_passwords_have_rules() {
        let passwords = passwords(8);
        assert!(passwords.check_new("éééééééé").is_ok(), "characters count, not bytes");
        assert!(passwords.check_new(&"x".repeat(72)).is_ok());
        let decomposed = "e\u{301}".repeat(36);
        assert!(passwords.check_new(&decomposed).is_ok(), "what counts is what is hashed");
        for bad in ["short", &"x".repeat(73), &"é".repeat(37), "with\0nul in it", &"e\u{301}".repeat(7)] {
            assert!(passwords.check_new(bad).is_err(), "{bad:?}");
        }
    }
}
