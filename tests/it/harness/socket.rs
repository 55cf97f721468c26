//! Sockets: any handshake, and a client that reads frames in order and keeps those nobody asked for yet.
//!
//! The handshake is written by hand, so that a refusal is read as the HTTP answer it is, and so that a test can send a
//! wrong one. Nothing is read from the connection but in `next*`, `ask`, `closed`: a test that calls none of them is a
//! reader that has stopped reading.

use std::{collections::VecDeque, net::SocketAddr};

use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Bytes, Message, protocol::Role},
};

use super::{
    Posted,
    contract::{self, Channel},
    in_time,
    raw::{Raw, RawAnswer},
};

/// The sample nonce of RFC 6455 and what a server must answer to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// An opening handshake, ready to be sent.
pub struct Handshake {
    addr: SocketAddr,
    path: String,
    headers: Vec<(String, String)>,
    receive_bytes: Option<usize>,
}

/// A handshake that was answered with something else than 101.
pub type Refusal = RawAnswer;

impl Handshake {
    pub fn new(addr: SocketAddr, path: &str) -> Self {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = vec![
            ("Host".to_owned(), addr.to_string()),
            header("Connection", "Upgrade"),
            header("Upgrade", "websocket"),
            header("Sec-WebSocket-Version", "13"),
            header("Sec-WebSocket-Key", KEY),
        ];
        Self { addr, path: path.to_owned(), headers, receive_bytes: None }
    }

    /// Sets a header, in place of one of that name.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// As browsers do it, who cannot set headers.
    pub fn bearer_protocol(self, token: &str) -> Self {
        self.header("Sec-WebSocket-Protocol", &format!("natter.v1, bearer.{token}"))
    }

    pub fn cookie(self, token: &str) -> Self {
        self.header("Cookie", &format!("token={token}"))
    }

    pub fn origin(self, origin: &str) -> Self {
        self.header("Origin", origin)
    }

    /// Asks the kernel for a receive buffer of this size (it doubles it, and has a floor).
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_bytes = Some(bytes);
        self
    }

    /// The socket; panics where it is refused.
    pub async fn open(self) -> Socket {
        let path = self.path.clone();
        match self.attempt().await {
            Ok(socket) => socket,
            Err(refusal) => panic!("{path}: {} {}", refusal.status, String::from_utf8_lossy(&refusal.body)),
        }
    }

    /// The refusal; panics where a socket opens or another status comes. Keeps the conventions of all errors.
    pub async fn refused(self, status: u16) -> Value {
        match self.attempt().await {
            Ok(_) => panic!("the socket opened"),
            Err(refusal) => refusal.refused(status),
        }
    }

    pub async fn attempt(self) -> Result<Socket, Refusal> {
        let mut raw = Raw::over(self.connect().await);
        let mut request = format!("GET {} HTTP/1.1\r\n", self.path);
        for (name, value) in &self.headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        raw.write(request + "\r\n").await;
        let answer = raw.answer().await;
        contract::check_answer(
            &Method::GET,
            &self.path,
            answer.status,
            |name| answer.header(name).map(String::from),
            &answer.body,
        );
        if answer.status != 101 {
            return Err(answer);
        }
        assert_eq!(answer.header("sec-websocket-accept"), Some(ACCEPT));
        let (stream, unread) = raw.into_parts();
        let frames = WebSocketStream::from_partially_read(stream, unread, Role::Client, None).await;
        let protocol = answer.header("sec-websocket-protocol").map(String::from);
        let channel = Channel::of(&self.path);
        Ok(Socket { frames, channel, protocol, answer, welcome: Value::Null, unasked: VecDeque::new(), asked: 0 })
    }

    async fn connect(&self) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        if let Some(bytes) = self.receive_bytes {
            socket.set_recv_buffer_size(bytes.try_into().expect("a small buffer")).expect("a buffer of that size");
        }
        in_time("a connection", socket.connect(self.addr)).await.expect("the server accepts")
    }
}

/// The end of a socket. 1006: the connection ended without a close frame; 1005: one without a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    pub code: u16,
    pub reason: String,
}

pub struct Socket {
    frames: WebSocketStream<TcpStream>,
    channel: Channel,
    /// The subprotocol that the server chose.
    pub protocol: Option<String>,
    /// The 101 itself.
    pub answer: RawAnswer,
    /// Its first frame (`Null` on a socket of one room).
    pub welcome: Value,
    /// Frames that came while an answer was awaited.
    unasked: VecDeque<String>,
    asked: u64,
}

