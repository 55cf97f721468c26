//! What a client's bytes come and go by: TCP, or TLS over it.

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

pub type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;
