//! The task that speaks: it connects, sends what waits, beats, and begins again when anything is wrong.
//!
//! A connection is given up as soon as it is known to be lost, or when nothing comes back over it. What waits then is
//! dropped, not kept: a late hint is worth less than the gap that the others notice.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::{Client, Event, ServerAddr, ServerError, Subscriber};
use rand::{RngExt, seq::SliceRandom};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    address::{self, Address},
    state::State,
    wire::Kind,
};

/// Hints that wait together go in one message up to so many bytes.
const MESSAGE_BYTES: usize = 64 * 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A connection that has carried nothing back for twice the silence, and at least so long, is given up.
const LEAST_PATIENCE: Duration = Duration::from_secs(2);
/// How long the goodbye may take.
const BYE_TIME: Duration = Duration::from_secs(1);
/// Events of the client that may wait to be looked at; of more, the oldest are enough.
const EVENTS: usize = 16;

pub struct Speaker {
    state: Arc<State>,
    address: Address,
    queue: mpsc::Receiver<Vec<u8>>,
    /// What waits no longer in the queue, and did not fit into the last message.
    next: Option<Vec<u8>>,
    /// Where the hearing task gets its subscription from, and `None` when it is over.
    ears: mpsc::Sender<Option<Subscriber>>,
    beat: Duration,
    patience: Duration,
}

impl Speaker {
    pub fn new(
        state: Arc<State>,
        address: Address,
        queue: mpsc::Receiver<Vec<u8>>,
        ears: mpsc::Sender<Option<Subscriber>>,
        beat: Duration,
        silence: Duration,
    ) -> Self {
        let patience = (silence * 2).max(LEAST_PATIENCE);
        Self { state, address, queue, next: None, ears, beat, patience }
    }