/// What the server tells about people rather than about a room's log.
const NOTICES: [&str; 4] = ["presence", "typing", "read", "chats"];
/// What stands in a room's log.
const EVENTS: [&str; 5] = ["message", "edit", "delete", "member", "chat"];

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("a frame that is not JSON ({error}): {text}"))
}

fn is_one_of(frame: &Value, kinds: &[&str]) -> bool {
    frame["type"].as_str().is_some_and(|kind| kinds.contains(&kind))
}

impl Socket {
    pub(super) async fn read_welcome(&mut self, username: &str) {
        let welcome = self.next().await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        assert_eq!(welcome["username"], username);
        for field in ["user_id", "connection_id", "expires_at", "ping_seconds", "limits"] {
            assert!(!welcome[field].is_null(), "no {field} in {welcome}");
        }
        self.welcome = welcome;
    }

    pub async fn send(&mut self, frame: Value) {
        self.send_raw(&frame.to_string()).await;
    }

    pub async fn send_raw(&mut self, text: &str) {
        self.send_message(Message::text(text)).await;
    }

    pub async fn send_binary(&mut self, bytes: &[u8]) {
        self.send_message(Message::binary(bytes.to_vec())).await;
    }

    /// Any frame, control frames too; the connection must still be open.
    pub async fn send_message(&mut self, message: Message) {
        in_time("the server to read a frame", self.frames.send(message)).await.expect("an open socket");
    }

    /// Sends a frame with a `req` of its own and gives the frame that answers it; what comes between is kept.
    pub async fn ask(&mut self, mut frame: Value) -> Value {
        self.asked += 1;
        let req = format!("r{}", self.asked);
        frame["req"] = json!(req);
        self.send(frame.clone()).await;
        let answer = self.find(&format!("the answer to {req}"), |answer| answer["req"] == req.as_str()).await;
        if answer["type"] != "error" {
            contract::check_request(&frame);
        }
        answer
    }

    /// Subscribes to `room` from now on; gives what `subscribed` says about it.
    pub async fn follow(&mut self, room: &str) -> Value {
        let answer = self.ask(json!({"type": "subscribe", "chats": {room: null}})).await;
        self.subscribed(answer, room)
    }

    /// Subscribes to `room` after `since` of `epoch`.
    pub async fn resume(&mut self, room: &str, since: u64, epoch: &str) -> Value {
        let cursor = json!({"since": since, "epoch": epoch});
        let answer = self.ask(json!({"type": "subscribe", "chats": {room: cursor}})).await;
        self.subscribed(answer, room)
    }

    fn subscribed(&self, answer: Value, room: &str) -> Value {
        assert_eq!(answer["type"], "subscribed", "{answer}");
        assert!(answer["chats"][room]["head"].is_u64(), "{room} is not in {answer}");
        answer["chats"][room].clone()
    }

    /// Posts and waits for `posted`; what comes between is kept.
    pub async fn post(&mut self, room: &str, text: &str, client_id: &str) -> Posted {
        let frame = json!({"type": "post", "chat_id": room, "content": text, "client_id": client_id});
        let answer = self.ask(frame).await;
        assert_eq!(answer["type"], "posted", "{answer}");
        assert_eq!((&answer["chat_id"], &answer["client_id"]), (&json!(room), &json!(client_id)));
        Posted::of(&answer)
    }

    /// The next text frame, whatever it is.
    pub async fn next(&mut self) -> Value {
        parse(&self.next_text().await)
    }

    /// The same as it came over the wire.
    pub async fn next_text(&mut self) -> String {
        match self.unasked.pop_front() {
            Some(text) => text,
            None => {
                self.receive("a frame").await.unwrap_or_else(|closed| panic!("closed instead of a frame: {closed:?}"))
            }
        }
    }

    /// The next text frame, or how the socket ended instead.
    pub async fn try_next(&mut self) -> Result<String, Closed> {
        match self.unasked.pop_front() {
            Some(text) => Ok(text),
            None => self.receive("a frame or the end").await,
        }
    }

    /// The next event of a room's log, past notices and answers; an `error` frame is none of them.
    pub async fn next_event(&mut self) -> Value {
        parse(&self.next_event_text().await)
    }

