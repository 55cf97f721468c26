//! A TCP proxy between a node and its database or its bus that does what networks do: cuts, delays, swallows, loses answers.
//!
//! It knows no protocol. A *request* is what the node sends, an *answer* what comes back. Its port stays its own while it
//! lives, also while connections to it are refused. What a connection has lost is lost: when a black hole is healed, those
//! that were in it end, and whoever wants one opens a new one.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{in_time, services::Port};

/// Bytes read at once, and pieces that may wait in one direction.
const PIECE: usize = 64 * 1024;
const WAITING: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Cut,
    BlackHole,
    Delay(Duration),
    LoseAnswers,
    /// Bytes of answers that each connection still lets through.
    CutMidAnswer(usize),
}

/// What the proxy does now, and the connections it does it to: those of `epoch` end together.
#[derive(Clone)]
struct Weather {
    fault: Fault,
    epoch: CancellationToken,
}

struct Shared {
    port: Port,
    target: SocketAddr,
    weather: Mutex<Weather>,
    /// Pieces that were lost or cut, so that a test can wait for one.
    harmed: watch::Sender<usize>,
    carried: AtomicUsize,
}

impl Shared {
    fn harm(&self) {
        self.harmed.send_modify(|harmed| *harmed += 1);
    }
}

pub struct Proxy {
    shared: Arc<Shared>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

impl Proxy {
    /// A proxy before `target`, which need not be there yet.
    pub async fn start(target: SocketAddr) -> Self {
        let weather = Mutex::new(Weather { fault: Fault::None, epoch: CancellationToken::new() });
        let (harmed, carried) = (watch::Sender::new(0), AtomicUsize::new(0));
        let shared = Arc::new(Shared { port: Port::take(), target, weather, harmed, carried });
        let proxy = Self { shared, accepting: Mutex::new(None) };
        proxy.listen();
        proxy
    }

    pub fn addr(&self) -> SocketAddr {
        self.shared.port.addr()
    }

    /// `nats` gives `nats://127.0.0.1:…`.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.addr())
    }

    /// Bytes let through so far, both ways.
    pub fn carried(&self) -> usize {
        self.shared.carried.load(Ordering::Relaxed)
    }

    /// Ends every connection, and refuses new ones.
    pub async fn cut(&self) {
        let accepting = self.accepting.lock().take();
        if let Some(accepting) = accepting {
            accepting.abort();
            // The listener is closed when its task has ended.
            assert!(accepting.await.is_err_and(|end| end.is_cancelled()), "a proxy accepts until it is cut");
        }
        self.change(Fault::Cut, true);
    }

    /// Takes connections and bytes, and passes nothing on: nobody gets an answer or an error.
    pub fn black_hole(&self) {
        self.reopen(Fault::BlackHole, false);
    }

    /// Passes everything on after so long, each way.
    pub fn delay(&self, each_way: Duration) {
        self.reopen(Fault::Delay(each_way), false);
    }

    /// Passes requests on; an answer is swallowed, and its connection ends.
    pub fn lose_answers(&self) {
        self.reopen(Fault::LoseAnswers, false);
    }

    /// Ends each connection after the next `bytes` of its answers.
    pub fn cut_mid_answer(&self, bytes: usize) {
        self.reopen(Fault::CutMidAnswer(bytes), false);
    }

    /// All is well again, for new connections at least.
    pub fn heal(&self) {
        let holed = self.shared.weather.lock().fault == Fault::BlackHole;
        self.reopen(Fault::None, holed);
    }

    /// How many answers were lost or cut so far, or pieces of either direction in a black hole.
    pub fn harmed(&self) -> usize {
        *self.shared.harmed.borrow()
    }

    /// Waits until there are more than `before`.
    pub async fn harms_more_than(&self, before: usize) {
        let mut harmed = self.shared.harmed.subscribe();
        let waiting = harmed.wait_for(|&harmed| harmed > before);
        in_time("something to be lost", waiting).await.expect("the proxy lives");
    }

    fn reopen(&self, fault: Fault, ends_connections: bool) {
        self.change(fault, ends_connections);
        self.listen();
    }

    fn change(&self, fault: Fault, ends_connections: bool) {
        let mut weather = self.shared.weather.lock();
        weather.fault = fault;
        if ends_connections {
            weather.epoch.cancel();
            weather.epoch = CancellationToken::new();
        }
    }

