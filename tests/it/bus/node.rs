//! One node on a bus over NATS, and all that it has heard.

use std::sync::Arc;

use natter::{
    bus::{Bus, Heard, Hint, nats::NatsBus},
    config::Config,
    event::{Event, Kind},
    metrics::Metrics,
    protocol::Frame,
    types::{MessageId, NodeId, RoomId, Seq, Timestamp, UserId},
};
use tokio::sync::mpsc;

use crate::harness::{in_time, until};

pub fn config(url: &str) -> Config {
    let mut config = Config::default();
    config.bus.url = url.into();
    config.cluster.beat_millis = 50;
    config
}

pub struct Node {
    pub bus: Arc<NatsBus>,
    pub metrics: Arc<Metrics>,
    heard: mpsc::UnboundedReceiver<Heard>,
}

impl Node {
    pub async fn start(url: &str) -> Self {
        Self::with(&config(url), "chat").await
    }

    pub async fn with(config: &Config, cluster: &str) -> Self {
        let (tell, heard) = mpsc::unbounded_channel();
        // A test may end before the bus has said everything.
        Self::listening(config, cluster, move |told| drop(tell.send(told)), heard).await
    }

    /// With a listener of the test's own.
    pub async fn listening(
        config: &Config,
        cluster: &str,
        listener: impl Fn(Heard) + Send + Sync + 'static,
        heard: mpsc::UnboundedReceiver<Heard>,
    ) -> Self {
        let metrics = Arc::new(Metrics::default());
        let bus = NatsBus::connect(config, cluster, metrics.clone()).await.expect("good settings");
        bus.listen(Box::new(listener));
        Self { bus, metrics, heard }
    }

    /// As many nodes of one database that all hear each other.
    pub async fn several<const N: usize>(config: &Config) -> [Self; N] {
        let mut nodes = Vec::new();
        for _ in 0..N {
            nodes.push(Self::with(config, "chat").await);
        }
        for node in &nodes {
            node.hears(N).await;
        }
        let Ok(nodes) = nodes.try_into() else { unreachable!("as many as were pushed") };
        nodes
    }

    pub fn id(&self) -> NodeId {
        self.bus.node()
    }

    /// Waits until it hears so many nodes, itself included.
    pub async fn hears(&self, nodes: usize) {
        until("the nodes to hear each other", async || self.bus.hears().is_ok_and(|heard| heard.len() == nodes)).await;
    }

    /// Waits until it cannot be heard; gives the sentence that says why.
    pub async fn cut(&self) -> String {
        until("the bus not to carry", async || self.bus.hears().is_err()).await;
        self.bus.hears().expect_err("it has just not been heard")
    }

    /// Waits until the sentence that says why it cannot be heard has `text` in it.
    pub async fn cut_saying(&self, text: &str) -> String {
        until(text, async || self.bus.hears().is_err_and(|why| why.contains(text))).await;
        self.bus.hears().expect_err("it has just not been heard")
    }

    /// The next thing heard that `wanted` takes; what comes before it is dropped.
    pub async fn next<T>(&mut self, what: &str, wanted: impl Fn(&Heard) -> Option<T>) -> T {
        in_time(what, async {
            loop {
                let heard = self.heard.recv().await.expect("the bus tells while it lives");
                if let Some(found) = wanted(&heard) {
                    return found;
                }
            }
        })
        .await
    }

    pub async fn heard(&mut self, wanted: &Heard) {
        self.next(&format!("{wanted:?}"), |heard| (heard == wanted).then_some(())).await;
    }

    pub async fn hint(&mut self) -> Hint {
        let hint = |heard: &Heard| if let Heard::Hint(hint) = heard { Some(hint.clone()) } else { None };
        self.next("a hint", hint).await
    }

    pub async fn hints(&mut self, count: usize) -> Vec<Hint> {
        let mut hints = Vec::new();
        while hints.len() < count {
            hints.push(self.hint().await);
        }
        hints
    }

    /// What it has heard until now and nobody has looked at.
    pub fn rest(&mut self) -> Vec<Heard> {
        std::iter::from_fn(|| self.heard.try_recv().ok()).collect()
    }
}

pub fn typing() -> Hint {
    Hint::Typing { room: RoomId::fresh(), user: UserId::fresh() }
}

pub fn event(seq: Seq, kind: Kind, body: Vec<u8>) -> Event {
    Event {
        seq,
        ordinal: seq / 2,
        sender: UserId::fresh(),
        client_id: seq.is_multiple_of(2).then(|| format!("é{seq}").into()),
        event_id: MessageId::fresh(),
        sent_at: Timestamp(1_700_000_000_123),
        kind,
        frame: Frame::of(&body),
    }
}
