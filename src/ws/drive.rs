//! What a connection does when its socket is ready or somebody has woken it: it reads what the client says, and writes what could
//! not be written at once. Only its poller's task does this.

use std::{cell::RefCell, future::Future, io, pin::Pin, sync::Arc, thread};

use futures_util::FutureExt;

use super::{
    close::Close,
    commands,
    connection::{Connection, Phase},
    outbox::Pumped,
    poller::{Driven, Ready, Then},
    reader::{self, Heard, Listener},
    replay,
    shared::Shared,
    wire::Taken,
};

/// Reads, and writes, of one connection before others have their turn.
const A_TURN: usize = 16;
const READ_BUFFER: usize = 64 * 1024;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BUFFER].into());
}

impl Driven for Connection {
    type Shared = Shared;

    fn drive(self: &Arc<Self>, ready: Ready) -> Then {
        self.is_driven();
        let mut state = self.state();
        state.readable |= ready.readable;
        state.hung_up |= ready.hung_up;
        state.outbox.blocked &= !ready.writable;
        drop(state);
        turn(self)
    }

    fn wake(&self) {
        Connection::wake(self);
    }

    fn end(&self) {
        Connection::end(self);
    }
}

fn turn(connection: &Arc<Connection>) -> Then {
    let mut reads = 0;
    let more = loop {
        match read(connection) {
            Read::Some if reads < A_TURN => reads += 1,
            Read::Some => break true,
            Read::None => break false,
            Read::End => return Then::End,
        }
    };
    let paused = connection.state().paused;
    match write(connection) {
        // Writing, or answers that came meanwhile, may have made room for reading, which nothing else would begin again.
        Then::Rest if more || (paused && connection.may_read()) => Then::Again,
        then => then,
    }
}

enum Read {
    Some,
    /// There is nothing, or nothing may be read now.
    None,
    End,
}

fn read(connection: &Arc<Connection>) -> Read {
    let state = connection.state();
    let wanted = state.readable && !state.busy;
    drop(state);
    if !wanted || !connection.may_read() {
        return Read::None;
    }
    connection.shared().metrics.socket_reads.inc();
    READ.with_borrow_mut(|buffer| match connection.wire.read(buffer) {
        Ok(Taken { bytes: 0, .. }) => Read::End,
        Ok(Taken { bytes, more }) => {
            if !more {
                // That was all: the next bytes are told of. The end of the stream, once told of, is not told again.
                let mut state = connection.state();
                state.readable = state.hung_up;
            }
            if let Some(heard) = hear(connection, &mut buffer[..bytes], true) {
                serve(connection, heard);
            }
            Read::Some
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            // Neither more nor an end: both are told of from now on.
            let mut state = connection.state();
            (state.readable, state.hung_up) = (false, false);
            Read::None
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Read::Some,
        Err(_) => Read::End,
    })
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

/// Takes what the bytes hold. What cannot be served at once is given back, and nothing more may be read until it is served.
fn hear(connection: &Arc<Connection>, bytes: &mut [u8], idle: bool) -> Option<Heard> {
    let shared = connection.shared();
    let mut state = connection.state();
    let (was_over, mut partial) = (state.is_over(), state.partial.take());
    drop(state);
    let heard = reader::feed(&mut partial, bytes, shared.config.sockets.frame_bytes, &Ear { connection, idle });
    let has_room = partial.as_mut().is_none_or(|partial| partial.is_counted(&shared.budgets.incoming));
    let mut state = connection.state();
    state.partial = partial.filter(|_| has_room);
    state.heard_at = shared.now();
    let Some(heard) = heard else {
        drop(state);
        connection.close(Close::FrameRate);
        return None;
    };
    if !has_room {
        drop(state);
        connection.close(Close::NoRoom);
        return None;
    }
    if state.is_over() {
        // What closed it just now is still to be written.
        if was_over && matches!(heard.close, Some(Close::Asked(_))) {
            state.die();
        }
        return None;
    }
    if !heard.texts.is_empty() || heard.close.is_some() {
        return Some(heard);
    }
    if !heard.answers.is_empty() {
        state.outbox.push(heard.answers.into());
    }
    None
}

/// Serves what was heard: now where nothing has to be waited for, else in a task.
fn serve(connection: &Arc<Connection>, heard: Heard) {
    let mut job: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(commands::serve(connection.clone(), heard));
    if (&mut job).now_or_never().is_none() {
        let busy = Busy::of(connection);
        tokio::spawn(async move {
            job.await;
            drop(busy);
        });
    }
}

/// While it lives, nothing is read.
pub(super) struct Busy(Arc<Connection>);

impl Busy {
    /// Of a connection that has just been made, which is busy from its beginning.
    pub fn new(connection: &Arc<Connection>) -> Self {
        Self(connection.clone())
    }

    fn of(connection: &Arc<Connection>) -> Self {
        connection.state().busy = true;
        Self(connection.clone())
    }

    /// Serves what came together with the handshake, after what comes first.
    pub async fn begin(self, first: impl Future<Output = ()>, early: Vec<u8>) {
        first.await;
        let Self(connection) = &self;
        let mut early = early;
        if !early.is_empty()
            && let Some(heard) = hear(connection, &mut early, false)
        {
            commands::serve(connection.clone(), heard).await;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let Self(connection) = self;
        if thread::panicking() {
            connection.close(Close::Internal);
        }
        connection.state().busy = false;
        connection.wake();
    }
}

fn write(connection: &Arc<Connection>) -> Then {
    for _ in 0..A_TURN {
        let mut state = connection.state();
        if state.is_dead() {
            return Then::End;
        }
        if !state.greeted && matches!(state.phase, Phase::Open) {
            return Then::Rest;
        }
        match connection.pump(&mut state) {
            Err(_) => return Then::End,
            Ok(Pumped::Blocked) => {
                drop(state);
                connection.watch();
                return Then::Rest;
            }
            Ok(Pumped::More) => {}
            Ok(Pumped::Replay(slot)) => {
                state.outbox.replaying = true;
                drop(state);
                tokio::spawn(replay::replay(connection.clone(), slot));
                return Then::Rest;
            }
            Ok(Pumped::Level) => {
                let over = matches!(state.phase, Phase::Closing { asked: true, .. });
                return if over { Then::End } else { Then::Rest };
            }
        }
    }
    Then::Again
}
