//! What the two tasks of the bus and its callers share: numbers, who is heard, and what is wrong. Locks are held for a look
//! or a change, never while the listener hears.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    peers::Peers,
    wire::{self, HEADER_BYTES, Header, Kind},
};
use crate::{
    bus::{Heard, Listener},
    metrics::Metrics,
    types::NodeId,
};

pub struct State {
    pub node: NodeId,
    pub subject: String,
    pub metrics: Arc<Metrics>,
    listener: OnceLock<Listener>,
    peers: Mutex<Peers>,
    /// The number of the last message of this node, sent or dropped.
    number: AtomicU64,
    /// Whether there is a connection to send over.
    linked: AtomicBool,
    /// What the server takes in one message.
    most_bytes: AtomicUsize,
    trouble: Mutex<Trouble>,
}

struct Trouble {
    /// Why this node cannot be heard.
    why: String,
    /// What was last logged: that the bus carries, or that it does not. At first neither.
    told: Option<bool>,
}

/// What is wrong while a connection is there and is not heard over.
const DEAF: &str = "NATS is connected, but nothing that this natter says comes back from it";

/// What a NATS server takes that was not told otherwise.
const USUAL_MOST_BYTES: usize = 1024 * 1024;

impl State {
    pub fn new(node: NodeId, subject: String, silence: Duration, metrics: Arc<Metrics>) -> Self {
        Self {
            node,
            subject,
            metrics,
            listener: OnceLock::new(),
            peers: Mutex::new(Peers::new(node, silence)),
            number: AtomicU64::new(0),
            linked: AtomicBool::new(false),
            most_bytes: AtomicUsize::new(USUAL_MOST_BYTES),
            trouble: Mutex::new(Trouble { why: "NATS has not been reached yet".into(), told: None }),
        }
    }

    /// Fails when there is a listener already.
    pub fn listen(&self, listener: Listener) -> Result<(), Listener> {
        self.listener.set(listener)
    }

    pub fn tell(&self, heard: Heard) {
        if let Some(listener) = self.listener.get() {
            listener(heard);
        }
    }

    pub fn is_linked(&self) -> bool {
        self.linked.load(Relaxed)
    }

    pub fn last_number(&self) -> u64 {
        self.number.load(Relaxed)
    }

    /// The number of a message that is about to be sent, or will never be.
    pub fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Relaxed) + 1
    }

    /// Hints that will not be sent: the others notice the missing number.
    pub fn dropped(&self, hints: u64) {
        self.next_number();
        self.metrics.hints_lost.inc_by(hints);
    }

    /// Bytes that hints may take in one message.
    pub fn most_bytes(&self) -> usize {
        self.most_bytes.load(Relaxed).saturating_sub(HEADER_BYTES)
    }

    /// There is a connection, the `link`th, which takes messages of so many bytes.
    pub fn linked(&self, link: u32, most_bytes: usize) {
        self.peers.lock().linked(link, Instant::now());
        DEAF.clone_into(&mut self.trouble.lock().why);
        self.most_bytes.store(most_bytes, Relaxed);
        self.linked.store(true, Relaxed);
    }

    /// There is no connection any more, or still none.
    pub fn cut(&self, why: &str) {
        self.linked.store(false, Relaxed);
        self.peers.lock().cut();
        why.clone_into(&mut self.trouble.lock().why);
        self.log(false);
    }

    /// The end, which is no trouble.
    pub fn closed(&self) {
        self.linked.store(false, Relaxed);
        self.peers.lock().cut();
        "this natter has left the bus".clone_into(&mut self.trouble.lock().why);
        self.metrics.bus_up.set(0);
    }

    pub fn deaf_for(&self) -> Duration {
        self.peers.lock().deaf_for(Instant::now())
    }

    /// Every node that is heard now, or why this one is not.
    pub fn present(&self) -> Result<Vec<NodeId>, String> {
        let present = self.peers.lock().present(Instant::now());
        present.ok_or_else(|| self.trouble.lock().why.clone())
    }

    /// Hears one message, from whomever. This node's own hints were heard when they were published.
    pub fn hear(&self, mut message: &[u8]) {
        let Ok(header) = wire::take_header(&mut message) else { return self.garbled() };
        let (told, missed) = self.peers.lock().hear(&header, Instant::now());
        self.metrics.hints_lost.inc_by(missed);
        told.into_iter().for_each(|heard| self.tell(heard));
        if header.node == self.node {
            self.look();
        } else if header.kind == Kind::Hints {
            let Ok(hints) = wire::hints(message) else { return self.garbled() };
            self.metrics.hints_heard.inc_by(hints.len() as u64);
            hints.into_iter().for_each(|hint| self.tell(Heard::Hint(hint)));
        }
    }

    fn garbled(&self) {
        self.metrics.hints_lost.inc();
        self.tell(Heard::Lost);
    }

    /// Looks who has become silent, this node included.
    pub fn watch(&self) {
        let gone = self.peers.lock().silent(Instant::now());
        gone.into_iter().for_each(|heard| self.tell(heard));
        self.look();
    }

    fn look(&self) {
        let carries = self.peers.lock().carries(Instant::now());
        // Until the first connection has been tried, nothing is wrong.
        if carries || self.trouble.lock().told == Some(true) {
            self.log(carries);
        }
    }

    /// Logs a change once, however often it is seen and for however long it stays.
    fn log(&self, carries: bool) {
        let mut trouble = self.trouble.lock();
        if trouble.told.replace(carries) == Some(carries) {
            return;
        }
        self.metrics.bus_up.set(i64::from(carries));
        match carries {
            true => tracing::info!(node = %self.node, "the bus carries"),
            false => {
                let why = trouble.why.clone();
                tracing::warn!(
                    why,
                    "the bus does not carry; the store is asked instead, and NATS tried again until it answers"
                );
            }
        }
    }

    /// A message of this node, with room for what follows.
    pub fn begin(&self, number: u64, kind: Kind) -> Vec<u8> {
        wire::header(&Header { node: self.node, number, kind })
    }
}
