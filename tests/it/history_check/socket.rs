//! A client's socket: a task reads it and records every frame to the byte; pausing that task makes a slow reader.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::Notify,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest, http::HeaderValue},
};
use tokio_util::sync::CancellationToken;

use super::{
    api::{Api, Key},
    history::{Answer, Record},
    index::is_event,
    recorder::Recorder,
};
use crate::harness::contract::{self, Channel};

/// For a handshake, a frame to be taken, a goodbye to be answered.
const PATIENCE: Duration = Duration::from_secs(12);
/// What the kernel makes of it is a few KiB: its least.
const SMALL_BUFFER: u32 = 2_048;

type Stream = WebSocketStream<TcpStream>;

/// How far a device has come in a room.
#[derive(Debug, Clone)]
pub struct Cursor {
    pub seq: u64,
    pub epoch: String,
}

/// What a device knows of rooms, over all its sockets.
#[derive(Default)]
pub struct Known {
    pub cursors: Mutex<BTreeMap<String, Cursor>>,
    /// A frame has come.
    pub news: Notify,
}

/// What both halves of a socket share.
struct Both {
    id: u64,
    recorder: Arc<Recorder>,
    known: Arc<Known>,
    /// The rooms that it follows now, by their answers.
    followed: Mutex<BTreeMap<String, u64>>,
    pause: Mutex<Option<Instant>>,
    paused: Notify,
    ours: AtomicBool,
    /// Dropped without a word.
    dropped: CancellationToken,
    ended: CancellationToken,
    login_over: AtomicBool,
}

pub struct Socket {
    both: Arc<Both>,
    sink: SplitSink<Stream, Message>,
    reader: JoinHandle<()>,
    reqs: AtomicU64,
}

impl Socket {
    /// `None`, and a record of it, where there is no socket to be had.
    pub async fn open(api: &Api, node: usize, key: &Key, known: &Arc<Known>, small: bool) -> Option<Self> {
        let recorder = &api.recorder;
        let (from, who, login) = (recorder.now(), key.who.to_string(), key.login);
        let handshake = timeout(PATIENCE, connect(api, node, key, small)).await;
        let to = recorder.now();
        let answer = match handshake {
            Ok(Ok(stream)) => {
                let id = recorder.id();
                recorder.add(Record::Opened { socket: id, login, who, node, from, to });
                return Some(Self::over(stream, id, recorder, known));
            }
            Ok(Err(tungstenite::Error::Http(response))) => {
                let body = response.body().as_deref().unwrap_or_default();
                let code = serde_json::from_slice::<Value>(body).unwrap_or_default();
                let code = code["code"].as_str().unwrap_or_default().to_owned();
                Answer::Refused { status: response.status().as_u16(), code }
            }
            Ok(Err(error)) => Answer::Lost { waited: false, why: error.to_string() },
            Err(_) => Answer::Lost { waited: true, why: "the handshake".into() },
        };
        recorder.add(Record::NotOpened { login, who, node, from, to, answer });
        None
    }

    fn over(stream: Stream, id: u64, recorder: &Arc<Recorder>, known: &Arc<Known>) -> Self {
        let both = Arc::new(Both {
            id,
            recorder: recorder.clone(),
            known: known.clone(),
            followed: Mutex::default(),
            pause: Mutex::default(),
            paused: Notify::new(),
            ours: AtomicBool::new(false),
            dropped: CancellationToken::new(),
            ended: CancellationToken::new(),
            login_over: AtomicBool::new(false),
        });
        let (sink, stream) = stream.split();
        let reader = tokio::spawn(read(both.clone(), stream));
        Self { both, sink, reader, reqs: AtomicU64::new(1) }
    }

    pub fn is_open(&self) -> bool {
        !self.both.ended.is_cancelled()
    }

    /// It was closed because the login is over.
    pub fn login_is_over(&self) -> bool {
        self.both.login_over.load(Ordering::Relaxed)
    }

    /// The rooms it follows, and how far it has come in each.
    pub fn followed(&self) -> BTreeMap<String, u64> {
        self.both.followed.lock().clone()
    }

    /// It has said that it follows this room no more.
    pub fn forget(&self, room: &str) {
        self.both.followed.lock().remove(room);
    }

    /// Reads nothing for so long, from about now on.
    pub fn pause(&self, length: Duration) {
        *self.both.pause.lock() = Some(Instant::now() + length);
        self.both.paused.notify_one();
    }

