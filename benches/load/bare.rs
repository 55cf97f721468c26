//! What natter is compared with: servers that do the least that could be called the same work. Each runs as a process of
//! its own (this tool again, by a hidden subcommand), so that its CPU time can be told from the client's, and ends when
//! its standard input does.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};

use bytes::Bytes;
use clap::Subcommand;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response, body};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};

use crate::server::heard_address;
use crate::{Outcome, Result, frames, proc};

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
    },
    /// Answers every request with the answer that comes as JSON on standard input.
    Http,
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
        Bare::Fanout { subscribers, rooms, bytes } => fanout(subscribers, rooms, bytes),
        Bare::Http => http(),
    }
}

/// The parent holds the other end, so that whatever happens to it, nothing is left running.
fn end_with_input() {
    std::thread::spawn(|| match std::io::copy(&mut std::io::stdin(), &mut std::io::sink()) {
        Ok(_) => std::process::exit(0),
        Err(_) => std::process::exit(2),
    });
}

/// The loop that gives fan-out its name, and nothing else: blocking writes, one per delivery.
fn fanout(subscribers: usize, rooms: usize, bytes: usize) -> Outcome {
    end_with_input();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on {}", listener.local_addr()?);
    let mut control = listener.accept()?.0;
    control.set_nodelay(true)?;
    let mut sockets: Vec<TcpStream> = Vec::with_capacity(subscribers);
    for _ in 0..subscribers {
        let socket = listener.accept()?.0;
        socket.set_nodelay(true)?;
        sockets.push(socket);
    }
    control.write_all(b"!")?;

    let (mut orders, mut event, mut frame, mut message) = ([0; 256], String::new(), Vec::new(), 0);
    loop {
        let ordered = control.read(&mut orders)?;
        if ordered == 0 {
            return Ok(());
        }
        for _ in 0..ordered {
            let room = message % rooms;
            event.clear();
            event.push_str(&format!(r#"{{"type":"message","seq":{},"content":""#, message / rooms + 1));
            let filling = bytes.saturating_sub(event.len() + 2);
            event.extend(std::iter::repeat_n('x', filling));
            event.push_str("\"}");
            frame.clear();
            frames::push_text(&mut frame, event.as_bytes());
            for socket in sockets.iter_mut().skip(room).step_by(rooms) {
                socket.write_all(&frame)?;
            }
            message += 1;
            if rooms == 1 {
                control.write_all(b"+")?;
            }
        }
    }
}

fn http() -> Outcome {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let canned: CannedAnswer = serde_json::from_str(&line)?;
    end_with_input();
    let mut response = Response::new(Full::new(Bytes::from(canned.body)));
    for (name, value) in canned.headers {
        response.headers_mut().append(hyper::header::HeaderName::try_from(name)?, value.try_into()?);
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(answer_all(response))
}

async fn answer_all(response: Response<Full<Bytes>>) -> Outcome {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let response = response.clone();
        let answer = service_fn(move |_: Request<body::Incoming>| {
            let response = response.clone();
            async move { Ok::<_, Infallible>(response) }
        });
        tokio::spawn(async move {
            if let Err(error) =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await
            {
                eprintln!("bare server: {error}");
            }
        });
    }
}
