//! One transaction for many writes, such that each of them is whole or absent and none can spoil another.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use rusqlite::Connection;

use super::codec::{is_of_the_environment, store_error};
use crate::{
    seldom::{self, Line},
    store::{Result, StoreError},
};

/// When a write is on disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// With its commit.
    Full,
    /// With the next commit that is.
    Lazy,
}

/// What a write may take of a disk that is nearly full.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// What is not in reserve.
    Room,
    /// The reserve: it takes little, and nobody may be kept from it.
    Reserve,
    /// Room was made sure of when it was acknowledged.
    Promised,
}

/// A write of any type, as the thread sees it.
pub(super) trait Job: Send {
    fn durability(&self) -> Durability;
    fn need(&self) -> Need;
    fn run(&mut self, db: &Connection) -> rusqlite::Result<()>;
    /// This job alone has failed.
    fn fail(&mut self, error: StoreError);
    /// Tells who waits; `false` when what they hear is an error.
    fn answer(self: Box<Self>, committed: &Result<()>) -> bool;
}

/// `work` may run twice; it is the second outcome that counts. `reply` is called on the thread of the store, after the commit.
pub(super) struct Op<F, T, R> {
    work: F,
    outcome: Option<Result<T>>,
    durability: Durability,
    need: Need,
    reply: R,
}

impl<F, T, R> Op<F, T, R> {
    pub(super) fn new(work: F, durability: Durability, need: Need, reply: R) -> Self {
        Self { work, outcome: None, durability, need, reply }
    }
}

impl<F, T, R> Job for Op<F, T, R>
where
    F: Fn(&Connection) -> rusqlite::Result<T> + Send,
    T: Send,
    R: FnOnce(Result<T>) + Send,
{
    fn durability(&self) -> Durability {
        self.durability
    }

    fn need(&self) -> Need {
        self.need
    }

    fn run(&mut self, db: &Connection) -> rusqlite::Result<()> {
        self.outcome = Some(Ok((self.work)(db)?));
        Ok(())
    }

    fn fail(&mut self, error: StoreError) {
        self.outcome = Some(Err(error));
    }

    fn answer(self: Box<Self>, committed: &Result<()>) -> bool {
        let answer = match (committed, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            (Ok(()), None) => Err(StoreError::Unavailable("a write never ran".into())),
            (Err(error), _) => Err(error.clone()),
        };
        let fine = answer.is_ok();
        (self.reply)(answer);
        fine
    }
}

/// Why a transaction came to nothing.
pub(super) enum Trouble {
    /// One job failed by itself; the others may go on without it.
    OfOne,
    OfAll(rusqlite::Error),
}

/// One transaction for all of them; `each_alone` keeps the failure of one from the others.
pub(super) fn transaction(db: &Connection, batch: &mut [Box<dyn Job>], each_alone: bool) -> Result<(), Trouble> {
    execute(db, "BEGIN IMMEDIATE").map_err(Trouble::OfAll)?;
    let mut result = batch.iter_mut().try_for_each(|job| run(db, job.as_mut(), each_alone));
    if result.is_ok() {
        result = execute(db, "COMMIT").map_err(Trouble::OfAll);
    }
    if result.is_err()
        && !db.is_autocommit()
        && let Err(error) = execute(db, "ROLLBACK")
    {
        return Err(Trouble::OfAll(error));
    }
    result
}

fn run(db: &Connection, job: &mut dyn Job, alone: bool) -> Result<(), Trouble> {
    if alone {
        execute(db, "SAVEPOINT job").map_err(Trouble::OfAll)?;
    }
    let error = match catch_unwind(AssertUnwindSafe(|| job.run(db))) {
        Ok(Ok(())) => None,
        Ok(Err(error)) if is_of_the_environment(&error) || db.is_autocommit() => return Err(Trouble::OfAll(error)),
        Ok(Err(error)) => Some(store_error(&error)),
        Err(panic) => Some(StoreError::Unavailable(format!("a write panicked: {}", words_of(&*panic)))),
    };
    match error {
        None if alone => execute(db, "RELEASE job").map_err(Trouble::OfAll),
        None => Ok(()),
        Some(_) if !alone => Err(Trouble::OfOne),
        Some(error) => {
            if let Some(Line { held_back }) = seldom::due("a write failed by itself") {
                tracing::error!(%error, held_back, "a write failed by itself; nothing of it is kept");
            }
            job.fail(error);
            execute(db, "ROLLBACK TO job").and_then(|()| execute(db, "RELEASE job")).map_err(Trouble::OfAll)
        }
    }
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}

fn execute(db: &Connection, sql: &str) -> rusqlite::Result<()> {
    db.prepare_cached(sql)?.execute([]).map(drop)
}
