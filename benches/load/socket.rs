//! One client socket: the handshake, whole messages in, masked frames out. As small as a connection can be, because
//! eighteen thousand of them share a process with nothing but a 64 KiB read buffer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::frames::{self, Incoming, Message};
use crate::http::advice;
use crate::people::Person;
use crate::scan::{self, Hint};
use crate::{Outcome, Result};

const HANDSHAKE_SECS: u64 = 30;
/// The example pair of RFC 6455: a fixed key lets the answer be checked without SHA-1.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 * 1024]);
}

pub struct Socket {
    stream: TcpStream,
    incoming: Incoming,
}

/// Why a socket will say no more.
pub struct Ended(pub String);

/// Where a subscription begins: `next` is the first seq that is to come, `early` those that came with the answer.
pub struct Subscribed {
    pub next: u64,
    pub early: Vec<u64>,
    /// Of the room's log; whoever comes back says it.
    pub epoch: String,
}

/// Where somebody who comes back was: the last seq seen, of which log.
pub struct Since<'a> {
    pub seq: u64,
    pub epoch: &'a str,
}

/// Loopback has 28,000 ports per source address, and one that was closed here is not free for a minute: so sockets come from
/// sixty-four addresses in turn.
pub async fn connect(addr: SocketAddr) -> Result<TcpStream> {
    static TURN: AtomicU8 = AtomicU8::new(0);
    let stream = if addr.ip() == Ipv4Addr::LOCALHOST {
        let socket = TcpSocket::new_v4()?;
        let source = Ipv4Addr::new(127, 0, 0, 2 + TURN.fetch_add(1, Ordering::Relaxed) % 64);
        socket.bind(SocketAddr::from((source, 0)))?;
        socket.connect(addr).await
    } else {
        TcpStream::connect(addr).await
    };
    let stream = stream.map_err(|error| format!("cannot connect to {addr}: {error}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Socket {
    pub async fn open(addr: SocketAddr, path: &str, person: &Person) -> Result<Self> {
        let mut stream = connect(addr).await?;
        let host = crate::url::host(addr);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Protocol: natter.v1\r\nAuthorization: Bearer {}\r\n\r\n",
            person.token
        );
        stream.write_all(request.as_bytes()).await?;
        let answered = timeout(Duration::from_secs(HANDSHAKE_SECS), upgraded(&mut stream)).await;
        let behind = answered.map_err(|_| format!("{path}: no answer to the handshake in {HANDSHAKE_SECS} s"))??;
        let mut socket = Self::raw(stream);
        // All that may have come with the response is the welcome, whole (nobody needs it) or the beginning of it.
        socket.incoming.feed(&behind, |_| {})?;
        Ok(socket)
    }

    /// A stream that carries frames without a handshake.
    pub fn raw(stream: TcpStream) -> Self {
        Self { stream, incoming: Incoming::default() }
    }

    pub async fn send_text(&mut self, text: &str) -> Outcome {
        let mut frame = Vec::with_capacity(text.len() + 14);
        frames::push_masked(&mut frame, frames::TEXT, text.as_bytes());
        self.send_bytes(&frame).await
    }

    /// Frames that are encoded already.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Outcome {
        self.stream.write_all(bytes).await.map_err(|error| format!("cannot write to a socket: {error}").into())
    }

    /// A second, non-blocking handle to the same socket, for a thread that writes on time.
    pub fn outlet(&self) -> io::Result<std::net::TcpStream> {
        Ok(std::net::TcpStream::from(self.stream.as_fd().try_clone_to_owned()?))
    }

    /// Waits for bytes once, hands over the text messages they complete, and answers pings.
    pub async fn receive(&mut self, mut each: impl FnMut(&[u8])) -> std::result::Result<(), Ended> {
        let (stream, incoming) = (&mut self.stream, &mut self.incoming);
        let (mut pongs, mut closed) = (Vec::new(), None);
        poll_fn(|context| {
            BUFFER.with_borrow_mut(|buffer| {
                let mut read = ReadBuf::new(buffer);
                // Unlike `try_read`, `poll_read` knows that a short read has emptied the socket: one system call less.
                match Pin::new(&mut *stream).poll_read(context, &mut read) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Err(Ended(format!("the connection broke: {error}"))));
                    }
                    Poll::Ready(Ok(())) => {}
                }
                if read.filled().is_empty() {
                    return Poll::Ready(Err(Ended("the connection ended without a close frame".into())));
                }
                let fed = incoming.feed(read.filled(), |message| match message {
                    Message::Text(text) => each(text),
                    Message::Ping(payload) => frames::push_masked(&mut pongs, frames::PONG, payload),
                    Message::Pong => {}
                    Message::Close { code, reason } => {
                        closed =
                            Some(format!("closed {code} {}", String::from_utf8_lossy(reason)).trim_end().to_owned());
                    }
                });
                Poll::Ready(fed.map_err(|error| Ended(error.to_string())))
            })
        })
        .await?;
        if !pongs.is_empty() {
            stream.write_all(&pongs).await.map_err(|error| Ended(format!("cannot answer a ping: {error}")))?;
        }
        closed.map_or(Ok(()), |reason| Err(Ended(reason)))
    }

    /// Subscribes to one room, from now on or from where somebody was.
    pub async fn subscribe(&mut self, chat_id: &str, since: Option<Since<'_>>) -> Result<Subscribed> {
        let answer = timeout(Duration::from_secs(HANDSHAKE_SECS), self.subscribe_at_leisure(chat_id, since)).await;
        answer.map_err(|_| format!("no answer to a subscription in {HANDSHAKE_SECS} s"))?
    }

    async fn subscribe_at_leisure(&mut self, chat_id: &str, since: Option<Since<'_>>) -> Result<Subscribed> {
        let from = since.as_ref().map(|since| json!({ "since": since.seq, "epoch": since.epoch }));
        self.send_text(&json!({ "type": "subscribe", "chats": { chat_id: from } }).to_string()).await?;
        let (mut answer, mut early, mut refused) = (None, Vec::new(), None);
        while answer.is_none() {
            self.receive(|text| match scan::kind(text) {
                b"subscribed" => answer = serde_json::from_slice::<Value>(text).ok(),
                b"error" => refused = Some(String::from_utf8_lossy(text).into_owned()),
                _ => early.extend(event_seq(text, &mut Hint::default()).filter(|_| answer.is_some())),
            })
            .await
            .map_err(|Ended(reason)| format!("the socket ended before it was subscribed: {reason}"))?;
            if let Some(refused) = refused {
                return Err(format!("the subscription was refused: {refused}").into());
            }
        }
        let answer = answer.unwrap_or_default();
        let room = &answer["chats"][chat_id];
        let from = room["since"].as_u64().or(room["head"].as_u64());
        let next = from.ok_or_else(|| format!("the room is not in the answer to the subscription: {answer}"))? + 1;
        if since.is_some() && room["lossless"] != true {
            return Err(format!("the server cannot go on where a socket was: {answer}").into());
        }
        Ok(Subscribed { next, early, epoch: room["epoch"].as_str().unwrap_or_default().into() })
    }

    /// Says goodbye and waits for the server's answer.
    pub async fn close(mut self) -> Outcome {
        let mut frame = Vec::new();
        frames::push_masked(&mut frame, frames::CLOSE, &1000u16.to_be_bytes());
        self.send_bytes(&frame).await?;
        let goodbye = async { while self.receive(|_| {}).await.is_ok() {} };
        timeout(Duration::from_secs(10), goodbye)
            .await
            .map_err(|_| "the server did not answer a close frame in 10 s".into())
    }
}

