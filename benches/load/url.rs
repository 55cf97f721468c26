//! A server that runs already, by its URL: where it is, what it is called, and TLS on the way to it.
//!
//! Every scenario speaks plain sockets. For https a bridge in a thread of its own speaks TLS in their place: each connection
//! costs two more open files here, and each message one more hop through this process.

use std::{
    fs,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    path::Path,
    sync::{Arc, OnceLock},
    thread,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{io::copy_bidirectional, net::TcpStream};
use tokio_rustls::TlsConnector;

use crate::{Outcome, Result};

/// The address that the scenarios connect to, and the name that the server knows itself by.
static NAME: OnceLock<(SocketAddr, String)> = OnceLock::new();

/// What goes into the `Host` of a request to `addr`.
pub fn host(addr: SocketAddr) -> String {
    NAME.get().filter(|(named, _)| *named == addr).map_or_else(|| addr.to_string(), |(_, name)| name.clone())
}

/// Where the scenarios reach what `url` names. `ca`: a file of certificates that vouch for it, instead of the system's.
pub fn address(url: &str, ca: Option<&Path>) -> Result<SocketAddr> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return Err(format!("--url {url}: give it as http://host:port or https://host:port").into()),
    };
    let name = rest.trim_end_matches('/');
    let has_port = name.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let place = if has_port { name.to_owned() } else { format!("{name}:{port}") };
    let mut found = place.to_socket_addrs().map_err(|error| format!("--url {url}: {error}"))?;
    let server = found.next().ok_or_else(|| format!("--url {url}: no such host"))?;
    if let Some((there, _)) = NAME.get() {
        return Ok(*there);
    }
    let addr = if scheme == "https" {
        bridge(server, place.rsplit_once(':').map_or("", |(host, _)| host), ca)?
    } else {
        server
    };
    Ok(NAME.get_or_init(|| (addr, name.to_owned())).0)
}

fn bridge(to: SocketAddr, host: &str, ca: Option<&Path>) -> Result<SocketAddr> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(vouchers(ca)?).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::spawn(move || {
        let carrying: Outcome = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loop {
                let (near, _) = listener.accept().await?;
                let (connector, name) = (connector.clone(), name.clone());
                tokio::spawn(async move {
                    if let Err(error) = carry(near, to, &connector, name).await {
                        eprintln!("load: the way to {to} broke: {error}");
                    }
                });
            }
        });
        carrying.map_or_else(|error| eprintln!("load: no more ways to {to}: {error}"), |()| ());
    });
    Ok(addr)
}

async fn carry(mut near: TcpStream, to: SocketAddr, connector: &TlsConnector, name: ServerName<'static>) -> Outcome {
    let far = crate::socket::connect(to).await?;
    near.set_nodelay(true)?;
    let mut far = connector.connect(name, far).await?;
    // Either side may leave without a word, as sockets that are cut on purpose do.
    copy_bidirectional(&mut near, &mut far).await.ok();
    Ok(())
}

fn vouchers(ca: Option<&Path>) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let certificates = match ca {
        None => rustls_native_certs::load_native_certs().certs,
        Some(file) => {
            let pem = fs::read(file).map_err(|error| format!("--ca {}: {error}", file.display()))?;
            CertificateDer::pem_slice_iter(&pem).collect::<std::result::Result<_, _>>()?
        }
    };
    let (good, _) = store.add_parsable_certificates(certificates);
    if good == 0 {
        return Err("no certificates to trust were found; name a file of them with --ca".into());
    }
    Ok(store)
}
