//! Work on a thread and an event loop of its own: what disturbs the server is not to disturb the reading of what is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use tokio::task::LocalSet;

use crate::Result;

/// Asked to stop when it is dropped, so that nothing outlives a run that has failed.
pub struct Apart<T> {
    stop: Stop,
    thread: Option<JoinHandle<Result<T>>>,
}

/// The work looks at it between two steps.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

pub fn start<T, Work, Doing>(work: Work) -> Apart<T>
where
    T: Send + 'static,
    Work: FnOnce(Stop) -> Doing + Send + 'static,
    Doing: Future<Output = Result<T>>,
{
    let stop = Stop::default();
    let told = stop.clone();
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, work(told))
    });
    Apart { stop, thread: Some(thread) }
}

impl<T: Send + 'static> Apart<T> {
    /// Waits until it is done.
    pub async fn done(mut self) -> Result<T> {
        let thread = self.thread.take().expect("it is taken once, by a method that takes all");
        let joining = tokio::task::spawn_blocking(move || thread.join());
        joining.await?.map_err(|_| "a thread of the tool panicked")?
    }

    /// Asks it to stop, and waits until it has.
    pub async fn end(self) -> Result<T> {
        self.stop.0.store(true, Ordering::Relaxed);
        self.done().await
    }
}

impl<T> Drop for Apart<T> {
    fn drop(&mut self) {
        self.stop.0.store(true, Ordering::Relaxed);
    }
}
