//! What follows on a commit: one task of the runtime calls everybody whose append was in it, so that the thread of the journal
//! goes on with the next one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::runtime::Handle;

use crate::{
    store::{Appended, Done, Result},
    turn,
};

#[derive(Clone)]
pub(super) struct Completions {
    /// `None` where a store is used without a runtime.
    runtime: Option<Handle>,
}

impl Completions {
    pub(super) fn here() -> Self {
        Self { runtime: Handle::try_current().ok() }
    }

    pub(super) fn call(&self, done: Vec<(Done, Result<Appended>)>) {
        match &self.runtime {
            Some(runtime) => drop(runtime.spawn(async move { call(done) })),
            None => call(done),
        }
    }
}

fn call(done: Vec<(Done, Result<Appended>)>) {
    turn::take(|| {
        for (done, result) in done {
            // Who panics is alone with it; the panic's own words are in the log.
            drop(catch_unwind(AssertUnwindSafe(|| done(result))));
        }
    });
}
