//! What natter is compared with: servers that do the least that could be called the same work. Each runs as a process of
//! its own (this tool again, by a hidden subcommand), so that its CPU time can be told from the client's, and ends when
//! its standard input does.

mod echo;
mod fanout;
mod handshake;
mod http;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};

use clap::Subcommand;
use serde::{Deserialize, Serialize};

use crate::server::heard_address;
use crate::{Outcome, Result, proc};

#[derive(Debug, Clone, Subcommand)]
pub enum Bare {
    /// Reads one byte per message from its first connection and writes one frame to each of its room's readers; answers
    /// with a byte where there is one room.
    Fanout {
        #[arg(long)]
        subscribers: usize,
        /// Readers of each message: the room of message m is m modulo rooms, its readers every `rooms`-th connection.
        #[arg(long, default_value_t = 1)]
        rooms: usize,
        /// Length of an event.
        #[arg(long)]
        bytes: usize,
        /// Gathers frames up to this length and writes them at once; 0: one write per delivery. For one room.
        #[arg(long, default_value_t = 0)]
        chunk: usize,
    },
    /// Answers every request with the answer that comes as JSON on standard input.
    Http,
    /// Answers every WebSocket handshake, and does nothing else.
    Handshake,
    /// Acknowledges every post on a WebSocket at once, and does nothing else with it.
    Echo,
}

#[derive(Serialize, Deserialize)]
pub struct CannedAnswer {
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// A running bare server.
pub struct Process {
    pub addr: SocketAddr,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Process {
    pub fn start(arguments: &[&str], input: &str) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("bare").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("cannot start the bare server: {error}"))?;
        let (mut stdin, stdout) = (child.stdin.take(), child.stdout.take());
        if let Some(stdin) = &mut stdin {
            writeln!(stdin, "{input}")?;
        }
        let addr =
            stdout.and_then(|stdout| heard_address(stdout, "listening on ")).ok_or("the bare server did not start")?;
        Ok(Self { addr, child, stdin })
    }

    pub fn cpu_secs(&self) -> Result<f64> {
        proc::cpu_secs(self.child.id())
    }

    pub fn thread_cpu_secs(&self) -> Result<BTreeMap<u32, f64>> {
        proc::thread_cpu_secs(self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.stdin.take());
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map_or_else(|error| eprintln!("bare server: {error}"), |_| ());
    }
}

pub fn run(bare: Bare) -> Outcome {
    match bare {
        Bare::Fanout { subscribers, rooms, bytes, chunk } => {
            fanout::run(&fanout::Shape { subscribers, rooms, bytes, chunk_bytes: chunk })
        }
        Bare::Http => http::run(),
        Bare::Handshake => handshake::run(),
        Bare::Echo => echo::run(),
    }
}

/// The parent holds the other end, so that whatever happens to it, nothing is left running.
fn end_with_input() {
    std::thread::spawn(|| match std::io::copy(&mut std::io::stdin(), &mut std::io::sink()) {
        Ok(_) => std::process::exit(0),
        Err(_) => std::process::exit(2),
    });
}
