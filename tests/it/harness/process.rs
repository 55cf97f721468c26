//! A child process whose output is gathered and whose end can be waited for.
//!
//! Threads read its pipes and wait for it, so that nothing here polls. Signals go through `kill(1)`, by pid.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, ExitStatus, Stdio},
    thread::{self, JoinHandle},
};

use tokio::sync::watch;

use super::in_time;

/// What a stream has said so far.
#[derive(Default)]
struct Said {
    text: String,
    ended: bool,
}

pub struct Process {
    pid: u32,
    stdout: watch::Receiver<Said>,
    stderr: watch::Receiver<Said>,
    exit: watch::Receiver<Option<ExitStatus>>,
    waiter: Option<JoinHandle<()>>,
}

impl Process {
    pub fn spawn(command: Command) -> Self {
        Self::spawn_reading(command, "")
    }

    /// With `input` on its stdin.
    pub fn spawn_reading(mut command: Command, input: &str) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let input = input.to_owned();
        // A command that refuses at once does not read its input; its exit code is what counts.
        thread::spawn(move || stdin.write_all(input.as_bytes()).is_ok());
        let stdout = gather(child.stdout.take().expect("stdout is piped"));
        let stderr = gather(child.stderr.take().expect("stderr is piped"));
        let pid = child.id();
        let (exit, waiter) = watch_exit(child);
        Self { pid, stdout, stderr, exit, waiter: Some(waiter) }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn stdout(&self) -> String {
        self.stdout.borrow().text.clone()
    }

    pub fn stderr(&self) -> String {
        self.stderr.borrow().text.clone()
    }

    /// The first whole line on stdout that begins with `start`; panics when the stream ends without it.
    pub async fn line(&self, start: &str) -> String {
        let find = |text: &str| {
            text.split_inclusive('\n').find(|line| line.starts_with(start) && line.ends_with('\n')).map(String::from)
        };
        let mut stdout = self.stdout.clone();
        let waiting = stdout.wait_for(|said| said.ended || find(&said.text).is_some());
        let found = in_time(start, waiting).await.ok().and_then(|said| find(&said.text));
        found.unwrap_or_else(|| {
            panic!("the process ended without saying {start:?}:\n{}{}", self.stdout(), self.stderr())
        })
    }

    /// Waits until the log has `text` in it.
    pub async fn logged(&self, text: &str) {
        let mut stderr = self.stderr.clone();
        let waiting = stderr.wait_for(|said| said.ended || said.text.contains(text));
        in_time(text, waiting).await.expect("the reader of the log lives as long as the process");
        assert!(self.stderr().contains(text), "the process ended without logging {text:?}:\n{}", self.stderr());
    }

    pub fn running(&self) -> bool {
        self.exit.borrow().is_none()
    }

    /// Sends `TERM`, `KILL`, `INT`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        if self.running() {
            let status =
                Command::new("kill").args(["-s", name, &self.pid.to_string()]).status().expect("kill(1) is there");
            assert!(status.success() || !self.running(), "kill -s {name} {} failed", self.pid);
        }
    }

    /// How it ended, once it has and has said everything.
    pub async fn ended(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        let status = *in_time("the process to exit", exit.wait_for(Option::is_some)).await.expect("the waiter lives");
        for stream in [&self.stdout, &self.stderr] {
            let mut stream = stream.clone();
            in_time("its last words", stream.wait_for(|said| said.ended)).await.expect("the reader lives");
        }
        status.expect("waited for")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- stdout of {} ---\n{}--- stderr ---\n{}---", self.pid, self.stdout(), self.stderr());
        }
        self.signal("KILL");
        // What it stands on may go next.
        let waited = self.waiter.take().is_none_or(|waiter| waiter.join().is_ok());
        assert!(waited || thread::panicking(), "{} cannot be waited for", self.pid);
    }
}

fn gather(stream: impl Read + Send + 'static) -> watch::Receiver<Said> {
    let (said, receiver) = watch::channel(Said::default());
    thread::spawn(move || {
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            said.send_modify(|said| said.text.push_str(&String::from_utf8_lossy(&line)));
            line.clear();
        }
        said.send_modify(|said| said.ended = true);
    });
    receiver
}

fn watch_exit(mut child: Child) -> (watch::Receiver<Option<ExitStatus>>, JoinHandle<()>) {
    let (exited, receiver) = watch::channel(None);
    let waiter = thread::spawn(move || {
        exited.send_replace(Some(child.wait().expect("our own child can be waited for")));
    });
    (receiver, waiter)
}

/// A command that ran to its end.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Runs it with `input` on its stdin.
    pub async fn of(command: Command, input: &str) -> Self {
        let process = Process::spawn_reading(command, input);
        let code = process.ended().await.code();
        Self { code, stdout: process.stdout(), stderr: process.stderr() }
    }

    /// What it said on stdout; it succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// What it said on stderr; it failed by itself, with neither a panic nor a signal.
    #[track_caller]
    pub fn failed(self) -> String {
        assert!(self.code.is_some_and(|code| code != 0), "it succeeded or was killed: {self:?}");
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self.stderr
    }
}
