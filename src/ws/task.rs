//! The task of a connection: it reads what the client says, and writes what could not be written at once.

use std::{
    cell::RefCell,
    future::Future,
    io::{self, Read},
    net::Shutdown,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::{io::Interest, net::TcpStream};

use super::{
    close::Close,
    commands,
    connection::{Connection, Phase},
    outbox::Pumped,
    reader::{self, Listener, Partial},
};
use crate::{
    chat::{room::Room, subscriber::Subscriber},
    event::Event,
    metrics::CloseCode,
    store::Page,
    types::Seq,
};

/// Writes of one connection before other tasks may run.
const WRITES_A_TURN: usize = 16;
const READ_BUFFER: usize = 64 * 1024;
/// How long a replay waits before it asks a store again that could not answer.
const REPLAY_RETRY: Duration = Duration::from_millis(500);

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BUFFER].into());
}

/// A connection that is being read.
struct Ear<'a> {
    connection: &'a Arc<Connection>,
    /// Nothing that came before is still being served.
    idle: bool,
}

impl Listener for Ear<'_> {
    fn admits(&self, frames: u32) -> bool {
        commands::admit(self.connection, frames)
    }

    fn takes(&self, text: &str) -> bool {
        self.idle && commands::serve_at_once(self.connection, text)
    }
}

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The task of a connection. It ends when the socket does, and takes the connection out of everything it is in.
pub(super) struct Task {
    connection: Arc<Connection>,
    /// The frames that came last, being served; nothing more is read until they are.
    job: Option<Job>,
    partial: Option<Box<Partial>>,
}

impl Task {
    /// `first` is served before anything that the client sends; `early` came together with the handshake.
    pub fn new(connection: Arc<Connection>, first: Job, early: &[u8]) -> Self {
        let mut task = Self { connection, job: Some(first), partial: None };
        if !early.is_empty() {
            task.take(&mut early.to_vec());
        }
        task
    }

    /// Serves what the bytes hold: at once where that is possible, and nothing else is being served.
    fn take(&mut self, bytes: &mut [u8]) {
        let connection = &self.connection;
        let listener = Ear { connection, idle: self.job.is_none() };
        let max = connection.app.config.sockets.frame_bytes;
        let was_over = connection.state().is_over();
        let heard = reader::feed(&mut self.partial, bytes, max, &listener);
        let mut state = connection.state();
        state.heard_at = connection.app.sockets.now();
        let Some(heard) = heard else {
            drop(state);
            return connection.close(Close::FrameRate);
        };
        if state.is_over() {
            // What closed it just now is still to be written.
            if was_over && matches!(heard.close, Some(Close::Asked(_))) {
                state.die();
            }
            return;
        }
        if heard.texts.is_empty() && heard.close.is_none() {
            if !heard.answers.is_empty() {
                state.outbox.push(heard.answers.into());
            }
        } else {
            drop(state);
            let serve = commands::serve(connection.clone(), heard);
            self.job = Some(match self.job.take() {
                Some(before) => Box::pin(async move {
                    before.await;
                    serve.await;
                }),
                None => Box::pin(serve),
            });
        }
    }

