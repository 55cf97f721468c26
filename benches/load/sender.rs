//! Posting through `/ws`: with a window of unacknowledged posts, or open-loop beside a pacer. Every acknowledgement is
//! matched to its post by `client_id`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::crowd::Schedule;
use crate::http::advice;
use crate::people::Person;
use crate::scan;
use crate::socket::{Ended, Socket};
use crate::stats::Latency;
use crate::{Result, frames};

/// A post that is not acknowledged for so long fails the run.
const ACK_SECS: u64 = 30;

/// How long to post.
#[derive(Clone, Copy)]
pub enum Until {
    Time(Instant),
    Posts(u64),
}

/// What the acknowledgements of one run said.
#[derive(Default)]
pub struct Acks {
    pub seqs: Vec<u64>,
    pub latency: Latency,
}

pub struct Sender {
    pub socket: Socket,
    rooms: Vec<String>,
    /// Client ids are this and a number.
    prefix: String,
    next: u64,
    content: String,
}

impl Sender {
    /// `name` sets this sender's client ids apart from all others of the same user.
    pub async fn open(addr: SocketAddr, person: &Person, rooms: Vec<String>, name: &str, bytes: usize) -> Result<Self> {
        let socket = Socket::open(addr, "/ws", person).await?;
        Ok(Self { socket, rooms, prefix: format!("{name}-"), next: 0, content: "x".repeat(bytes) })
    }

    /// From now on posts go to these rooms in turn.
    pub fn move_to(&mut self, rooms: Vec<String>) {
        self.rooms = rooms;
    }

    /// Keeps `window` posts unacknowledged; ends when the last one is acknowledged.
    pub async fn windowed(&mut self, window: u64, until: Until) -> Result<Acks> {
        let (first, mut acks, mut out) = (self.next, Acks::default(), Vec::new());
        let mut sent: HashMap<u64, Instant> = HashMap::with_capacity(window as usize);
        loop {
            let now = Instant::now();
            let go_on = |next: u64| match until {
                Until::Time(end) => now < end,
                Until::Posts(count) => next - first < count,
            };
            out.clear();
            while (sent.len() as u64) < window && go_on(self.next) {
                encode(&mut out, &self.rooms, &self.prefix, self.next, &self.content);
                sent.insert(self.next, now);
                self.next += 1;
            }
            if sent.is_empty() {
                return Ok(acks);
            }
            if !out.is_empty() {
                self.socket.send_bytes(&out).await?;
            }
            let take = |number, seq, acks: &mut Acks| {
                if let Some(posted) = sent.remove(&number) {
                    acks.latency.record(posted.elapsed());
                }
                acks.seqs.push(seq);
            };
            receive_acks(&mut self.socket, self.prefix.len(), &mut acks, take).await?;
        }
    }

    /// Encodes posts for a pacer: the n-th call's frame carries the n-th number from here. Acknowledgements of the
    /// `count` of them are then read by `acks_of`.
    pub fn frames(&mut self, count: u64) -> impl FnMut(&mut Vec<u8>) + Send + 'static {
        let (rooms, prefix, content) = (self.rooms.clone(), self.prefix.clone(), self.content.clone());
        let mut next = self.next;
        self.next += count;
        move |out| {
            encode(out, &rooms, &prefix, next, &content);
            next += 1;
        }
    }

    /// Reads the acknowledgements of the last `count` posts, which a pacer sends as every `stride`-th of `schedule`,
    /// from its `offset`-th on.
    pub async fn acks_of(&mut self, count: u64, schedule: &Schedule, (offset, stride): (u64, u64)) -> Result<Acks> {
        let (first, mut acks) = (self.next - count, Acks::default());
        tokio::time::sleep_until(schedule.start.into()).await;
        while (acks.seqs.len() as u64) < count {
            let take = |number: u64, seq, acks: &mut Acks| {
                let message = number.saturating_sub(first) * stride + offset;
                acks.latency.record(schedule.due(message).elapsed());
                acks.seqs.push(seq);
            };
            receive_acks(&mut self.socket, self.prefix.len(), &mut acks, take).await?;
        }
        Ok(acks)
    }
}

/// One wait for bytes: hands number and seq of every acknowledgement to `take`.
async fn receive_acks(
    socket: &mut Socket,
    prefix: usize,
    acks: &mut Acks,
    mut take: impl FnMut(u64, u64, &mut Acks),
) -> Result<()> {
    let mut refused = None;
    let mut hint = scan::Hint::default();
    let receiving = socket.receive(|text| match scan::kind(text) {
        b"posted" => {
            let id = scan::text(text, b"\"client_id\":\"").and_then(|id| std::str::from_utf8(id.get(prefix..)?).ok());
            match (id.and_then(|id| id.parse().ok()), scan::number(text, b"\"seq\":", &mut hint)) {
                (Some(number), Some(seq)) => take(number, seq, acks),
                _ => refused = Some(String::from_utf8_lossy(text).into_owned()),
            }
        }
        b"error" => refused = Some(String::from_utf8_lossy(text).into_owned()),
        _ => {}
    });
    match timeout(Duration::from_secs(ACK_SECS), receiving).await {
        Err(_) => return Err(format!("no acknowledgement for {ACK_SECS} s").into()),
        Ok(Err(Ended(reason))) => return Err(format!("the sender's socket ended: {reason}").into()),
        Ok(Ok(())) => {}
    }
    match refused {
        Some(answer) => Err(format!("a post was not acknowledged: {answer}{}", advice(&answer)).into()),
        None => Ok(()),
    }
}

/// The room is chosen by the post's number, so that rooms take turns.
fn encode(out: &mut Vec<u8>, rooms: &[String], prefix: &str, number: u64, content: &str) {
    let room = &rooms[(number % rooms.len() as u64) as usize];
    let post = format!(r#"{{"type":"post","chat_id":"{room}","content":"{content}","client_id":"{prefix}{number}"}}"#);
    frames::push_masked(out, frames::TEXT, post.as_bytes());
}

impl Acks {
    pub fn add(&mut self, other: Acks) {
        self.seqs.extend(other.seqs);
        self.latency.add(&other.latency);
    }
}
