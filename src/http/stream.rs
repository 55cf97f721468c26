//! What a client's bytes come and go by: TCP, or TLS over it.

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

pub type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Has its end throw away what the client has not taken, which the kernel would go on offering for minutes.
pub fn give_up(stream: &Stream) {
    let socket = match stream {
        Either::Left(stream) => stream,
        Either::Right(stream) => stream.get_ref().0,
    };
    if let Err(error) = socket.set_zero_linger() {
        tracing::trace!(%error, "the client was gone before");
    }
}