    /// The same as it came over the wire.
    pub async fn next_event_text(&mut self) -> String {
        loop {
            let text = self.next_text().await;
            let frame = parse(&text);
            assert_ne!(frame["type"], "error", "{frame}");
            if is_one_of(&frame, &EVENTS) {
                return text;
            }
        }
    }

    /// The next `count` events of the log.
    pub async fn next_events(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            events.push(self.next_event().await);
        }
        events
    }

    /// The next frame but notices, which must be of this type.
    pub async fn expect(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] == kind {
                return frame;
            }
            assert!(is_one_of(&frame, &NOTICES), "expected {kind}: {frame}");
        }
    }

    /// The first frame of this type; those before it are kept for `next`.
    pub async fn wait_for(&mut self, kind: &str) -> Value {
        self.find(kind, |frame| frame["type"] == kind).await
    }

    /// The first frame that `wanted` accepts; those before it are kept for `next`.
    pub async fn find(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.unasked.iter().position(|text| wanted(&parse(text))) {
            return parse(&self.unasked.remove(at).expect("found there"));
        }
        loop {
            match self.receive(what).await {
                Ok(text) => {
                    let frame = parse(&text);
                    if wanted(&frame) {
                        return frame;
                    }
                    self.unasked.push_back(text);
                }
                Err(closed) => panic!("closed instead of {what}: {closed:?}"),
            }
        }
    }

    /// Proves that everything that the server had for this socket has arrived, and gives the frames that came until then. A
    /// first answer may overtake events of rooms, which have their turn after it; a second one comes after them.
    pub async fn drain(&mut self) -> Vec<Value> {
        for _ in 0..2 {
            assert_eq!(self.ask(json!({"type": "ping"})).await["type"], "pong");
        }
        self.unasked.drain(..).map(|text| parse(&text)).collect()
    }

    /// How the server closes it; frames before that are dropped.
    pub async fn closed(&mut self) -> Closed {
        self.frames_until_closed().await.1
    }

    /// Everything unread until it is closed, and how it is closed.
    pub async fn frames_until_closed(&mut self) -> (Vec<Value>, Closed) {
        let mut frames: Vec<Value> = self.unasked.drain(..).map(|text| parse(&text)).collect();
        loop {
            match self.receive("the close").await {
                Ok(text) => frames.push(parse(&text)),
                Err(closed) => return (frames, closed),
            }
        }
    }

    /// Closes from this side with 1000 and reads to the end.
    pub async fn close(mut self) -> Closed {
        in_time("a close to be sent", self.frames.close(None)).await.expect("an open socket");
        self.closed().await
    }

    /// The bare connection, for bytes that are no frames.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.frames.get_mut()
    }

    /// The next ping's payload; text frames before it are kept.
    pub async fn ping(&mut self) -> Bytes {
        loop {
            match in_time("a ping", self.frames.next()).await {
                Some(Ok(Message::Ping(payload))) => return payload,
                Some(Ok(Message::Text(text))) => {
                    contract::check_frame(self.channel, &text);
                    self.unasked.push_back(text.to_string());
                }
                Some(Ok(_)) => {}
                end => panic!("ended instead of a ping: {end:?}"),
            }
        }
    }

    /// The next text frame off the wire, or how the socket ended. Pings are answered by the library.
    async fn receive(&mut self, what: &str) -> Result<String, Closed> {
        let closed = |code: u16, reason: &str| Err(Closed { code, reason: reason.to_owned() });
        loop {
            match in_time(what, self.frames.next()).await {
                Some(Ok(Message::Text(text))) => {
                    contract::check_frame(self.channel, &text);
                    return Ok(text.to_string());
                }
                Some(Ok(Message::Close(frame))) => {
                    // Reading on sends our half of the closing handshake; then the server ends the connection.
                    while let Some(Ok(_)) = in_time("the end of a closed socket", self.frames.next()).await {}
                    return match frame {
                        Some(frame) => {
                            contract::check_close(self.channel, frame.code.into());
                            closed(frame.code.into(), frame.reason.as_str())
                        }
                        None => closed(1005, ""),
                    };
                }
                Some(Ok(Message::Binary(bytes))) => panic!("a binary frame of {} bytes", bytes.len()),
                Some(Ok(_)) => {}
                None => return closed(1006, "the connection ended"),
                Some(Err(tungstenite::Error::Io(_) | tungstenite::Error::Protocol(_))) => {
                    return closed(1006, "the connection broke");
                }
                Some(Err(error)) => panic!("{error}"),
            }
        }
    }
}
