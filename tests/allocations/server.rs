//! A server in this process, of the same parts as that of `natter serve`, on SQLite and a port of its own.

#![allow(dead_code, reason = "two programs use it, each a part of it")]

use std::{net::SocketAddr, path::Path, sync::Arc};

use natter::{
    app::App,
    audit::Audit,
    auth::password::Passwords,
    bus::local::LocalBus,
    chat::Chat,
    config::{self, Config},
    metrics::Metrics,
    server,
    store::{Store, sqlite::SqliteStore},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Rates are kept, and are higher than any client here is quick.
const RATE: u32 = 1_000_000;
/// Nothing is settled, and no socket pinged, that nobody asks for.
const NEVER_SECS: u64 = 3_600;
const UNSETTLED_BYTES: usize = 1 << 30;

pub struct Server {
    pub address: SocketAddr,
    runtime: Runtime,
    server: Arc<server::Server>,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    folder: TempDir,
}

impl Server {
    pub fn start() -> Self {
        Self::with(settings())
    }

    pub fn with(config: Config) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // As many on every machine, so that they count the same.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("the system gives threads");
        let metrics = Arc::new(Metrics::default());
        let database = folder.path().join("natter.db");
        let serving = serve(config, &database, metrics.clone());
        let (server, store, address) = runtime.block_on(serving);
        Self { address, runtime, server, store, metrics, folder }
    }

    /// So far.
    pub fn commits(&self) -> f64 {
        let metrics = self.metrics.render();
        let count = metrics.lines().find_map(|line| line.strip_prefix("natter_commit_ops_count "));
        count.and_then(|count| count.parse().ok()).expect("a number")
    }

    /// Has everything brought into the tables: a backup has everything.
    pub fn settle(&self, backup: &str) {
        self.runtime.block_on(self.store.backup(&self.folder.path().join(backup))).expect("a backup");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.runtime.block_on(self.server.drain(self.store.as_ref()));
    }
}

pub fn settings() -> Config {
    Config {
        server: config::Server { bind: ([127, 0, 0, 1], 0).into(), drain_secs: 1, ..Default::default() },
        auth: config::Auth { bcrypt_cost: 4, ..Default::default() },
        store: config::Store { settle_secs: NEVER_SECS, unsettled_bytes: UNSETTLED_BYTES, ..Default::default() },
        sockets: config::Sockets { connections_per_user: 4_000, ping_secs: NEVER_SECS, ..Default::default() },
        limits: config::Limits {
            // All come from one address.
            logins_per_address: 0,
            posts_per_sec: RATE,
            posts_burst: RATE,
            frames_per_sec: RATE,
            frames_burst: RATE,
            requests_per_sec: RATE,
            requests_burst: RATE,
            signups_per_minute: RATE,
            signups_burst: RATE,
            ..Default::default()
        },
        ..Default::default()
    }
}

async fn serve(
    config: Config,
    database: &Path,
    metrics: Arc<Metrics>,
) -> (Arc<server::Server>, Arc<dyn Store>, SocketAddr) {
    let config = Arc::new(config);
    let store = SqliteStore::open(database, &config.store, metrics.clone()).expect("a new database");
    let store: Arc<dyn Store> = Arc::new(store);
    let listener = server::listen(config.server.bind, config.server.backlog, &config.limits).expect("a port");
    let address = listener.local_addr().expect("it listens");
    let bus = Arc::new(LocalBus::default());
    let passwords = Arc::new(Passwords::new(&config.auth, metrics.clone()));
    let chat = Chat::start(config.clone(), metrics.clone(), store.clone(), bus);
    let audit = Audit::start(&config, metrics.clone(), store.clone()).expect("no file to open");
    let app = App::start(config, metrics, chat, passwords, audit, &[7; 48]).expect("an engine");
    let server = Arc::new(server::Server::new(app, None));
    server.accept(listener);
    (server, store, address)
}
