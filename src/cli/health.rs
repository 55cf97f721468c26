//! `natter health`: asks a server whether it serves, for supervisors and containers that can only run a command.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

use natter::config::Config;

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
fn own_url(config: &Config) -> String {
    format!("http://{}/healthz", reached(config.server.bind))
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
fn ask(url: &str) -> Result<u16, String> {
    let deadline = Instant::now() + PATIENCE;
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err("it took longer than 3 seconds".to_owned()) } else { Ok(left) }
    };
    let rest = url.strip_prefix("http://").ok_or("only http:// addresses can be asked")?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let path = if path == "/" { "/healthz" } else { path };
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let name = if has_port { host.to_owned() } else { format!("{host}:80") };
    let address = name.to_socket_addrs().map_err(|error| error.to_string())?.next().ok_or("it has no address")?;

    let mut stream = TcpStream::connect_timeout(&address, left()?).map_err(|error| error.to_string())?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.set_write_timeout(Some(left()?)).map_err(|error| error.to_string())?;
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut head = Vec::new();
    // `HTTP/1.1 200`
    while head.len() < 12 {
        let mut part = [0; 512];
        stream.set_read_timeout(Some(left()?)).map_err(|error| error.to_string())?;
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
