//! The bus of several natters: hints over NATS.
//!
//! | file | |
//! |---|---|
//! | `address.rs` | what the settings say of the servers, and what is wrong with one |
//! | `wire.rs` | hints as bytes |
//! | `peers.rs` | who is heard, and what was not: numbers and times |
//! | `state.rs` | what the tasks and the callers share |
//! | `speak.rs`, `hear.rs` | the two tasks |
//!
//! A hint goes to this node's listener first, then into a bounded queue; the speaking task sends what waits there in one
//! message. Messages are numbered and a node says its last number every `cluster.beat_millis`, so that whoever missed one
//! knows within a beat. A node hears its own beats too: while they do not come back, the bus does not carry, whatever the
//! connection looks like.

mod address;
mod hear;
mod peers;
mod speak;
mod state;
mod wire;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{address::Address, speak::Speaker, state::State, wire::Parts};
use super::{Bus, Heard, Hint, Listener};
use crate::{
    config::{self, Config},
    metrics::Metrics,
    types::NodeId,
};

/// How long [`Bus::close`] waits: the goodbye, and a listener that is just hearing something.
const CLOSE_TIME: Duration = Duration::from_secs(2);

pub struct NatsBus {
    state: Arc<State>,
    queue: mpsc::Sender<Vec<u8>>,
    /// Events of more bytes than this stay behind.
    inline_bytes: usize,
    beat: Duration,
    silence: Duration,
    /// What the speaking task begins with, until there is a listener.
    unsaid: Mutex<Option<(Address, mpsc::Receiver<Vec<u8>>)>>,
    tasks: TaskTracker,
    closing: CancellationToken,
    /// Ends the tasks where they are.
    gone: CancellationToken,
}

impl NatsBus {
    /// What can be found wrong with the settings without the servers.
    pub async fn check(config: &config::Bus) -> Result<(), String> {
        address::read(config, String::new()).await.map(|_| ())
    }

    /// Does not wait for the servers: they may come later. It connects once somebody listens. `cluster` names the database,
    /// so that natters of two databases that share a NATS do not hear each other; it is not empty. Fails, with a sentence,
    /// on settings that no server could make right.
    pub async fn connect(config: &Config, cluster: &str, metrics: Arc<Metrics>) -> Result<Arc<Self>, String> {
        let node = NodeId::fresh();
        let address = address::read(&config.bus, format!("natter {node}")).await?;
        let (queue, waiting) = mpsc::channel(config.bus.queue);
        let silence = Duration::from_millis(config.cluster.silent_millis);
        Ok(Arc::new(Self {
            state: Arc::new(State::new(node, address::subject(cluster), silence, metrics)),
            queue,
            inline_bytes: config.bus.inline_bytes,
            beat: Duration::from_millis(config.cluster.beat_millis),
            silence,
            unsaid: Mutex::new(Some((address, waiting))),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            gone: CancellationToken::new(),
        }))
    }

    fn start(&self, address: Address, waiting: mpsc::Receiver<Vec<u8>>) {
        let (ears, hearing) = mpsc::channel(1);
        let speaker = Speaker::new(self.state.clone(), address, waiting, ears, self.beat, self.silence);
        let speaking = speaker.run(self.closing.clone());
        let hearing = hear::run(self.state.clone(), hearing, self.beat);
        self.tasks.spawn(self.gone.clone().run_until_cancelled_owned(speaking));
        self.tasks.spawn(self.gone.clone().run_until_cancelled_owned(hearing));
        self.tasks.close();
    }

    /// The hint as it will be sent, or `None` where it cannot be now.
    fn write(&self, hint: &Hint) -> Option<Parts> {
        if !self.state.is_linked() {
            self.state.dropped(1);
            return None;
        }
        if self.queue.capacity() == 0 {
            self.full();
            return None;
        }
        let written = wire::encode(hint, self.inline_bytes, self.state.most_bytes());
        if written.cut {
            self.state.metrics.bound_hit("bus.inline_bytes");
        }
        Some(written)
    }

    fn full(&self) {
        self.state.metrics.bound_hit("bus.queue");
        self.state.dropped(1);
    }
}

#[async_trait]
impl Bus for NatsBus {
    fn node(&self) -> NodeId {
        self.state.node
    }

    fn listen(&self, listener: Listener) {
        let unsaid = self.unsaid.lock().take();
        match (unsaid, self.state.listen(listener)) {
            (Some((address, waiting)), Ok(())) => self.start(address, waiting),
            _ => panic!("a bus has one listener"),
        }
    }

    fn publish(&self, hint: Hint) {
        // The listener takes the hint itself, so what the others get is written down before.
        let written = self.write(&hint);
        self.state.tell(Heard::Hint(hint));
        let Some(Parts { first, rest, .. }) = written else { return };
        for part in [first].into_iter().chain(rest) {
            if self.queue.try_send(part).is_err() {
                self.full();
            }
        }
    }

    fn has_others(&self) -> bool {
        true
    }

    fn hears(&self) -> Result<Vec<NodeId>, String> {
        self.state.present()
    }

    async fn close(&self) {
        self.closing.cancel();
        if tokio::time::timeout(CLOSE_TIME, self.tasks.wait()).await.is_err() {
            tracing::warn!("the bus took too long to close");
        }
        self.gone.cancel();
    }
}

impl Drop for NatsBus {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}
