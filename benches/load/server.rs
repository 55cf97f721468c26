//! The natter under load: one that this tool starts on a free port with a throw-away data folder, or one that runs already.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use hyper::Method;
use tempfile::TempDir;

use crate::http::{Body, Client};
use crate::{Common, Outcome, Result, proc, url};

const START_SECS: u64 = 20;
const STOP_SECS: u64 = 30;

/// What would bend a server that is started for a measurement.
const FOREIGN_SETTINGS: [&str; 5] = ["DB_URL", "DB_NAME", "SECRET_KEY", "ALGORITHM", "ACCESS_TOKEN_EXPIRE_MINUTES"];

pub struct Target {
    pub addr: SocketAddr,
    pid: Option<u32>,
    own: Option<Own>,
}

/// How a server came to rest.
pub struct Rest {
    pub waited_secs: f64,
    /// At the end of the wait; `None` where the server does not tell.
    pub unsettled_bytes: Option<f64>,
}

/// Killed when dropped, so that a failed run leaves nothing behind; `stop` asks politely first.
struct Own {
    child: Child,
    /// Taken when it is stopped.
    folder: Option<TempDir>,
}

impl Target {
    pub fn start(common: &Common) -> Result<Self> {
        match &common.url {
            Some(url) => Ok(Self { addr: url::address(url, common.ca.as_deref())?, pid: common.pid, own: None }),
            None => Own::start(scratch_folder()?, None, &common.set),
        }
    }

    /// The same again, started anew on its data with `more` settings, where this tool started it.
    pub fn restarted(self, common: &Common, more: &str) -> Result<Self> {
        let Some(own) = self.own else { return Ok(self) };
        let folder = own.stop()?;
        let set: Vec<String> = common.set.iter().cloned().chain([more.into()]).collect();
        Own::start(folder, None, &set)
    }

    /// One that keeps its data where `store` says, as one of several perhaps.
    pub fn on(store: Option<&str>, set: &[String]) -> Result<Self> {
        Own::start(scratch_folder()?, store, set)
    }

    pub fn name(&self) -> String {
        match (&self.own, self.pid) {
            (Some(_), Some(pid)) => format!("natter started by this tool on {}, process {pid}", self.addr),
            (_, Some(pid)) => format!("{}, process {pid}", self.addr),
            (_, None) => self.addr.to_string(),
        }
    }

    /// CPU time so far; not a number where the process is not known (`--url` without `--pid`).
    pub fn cpu_secs(&self) -> Result<f64> {
        self.pid.map_or(Ok(f64::NAN), proc::cpu_secs)
    }

    /// Of each thread; none where the process is not known.
    pub fn thread_cpu_secs(&self) -> Result<BTreeMap<u32, f64>> {
        self.pid.map_or(Ok(BTreeMap::new()), proc::thread_cpu_secs)
    }

    pub fn anon_bytes(&self) -> Result<u64> {
        let pid = self.pid.ok_or("to measure memory of a server given by --url, say which process it is: --pid")?;
        proc::anon_bytes(pid)
    }

