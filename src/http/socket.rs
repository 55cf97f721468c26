//! The socket under an HTTP connection: it gives up on a client who does not read.
//!
//! hyper waits for as long as it takes to write an answer. Once a write has found no room for `limits.answer_secs`, this
//! ends the connection. It also says when bytes come ([`super::silence`]). It costs nothing while clients read, and a connection that becomes a WebSocket leaves it behind.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::{
    silence::Silence,
    stream::{self, Stream},
};
use crate::{limits::budget::Share, metrics::Metrics};

pub struct HttpSocket {
    stream: Stream,
    within: Duration,
    /// Runs while a write finds no room.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Broken by whatever the client sends.
    silence: Arc<Silence>,
    /// Bytes that have come of a head that is not whole, and those of them that are counted.
    came: usize,
    head: Share,
    metrics: Arc<Metrics>,
}

/// Heads up to so many bytes are not counted, and so are served when others have used up what may be on its way in: the HTTP
/// library takes as much for each connection in any case.
const SMALL: usize = 8 * 1024;

impl HttpSocket {
    pub fn new(stream: Stream, within: Duration, silence: Arc<Silence>, head: Share, metrics: Arc<Metrics>) -> Self {
        Self { stream, within, waiting: None, silence, came: 0, head, metrics }
    }

    /// The socket alone, for a connection that is HTTP no more.
    pub fn into_bare(self) -> Stream {
        self.stream
    }

    /// Whoever is answered has sent all of it.
    fn head_is_whole(&mut self) {
        self.came = 0;
        self.head.hold(0);
    }

    /// What a write came to, unless there has been no room for too long.
    fn patiently<T>(&mut self, cx: &mut Context<'_>, write: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if write.is_ready() {
            self.waiting = None;
            return write;
        }
        let within = self.within;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(within)));
        if waiting.as_mut().poll(cx).is_ready() {
            self.metrics.bound_hit("limits.answer_secs");
            stream::give_up(&self.stream);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl AsyncRead for HttpSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = to.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, to);
        let came = to.filled().len() - before;
        if came > 0 {
            self.silence.broken();
            if self.silence.is_broken() {
                self.came += came;
                let counted = self.came.saturating_sub(SMALL);
                if !self.head.hold(counted) {
                    stream::give_up(&self.stream);
                    return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
                }
            }
        }
        read
    }
}

impl AsyncWrite for HttpSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.head_is_whole();
        let write = Pin::new(&mut self.stream).poll_write(cx, from);
        self.patiently(cx, write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.head_is_whole();
        let write = Pin::new(&mut self.stream).poll_write_vectored(cx, from);
        self.patiently(cx, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
