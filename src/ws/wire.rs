//! The socket under a connection: bytes in and out, and never a wait.

use std::{
    io::{self, IoSlice, Read, Write},
    net::Shutdown,
};

use mio::{Interest, Registry, Token, net::TcpStream};

pub(super) struct Wire(TcpStream);

impl Wire {
    /// Takes the socket from the runtime, which has nothing to do with it from then on.
    pub fn of(stream: tokio::net::TcpStream) -> io::Result<Self> {
        stream.into_std().map(TcpStream::from_std).map(Self)
    }

    /// Has `registry` tell what happens to it, each thing once.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.0, token, Interest::READABLE | Interest::WRITABLE)
    }

    pub fn read(&self, to: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(to)
    }

    pub fn write(&self, from: &[u8]) -> io::Result<usize> {
        (&self.0).write(from)
    }

    pub fn write_vectored(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.0).write_vectored(from)
    }

    /// Both ways, at once: the client must not wait for whoever still holds the connection.
    pub fn end(&self) {
        if let Err(error) = self.0.shutdown(Shutdown::Both) {
            tracing::trace!(%error, "the client was gone before");
        }
    }
}
