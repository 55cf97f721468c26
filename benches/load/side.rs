//! One side of a fan-out comparison: natter, or the bare write loop. Both have subscribers that check every seq and
//! somebody who posts, and both are measured by the same code.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bare;
use crate::check::Faults;
use crate::crowd::{Crowd, Schedule};
use crate::people::People;
use crate::sender::{Acks, Sender, Until};
use crate::server::Target;
use crate::socket::{self, Socket};
use crate::stats::{Latency, Spread};
use crate::svg::{Plot, Series, point};
use crate::{Common, Result, pacer, proc};

/// How long the last deliveries may take before they count as lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between connecting and measuring: presence is told to everyone while sockets come.
pub const SETTLE_MILLIS: u64 = 2_000;

pub struct Side<'a> {
    pub crowd: Rc<Crowd>,
    voice: Voice,
    server: Server<'a>,
    readers_per_room: u64,
    heads: Vec<u64>,
    ack_faults: Faults,
}

enum Voice {
    /// Their number divides the number of rooms: message m is posted by sender m modulo senders to room m modulo rooms.
    Natter(Vec<Sender>),
    Bare(TcpStream),
}

enum Server<'a> {
    Natter(&'a Target),
    Bare(bare::Process),
}

/// One measurement. CPU in seconds.
pub struct Measured {
    pub messages: u64,
    pub deliveries: u64,
    pub secs: f64,
    pub server_cpu: f64,
    /// Of the server's thread that worked most.
    pub busiest_thread_cpu: f64,
    pub client_cpu: f64,
    pub latency: Latency,
}

/// What is read before a measurement and after it. CPU in seconds.
struct Meter {
    server_cpu: f64,
    threads_cpu: BTreeMap<u32, f64>,
    client_cpu: f64,
    delivered: u64,
}

impl Measured {
    pub fn deliveries_per_sec(&self) -> f64 {
        self.deliveries as f64 / self.secs
    }

    /// CPU seconds per million deliveries.
    pub fn server_cpu_per_million(&self) -> f64 {
        self.server_cpu / self.deliveries as f64 * 1e6
    }

    pub fn client_cpu_per_million(&self) -> f64 {
        self.client_cpu / self.deliveries as f64 * 1e6
    }

    pub fn server_cores(&self) -> f64 {
        self.server_cpu / self.secs
    }

    pub fn busiest_thread_cores(&self) -> f64 {
        self.busiest_thread_cpu / self.secs
    }

    pub fn client_cores(&self) -> f64 {
        self.client_cpu / self.secs
    }
}

impl<'a> Side<'a> {
    /// Makes users and rooms, connects everyone, and posts once to each room.
    pub async fn natter(
        target: &'a Target,
        common: &Common,
        (rooms, readers, senders): (usize, usize, usize),
        bytes: usize,
    ) -> Result<Self> {
        let people = People::gather(target, common, rooms * readers).await?;
        let chat_ids = people.rooms(target, rooms).await?;
        Self::follow(target, &people, &chat_ids, (readers, senders), bytes).await
    }

    /// The same with users and rooms that are there: `readers` sockets in each of `chat_ids`, and `senders` of the first user.
    pub async fn follow(
        target: &'a Target,
        people: &People,
        chat_ids: &[String],
        (readers, senders): (usize, usize),
        bytes: usize,
    ) -> Result<Self> {
        let rooms = chat_ids.len();
        let crowd = Crowd::new();
        crowd.join(target, people, chat_ids, rooms * readers).await?;
        let mut voices = Vec::new();
        for nth in 0..senders {
            let turns = chat_ids.iter().skip(nth).step_by(senders).cloned().collect();
            let name = format!("{}-{nth}", people.run);
            voices.push(Sender::open(target.addr, people.first(), turns, &name, bytes).await?);
        }
        settle(SETTLE_MILLIS).await;
        let heads = crowd.heads(rooms);
        let mut side = Self {
            crowd,
            voice: Voice::Natter(voices),
            server: Server::Natter(target),
            readers_per_room: readers as u64,
            heads,
            ack_faults: Faults::default(),
        };
        let warm_up = side.paced(1_000.0, rooms as u64).await?;
        match warm_up.deliveries == (rooms * readers) as u64 {
            true => Ok(side),
            false => {
                Err(format!("of the first {} deliveries only {} came", rooms * readers, warm_up.deliveries).into())
            }
        }
    }

