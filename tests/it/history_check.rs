//! The randomised history checker: many clients, several nodes and all kinds of trouble, planned by a seed; everything the
//! clients asked, heard and saw is recorded, and `check.rs` holds it against the invariants.
//!
//! - A seed fixes the plan: people, rooms, every client's actions with their times, and the troubles. It does not fix how the
//!   servers and the kernel interleave what the plan sets going, so that a seed that failed once may pass the next time.
//! - Hence a run that fails leaves its whole history in `target/history/<seed>.jsonl` (the plan is in its first line), and
//!   `NATTER_HISTORY=<file> tests/run a_kept_history` judges that history again, without any server.
//! - `tests/soak --from SEED --seeds 1` carries the same plan out again; `tests/soak` alone runs 200 seeds.

mod api;
mod check;
mod client;
mod history;
mod index;
mod members;
mod plan;
mod recorder;
mod rules;
mod run;
mod samples;
mod socket;
mod world;

use std::path::Path;

use self::{
    check::{Violation, check},
    plan::{Plan, Size},
};

/// A number from the environment; `tests/soak` sets these.
fn asked(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Err(_) => default,
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}: give a whole number")),
    }
}

/// The words of a report: what was broken, at most so many of it.
fn report(violations: &[Violation]) -> String {
    const SHOWN: usize = 20;
    let mut lines: Vec<String> = violations.iter().take(SHOWN).map(ToString::to_string).collect();
    if violations.len() > SHOWN {
        lines.push(format!("and {} more", violations.len() - SHOWN));
    }
    lines.join("\n")
}

/// Runs these seeds, all of them, and fails with those that broke a promise.
async fn hold(seeds: impl Iterator<Item = u64>, size: Size) {
    let mut broken = Vec::new();
    for seed in seeds {
        let plan = Plan::of(seed, size);
        let path = run::path_of(&plan);
        let records = run::run(plan).await;
        let violations = check(&records);
        println!("seed {seed}: {} records, {} violations", records.len(), violations.len());
        if !violations.is_empty() {
            history::write(&records, &path).expect("target/history is writable");
            println!("{}\nits history: {}", report(&violations), path.display());
            broken.push(seed);
        }
    }
    assert!(broken.is_empty(), "these seeds broke a promise: {broken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_that_is_killed_keeps_every_promise() {
    hold(1..=2, Size { nodes: 1, seconds: 6 }).await;
}

/// Three seeds here and two in the next test, so that the two can run side by side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_in_trouble_keep_every_promise() {
    let (from, seeds) = (asked("NATTER_SOAK_FROM", 1), asked("NATTER_SOAK_SEEDS", 3));
    let size = Size { nodes: 3, seconds: asked("NATTER_SOAK_SECONDS", 6) };
    hold(from..from + seeds, size).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_in_other_trouble_keep_every_promise() {
    hold(101..=102, Size { nodes: 3, seconds: 6 }).await;
}

#[test]
fn a_seed_is_one_plan() {
    for nodes in [1, 3] {
        let size = Size { nodes, seconds: 5 };
        let plan = |seed| Plan::of(seed, size).to_string();
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }
}

/// A small history that is written and read again, or the one of `NATTER_HISTORY`.
#[test]
fn a_kept_history_is_checked_again() {
    let given = std::env::var("NATTER_HISTORY");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = given.as_ref().map_or_else(|_| folder.path().join("history.jsonl"), |path| Path::new(path).into());
    if given.is_err() {
        history::write(&samples::good().records, &path).expect("a temporary folder is writable");
    }
    let records = history::read(&path).unwrap_or_else(|error| panic!("{error}"));
    if given.is_err() {
        assert_eq!(records, samples::good().records);
    }
    let violations = check(&records);
    assert!(violations.is_empty(), "{}:\n{}", path.display(), report(&violations));
}
