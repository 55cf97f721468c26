//! The connection engine: live sockets, from the handshake to the close frame.
//!
//! - `upgrade.rs` makes a connection of a request; `connection.rs` is one connection, `subscriber.rs` what rooms see of it. It is at rest in a place (`places.rs`) of a poller
//!   (`poller.rs`), which drives it (`drive.rs`) when its socket (`wire.rs`) is ready or somebody has work for it.
//! - `reader.rs` turns bytes into texts, `frames.rs` texts into commands, `commands.rs` carries them out,
//!   `subscribe.rs` those that follow rooms. `asked.rs` is the shape of those texts, for the documentation.
//! - `outbox.rs` is the write path: cursors into rooms (`subscriptions.rs`), not queues of messages, and `piece.rs` what does wait in
//!   line; `replay.rs` reads what rooms' rings have no more.
//! - `engine.rs` is all of them, with one timer for what `timer.rs` sees to (pings, expiry, slowness), and the drain; `shared.rs` is
//!   what they need of the rest of the server, by name.

pub(crate) mod asked;
pub(crate) mod close;
mod commands;
mod connection;
mod drive;
pub mod engine;
mod frame_rate;
mod frames;
mod one_at_a_time;
mod outbox;
mod piece;
mod places;
mod poller;
mod reader;
pub(crate) mod refusal;
mod replay;
mod shared;
mod subscribe;
mod subscriber;
mod subscriptions;
mod timer;
pub mod upgrade;
mod wire;
