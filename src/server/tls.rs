//! TLS on the listener: the certificate, read anew when the operator asks for it, and the handshake.

use std::{fs, io, path::PathBuf, sync::Arc};

use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, ProducesTickets},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::config;

/// Bytes of one record at most, and so of what a client that does not read leaves in memory beside its queue.
const RECORD: usize = 16 * 1024;

pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    /// The same for as long as the server runs, so that a session resumes after the certificate has changed.
    tickets: Arc<dyn ProducesTickets>,
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// `None`: the listener speaks HTTP.
    pub fn of(config: &config::Server) -> Result<Option<Self>, String> {
        if config.tls_cert.is_empty() {
            return Ok(None);
        }
        let (certificate, key) = (PathBuf::from(&config.tls_cert), PathBuf::from(&config.tls_key));
        let tickets = ring::Ticketer::new().map_err(|error| format!("there is no randomness for TLS ({error})"))?;
        let current = RwLock::new(read(&certificate, &key, &tickets)?);
        Ok(Some(Self { certificate, key, tickets, current }))
    }

    /// Reads the files anew, for connections that come from now on. Where they are wrong, what was read before stays.
    pub fn reload(&self) -> Result<(), String> {
        let config = read(&self.certificate, &self.key, &self.tickets)?;
        *self.current.write() = config;
        Ok(())
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<Box<TlsStream<TcpStream>>> {
        let acceptor = TlsAcceptor::from(self.current.read().clone());
        let accepted = acceptor.accept_with(stream, |session| session.set_buffer_limit(Some(RECORD))).await?;
        Ok(Box::new(accepted))
    }
}

/// Whether a client that has just connected speaks HTTP where TLS is spoken.
pub(super) async fn is_plain(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    Ok(stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase())
}

fn read(certificate: &PathBuf, key: &PathBuf, tickets: &Arc<dyn ProducesTickets>) -> Result<Arc<ServerConfig>, String> {
    let text = |setting: &str, path: &PathBuf| {
        fs::read(path).map_err(|error| format!("`{setting}`: {} cannot be read ({error})", path.display()))
    };
    let pem = text("server.tls_cert", certificate)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| {
        format!("`server.tls_cert`: {} holds no PEM certificates (-----BEGIN CERTIFICATE-----)", certificate.display())
    })?;
    let own = PrivateKeyDer::from_pem_slice(&text("server.tls_key", key)?).map_err(|_| {
        format!("`server.tls_key`: {} holds no PEM private key (-----BEGIN PRIVATE KEY-----)", key.display())
    })?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("ring speaks both versions");
    let mut config = builder.with_no_client_auth().with_single_cert(chain, own).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => format!(
            "`server.tls_key`: {} is not the key of the first certificate in {} (`server.tls_cert`)",
            key.display(),
            certificate.display()
        ),
        error => format!("`server.tls_cert` and `server.tls_key` cannot be used: {error}"),
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A session is in its ticket, and the server keeps nothing of those who have left.
    config.ticketer = tickets.clone();
    config.send_tls13_tickets = 1;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}
