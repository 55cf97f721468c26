//! What every test stands on: servers ([`Server`]), several of them ([`Cluster`]), people ([`Person`]), sockets ([`Socket`]),
//! bare bytes ([`Raw`]) and bad networks ([`Proxy`]). What the server sends to any of them is held against its own
//! documentation ([`contract`]).
//!
//! Waiting has two forms, both with one deadline: [`in_time`] for what will answer by itself (a frame, a response, an
//! exit), and [`until`] for what can only be asked again and again. Nothing else in the tests waits, but for clients that
//! [`pause`] between two tries.
#![allow(dead_code, unused_imports, reason = "each subject uses its own part of the harness")]

mod answer;
mod certificates;
mod cluster;
pub mod contract;
mod nats;
mod people;
mod process;
mod proxy;
mod raw;
mod server;
pub mod services;
mod socket;

pub use answer::Answer;
pub use certificates::{Authority, Identity};
pub use cluster::{Cluster, ClusterSetup, Node};
pub use nats::Nats;
pub use people::{PASSWORD, Person, Posted};
pub use process::{Process, Ran};
pub use proxy::Proxy;
pub use raw::{Raw, RawAnswer};
pub use server::{Reach, Server, Setup};
pub use socket::{Closed, Handshake, Refusal, Socket};

use std::{future::Future, process::Command, sync::LazyLock, time::Duration};

/// How long anything may take before a test gives up: 10 s, four times that on MongoDB, or `NATTER_TEST_DEADLINE_SECS`.
pub static DEADLINE: LazyLock<Duration> = LazyLock::new(|| {
    let usual = if services::on_mongodb() { 40 } else { 10 };
    let secs = std::env::var("NATTER_TEST_DEADLINE_SECS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    Duration::from_secs(secs)
});

/// The answer of `future`, or a panic that says what did not come.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(*DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {:?} in vain for {what}", *DEADLINE),
    }
}

/// Asks `condition` until it holds. Only for what sends no frame, answer or line when it happens.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    in_time(what, async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while !condition().await {
            tick.tick().await;
        }
    })
    .await;
}

/// The pause of a client whose request failed, before it tries again.
pub async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// The seqs of events or messages, in the order in which they came.
pub fn seqs<'a>(events: impl IntoIterator<Item = &'a serde_json::Value>) -> Vec<u64> {
    events.into_iter().map(|event| event["seq"].as_u64().unwrap_or_else(|| panic!("no seq in {event}"))).collect()
}

/// Cargo without what it tells the tests that it runs: build scripts look at some of that, and would all run again.
pub fn cargo() -> Command {
    let told = |name: &str| {
        let starts =
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_", "CARGO_TARGET_TMP"];
        ["CARGO", "OUT_DIR", "LD_LIBRARY_PATH"].contains(&name) || starts.iter().any(|start| name.starts_with(start))
    };
    let mut command = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| told(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command
}
