//! The clock that hyper reads request heads by.
//!
//! hyper has one time limit, from the moment it begins to wait for a head until the head is complete, and so counts an
//! idle connection as a slow one. We want two: `limits.idle_secs` for a connection that says nothing between requests, and
//! `limits.header_secs` for a head once its first byte is there (and for the first head of a connection, which has
//! nothing to be idle for). hyper polls its sleep when it begins to wait, and again whenever bytes came that do not
//! complete the head: that is what the two are told apart by.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};
use tokio::time::{Sleep as TokioSleep, sleep};

use crate::metrics::Metrics;

/// One connection's: it remembers whether a head has come yet.
pub struct HeadTimer {
    head: Duration,
    idle: Duration,
    first: AtomicBool,
    metrics: Arc<Metrics>,
}

impl HeadTimer {
    pub fn new(head: Duration, idle: Duration, metrics: Arc<Metrics>) -> Self {
        Self { head, idle, first: AtomicBool::new(true), metrics }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        let first = self.first.swap(false, Relaxed);
        let (within, phase) = if first { (self.head, Phase::Head) } else { (self.idle, Phase::Before) };
        Box::pin(Wait { sleep: Box::pin(sleep(within)), head: self.head, phase, metrics: self.metrics.clone() })
    }

    /// The deadline hyper names is that of its one limit; ours depend on the phase.
    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(self.head)
    }
}

struct Wait {
    sleep: Pin<Box<TokioSleep>>,
    head: Duration,
    phase: Phase,
    metrics: Arc<Metrics>,
}

enum Phase {
    /// hyper has not looked yet.
    Before,
    /// Nothing of the next head was there at this time.
    Idle(Instant),
    /// Some of the head is there.
    Head,
}

/// Polls so close together are one wake-up of hyper's, which looks more than once before it waits.
const SAME_LOOK: Duration = Duration::from_millis(5);

impl Sleep for Wait {}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.phase {
            Phase::Before => self.phase = Phase::Idle(Instant::now()),
            Phase::Idle(since) if since.elapsed() > SAME_LOOK => {
                let deadline = self.sleep.deadline().min(tokio::time::Instant::now() + self.head);
                self.sleep.as_mut().reset(deadline);
                self.phase = Phase::Head;
            }
            Phase::Idle(_) | Phase::Head => {}
        }
        let over = self.sleep.as_mut().poll(context);
        if over.is_ready() {
            let setting = if matches!(self.phase, Phase::Head) { "limits.header_secs" } else { "limits.idle_secs" };
            self.metrics.bound_hit(setting);
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::{Response, server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    async fn serve(listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = service_fn(async |_| Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("here"))));
            let mut http = http1::Builder::new();
            let head = Duration::from_millis(300);
            http.timer(HeadTimer::new(head, Duration::from_secs(600), Arc::default())).header_read_timeout(head);
            tokio::spawn(http.serve_connection(TokioIo::new(stream), answer));
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
