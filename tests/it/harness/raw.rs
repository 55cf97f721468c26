//! A bare TCP connection and just enough HTTP to read what comes back, for requests that no client would send.

use std::{collections::BTreeMap, io, net::SocketAddr};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::{answer::assert_conventions, in_time};

pub struct Raw {
    pub stream: TcpStream,
    /// Read, and not yet part of an answer.
    unread: Vec<u8>,
}

/// An HTTP answer read off the bytes. Header names are lower case; repeated ones are joined by commas.
#[derive(Debug)]
pub struct RawAnswer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl RawAnswer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The body of an error that keeps the conventions of all errors.
    #[track_caller]
    pub fn refused(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        let body = self.json();
        assert_conventions(status, &body, |name| self.header(name).map(String::from));
        body
    }
}

impl Raw {
    pub async fn connect(addr: SocketAddr) -> Self {
        let stream = in_time("a connection", TcpStream::connect(addr)).await.expect("the server accepts");
        Self { stream, unread: Vec::new() }
    }

    /// From an address of this machine of the caller's choice, such as `127.0.0.2`.
    pub async fn connect_from(source: &str, addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind(SocketAddr::new(source.parse().expect("an address"), 0))
            .expect("all of 127.0.0.0/8 is this machine");
        let stream = in_time("a connection", socket.connect(addr)).await.expect("the server accepts");
        Self::over(stream)
    }

    pub(super) fn over(stream: TcpStream) -> Self {
        Self { stream, unread: Vec::new() }
    }

    /// Writes all of it, however slowly the server reads.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_write(bytes).await.expect("the server reads what it is sent");
    }

    /// As [`Raw::write`] where the server may hang up meanwhile.
    pub async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        in_time("the server to read", self.stream.write_all(bytes.as_ref())).await
    }

    /// No more will be written; the other direction stays open.
    pub async fn finish_writing(&mut self) {
        // A server that has hung up already needs no telling.
        drop(self.stream.shutdown().await);
    }

    /// The next answer with its body. Informational ones (100) are skipped.
    pub async fn answer(&mut self) -> RawAnswer {
        self.next_answer(true).await
    }

    /// Waits for `100 Continue`: the server has taken the head and now reads the body.
    pub async fn continued(&mut self) {
        assert_eq!(self.head().await.0, 100);
    }

    /// The next answer to a HEAD request: a head alone.
    pub async fn head_answer(&mut self) -> RawAnswer {
        self.next_answer(false).await
    }

    /// What comes, and has not been read yet, until the server closes the connection; a reset counts as closed.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.unread)
    }

    /// Everything up to and with the first `mark`.
    pub async fn through(&mut self, mark: &[u8]) -> Vec<u8> {
        let end = self.find(mark).await + mark.len();
        self.unread.drain(..end).collect()
    }

    pub(super) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.unread)
    }

    async fn next_answer(&mut self, with_body: bool) -> RawAnswer {
        loop {
            let (status, headers) = self.head().await;
            if status == 100 {
                continue;
            }
            let chunked = headers.get("transfer-encoding").is_some_and(|value| value.contains("chunked"));
            let length = headers.get("content-length").map(|value| value.parse().expect("a content-length"));
            let body = match (with_body && status != 101 && status != 204 && status != 304, chunked, length) {
                (false, ..) => Vec::new(),
                (true, true, _) => self.chunks().await,
                (true, false, Some(length)) => self.take(length).await,
                (true, false, None) => self.rest().await,
            };
            return RawAnswer { status, headers, body };
        }
    }

    async fn head(&mut self) -> (u16, BTreeMap<String, String>) {
        let end = self.find(b"\r\n\r\n").await;
        let head: Vec<u8> = self.unread.drain(..end + 4).collect();
        let head = String::from_utf8(head).expect("a head in ASCII");
        let mut lines = head.trim_end().split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok());
        let mut headers = BTreeMap::<String, String>::new();
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let all = headers.entry(name.to_ascii_lowercase()).or_default();
            if !all.is_empty() {
                all.push_str(", ");
            }
            all.push_str(value.trim());
        }
        (status.unwrap_or_else(|| panic!("not a status line: {first}")), headers)
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let end = self.find(b"\r\n").await;
            let line: Vec<u8> = self.unread.drain(..end + 2).collect();
            let line = String::from_utf8(line).expect("a chunk's length");
            let length = usize::from_str_radix(line.trim(), 16).expect("a chunk's length");
            body.extend(self.take(length).await);
            self.take(2).await;
            if length == 0 {
                return body;
            }
        }
    }

    async fn find(&mut self, mark: &[u8]) -> usize {
        loop {
            if let Some(at) = self.unread.windows(mark.len()).position(|window| window == mark) {
                return at;
            }
            assert!(
                self.fill().await,
                "closed in the middle of an answer: {:?}",
                String::from_utf8_lossy(&self.unread)
            );
        }
    }

    async fn take(&mut self, length: usize) -> Vec<u8> {
        while self.unread.len() < length {
            assert!(self.fill().await, "closed in the middle of a body");
        }
        self.unread.drain(..length).collect()
    }

    /// Reads some more; `false` at the end of the connection.
    async fn fill(&mut self) -> bool {
        in_time("bytes from the server", self.stream.read_buf(&mut self.unread)).await.is_ok_and(|read| read > 0)
    }
}