    /// Waits until nothing is unsettled in the server's store, at most so long; all that time for a server that gives no
    /// metrics at this address.
    pub async fn rest(&self, most: Duration) -> Result<Rest> {
        // What others have left to the kernel to write, above all the bare SQLite, goes out before.
        if !most.is_zero() {
            tokio::task::spawn_blocking(|| Command::new("sync").status()).await??;
        }
        let (mut client, start) = (Client::connect(self.addr).await?, Instant::now());
        loop {
            let unsettled_bytes = metric(&mut client, "natter_store_unsettled_bytes").await?;
            if unsettled_bytes == Some(0.0) || start.elapsed() >= most {
                return Ok(Rest { waited_secs: start.elapsed().as_secs_f64(), unsettled_bytes });
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub fn stop(self) -> Outcome {
        self.own.map_or(Ok(()), |own| own.stop().map(drop))
    }
}

async fn metric(client: &mut Client, name: &str) -> Result<Option<f64>> {
    let answer = client.call(Method::GET, "/metrics", None, Body::None).await?;
    let text = String::from_utf8_lossy(&answer.body);
    let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    Ok(values.next().filter(|_| answer.status == 200))
}

impl Own {
    /// Without `store`, SQLite in its own folder.
    fn start(folder: TempDir, store: Option<&str>, set: &[String]) -> Result<Target> {
        let own_file = || format!("sqlite:{}", folder.path().join("data/natter.db").display());
        let log = folder.path().join("server.log");
        let mut command = natter();
        command
            .arg("serve")
            .args(["--bind", "127.0.0.1:0"])
            .args(["--store", &store.map_or_else(own_file, String::from)])
            .args(set.iter().flat_map(|setting| ["--set", setting]))
            .env("NATTER_LIMITS__RATES", "off")
            .env("NATTER_LIMITS__CONNECTIONS_PER_ADDRESS", "0")
            .env("NATTER_AUTH__BCRYPT_COST", "4")
            .env("NATTER_AUTH__ACCESS_TOKEN_MINUTES", "600")
            .env("NATTER_SOCKETS__CONNECTIONS_PER_USER", "100000")
            .env("NATTER_LIMITS__ROOM_MEMBERS", "100000")
            .env("NATTER_LIMITS__BODY_BYTES", "8388608")
            .env("NATTER_SERVER__DRAIN_SECS", "2")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?);
        let mut child = command
            .spawn()
            .map_err(|error| format!("cannot start natter: {error}; install it, or name a running one with --url"))?;
        let pid = child.id();
        let stdout = child.stdout.take();
        let own = Self { child, folder: Some(folder) };
        let heard = stdout.and_then(|stdout| heard_address(stdout, "listening on http://"));
        let Some(addr) = heard else {
            return Err(format!("natter did not start within {START_SECS} s; its log ends:\n{}", own.log_end()).into());
        };
        Ok(Target { addr, pid: Some(pid), own: Some(own) })
    }

    /// What it leaves is its data.
    fn stop(mut self) -> Result<TempDir> {
        let pid = self.child.id().to_string();
        Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status()?;
        let deadline = Instant::now() + Duration::from_secs(STOP_SECS);
        while Instant::now() < deadline {
            match self.child.try_wait()? {
                Some(status) if status.success() => {
                    return Ok(self.folder.take().expect("it is taken here alone, and this takes all"));
                }
                Some(status) => {
                    return Err(format!("natter ended with {status}; its log ends:\n{}", self.log_end()).into());
                }
                None => thread::sleep(Duration::from_millis(20)),
            }
        }
        Err(format!("natter did not end within {STOP_SECS} s of SIGTERM; its log ends:\n{}", self.log_end()).into())
    }

    fn log_end(&self) -> String {
        let log = self.folder.as_ref().map(|folder| fs::read_to_string(folder.path().join("server.log")));
        let log = log.and_then(std::result::Result::ok).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.child
                .kill()
                .and_then(|()| self.child.wait())
                .map_or_else(|error| eprintln!("natter: {error}"), |_| ());
        }
    }
}

/// The program, without settings that come from elsewhere. Cargo says to a benchmark where it is; the installed tool looks
/// beside itself, and then in the `PATH`.
pub fn natter() -> Command {
    let beside = std::env::current_exe().ok().map(|tool| tool.with_file_name("natter")).filter(|file| file.exists());
    let program = option_env!("CARGO_BIN_EXE_natter").map(PathBuf::from).or(beside);
    let mut command = Command::new(program.unwrap_or_else(|| "natter".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("NATTER_") || FOREIGN_SETTINGS.contains(&text.as_ref()) {
            command.env_remove(&name);
        }
    }
    command
}

/// A folder on the disk that holds the build, where `/tmp` may be memory: durable writes are to meet a disk.
pub fn scratch_folder() -> Result<TempDir> {
    let parent = PathBuf::from("target/load");
    fs::create_dir_all(&parent).map_err(|error| format!("cannot make {}: {error}", parent.display()))?;
    let parent = fs::canonicalize(&parent).unwrap_or_else(|_| Path::new(".").into());
    Ok(tempfile::Builder::new().prefix("run-").tempdir_in(parent)?)
}

/// The address a child process prints after `prefix`, at the end of a line (a URL's slash may follow); the rest of its output
/// is read and dropped, so that it never blocks.
pub fn heard_address(stdout: impl std::io::Read + Send + 'static, prefix: &'static str) -> Option<SocketAddr> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(std::io::Result::ok) {
            let rest = line.split_once(prefix).map(|(_, rest)| rest.trim().trim_end_matches('/'));
            if let Some(addr) = rest.and_then(|rest| rest.parse().ok()) {
                // The listener is gone only when it has stopped waiting.
                tell.send(addr).ok();
            }
        }
    });
    told.recv_timeout(Duration::from_secs(START_SECS)).ok()
}
