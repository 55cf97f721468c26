//! A keep-alive connection for the hot path: requests that are encoded already, answers that are found in the bytes and not
//! parsed further.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Result, socket};

pub struct KeepAlive {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl KeepAlive {
    pub async fn connect(addr: SocketAddr) -> Result<Self> {
        Ok(Self { stream: socket::connect(addr).await?, answer: Vec::with_capacity(32 * 1024) })
    }

    /// Asks, and waits for all of the answer; its body. Anything but 200 is an error.
    pub async fn ask(&mut self, request: &[u8]) -> Result<&[u8]> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        loop {
            if let Some((body, end)) = extent(&self.answer)?
                && self.answer.len() >= end
            {
                return Ok(&self.answer[body..end]);
            }
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("the server closed a keep-alive connection while it was in use".into());
            }
        }
    }
}

/// Where the body of the answer that begins here begins and ends; `None` until its header is whole.
fn extent(answer: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..end])?;
    let mut lines = head.split("\r\n");
    if lines.next() != Some("HTTP/1.1 200 OK") {
        return Err(format!("the server answered:\n{}", String::from_utf8_lossy(answer)).into());
    }
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let body = end + 4;
    length.map(|length| Some((body, body + length))).ok_or_else(|| "the server's answer has no Content-Length".into())
}
