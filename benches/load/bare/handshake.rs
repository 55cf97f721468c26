//! Shakes hands and falls silent: the least that any WebSocket server does for a connection. It reads the request, answers its
//! key, and waits for the end. No routes, no token, no membership. All cores serve, as in natter.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::end_with_input;
use crate::{Outcome, Result};

/// As natter's own, so that neither refuses what the other takes.
const BACKLOG: u32 = 65_535;

pub fn run() -> Outcome {
    end_with_input();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(accept())
}

async fn accept() -> Outcome {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    let listener: TcpListener = socket.listen(BACKLOG)?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let mut unread = Vec::with_capacity(1024);
            if let Err(error) = shake_hands(&mut stream, &mut unread).await {
                eprintln!("bare server: {error}");
            }
            drop(unread);
            // Nothing comes until the client is gone; how it goes is of no interest.
            while stream.read(&mut [0; 16]).await.is_ok_and(|bytes| bytes > 0) {}
        });
    }
}

/// Takes the request off the front of `unread`.
pub async fn shake_hands(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Outcome {
    let end = loop {
        if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(unread).await? == 0 {
            return Err("a connection ended before its handshake".into());
        }
    };
    let accept = accept_key(&unread[..end])?;
    unread.drain(..end);
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    Ok(stream.write_all(response.as_bytes()).await?)
}

fn accept_key(request: &[u8]) -> Result<String> {
    let request = std::str::from_utf8(request)?;
    let key = request.lines().filter_map(|line| line.split_once(':'));
    let mut key = key.filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
    let (_, key) = key.next().ok_or("a handshake without a key")?;
    Ok(derive_accept_key(key.trim().as_bytes()))
}