    /// The bare loop with as many sockets, writing events of the same length; with `chunk_bytes` many at once, to one room.
    pub async fn bare(rooms: usize, readers: usize, event_bytes: usize, chunk_bytes: usize) -> Result<Side<'static>> {
        let numbers = [rooms * readers, rooms, event_bytes, chunk_bytes].map(|number| number.to_string());
        let names = ["--subscribers", "--rooms", "--bytes", "--chunk"];
        let named = names.iter().zip(&numbers).flat_map(|(name, number)| [*name, number.as_str()]);
        let process = bare::Process::start(&["fanout"].into_iter().chain(named).collect::<Vec<_>>(), "")?;
        let mut control = socket::connect(process.addr).await?;
        let crowd = Crowd::new();
        for nth in 0..rooms * readers {
            crowd.follow(Socket::raw(socket::connect(process.addr).await?), (nth, nth % rooms), 1, &[]);
        }
        control.read_u8().await?;
        Ok(Side {
            crowd,
            voice: Voice::Bare(control),
            server: Server::Bare(process),
            readers_per_room: readers as u64,
            heads: vec![0; rooms],
            ack_faults: Faults::default(),
        })
    }

    /// Open-loop: `messages` at `rate` per second, a multiple of the number of rooms.
    pub async fn paced(&mut self, rate: f64, messages: u64) -> Result<Measured> {
        let first_seqs = self.heads.iter().map(|head| head + 1).collect();
        let schedule = Schedule::at_rate(Instant::now() + Duration::from_millis(100), rate, first_seqs);
        self.crowd.expect(schedule.clone());
        let meter = self.meter()?;
        match &mut self.voice {
            Voice::Natter(senders) => {
                let acks = post_on_time(senders, &schedule, messages).await?;
                if let [head] = self.heads[..] {
                    self.ack_faults.add(&Faults::in_acks(head, acks.seqs));
                }
            }
            Voice::Bare(control) => {
                let outlet = std::net::TcpStream::from(std::os::fd::AsFd::as_fd(control).try_clone_to_owned()?);
                let pacing = pacer::spawn(vec![outlet], schedule.clone(), messages, |_, out| out.push(b'm'));
                if self.heads.len() == 1 {
                    control.read_exact(&mut vec![0; messages as usize]).await?;
                }
                pacing.await??;
            }
        }
        self.measure(meter, schedule.start, messages).await
    }

    /// As many messages as acknowledgements allow with `window` of them outstanding; for one room.
    pub async fn saturated(&mut self, window: u64, length: Duration) -> Result<Measured> {
        let (start, meter) = (Instant::now(), self.meter()?);
        let messages = match &mut self.voice {
            Voice::Natter(senders) => {
                let acks = senders[0].windowed(window, Until::Time(start + length)).await?;
                let count = acks.seqs.len() as u64;
                self.ack_faults.add(&Faults::in_acks(self.heads[0], acks.seqs));
                count
            }
            Voice::Bare(control) => order_windowed(control, window as usize, start + length).await?,
        };
        self.measure(meter, start, messages).await
    }

    /// Of each room, the seq of its last event.
    pub fn heads(&self) -> &[u64] {
        &self.heads
    }

    pub fn faults(&self) -> Faults {
        let mut faults = self.crowd.faults(&self.heads);
        faults.add(&self.ack_faults);
        faults
    }

    /// Ends subscribers and senders; the server stays.
    pub fn leave(self) {
        self.crowd.leave();
    }

    fn server_cpu(&self) -> Result<f64> {
        match &self.server {
            Server::Natter(target) => target.cpu_secs(),
            Server::Bare(process) => process.cpu_secs(),
        }
    }

    fn meter(&self) -> Result<Meter> {
        let threads_cpu = match &self.server {
            Server::Natter(target) => target.thread_cpu_secs(),
            Server::Bare(process) => process.thread_cpu_secs(),
        };
        Ok(Meter {
            server_cpu: self.server_cpu()?,
            threads_cpu: threads_cpu?,
            client_cpu: proc::own_cpu_secs()?,
            delivered: self.crowd.delivered(),
        })
    }

    /// Waits for the last delivery and reads the meters again.
    async fn measure(&mut self, before: Meter, start: Instant, messages: u64) -> Result<Measured> {
        let goal = before.delivered + messages * self.readers_per_room;
        let last = self.crowd.wait_for(goal, PATIENCE).await;
        let rooms = self.heads.len() as u64;
        self.heads.iter_mut().for_each(|head| *head += messages / rooms);
        let after = self.meter()?;
        let of_thread = |(id, cpu): (&u32, &f64)| cpu - before.threads_cpu.get(id).unwrap_or(&0.0);
        Ok(Measured {
            messages,
            deliveries: after.delivered - before.delivered,
            secs: last.saturating_duration_since(start).as_secs_f64(),
            server_cpu: after.server_cpu - before.server_cpu,
            busiest_thread_cpu: after.threads_cpu.iter().map(of_thread).fold(f64::NAN, f64::max),
            client_cpu: after.client_cpu - before.client_cpu,
            latency: self.crowd.latencies(),
        })
    }
}

