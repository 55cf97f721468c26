//! `natter.sock` in the data folder: how the command line talks to a running server.
//!
//! One connection is one line of JSON each way: a [`Command`], and `{"ok": Reply}` or `{"error": "sentence"}`; before that
//! come lines with `{"progress": Snapshot}` while a long command is at work. The file is readable by its owner alone, and that is the whole of its authentication. Whoever listens holds the folder's lock,
//! so a socket found there belongs to a process that is gone.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::PermissionsExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, unix::WriteHalf},
    sync::Semaphore,
};

use super::{Command, Operator, Reply, operate};
use crate::transfer::progress::{Progress, Snapshot};

const NAME: &str = "natter.sock";

/// Unix allows 107 bytes; a suffix is needed while the socket is made.
const MOST_PATH_BYTES: usize = 100;

/// An operator has no use for more at once; the next waits for one to end.
const COMMANDS: usize = 8;
const LINE_BYTES: u64 = 64 * 1024;
const LINE_SECS: u64 = 10;

/// How often a long command says how far it is; and, where nothing has changed, that it is at work.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
const ALIVE_EVERY: Duration = Duration::from_secs(2);

/// A server that says nothing for so long does not answer.
const SILENT_SECS: u64 = 6;

/// Files in reserve for commands. A connection may take one that was let go of; those who accept connections rest then, and the next
/// one is the command's.
const SPARES: usize = 3;

/// While no file is left, the next try comes this soon.
const NO_FILE_PAUSE: Duration = Duration::from_millis(50);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Progress(Snapshot),
    Ok(Reply),
    Error(String),
}

pub fn path_in(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// The socket of a running server. Dropping it ends its task and removes the file.
pub struct Control {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "the control socket was gone already");
        }
    }
}

/// Listens in `folder` for as long as the result lives. Fails with a sentence; a server without the socket serves all
/// the same, but its admin commands need it stopped.
pub fn listen(folder: &Path, operator: Arc<Operator>) -> Result<Control, String> {
    let path = path_in(folder);
    let bytes = path.as_os_str().as_bytes().len();
    if bytes > MOST_PATH_BYTES {
        return Err(format!(
            "{} is {bytes} bytes long and a socket's path may have {MOST_PATH_BYTES}: admin and backup commands work only \
             while the server is stopped, until the data folder has a shorter path",
            path.display()
        ));
    }
    let listener = bind(&path).map_err(|error| format!("{} cannot be made ({error})", path.display()))?;
    let task = tokio::spawn(serve(listener, operator, spares()));
    Ok(Control { path, task })
}

/// Under its final name the socket has its final permissions from the beginning.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let fresh = path.with_extension("new");
    if let Err(error) = fs::remove_file(&fresh)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let listener = UnixListener::bind(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
    fs::rename(&fresh, path)?;
    Ok(listener)
}

/// Any open files will do.
fn spares() -> Vec<OwnedFd> {
    (0..SPARES).filter_map(|_| File::open("/dev/null").ok()).map(OwnedFd::from).collect()
}

/// A few files are kept in reserve: where the process may open no more, a command takes its place.
async fn serve(listener: UnixListener, operator: Arc<Operator>, spares: Vec<OwnedFd>) {
    let (permits, spares) = (Arc::new(Semaphore::new(COMMANDS)), Arc::new(Mutex::new(spares)));
    loop {
        let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((mut stream, _)) => {
                let (operator, spares) = (operator.clone(), spares.clone());
                tokio::spawn(async move {
                    if let Err(error) = converse(&mut stream, &operator).await {
                        tracing::debug!(%error, "an admin command was given up");
                    }
                    // Given back without a moment in which somebody else could take it.
                    let mut spares = spares.lock();
                    if spares.len() < SPARES
                        && let Ok(stream) = stream.into_std()
                    {
                        spares.push(stream.into());
                    }
                    drop(permit);
                });
            }
            // The next try comes at once.
            Err(_) if spares.lock().pop().is_some() => {}
            Err(error) => {
                tracing::debug!(%error, "an admin command waits");
                tokio::time::sleep(NO_FILE_PAUSE).await;
            }
        }
    }
}

