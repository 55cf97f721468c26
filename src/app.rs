//! The server's parts, put together once at start and shared by every request and socket.

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
};

use crate::{
    audit::Audit,
    auth::{password::Passwords, token::Tokens},
    chat::Chat,
    config::Config,
    http::request_log::RequestLog,
    limits::{Limiters, budget::Budgets, connections::Connections},
    metrics::Metrics,
    store::readiness::Readiness,
    ws::engine::{Engine, Needs},
};

pub struct App {
    pub config: Arc<Config>,
    pub metrics: Arc<Metrics>,
    pub chat: Arc<Chat>,
    pub passwords: Arc<Passwords>,
    pub audit: Arc<Audit>,
    pub tokens: Arc<Tokens>,
    pub limiters: Arc<Limiters>,
    pub budgets: Arc<Budgets>,
    pub connections: Arc<Connections>,
    pub sockets: Arc<Engine>,
    pub readiness: Readiness,
    pub request_log: RequestLog,
    /// Set when the server is asked to stop: new work is refused with 503, and `/readyz` says no.
    pub draining: AtomicBool,
    /// The log has said that some proxy is not listed.
    pub told_of_proxies: AtomicBool,
}

impl App {
    /// Within a runtime, where the engine of the sockets starts. Tokens are signed with `key`.
    pub fn start(
        config: Arc<Config>,
        metrics: Arc<Metrics>,
        chat: Arc<Chat>,
        passwords: Arc<Passwords>,
        audit: Arc<Audit>,
        key: &[u8],
    ) -> io::Result<Arc<Self>> {
        let tokens = Arc::new(Tokens::new(key, &config.auth, metrics.clone()));
        let limiters = Arc::new(Limiters::new(&config, metrics.clone()));
        let budgets = Arc::new(Budgets::new(&config.limits, &metrics));
        let connections = Arc::new(Connections::new(&config, metrics.clone()));
        let sockets = Engine::start(Needs {
            config: config.clone(),
            metrics: metrics.clone(),
            chat: chat.clone(),
            tokens: tokens.clone(),
            limiters: limiters.clone(),
            budgets: budgets.clone(),
            connections: connections.clone(),
        })?;
        Ok(Arc::new(Self {
            draining: AtomicBool::new(false),
            readiness: Readiness::default(),
            request_log: RequestLog::new(&config.log),
            told_of_proxies: AtomicBool::new(false),
            config,
            metrics,
            chat,
            passwords,
            audit,
            tokens,
            limiters,
            budgets,
            connections,
            sockets,
        }))
    }
}
