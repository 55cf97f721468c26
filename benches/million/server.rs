//! The natter that everybody is connected to.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::world::{KEY, World};
use crate::{Outcome, Result};

/// In the data folder.
pub const DATABASE: &str = "natter.db";

const LOG: &str = "server.log";
const START_SECS: u64 = 120;
/// What a slow, emulated machine may need for what is done in seconds elsewhere.
const PATIENCE_SECS: u64 = 600;

/// Killed when dropped, so that a failed run leaves nothing behind.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    log: PathBuf,
}

/// How it is set, besides what the command line adds.
pub struct Settings<'a> {
    pub world: World,
    pub ping_secs: u64,
    pub drain_secs: u64,
    pub set: &'a [String],
}

/// The program, in its data folder and without settings that come from elsewhere.
pub fn natter(program: &Path, data: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--store", &format!("sqlite:{DATABASE}")]).current_dir(data).env_clear().env("SECRET_KEY", KEY);
    command
}

impl Server {
    pub fn start(program: &Path, data: &Path, settings: &Settings<'_>) -> Result<Self> {
        let log = data.join(LOG);
        let people = settings.world.people.to_string();
        let (ping, drain, patience) =
            (settings.ping_secs.to_string(), settings.drain_secs.to_string(), PATIENCE_SECS.to_string());
        let set = [
            ("limits.rates", "off"),
            ("limits.connections_per_address", "0"),
            ("limits.room_members", &people),
            ("limits.header_secs", &patience),
            ("limits.request_secs", &patience),
            ("rooms.post_secs", &patience),
            ("sockets.connections", &people),
            ("sockets.ping_secs", &ping),
            ("sockets.pong_secs", &patience),
            ("sockets.behind_secs", &patience),
            ("server.drain_secs", &drain),
        ];
        let mut command = natter(program, data);
        command.args(["serve", "--bind", "127.0.0.1:0"]);
        command.args(set.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]));
        command.args(settings.set.iter().flat_map(|setting| ["--set", setting]));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log)?);
        let mut child = command.spawn().map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let heard = child.stdout.take().and_then(address);
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), log };
        server.address = heard.ok_or_else(|| server.failure(&format!("did not start within {START_SECS} s")))?;
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn terminate(&self) -> Outcome {
        let told = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &self.pid().to_string()]).status()?;
        if told.success() { Ok(()) } else { Err("natter could not be told to end".into()) }
    }

    /// Waits for its end after SIGTERM, which must be a good one.
    pub fn ended(mut self, deadline: Instant) -> Outcome {
        while Instant::now() < deadline {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.failure(&format!("ended with {status}")).into()),
                None => thread::sleep(Duration::from_millis(20)),
            }
        }
        Err(self.failure("did not end in time after SIGTERM").into())
    }

    fn failure(&self, what: &str) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!("natter {what}; its log ends:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait()
            && let Err(error) = self.child.kill().and_then(|()| self.child.wait())
        {
            eprintln!("million: natter could not be ended: {error}");
        }
    }
}

/// What it says it listens on; the rest of its output is read and dropped, so that it never blocks.
fn address(stdout: ChildStdout) -> Option<SocketAddr> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(std::io::Result::ok) {
            let said = line.split_once("listening on http://").map(|(_, rest)| rest.trim().trim_end_matches('/'));
            if let Some(address) = said.and_then(|said| said.parse().ok()) {
                // The listener is gone only when it has stopped waiting.
                tell.send(address).ok();
            }
        }
    });
    told.recv_timeout(Duration::from_secs(START_SECS)).ok()
}