    /// `Ready`: the socket is at its end.
    fn poll_job_and_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(job) = &mut self.job {
                if job.as_mut().poll(cx).is_pending() {
                    self.connection.state().busy = true;
                    return Poll::Pending;
                }
                self.job = None;
                self.connection.state().busy = false;
            }
            if !self.may_read() {
                return Poll::Pending;
            }
            if ready!(self.connection.stream.poll_read_ready(cx)).is_err() {
                return Poll::Ready(());
            }
            let read = READ.with_borrow_mut(|buffer| {
                let read = read_once(&self.connection.stream, buffer)?;
                self.take(&mut buffer[..read]);
                Ok(read)
            });
            match read {
                Ok(0) => return Poll::Ready(()),
                Ok(_) => {}
                Err(error) => {
                    let error: io::Error = error;
                    if error.kind() != io::ErrorKind::WouldBlock {
                        return Poll::Ready(());
                    }
                }
            }
        }
    }

    fn may_read(&self) -> bool {
        let sockets = &self.connection.app.config.sockets;
        let mut state = self.connection.state();
        let may = match state.phase {
            Phase::Open => state.in_flight < sockets.in_flight && state.outbox.queued_bytes() < sockets.outbox_bytes,
            Phase::Draining => false,
            // For the client's goodbye.
            Phase::Closing { .. } | Phase::Dead { .. } => true,
        };
        state.paused = !may;
        may
    }

    /// `Ready`: the socket is at its end.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let connection = &self.connection;
        let max = connection.app.config.sockets.write_bytes;
        for _ in 0..WRITES_A_TURN {
            let mut state = connection.state();
            if state.is_dead() {
                return Poll::Ready(());
            }
            if !state.greeted && matches!(state.phase, Phase::Open) {
                return Poll::Pending;
            }
            match state.outbox.pump(&connection.stream, connection.only_messages(), max, &connection.app.metrics) {
                Err(_) => return Poll::Ready(()),
                Ok(Pumped::Blocked) => {
                    drop(state);
                    connection.watch();
                    if ready!(connection.stream.poll_write_ready(cx)).is_err() {
                        return Poll::Ready(());
                    }
                    connection.state().outbox.blocked = false;
                }
                Ok(Pumped::More) => {}
                Ok(Pumped::Replay(slot)) => {
                    state.outbox.replaying = true;
                    drop(state);
                    tokio::spawn(replay(connection.clone(), slot));
                    return Poll::Pending;
                }
                Ok(Pumped::Level) => {
                    let over = matches!(state.phase, Phase::Closing { asked: true, .. });
                    return if over { Poll::Ready(()) } else { Poll::Pending };
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.connection.task.register(cx.waker());
        if self.poll_job_and_read(cx).is_ready() {
            return Poll::Ready(());
        }
        let paused = self.connection.state().paused;
        if self.poll_write(cx).is_ready() {
            return Poll::Ready(());
        }
        // Writing, or answers that came meanwhile, may have made room for reading, which nothing else would begin again.
        if paused && self.may_read() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let connection = &self.connection;
        let mut state = connection.state();
        let was_closing = matches!(state.phase, Phase::Closing { .. } | Phase::Dead { was_closing: true });
        if !was_closing {
            let gone = CloseCode { code: 1006, reason: "gone without a word" };
            connection.app.metrics.closes.get_or_create(&gone).inc();
        }
        state.die();
        let subscriptions = state.outbox.take_subscriptions();
        drop(state);
        connection.leave(subscriptions);
        // An answer on its way may hold the connection a little longer; the client must not wait for that.
        if let Err(error) = socket2::SockRef::from(&connection.stream).shutdown(Shutdown::Both) {
            tracing::trace!(%error, "the client was gone before");
        }
        connection.app.chat.online.remove(connection.user, connection.id());
    }
}

/// One read. A short one has emptied the socket: its readiness is cleared with it, which saves the read that would find out.
fn read_once(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    let read = stream.try_io(Interest::READABLE, || {
        let socket = socket2::SockRef::from(stream);
        got = (&*socket).read(buffer)?;
        if got == 0 || got == buffer.len() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    });
    match read {
        Err(_) if got > 0 => Ok(got),
        Err(error) => Err(error),
        Ok(()) => Ok(got),
    }
}

/// Reads from the store, for a subscription that is behind its room's ring, as much as one write takes or a little more.
async fn replay(connection: Arc<Connection>, slot: u32) {
    let running = Replaying { connection: &connection, slot };
    let Some((room, cursor)) = connection.state().outbox.get(slot).map(|s| (s.room.clone(), s.cursor)) else { return };
    let app = &connection.app;
    let limit = app.config.sockets.replay_events;
    let page = Page { after: Some(cursor), before: None, limit, messages_only: false };
    let events = {
        let _permit = app.sockets.replays.acquire().await;
        app.chat.store.events(room.id, page).await
    };
    match events {
        Err(error) => {
            tracing::debug!(%error, room = %room.id, "a replay waits for the store");
            tokio::time::sleep(REPLAY_RETRY).await;
        }
        Ok(events) if events.is_empty() => {
            tracing::error!(room = %room.id, cursor, "the log ends before its head");
            connection.close(Close::Internal);
        }
        Ok(events) => take_replayed(&connection, slot, &room, cursor, &events),
    }
    drop(running);
}

/// Puts what was read in line, where the subscription is still the one it was read for.
fn take_replayed(connection: &Connection, slot: u32, room: &Room, cursor: Seq, events: &[Event]) {
    let app = &connection.app;
    let head = room.head();
    let mut state = connection.state();
    let outbox = &mut state.outbox;
    let Some(subscription) = outbox.get(slot).filter(|s| s.room.id == room.id && s.cursor == cursor && !s.held) else {
        return;
    };
    let mut bytes = Vec::new();
    for event in events.iter().take_while(|event| event.seq <= head) {
        if bytes.len() >= app.config.sockets.write_bytes {
            break;
        }
        subscription.cursor = event.seq;
        if event.is_message() || !connection.only_messages() {
            bytes.extend_from_slice(event.frame.bytes());
            app.metrics.replayed_events.inc();
            app.metrics.deliveries.inc();
        }
    }
    if !bytes.is_empty() {
        outbox.push(Bytes::from(bytes));
    }
}

/// A replay that runs; however it ends, the subscription goes on.
struct Replaying<'a> {
    connection: &'a Connection,
    slot: u32,
}

impl Drop for Replaying<'_> {
    fn drop(&mut self) {
        self.connection.state().outbox.replayed(self.slot);
        self.connection.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a connection at rest costs beside its socket: every byte here is a megabyte at a million connections.
    #[test]
    fn a_connection_at_rest_is_small() {
        assert!(size_of::<Task>() <= 32, "{}", size_of::<Task>());
        assert!(size_of::<Connection>() <= 448, "{}", size_of::<Connection>());
    }
}