async fn converse(stream: &mut tokio::net::UnixStream, operator: &Operator) -> io::Result<()> {
    let (from, mut to) = stream.split();
    let mut line = Vec::new();
    let mut from = tokio::io::BufReader::new(from.take(LINE_BYTES));
    tokio::time::timeout(Duration::from_secs(LINE_SECS), from.read_until(b'\n', &mut line)).await??;
    let answer = match serde_json::from_slice::<Command>(&line) {
        Ok(command) => {
            let (what, whom) = (command.name(), command.username().unwrap_or("-").to_owned());
            let done = run(operator, command, &mut to).await?;
            match &done {
                Ok(_) => tracing::info!(command = what, user = whom, "operator's command done"),
                Err(error) => tracing::warn!(command = what, user = whom, %error, "operator's command refused"),
            }
            done.map_or_else(Answer::Error, Answer::Ok)
        }
        // serde's message may quote the line, and the line may hold a password.
        Err(_) => Answer::Error("the running server does not know this command; is it another version?".into()),
    };
    write_line(&mut to, &answer).await?;
    to.shutdown().await
}

async fn write_line(to: &mut WriteHalf<'_>, answer: &Answer) -> io::Result<()> {
    let mut text = serde_json::to_vec(answer)?;
    text.push(b'\n');
    to.write_all(&text).await
}

/// Runs a command, and says how far it is whenever that has changed. A short one says nothing; one that nobody waits for
/// any more is given up.
async fn run(operator: &Operator, command: Command, to: &mut WriteHalf<'_>) -> io::Result<Result<Reply, String>> {
    let progress = Progress::default();
    let (mut told, mut told_at) = (Snapshot::default(), Instant::now());
    let mut work = pin!(operate(operator, command, &progress));
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            () = tokio::time::sleep(PROGRESS_EVERY) => {}
        }
        let now = progress.snapshot();
        if now != told || told_at.elapsed() >= ALIVE_EVERY {
            let answer = Answer::Progress(now.clone());
            tokio::time::timeout(Duration::from_secs(LINE_SECS), write_line(to, &answer)).await??;
            (told, told_at) = (now, Instant::now());
        }
    }
}

/// Why a running server could not be asked, or what it answered.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("the server does not answer at its control socket ({0})")]
    Unreachable(io::Error),
    #[error(
        "the server was asked and has said nothing for {SILENT_SECS} seconds, so whether it does what it was asked is not known: it \
         may be at its limit on open files (ulimit -n), or its disk hangs. Look at its log, and ask again"
    )]
    Silent,
    #[error("{0}")]
    Refused(String),
}

/// Has the server that owns `folder` run a command, and waits for as long as it says that it is at work; `show` is told how far
/// it is.
pub fn ask(folder: &Path, command: &Command, mut show: impl FnMut(&Snapshot)) -> Result<Reply, AskError> {
    let mut converse = || -> io::Result<Result<Reply, String>> {
        let mut stream = UnixStream::connect(path_in(folder))?;
        let silent = Some(Duration::from_secs(SILENT_SECS));
        stream.set_read_timeout(silent).and_then(|()| stream.set_write_timeout(silent))?;
        let mut line = serde_json::to_vec(command)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut from = BufReader::new(stream);
        loop {
            let mut answer = String::new();
            from.read_line(&mut answer)?;
            match serde_json::from_str(&answer)? {
                Answer::Progress(now) => show(&now),
                Answer::Ok(reply) => return Ok(Ok(reply)),
                Answer::Error(sentence) => return Ok(Err(sentence)),
            }
        }
    };
    let answered = converse().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AskError::Silent,
        _ => AskError::Unreachable(error),
    })?;
    answered.map_err(AskError::Refused)
}
