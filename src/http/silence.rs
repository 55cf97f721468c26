//! How long an HTTP connection may say nothing: one timer for all of its requests.
//!
//! There are two limits: `limits.idle_secs` for a connection that says nothing between requests, and `limits.header_secs`
//! for a head once its first byte is there (and for the first head of a connection, which has nothing to be idle for).
//! hyper has one limit for both, and makes a timer for each request. Here the connection's task keeps the time: the socket
//! under hyper says when bytes come, the service when a request begins and ends, and the timer is set anew only when it
//! fires, or where it would fire too late. So a request costs no timer.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    task::Poll,
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{config::Limits, metrics::Metrics};

/// What a connection waits for, in the lowest bits; above them, how many requests it has had. All who write here run in the
/// connection's task.
#[derive(Default)]
pub struct Silence(AtomicU64);

/// Some of a head is there, or it is the first.
const HEAD: u64 = 0;
/// Nothing of the next request is there.
const IDLE: u64 = 1;
/// A request is being answered: that has limits of its own.
const ANSWERING: u64 = 2;
const STATES: u64 = 4;

pub struct Patience {
    head: Duration,
    idle: Duration,
}

impl Patience {
    pub fn of(limits: &Limits) -> Self {
        Self { head: Duration::from_secs(limits.header_secs), idle: Duration::from_secs(limits.idle_secs) }
    }
}

impl Silence {
    /// A request's head is whole.
    pub fn asked(&self) {
        self.0.store(self.0.load(Relaxed) / STATES * STATES + ANSWERING, Relaxed);
    }

    /// It has its answer.
    pub fn answered(&self) {
        self.0.store((self.0.load(Relaxed) / STATES + 1) * STATES + IDLE, Relaxed);
    }

    /// What comes is of a head that is not whole.
    pub fn is_broken(&self) -> bool {
        self.0.load(Relaxed) % STATES == HEAD
    }

    /// Bytes have come.
    pub fn broken(&self) {
        let now = self.0.load(Relaxed);
        if now % STATES == IDLE {
            self.0.store(now - IDLE + HEAD, Relaxed);
        }
    }
}

/// Runs a connection until it ends, or has been silent for too long: then `None`.
pub async fn bear<F: Future>(
    silence: &Silence,
    patience: Patience,
    metrics: &Metrics,
    connection: F,
) -> Option<F::Output> {
    let mut connection = pin!(connection);
    let (mut seen, mut due) = (HEAD, Some(Instant::now() + patience.head));
    let mut timer = pin!(sleep(patience.head));
    poll_fn(|context| {
        if let Poll::Ready(ended) = connection.as_mut().poll(context) {
            return Poll::Ready(Some(ended));
        }
        let now = silence.0.load(Relaxed);
        if now != seen {
            due = match now % STATES {
                ANSWERING => None,
                IDLE => Some(Instant::now() + patience.idle),
                _ => {
                    let whole = Instant::now() + patience.head;
                    // The beginning of a head must not make an idle connection live longer.
                    Some(due.filter(|_| now / STATES == seen / STATES).map_or(whole, |idle| idle.min(whole)))
                }
            };
            seen = now;
        }
        let Some(due) = due else { return Poll::Pending };
        if due < timer.deadline() {
            timer.as_mut().reset(due);
        }
        while timer.as_mut().poll(context).is_ready() {
            if Instant::now() >= due {
                metrics.bound_hit(if now % STATES == IDLE { "limits.idle_secs" } else { "limits.header_secs" });
                return Poll::Ready(None);
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Arc};

    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::{Response, server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use tokio_util::either::Either;

    use crate::{http::socket::HttpSocket, limits::budget::Budget};

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    async fn serve(listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (silence, metrics) = (Arc::new(Silence::default()), Arc::<Metrics>::default());
                let incoming = Budget::new("limits.incoming_bytes", usize::MAX, Default::default(), metrics.clone());
                let answer = service_fn(async |_| {
                    silence.asked();
                    let answer = Response::new(Full::<Bytes>::from("here"));
                    silence.answered();
                    Ok::<_, Infallible>(answer)
                });
                let (head, idle) = (Duration::from_millis(300), Duration::from_secs(600));
                let socket =
                    HttpSocket::new(Either::Left(stream), idle, silence.clone(), incoming.share(), metrics.clone());
                let connection = http1::Builder::new().serve_connection(TokioIo::new(socket), answer);
                bear(&silence, Patience { head, idle }, &metrics, connection).await
            });
        }
    }

    async fn ask(stream: &mut TcpStream) {
        stream.write_all(REQUEST).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"here") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "closed");
        }
    }

    async fn is_closed(stream: &mut TcpStream) {
        assert_eq!(stream.read(&mut [0; 64]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_slow_head_is_cut_off_and_an_idle_connection_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener));
        let connect = async || TcpStream::connect(address).await.unwrap();

        let (mut idle, mut silent, mut first, mut second) =
            (connect().await, connect().await, connect().await, connect().await);
        ask(&mut idle).await;
        first.write_all(&REQUEST[..9]).await.unwrap();
        ask(&mut second).await;
        is_closed(&mut silent).await;
        is_closed(&mut first).await;
        // By now `second` has been idle for as long as a head may take, and may still begin one.
        second.write_all(&REQUEST[..9]).await.unwrap();
        is_closed(&mut second).await;
        ask(&mut idle).await;
    }
}
