//! The socket under a connection: bytes in and out, and never a wait.
//!
//! With TLS there is a session between the two. What it holds encrypted and could not send counts as not written: the connection
//! is blocked until the socket has taken it ([`Wire::flush`]).

use std::{
    io::{self, ErrorKind::WouldBlock, IoSlice, Read, Write},
    net::Shutdown,
    time::Duration,
};

use mio::{Interest, Registry, Token, net::TcpStream};
use parking_lot::Mutex;
use rustls::ServerConnection;
use smallvec::SmallVec;
use socket2::SockRef;
use tokio_util::either::Either;

use crate::http::stream::Stream;

pub(super) struct Wire {
    socket: TcpStream,
    session: Option<Box<Mutex<ServerConnection>>>,
}

/// What a read came to. No bytes: the client sends nothing more.
pub(super) struct Taken {
    pub bytes: usize,
    /// There may be more without another word from the kernel.
    pub more: bool,
}

impl Wire {
    /// Takes the socket from the runtime, which has nothing to do with it from then on.
    pub fn of(stream: Stream) -> io::Result<Self> {
        let (stream, session) = match stream {
            Either::Left(stream) => (stream, None),
            Either::Right(stream) => {
                let (stream, session) = stream.into_inner();
                (stream, Some(Box::new(Mutex::new(session))))
            }
        };
        Ok(Self { socket: TcpStream::from_std(stream.into_std()?), session })
    }

    /// Has `registry` tell what happens to it, each thing once.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE | Interest::WRITABLE)
    }

    pub fn read(&self, to: &mut [u8]) -> io::Result<Taken> {
        match &self.session {
            None => (&self.socket).read(to).map(|bytes| Taken { bytes, more: bytes == to.len() }),
            Some(session) => read_session(&mut session.lock(), &self.socket, to),
        }
    }

    pub fn write(&self, from: &[u8]) -> io::Result<usize> {
        match &self.session {
            None => (&self.socket).write(from),
            Some(session) => write_session(&mut session.lock(), &self.socket, &[IoSlice::new(from)]),
        }
    }

    pub fn write_vectored(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.session {
            None => (&self.socket).write_vectored(from),
            Some(session) => write_session(&mut session.lock(), &self.socket, from),
        }
    }

    /// Sends what was written and is still here. `false`: the socket is full.
    pub fn flush(&self) -> io::Result<bool> {
        self.session.as_ref().map_or(Ok(true), |session| flush_session(&mut session.lock(), &self.socket))
    }

    /// Both ways, at once: the client must not wait for whoever still holds the connection. `stuck`: what the client has not taken
    /// is thrown away, which the kernel would go on offering for minutes.
    pub fn end(&self, stuck: bool) {
        if stuck && let Err(error) = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)) {
            tracing::trace!(%error, "the client was gone before");
        }
        if let Some(session) = &self.session {
            let mut session = session.lock();
            session.send_close_notify();
            if let Err(error) = flush_session(&mut session, &self.socket) {
                tracing::trace!(%error, "the client was gone before it was told");
            }
        }
        if let Err(error) = self.socket.shutdown(Shutdown::Both) {
            tracing::trace!(%error, "the client was gone before");
        }
    }
}

fn flush_session(session: &mut ServerConnection, mut socket: &TcpStream) -> io::Result<bool> {
    while session.wants_write() {
        match session.write_tls(&mut socket) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(error) if error.kind() == WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Encrypts no more than the socket takes, but for one filling of the session's buffer.
fn write_session(session: &mut ServerConnection, socket: &TcpStream, from: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut rest: SmallVec<[IoSlice<'_>; 4]> = SmallVec::from_slice(from);
    let mut rest = &mut rest[..];
    let mut taken = 0;
    IoSlice::advance_slices(&mut rest, 0);
    loop {
        if !flush_session(session, socket)? {
            return if taken > 0 { Ok(taken) } else { Err(WouldBlock.into()) };
        }
        if rest.is_empty() {
            return Ok(taken);
        }
        let written = session.writer().write_vectored(rest)?;
        taken += written;
        IoSlice::advance_slices(&mut rest, written);
    }
}

/// Reads until the socket has no more, or `to` is full.
fn read_session(session: &mut ServerConnection, mut socket: &TcpStream, to: &mut [u8]) -> io::Result<Taken> {
    let mut bytes = 0;
    loop {
        match session.reader().read(&mut to[bytes..]) {
            // The client's goodbye: told by itself, once what came before it is read.
            Ok(0) => return Ok(Taken { bytes, more: bytes > 0 }),
            Ok(read) => {
                bytes += read;
                if bytes == to.len() {
                    return Ok(Taken { bytes, more: true });
                }
                continue;
            }
            Err(error) if error.kind() == WouldBlock => {}
            Err(error) if bytes == 0 => return Err(error),
            Err(_) => return Ok(Taken { bytes, more: true }),
        }
        match session.read_tls(&mut socket) {
            Ok(_) => {}
            Err(error) if error.kind() == WouldBlock && bytes > 0 => return Ok(Taken { bytes, more: false }),
            Err(error) => return Err(error),
        }
        let processed = session.process_new_packets();
        // What it has to say to that: an alert, or new keys.
        flush_session(session, socket)?;
        processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    }
}