/// The seq of an event; `None` for every other frame, acknowledgements among them.
pub fn event_seq(text: &[u8], hint: &mut Hint) -> Option<u64> {
    match scan::kind(text) {
        b"posted" | b"error" | b"presence" | b"typing" | b"read" => None,
        _ => scan::number(text, b"\"seq\":", hint),
    }
}

/// Reads the response to a handshake; the bytes after it, or why there is no socket.
async fn upgraded(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut response = Vec::with_capacity(512);
    let end = loop {
        if let Some(end) = response.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if response.len() > 64 * 1024 || stream.read_buf(&mut response).await? == 0 {
            return Err(format!("no HTTP response to the handshake: {}", String::from_utf8_lossy(&response)).into());
        }
    };
    let head = String::from_utf8_lossy(&response[..end]).into_owned();
    if !head.starts_with("HTTP/1.1 101") {
        // The reason is in the body, which may be a packet behind.
        timeout(Duration::from_millis(200), stream.read_buf(&mut response)).await.ok();
        let words = String::from_utf8_lossy(&response);
        return Err(format!("the handshake was refused:\n{words}{}", advice(&words)).into());
    }
    if !head.contains(ACCEPT) {
        return Err("the handshake's answer has the wrong Sec-WebSocket-Accept".into());
    }
    Ok(response.split_off(end))
}
