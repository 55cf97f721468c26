//! Lets go of what is remembered of clients and was not used for a while, so that those who rest cost nothing.

use std::{sync::Arc, time::Duration};

use crate::{app::App, seldom};

/// Each memory has a time of its own, which it looks at.
const EVERY: Duration = Duration::from_secs(5);

pub async fn run(app: Arc<App>) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        app.tokens.forget_unused().await;
        app.limiters.forget_unused().await;
        seldom::tell_the_rest();
    }
}
