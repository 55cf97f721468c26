//! From the listening socket to requests, and down again.
//!
//! One task accepts; each connection is a task of its own, which ends when the client leaves, when it has been idle for
//! too long, or when it becomes a WebSocket: then the socket belongs to `ws`, and nothing of hyper is left.
//! `stop` ends the accepting and every idle connection; `open` counts the connection tasks, so that a drain can wait for
//! the requests in flight. This file knows no routes: what a request means is `http::pipeline`'s.

mod drain;
mod metrics;
mod tidy;
pub mod tls;
pub mod waiting;

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use hyper::{HeaderMap, Method, StatusCode, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{either::Either, sync::CancellationToken, task::TaskTracker};

use crate::{
    app::App,
    config::Limits,
    http::{
        pipeline,
        request::Client,
        request_id::RequestId,
        request_log::Ended,
        silence::{self, Patience, Silence},
        socket::HttpSocket,
        stream::Stream,
    },
    limits::connections::{Place, Refused},
    metrics::Metrics,
    seldom,
};
use tls::Tls;

const REFUSAL_SECS: u64 = 2;

/// hyper wants room for a request's head even where `limits.header_bytes` is tiny.
const LEAST_READ_BUFFER: usize = 64 * 1024;

/// When there is no file left, who has been silent for so long is closed; whoever has just come is about to say something.
const SILENT: Duration = Duration::from_secs(1);

/// How long accepting rests when the process has no file left for a connection.
const REST: Duration = Duration::from_millis(50);

pub struct Server {
    app: Arc<App>,
    tls: Option<Arc<Tls>>,
    /// Cancelled: no new connections, and the open ones end with the request they are at.
    stop: CancellationToken,
    open: TaskTracker,
    /// Connections that are told that there is no place for them; those past this many as well are just closed.
    refusals: Arc<Semaphore>,
}

/// Binds with a backlog that a storm of reconnecting clients fits in. What is said of the kernel's buffers holds for every
/// connection that comes.
pub fn listen(address: SocketAddr, backlog: u32, limits: &Limits) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if limits.send_buffer_bytes > 0 {
        socket.set_send_buffer_size(limits.send_buffer_bytes)?;
    }
    if limits.unsent_bytes > 0 {
        socket.set_tcp_notsent_lowat(limits.unsent_bytes)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

/// A sentence when the kernel keeps a shorter queue than `server.backlog` asks for, and so many `sockets` as somebody has asked for
/// do not fit into it when they all come back at once.
pub fn backlog_warning(backlog: u32, sockets: usize) -> Option<String> {
    let somaxconn: u32 = std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()?;
    (somaxconn < backlog && sockets > somaxconn as usize).then(|| {
        format!(
            "the kernel queues {somaxconn} new connections, and sockets.connections is {sockets}: when they all come back at \
             once, some wait longer; `sysctl net.core.somaxconn={backlog}` makes the queue as long as server.backlog"
        )
    })
}

/// Serves `/metrics` on a listener of its own, until the process ends.
pub fn accept_metrics(metrics: Arc<Metrics>, listener: TcpListener, limits: &Limits) {
    tokio::spawn(metrics::serve(metrics, listener, limits.header_secs));
}

impl Server {
    /// With `tls`, `accept` speaks HTTPS.
    pub fn new(app: Arc<App>, tls: Option<Arc<Tls>>) -> Self {
        Self {
            tls,
            stop: CancellationToken::new(),
            open: TaskTracker::new(),
            refusals: Arc::new(Semaphore::new(app.connections.refusals())),
            app,
        }
    }

    /// Begins to accept; a task of the server's own goes on until the drain.
    pub fn accept(self: &Arc<Self>, listener: TcpListener) {
        self.open.spawn(self.stop.clone().run_until_cancelled_owned(tidy::run(self.app.clone())));
        let server = self.clone();
        self.open.spawn(async move {
            while let Some(accepted) = server.stop.run_until_cancelled(listener.accept()).await {
                match accepted {
                    Ok((stream, peer)) => server.admit(stream, peer),
                    Err(error) if is_of_one_connection(&error) => {}
                    Err(error) => {
                        if let Some(seldom::Line { held_back }) = seldom::due("no room for a connection") {
                            tracing::error!(%error, held_back, "new connections wait: the system has no room for one");
                        }
                        server.app.connections.close_oldest(SILENT);
                        tokio::time::sleep(REST).await;
                    }
                }
            }
        });
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let refusal = match self.app.connections.take(peer.ip().to_canonical()) {
            Ok(place) => {
                let (server, guest) = (self.clone(), place.guest());
                let task = self.open.spawn(async move {
                    let _counted = Counted::new(&server.app);
                    server.converse(stream, peer, place).await;
                });
                return guest.is_served_by(task.abort_handle());
            }
            Err(Refused::Share) => OVER_ITS_SHARE,
            Err(Refused::Full) => NO_ROOM,
        };
        if let Ok(permit) = self.refusals.clone().try_acquire_owned() {
            let id = RequestId::of(&HeaderMap::new());
            self.app.request_log.write(&Ended {
                id: &id,
                method: &Method::GET,
                route: "none",
                address: Some(peer.ip().to_canonical()),
                status: refusal.status.as_u16(),
                code: Some(refusal.code),
                cause: None,
                elapsed: Duration::ZERO,
            });
            // A client that waits for a TLS handshake would not understand a word.
            let told = if self.tls.is_some() { None } else { Some(stream) };
            self.open.spawn(async move {
                if let Some(stream) = told {
                    refuse(stream, refusal, &id).await;
                }
                drop(permit);
            });
        }
    }

    /// Answers the requests of one connection, one after the other.
    async fn converse(&self, stream: TcpStream, peer: SocketAddr, place: Place) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone before it began");
            return;
        }
        let Some(stream) = self.secure(stream).await else { return };
        let (app, limits) = (&self.app, &self.app.config.limits);
        let (config, metrics, budgets) = (app.config.clone(), app.metrics.clone(), app.budgets.clone());
        let client = Arc::new(Client {
            address: peer.ip().to_canonical(),
            config,
            metrics,
            budgets,
            place,
            unread: AtomicBool::new(false),
        });
        let silence = Arc::new(Silence::default());
        let service = service_fn(async |request| {
            silence.asked();
            client.place.is_busy();
            let answer = pipeline::answer(app, request, &client).await;
            silence.answered();
            client.place.is_silent();
            Ok::<_, Infallible>(answer)
        });
        let within = Duration::from_secs(limits.answer_secs);
        let socket =
            HttpSocket::new(stream, within, silence.clone(), app.budgets.incoming.share(), app.metrics.clone());
        let connection = http1(limits).serve_connection(TokioIo::new(socket), service).with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let mut stop = std::pin::pin!(self.stop.cancelled());
        let (mut heard, mut stopping) = (false, false);
        let connection = poll_fn(|context| {
            // All connections share the token's lock: it is asked once, to be woken by it, and then not before it is time.
            if !stopping && (!heard || app.draining.load(Relaxed)) {
                heard = true;
                if stop.as_mut().poll(context).is_ready() {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
            connection.as_mut().poll(context)
        });
        let patience = Patience::of(limits);
        let Some(ended) = silence::bear(&silence, patience, &app.metrics, connection).await else { return };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

impl Server {
    /// The stream that requests come by. `None`: it came to nothing.
    async fn secure(&self, stream: TcpStream) -> Option<Stream> {
        let Some(tls) = &self.tls else { return Some(Either::Left(stream)) };
        let handshake = async {
            if tls::is_plain(&stream).await? {
                refuse(stream, NOT_HTTP, &RequestId::of(&HeaderMap::new())).await;
                return Ok(None);
            }
            tls.accept(stream).await.map(Some)
        };
        let within = Duration::from_secs(self.app.config.limits.header_secs);
        match self.stop.run_until_cancelled(tokio::time::timeout(within, handshake)).await? {
            Ok(Ok(stream)) => stream.map(Either::Right),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
            Err(_) => {
                self.app.metrics.bound_hit("limits.header_secs");
                None
            }
        }
    }
}

/// hyper's bounds are wider than ours, so that a request past ours still gets our answer; one past hyper's gets a bare one.
fn http1(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    // `silence` keeps the time.
    http.header_read_timeout(None)
        // Who has sent a whole request may say that nothing more comes, and is answered.
        .half_close(true)
        .max_buf_size((limits.header_bytes.saturating_add(limits.uri_bytes)).saturating_mul(2).max(LEAST_READ_BUFFER))
        .max_headers(limits.headers.saturating_mul(2));
    http
}

/// Whether accepting failed because of the connection accepted, and not for want of room.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// What a client is told that never comes to a request.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    detail: &'static str,
    headers: &'static str,
}

const NO_ROOM: Refusal = Refusal {
    status: StatusCode::SERVICE_UNAVAILABLE,
    code: "busy",
    detail: "The server has all the connections it takes; try again in a moment.",
    headers: "retry-after: 1\r\n",
};

const OVER_ITS_SHARE: Refusal = Refusal {
    status: StatusCode::TOO_MANY_REQUESTS,
    code: "too_many_connections",
    detail: "Your address has as many connections open as it may (limits.connections_per_address); close one.",
    headers: "retry-after: 1\r\n",
};

const NOT_HTTP: Refusal = Refusal {
    status: StatusCode::BAD_REQUEST,
    code: "https_required",
    detail: "This port speaks HTTPS: begin the address with https:// or wss://.",
    headers: "",
};

/// What the client sent is read (and thrown away), because closing a socket with unread bytes would take the answer back.
async fn refuse(mut stream: TcpStream, refusal: Refusal, id: &RequestId) {
    let Refusal { status, code, detail, headers } = refusal;
    let body = format!(r#"{{"detail":"{detail}","code":"{code}","request_id":"{id}"}}"#);
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{headers}connection: close\r\n\
         x-request-id: {id}\r\n\r\n{body}",
        body.len()
    );
    let tell = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(REFUSAL_SECS), tell).await {
        tracing::debug!(%error, "a refused connection left before it was told");
    }
}

/// Counts a connection for as long as it lives, also when its task panics.
struct Counted<'a>(&'a App);

impl<'a> Counted<'a> {
    fn new(app: &'a App) -> Self {
        app.metrics.http_connections.inc();
        Self(app)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.metrics.http_connections.dec();
    }
}