impl Drop for Side<'_> {
    fn drop(&mut self) {
        self.crowd.leave();
    }
}

/// Posts `count` messages as the schedule says, the senders in turn, until all are acknowledged.
pub async fn post_on_time(senders: &mut [Sender], schedule: &Schedule, count: u64) -> Result<Acks> {
    let stride = senders.len() as u64;
    let share = |nth: u64| (count + stride - 1 - nth) / stride;
    let outlets = senders.iter().map(|sender| sender.socket.outlet()).collect::<std::io::Result<Vec<_>>>()?;
    let mut frames: Vec<_> = senders.iter_mut().zip(0..).map(|(sender, nth)| sender.frames(share(nth))).collect();
    let pacing = pacer::spawn(outlets, schedule.clone(), count, move |i, out| frames[(i % stride) as usize](out));
    let reading = senders.iter_mut().zip(0..).map(|(sender, nth)| sender.acks_of(share(nth), schedule, (nth, stride)));
    let mut acks = Acks::default();
    for sender in futures_util::future::try_join_all(reading).await? {
        acks.add(sender);
    }
    pacing.await??;
    Ok(acks)
}

/// Keeps `window` orders outstanding at the bare server; how many it has carried out.
async fn order_windowed(control: &mut TcpStream, window: usize, end: Instant) -> Result<u64> {
    let (mut ordered, mut done, mut answers) = (0, 0, [0; 256]);
    loop {
        if Instant::now() < end {
            let more = window - (ordered - done);
            control.write_all(&vec![b'm'; more]).await?;
            ordered += more;
        }
        if ordered == done {
            return Ok(done as u64);
        }
        match control.read(&mut answers).await? {
            0 => return Err("the bare server ended".into()),
            count => done += count,
        }
    }
}

/// Sleeps until what the last step stirred up (presence, caches, closing sockets) has settled.
pub async fn settle(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// Latencies of deliveries by percentile, a line for each of the named.
pub fn percentiles<'a>(title: String, lines: impl IntoIterator<Item = (&'a str, &'a [Measured])>) -> Plot {
    const PLACES: [(f64, &str); 6] =
        [(50.0, "50"), (90.0, "90"), (99.0, "99"), (99.9, "99.9"), (99.99, "99.99"), (100.0, "max")];
    let series = lines.into_iter().map(|(name, rounds)| Series {
        name: name.into(),
        joined: true,
        points: (0..)
            .zip(PLACES)
            .map(|(at, (place, _))| {
                let spread = Spread::of(rounds.iter().map(|round| round.latency.millis_at(place)));
                let mut point = point(f64::from(at), spread.median);
                point.range = Some((spread.min, spread.max));
                point
            })
            .collect(),
    });
    Plot {
        title,
        x: "percentile of deliveries".into(),
        y: "ms after the intended send time".into(),
        series: series.collect(),
        x_names: (0..).zip(PLACES).map(|(at, (_, name))| (f64::from(at), name.into())).collect(),
    }
}