    /// Until `closing`, and then the goodbye.
    pub async fn run(mut self, closing: CancellationToken) {
        let mut servers = self.address.servers.clone();
        servers.shuffle(&mut rand::rng());
        let mut pause = FIRST_PAUSE;
        for (link, server) in (1..).zip(servers.iter().cycle()) {
            let began = Instant::now();
            let Some(why) = self.session(link, server, &closing).await else { break };
            self.state.cut(&why);
            self.forget();
            if self.ears.send(None).await.is_err() {
                break;
            }
            // A connection that lived is tried again at once; one that did not, later and later.
            pause = if began.elapsed() > self.patience * 2 { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            let pause = pause.mul_f64(rand::rng().random_range(0.75..1.25));
            if closing.run_until_cancelled(sleep(pause)).await.is_none() {
                break;
            }
        }
        self.state.closed();
    }

    /// One connection, from its beginning to why it ended; `None` when it was closed as it should be.
    async fn session(&mut self, link: u32, server: &ServerAddr, closing: &CancellationToken) -> Option<String> {
        let (told, events) = mpsc::channel(EVENTS);
        let client = match closing.run_until_cancelled(self.connect(server, told)).await? {
            Ok(client) => client,
            Err(why) => return Some(why),
        };
        self.state.linked(link, client.max_payload());
        let (state, beat, patience) = (self.state.clone(), self.beat, self.patience);
        tokio::select! {
            why = self.speak(&client, link) => Some(why),
            why = trouble(server, events, deaf(&state, beat, patience)) => Some(why),
            () = closing.cancelled() => {
                self.say_bye(&client).await;
                None
            }
        }
    }

    async fn connect(&self, server: &ServerAddr, told: mpsc::Sender<Event>) -> Result<Client, String> {
        let options = self.address.options.clone().event_callback(move |event| {
            // Where many wait, one more says nothing new.
            let _full = told.try_send(event).is_err();
            std::future::ready(())
        });
        let client = options.connect(server).await.map_err(|error| address::why(server, &error))?;
        let lost = || format!("NATS at {} closed the connection at once", server.as_url_str());
        let subscriber = client.subscribe(self.state.subject.clone()).await.map_err(|_| lost())?;
        self.ears.send(Some(subscriber)).await.map_err(|_| lost())?;
        Ok(client)
    }

    /// Sends and beats, until the connection takes no more.
    async fn speak(&mut self, client: &Client, link: u32) -> String {
        let mut beats = interval(self.beat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let sent = tokio::select! {
                biased;
                _ = beats.tick() => self.say(client, Kind::Beat { link }).await,
                Some(hint) = waiting(&mut self.next, &mut self.queue) => self.send(client, hint).await,
            };
            if let Err(why) = sent {
                return why;
            }
        }
    }

    /// Sends `hint` and what waits behind it, as one message.
    async fn send(&mut self, client: &Client, hint: Vec<u8>) -> Result<(), String> {
        let most = self.state.most_bytes().min(MESSAGE_BYTES);
        let mut message = self.state.begin(self.state.next_number(), Kind::Hints);
        message.extend_from_slice(&hint);
        let mut hints = 1;
        while let Ok(hint) = self.queue.try_recv() {
            if message.len() + hint.len() > most {
                self.next = Some(hint);
                break;
            }
            message.extend_from_slice(&hint);
            hints += 1;
        }
        let sent = self.publish(client, message).await;
        match sent {
            Ok(()) => self.state.metrics.hints_sent.inc_by(hints),
            Err(_) => self.state.metrics.hints_lost.inc_by(hints),
        };
        sent
    }

    /// Says what has no number of its own.
    async fn say(&self, client: &Client, kind: Kind) -> Result<(), String> {
        self.publish(client, self.state.begin(self.state.last_number(), kind)).await
    }

    async fn publish(&self, client: &Client, message: Vec<u8>) -> Result<(), String> {
        let sent = client.publish(self.state.subject.clone(), message.into()).await;
        sent.map_err(|error| format!("NATS takes no messages ({error})"))
    }

    async fn say_bye(&mut self, client: &Client) {
        let bye = async {
            while let Some(hint) = self.next.take().or_else(|| self.queue.try_recv().ok()) {
                self.send(client, hint).await?;
            }
            self.say(client, Kind::Bye).await?;
            client.flush().await.map_err(|error| error.to_string())
        };
        match timeout(BYE_TIME, bye).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => tracing::debug!(why, "the bus was not told goodbye"),
            Err(_) => tracing::debug!("the bus took too long to be told goodbye"),
        }
    }

    /// Drops what waits.
    fn forget(&mut self) {
        while self.next.take().is_some() || self.queue.try_recv().is_ok() {
            self.state.dropped(1);
        }
    }
}

async fn waiting(next: &mut Option<Vec<u8>>, queue: &mut mpsc::Receiver<Vec<u8>>) -> Option<Vec<u8>> {
    match next.take() {
        Some(hint) => Some(hint),
        None => queue.recv().await,
    }
}

/// Waits until something is wrong with a connection, and says what, with what the server has complained of before.
async fn trouble(server: &ServerAddr, mut events: mpsc::Receiver<Event>, deaf: impl Future<Output = ()>) -> String {
    let mut complaint = String::new();
    let mut deaf = std::pin::pin!(deaf);
    let server = server.as_url_str();
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = &mut deaf => return format!("nothing comes back from NATS at {server}{complaint}"),
        };
        match event {
            None | Some(Event::Disconnected | Event::Closed) => {
                return format!("NATS at {server} has closed the connection, or it broke{complaint}");
            }
            Some(Event::ServerError(ServerError::Other(error))) => {
                complaint = format!(" (it said `{error}`; this natter must be allowed to publish and subscribe there)");
            }
            Some(Event::ServerError(error)) => complaint = format!(" (it said `{error}`)"),
            // The numbers show what was lost by it.
            Some(Event::SlowConsumer(_)) => tracing::debug!("messages of the bus came faster than they are heard"),
            Some(_) => {}
        }
    }
}

async fn deaf(state: &State, beat: Duration, patience: Duration) {
    let mut looks = interval(beat);
    while state.deaf_for() <= patience {
        looks.tick().await;
    }
}