    /// Accepts connections, where it does not already.
    fn listen(&self) {
        let mut accepting = self.accepting.lock();
        if accepting.is_none() {
            *accepting = Some(tokio::spawn(accept(self.shared.clone(), self.shared.port.listen())));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.lock().take() {
            accepting.abort();
        }
        self.shared.weather.lock().epoch.cancel();
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let (client, _) = listener.accept().await.expect("a listener accepts");
        let shared = shared.clone();
        let epoch = shared.weather.lock().epoch.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = epoch.cancelled() => {}
                () = carry(&shared, client) => {}
            }
        });
    }
}

/// One connection and its counterpart, until both have nothing more to say or the weather ends them: then with a reset, as
/// the client's stream lingers only where the server's ended by itself.
async fn carry(shared: &Shared, client: TcpStream) {
    client.set_zero_linger().expect("an open connection");
    let _no_delay = client.set_nodelay(true).is_ok();
    if shared.weather.lock().fault == Fault::BlackHole {
        return swallow(shared, client).await;
    }
    let Ok(server) = TcpStream::connect(shared.target).await else { return };
    let _no_delay = server.set_nodelay(true).is_ok();
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let requests = pump(shared, Direction::Requests, from_client, to_server);
    let answers = pump(shared, Direction::Answers, from_server, to_client);
    // A direction that ends by a fault ends the connection; one that ends by itself leaves the other to finish.
    tokio::pin!(requests, answers);
    tokio::select! {
        end = &mut requests => if end == End::Finished { answers.await; },
        end = &mut answers => if end == End::Finished { requests.await; },
    }
}

async fn swallow(shared: &Shared, mut client: TcpStream) {
    let mut piece = vec![0; PIECE];
    while client.read(&mut piece).await.is_ok_and(|read| read > 0) {
        shared.harm();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Requests,
    Answers,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// One side ended its stream, and the other has been told.
    Finished,
    Harmed,
}

/// Reads on while what was read waits for its time, so that a delay costs time and no throughput.
async fn pump(shared: &Shared, direction: Direction, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> End {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(WAITING);
    let reading = async move {
        let mut piece = vec![0; PIECE];
        while let Ok(read @ 1..) = from.read(&mut piece).await {
            if sender.send((Instant::now(), piece[..read].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let writing = async {
        let mut let_through = 0;
        while let Some((arrived, piece)) = pieces.recv().await {
            if !passes(shared, direction, &mut let_through, arrived, &piece, &mut to).await {
                return End::Harmed;
            }
        }
        if shared.weather.lock().fault == Fault::BlackHole {
            // The end of a stream is swallowed like everything else.
            std::future::pending::<()>().await;
        }
        let told = SockRef::from(to.as_ref()).set_linger(None).is_ok() && to.shutdown().await.is_ok();
        if told { End::Finished } else { End::Harmed }
    };
    tokio::pin!(reading, writing);
    tokio::select! {
        end = &mut writing => end,
        () = &mut reading => writing.await,
    }
}

/// Does to one piece what the weather is now; false where that ends the connection. `let_through` counts the bytes of its
/// answers while they are being cut.
async fn passes(
    shared: &Shared,
    direction: Direction,
    let_through: &mut usize,
    arrived: Instant,
    piece: &[u8],
    to: &mut OwnedWriteHalf,
) -> bool {
    let fault = shared.weather.lock().fault;
    let answers = direction == Direction::Answers;
    let length = match fault {
        Fault::Cut | Fault::BlackHole => {
            shared.harm();
            return true;
        }
        Fault::LoseAnswers if answers => 0,
        Fault::CutMidAnswer(bytes) if answers => piece.len().min(bytes.saturating_sub(*let_through)),
        Fault::Delay(each_way) => {
            tokio::time::sleep_until(arrived + each_way).await;
            piece.len()
        }
        Fault::None | Fault::LoseAnswers | Fault::CutMidAnswer(_) => piece.len(),
    };
    *let_through += length;
    shared.carried.fetch_add(length, Ordering::Relaxed);
    let written = to.write_all(&piece[..length]).await.is_ok();
    if length < piece.len() {
        shared.harm();
    }
    written && length == piece.len()
}
