//! `natter health`: asks a server whether it serves, for supervisors and containers that can only run a command.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs},
    sync::Arc,
    time::{Duration, Instant},
};

use natter::config::Config;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// For everything together.
const PATIENCE: Duration = Duration::from_secs(3);

pub fn run(config: &Config, url: Option<String>) -> Result<(), String> {
    let url = url.unwrap_or_else(|| own_url(config));
    let status = ask(&url).map_err(|why| format!("{url} is not healthy: {why}"))?;
    if status != 200 {
        return Err(format!("{url} is not healthy: it answered {status}"));
    }
    println!("{url} is healthy");
    Ok(())
}

/// Where this configuration's server can be asked.
pub fn own_url(config: &Config) -> String {
    let scheme = if config.server.tls_cert.is_empty() { "http" } else { "https" };
    format!("{scheme}://{}/healthz", reached(config.server.bind))
}

/// How a server that listens on `address` is reached from its own machine.
pub fn reached(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// The status of a GET; `/healthz` where the URL has no path.
pub fn ask(url: &str) -> Result<u16, String> {
    let deadline = Instant::now() + PATIENCE;
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err("it took longer than 3 seconds".to_owned()) } else { Ok(left) }
    };
    let (rest, port) = match url.strip_prefix("https://") {
        Some(rest) => (rest, 443),
        None => (url.strip_prefix("http://").ok_or("only http:// and https:// addresses can be asked")?, 80),
    };
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let path = if path == "/" { "/healthz" } else { path };
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let name = if has_port { host.to_owned() } else { format!("{host}:{port}") };
    let address = name.to_socket_addrs().map_err(|error| error.to_string())?.next().ok_or("it has no address")?;

    let socket = TcpStream::connect_timeout(&address, left()?).map_err(|error| error.to_string())?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    for set in [TcpStream::set_write_timeout, TcpStream::set_read_timeout] {
        set(&socket, Some(left()?)).map_err(|error| error.to_string())?;
    }
    let clock = socket.try_clone().map_err(|error| error.to_string())?;
    let mut stream: Box<dyn ReadWrite> =
        if url.starts_with("https") { secure(socket, address)? } else { Box::new(socket) };
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut head = Vec::new();
    // `HTTP/1.1 200`
    while head.len() < 12 {
        let mut part = [0; 512];
        clock.set_read_timeout(Some(left()?)).map_err(|error| error.to_string())?;
        match stream.read(&mut part) {
            Ok(0) => return Err("it closed the connection without an answer".into()),
            Ok(read) => head.extend_from_slice(&part[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    let line = String::from_utf8_lossy(&head[..12]);
    line.strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..))
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| "what it answers is not HTTP".into())
}

trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

fn secure(socket: TcpStream, address: SocketAddr) -> Result<Box<dyn ReadWrite>, String> {
    let provider = Arc::new(ring::default_provider());
    let anybody = Arc::new(Anybody(provider.signature_verification_algorithms));
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.expect("ring speaks both versions").dangerous().with_custom_certificate_verifier(anybody);
    let session = ClientConnection::new(Arc::new(config.with_no_client_auth()), ServerName::from(address.ip()));
    Ok(Box::new(StreamOwned::new(session.map_err(|error| error.to_string())?, socket)))
}

/// Takes every certificate: whether a server serves can be asked of anybody, by any of its addresses, and nothing secret is said.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