    /// Sends a frame with a `req` of its own; its answer is somewhere in the record. A socket that does not take it ends.
    pub async fn send(&mut self, mut frame: Value) {
        frame["req"] = format!("r{}", self.reqs.fetch_add(1, Ordering::Relaxed)).into();
        let text = frame.to_string();
        let (socket, at) = (self.both.id, self.both.recorder.now());
        self.both.recorder.add(Record::Sent { socket, at, text: text.clone() });
        let sent = timeout(PATIENCE, self.sink.send(Message::text(text))).await;
        if !matches!(sent, Ok(Ok(()))) {
            self.both.ours.store(true, Ordering::Relaxed);
            self.both.dropped.cancel();
        }
    }

    /// Ends it, with a word or without, and waits until its record is whole.
    pub async fn close(mut self, politely: bool) {
        self.both.ours.store(self.is_open(), Ordering::Relaxed);
        let goodbye = async {
            let said = self.sink.close().await.is_ok();
            if said {
                self.both.ended.cancelled().await;
            }
        };
        if politely {
            // Whoever does not answer a goodbye is left without one.
            let _answered = timeout(PATIENCE, goodbye).await.is_ok();
        }
        self.both.dropped.cancel();
        self.reader.await.expect("a reader does not panic");
    }
}

async fn connect(api: &Api, node: usize, key: &Key, small: bool) -> Result<Stream, tungstenite::Error> {
    let addr = api.addrs[node];
    let socket = TcpSocket::new_v4()?;
    if small {
        socket.set_recv_buffer_size(SMALL_BUFFER)?;
    }
    let stream = socket.connect(addr).await?;
    stream.set_nodelay(true)?;
    let mut request = format!("ws://{addr}/ws").into_client_request()?;
    let bearer = HeaderValue::from_str(&format!("Bearer {}", key.token))?;
    request.headers_mut().insert("authorization", bearer);
    Ok(client_async(request, stream).await?.0)
}

async fn read(both: Arc<Both>, mut stream: SplitStream<Stream>) {
    let code = loop {
        let pause = both.pause.lock().take();
        if let Some(until) = pause {
            let from = both.recorder.now();
            let dropped = timeout_at(until, both.dropped.cancelled()).await.is_ok();
            both.recorder.add(Record::Paused { socket: both.id, from, to: both.recorder.now() });
            if dropped {
                break 1006;
            }
        }
        tokio::select! {
            message = stream.next() => if let Some(code) = both.took(message) {
                // Reading on ends the closing handshake.
                while let Ok(Some(Ok(_))) = timeout(PATIENCE, stream.next()).await {}
                break code;
            },
            () = both.paused.notified() => {}
            () = both.dropped.cancelled() => break 1006,
        }
    };
    both.login_over.store(code == 4401, Ordering::Relaxed);
    let ours = both.ours.load(Ordering::Relaxed);
    both.recorder.add(Record::Ended { socket: both.id, at: both.recorder.now(), code, ours });
    both.ended.cancel();
    both.known.news.notify_waiters();
}

impl Both {
    /// Records what came; the close code where that was the end.
    fn took(&self, message: Option<Result<Message, tungstenite::Error>>) -> Option<u16> {
        match message {
            Some(Ok(Message::Text(text))) => {
                contract::check_frame(Channel::All, &text);
                self.recorder.add(Record::Got { socket: self.id, at: self.recorder.now(), text: text.to_string() });
                self.note(&serde_json::from_str(&text).unwrap_or_default());
                None
            }
            Some(Ok(Message::Close(frame))) => Some(frame.map_or(1005, |frame| frame.code.into())),
            // A binary frame is nothing that natter sends: no rule expects this code.
            Some(Ok(Message::Binary(_))) => Some(1003),
            Some(Ok(_)) => None,
            Some(Err(_)) | None => Some(1006),
        }
    }

    fn note(&self, frame: &Value) {
        let mut followed = self.followed.lock();
        let mut cursors = self.known.cursors.lock();
        if frame["type"] == "subscribed" {
            for (room, given) in frame["chats"].as_object().into_iter().flatten() {
                let seq = given["since"].as_u64().unwrap_or(0);
                let epoch = given["epoch"].as_str().unwrap_or_default().to_owned();
                followed.insert(room.clone(), seq);
                cursors.insert(room.clone(), Cursor { seq, epoch });
            }
        } else if frame["type"] == "chats" && frame["change"] == "removed" {
            followed.remove(frame["chat_id"].as_str().unwrap_or_default());
        } else if is_event(frame)
            && let (Some(room), Some(seq)) = (frame["chat_id"].as_str(), frame["seq"].as_u64())
        {
            if let Some(at) = followed.get_mut(room) {
                *at = seq;
            }
            if let Some(cursor) = cursors.get_mut(room) {
                cursor.seq = seq;
            }
        }
        drop((followed, cursors));
        self.known.news.notify_waiters();
    }
}
