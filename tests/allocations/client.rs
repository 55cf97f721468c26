//! A client on a thread of its own that allocates nothing while it sends and reads: frames are made before, and answers
//! are counted where they stand.

#![allow(dead_code, reason = "two programs use it, each a part of it")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::{Value, json};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// What one read takes; a frame of the server is shorter.
const BUFFER: usize = 64 * 1024;
const PASSWORD: &str = "correct horse battery";
const TEXT: u8 = 0x81;
const MASKED: u8 = 0x80;
/// A mask that changes nothing.
const MASK: [u8; 4] = [0; 4];

/// Somebody who is signed in.
pub struct Person {
    address: SocketAddr,
    token: String,
}

impl Person {
    pub fn register(address: SocketAddr, username: &str) -> Self {
        let mut person = Self { address, token: String::new() };
        let login = json!({"username": username, "password": PASSWORD});
        person.ask("/users/register", "application/json", &login.to_string());
        let form = format!("username={username}&password={}", PASSWORD.replace(' ', "+"));
        let login = person.ask("/token", "application/x-www-form-urlencoded", &form);
        person.token = login["access_token"].as_str().expect("a token").to_owned();
        person
    }

    /// A room of their own.
    pub fn room(&self, name: &str) -> String {
        self.room_with(name, &[])
    }

    pub fn room_with(&self, name: &str, usernames: &[String]) -> String {
        let made =
            self.ask("/chat/new", "application/json", &json!({"name": name, "usernames": usernames}).to_string());
        made["chat_id"].as_str().expect("a chat_id").to_owned()
    }

    /// Asks for something that has nothing to do with anything.
    pub fn ask_after_health(&self) {
        let mut answer = String::new();
        let mut stream = self.request("GET", "/healthz", "Connection: close\r\n", "");
        stream.read_to_string(&mut answer).expect("an answer");
    }

    fn ask(&self, path: &str, kind: &str, body: &str) -> Value {
        let length = body.len();
        let head = format!("Connection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n");
        let mut stream = self.request("POST", path, &head, body);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 2"), "{path}: {answer}");
        serde_json::from_str(body).expect("JSON")
    }

    fn request(&self, method: &str, path: &str, head: &str, body: &str) -> TcpStream {
        let Self { address, token } = self;
        let mut stream = TcpStream::connect(address).expect("a server that accepts");
        stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(DEADLINE))).expect("a socket's settings");
        let signed = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{signed}{head}\r\n{body}");
        stream.write_all(request.as_bytes()).expect("a server that reads");
        stream
    }

    /// A connection that has asked `GET /users/me` once, and can ask again.
    pub fn asking(&self) -> Asking {
        let Self { address, token } = self;
        let stream = self.request("GET", "/users/me", "", "");
        let request = format!("GET /users/me HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n");
        let mut asking = Asking { stream, request: request.into_bytes(), answer: Vec::new() };
        while !asking.answer.ends_with(b"Z\"}") {
            asking.answer.push(0);
            let last = asking.answer.len() - 1;
            asking.stream.read_exact(&mut asking.answer[last..]).expect("an answer");
        }
        asking
    }

    /// `GET /ws`.
    pub fn socket(&self) -> Socket {
        let head = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let mut stream = self.request("GET", "/ws", head, "");
        let (mut answer, mut byte) = (Vec::new(), [0]);
        while !answer.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).expect("an answer");
            answer.extend(byte);
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
        let mut socket = Socket { stream, buffer: vec![0; BUFFER].into(), from: 0, to: 0 };
        socket.read("welcome", 1);
        socket
    }

    /// A socket that follows the room.
    pub fn follow(&self, room: &str) -> Socket {
        let mut socket = self.socket();
        socket.send(&frame(&json!({"type": "subscribe", "chats": {room: null}})));
        socket.read("subscribed", 1);
        socket
    }
}

/// Every answer has the length of the first.
pub struct Asking {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Asking {
    pub fn ask(&mut self, times: usize) {
        for _ in 0..times {
            self.stream.write_all(&self.request).expect("a server that reads");
            self.stream.read_exact(&mut self.answer).expect("an answer");
            assert!(self.answer.starts_with(b"HTTP/1.1 200") && self.answer.ends_with(b"Z\"}"));
        }
    }
}

/// A text as a client sends it.
pub fn frame(value: &Value) -> Vec<u8> {
    let text = value.to_string();
    let mut frame = vec![TEXT, MASKED | 126];
    frame.extend(u16::try_from(text.len()).expect("a short text").to_be_bytes());
    frame.extend(MASK);
    frame.extend(text.bytes());
    frame
}

/// A socket that holds no memory of this process.
pub struct Parked {
    _stream: TcpStream,
}

/// What was read and is not looked at stands in `buffer[from..to]`.
pub struct Socket {
    stream: TcpStream,
    buffer: Box<[u8]>,
    from: usize,
    to: usize,
}

impl Socket {
    pub fn park(self) -> Parked {
        Parked { _stream: self.stream }
    }

    pub fn send(&mut self, frames: &[u8]) {
        self.stream.write_all(frames).expect("a server that reads");
    }

    /// Reads until so many texts of a type have come; others are passed over.
    pub fn read(&mut self, kind: &str, texts: usize) {
        let mut left = texts;
        while left > 0 {
            match self.next_frame() {
                Some(text) => left -= usize::from(is(text, kind)),
                None => self.read_more(),
            }
        }
    }

    /// The payload of the next whole frame that is here.
    fn next_frame(&mut self) -> Option<&[u8]> {
        let bytes = &self.buffer[self.from..self.to];
        let (start, length) = match bytes {
            [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
            [_, length @ 0..126, ..] => (2, usize::from(*length)),
            _ => return None,
        };
        if bytes.len() < start + length {
            return None;
        }
        let start = self.from + start;
        self.from = start + length;
        Some(&self.buffer[start..self.from])
    }

    fn read_more(&mut self) {
        self.buffer.copy_within(self.from..self.to, 0);
        (self.from, self.to) = (0, self.to - self.from);
        let read = self.stream.read(&mut self.buffer[self.to..]).expect("an answer in time");
        assert!(read > 0, "the server closed the socket");
        self.to += read;
    }
}

fn is(text: &[u8], kind: &str) -> bool {
    let rest = text.strip_prefix(b"{\"type\":\"").unwrap_or_default();
    assert!(!rest.starts_with(b"error\""), "{}", String::from_utf8_lossy(text));
    rest.strip_prefix(kind.as_bytes()).is_some_and(|rest| rest.starts_with(b"\""))
}
