//! What a run leaves: everything the clients asked, heard and saw, with times, and the logs as they stand at the end.
//!
//! One JSON object a line, so that a history can be kept, read by eye, cut down and checked again. It knows neither how
//! it was made nor what is wanted of it.

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

/// Microseconds since the run began, on the one clock of the process that runs all clients.
pub type Micros = u64;

/// One login of one user, counted by the run. `0`: nobody is signed in.
pub type Login = u64;

pub const SECOND: Micros = 1_000_000;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Record {
    /// The first line: what was to happen.
    Plan { seed: u64, nodes: usize, text: Vec<String> },
    /// A room that was there before the clients began; its first `head` events are not theirs.
    Room { room: String, private: bool, head: u64 },
    /// One request over HTTP.
    Call(Call),
    /// A socket on `/ws`; its welcome is its first `Got`.
    Opened { socket: u64, login: Login, who: String, node: usize, from: Micros, to: Micros },
    /// A handshake that gave no socket.
    NotOpened { login: Login, who: String, node: usize, from: Micros, to: Micros, answer: Answer },
    /// A text frame of the client, given to the kernel at `at`.
    Sent { socket: u64, at: Micros, text: String },
    /// A text frame of the server, to the byte.
    Got { socket: u64, at: Micros, text: String },
    /// The client read nothing in between.
    Paused { socket: u64, from: Micros, to: Micros },
    /// The server's close code, 1006 where there was none. `ours`: the client ended it.
    Ended { socket: u64, at: Micros, code: u16, ours: bool },
    /// Something was broken from `from` on, and whole again at `to`.
    Trouble { what: String, node: Option<usize>, from: Micros, to: Micros },
    /// Everything is whole, nobody posts any more, and every socket that is open now has had time to get everything.
    Quiet { at: Micros },
    /// A room's whole log as a node gives it at the end; `None` where it could not be read.
    Log { node: usize, room: String, events: Option<Vec<String>> },
    /// What `my-chats` says of a room at the end.
    Kept { node: usize, who: String, room: String, read_seq: u64, unread: u64 },
    /// Gauges of a node after everybody has gone, by name.
    Gauge { node: usize, name: String, value: f64 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub login: Login,
    pub who: String,
    pub node: usize,
    pub from: Micros,
    pub to: Micros,
    pub ask: Ask,
    pub answer: Answer,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// The call's `login` is the new one.
    SignIn,
    SignOut,
    Post {
        room: String,
        content: String,
        client_id: Option<String>,
    },
    /// A page of messages, or of all events.
    Page {
        room: String,
        events: bool,
        edge: Edge,
        limit: u64,
    },
    Mark {
        room: String,
        seq: u64,
    },
    Chats,
    Invite {
        room: String,
        user: String,
        role: String,
    },
    SetRole {
        room: String,
        user: String,
        role: String,
    },
    /// Removes somebody, or leaves where `user` is the caller.
    Remove {
        room: String,
        user: String,
    },
    Disable {
        user: String,
    },
    Enable {
        user: String,
    },
    /// Ends every login of the user.
    EndLogins {
        user: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    Latest,
    Before(u64),
    After(u64),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// 200 (or 101) and its body, to the byte.
    Done {
        body: String,
    },
    Refused {
        status: u16,
        code: String,
    },
    /// No answer: it may have happened or not. `waited`: the client gave up; otherwise the connection ended.
    Lost {
        waited: bool,
        why: String,
    },
}

impl Ask {
    pub fn room(&self) -> Option<&str> {
        match self {
            Ask::Post { room, .. }
            | Ask::Page { room, .. }
            | Ask::Mark { room, .. }
            | Ask::Invite { room, .. }
            | Ask::SetRole { room, .. }
            | Ask::Remove { room, .. } => Some(room),
            _ => None,
        }
    }
}

impl Answer {
    pub fn done(&self) -> Option<&str> {
        match self {
            Answer::Done { body } => Some(body),
            _ => None,
        }
    }
}

/// Writes a history, and the folder it belongs into.
pub fn write(records: &[Record], path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = BufWriter::new(File::create(path)?);
    for record in records {
        serde_json::to_writer(&mut file, record)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

/// Reads a history; the error names the line that is none.
pub fn read(path: &Path) -> Result<Vec<Record>, String> {
    let file = File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let mut records = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.map_err(|error| format!("{}:{number}: {error}", path.display()))?;
        let record = serde_json::from_str(&line).map_err(|error| {
            format!(
                "{}:{number} is no record of a history ({error}); give a file that a run has written",
                path.display()
            )
        })?;
        records.push(record);
    }
    Ok(records)
}
