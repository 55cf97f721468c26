//! The server's parts, put together once at start and shared by every request and socket.

use std::sync::{Arc, atomic::AtomicBool};

use crate::{
    auth::{password::Passwords, token::Tokens},
    chat::Chat,
    config::Config,
    http::{answers::Answers, limits::Limiters},
    metrics::Metrics,
    ws::Sockets,
};

pub struct App {
    pub config: Arc<Config>,
    pub metrics: Arc<Metrics>,
    pub chat: Arc<Chat>,
    pub passwords: Arc<Passwords>,
    pub tokens: Tokens,
    pub limiters: Limiters,
    pub answers: Answers,
    pub sockets: Sockets,
    /// Set when the server is asked to stop: new work is refused with 503, and `/readyz` says no.
    pub draining: AtomicBool,
}
