//! Writes an export file: under another name until it is whole and on disk, and never over a file that is there.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use tokio::{sync::mpsc, task::JoinHandle};
use uuid::Uuid;

use super::{
    Counts,
    format::{CHECK_LINES, Check, Encoder, End, Header, Line, VERSION},
    hex,
};

/// Lines are handed to the thread that compresses in portions of about so many bytes, and so many portions may wait.
const PORTION_BYTES: usize = 256 * 1024;
const PORTIONS: usize = 4;

/// A good ratio at a speed that keeps up with reading a store.
const LEVEL: i32 = 3;

enum Job {
    Bytes(Vec<u8>),
    Finish,
}

/// A file on its way. Dropping it unfinished removes what there is.
pub(super) struct FileWriter {
    encoder: Encoder,
    /// Of every line so far.
    all: Sha256,
    lines: u64,
    since_check: u64,
    buffer: Vec<u8>,
    jobs: mpsc::Sender<Job>,
    thread: JoinHandle<Result<(), String>>,
}

impl FileWriter {
    pub(super) fn create(path: &Path, id: Uuid, from: &str) -> Result<Self, String> {
        let path = std::path::absolute(path).map_err(|error| cannot(path, &error))?;
        if path.symlink_metadata().is_ok() {
            return Err(exists(&path));
        }
        let mut part = path.clone().into_os_string();
        part.push(format!(".{}.part", Uuid::now_v7().simple()));
        let part = PathBuf::from(part);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part);
        let file = file.map_err(|error| cannot(&part, &error))?;
        let (jobs, queue) = mpsc::channel(PORTIONS);
        let thread = tokio::task::spawn_blocking(move || {
            let done = write(queue, file, &part, &path);
            if done.is_err()
                && let Err(error) = fs::remove_file(&part)
            {
                tracing::warn!(%error, file = %part.display(), "an unfinished export could not be removed");
            }
            done
        });
        let header =
            Header { natter_export: VERSION, id, natter: env!("CARGO_PKG_VERSION").into(), from: from.to_owned() };
        let mut buffer = serde_json::to_vec(&header).expect("a header is plain values");
        buffer.push(b'\n');
        let mut all = Sha256::new();
        all.update(&buffer);
        Ok(Self { encoder: Encoder::default(), all, lines: 1, since_check: 1, buffer, jobs, thread })
    }

    pub(super) async fn line(&mut self, line: &Line<'_>) -> Result<(), String> {
        self.put(line);
        if self.since_check >= CHECK_LINES {
            let check = Check { line: self.lines + 1, sha256: self.sum() };
            self.put(&Line::Check(check));
            self.since_check = 0;
        }
        if self.buffer.len() >= PORTION_BYTES { self.send().await } else { Ok(()) }
    }

    /// Ends the file and waits until it is on disk under its name; returns the content digest.
    pub(super) async fn finish(mut self, counts: Counts) -> Result<String, String> {
        let digest = self.encoder.digest();
        let end = End { line: self.lines + 1, counts, digest: digest.clone(), sha256: self.sum() };
        self.put(&Line::End(end));
        self.send().await?;
        if self.jobs.send(Job::Finish).await.is_err() {
            tracing::debug!("the thread that writes has ended, and says why");
        }
        ended(self.thread).await?;
        Ok(digest)
    }

    fn put(&mut self, line: &Line<'_>) {
        let start = self.buffer.len();
        self.encoder.line(line, &mut self.buffer);
        self.all.update(&self.buffer[start..]);
        self.lines += 1;
        self.since_check += 1;
    }

    fn sum(&self) -> String {
        hex(&self.all.clone().finalize())
    }

    async fn send(&mut self) -> Result<(), String> {
        let portion = std::mem::replace(&mut self.buffer, Vec::with_capacity(PORTION_BYTES + 4096));
        if self.jobs.send(Job::Bytes(portion)).await.is_err() {
            return ended(&mut self.thread).await;
        }
        Ok(())
    }
}

async fn ended(thread: impl Future<Output = Result<Result<(), String>, tokio::task::JoinError>>) -> Result<(), String> {
    thread.await.unwrap_or_else(|error| Err(format!("writing was cut off: {error}")))
}

fn write(mut queue: mpsc::Receiver<Job>, file: File, part: &Path, path: &Path) -> Result<(), String> {
    let fail = |error: io::Error| cannot(part, &error);
    let mut zstd = zstd::Encoder::new(file, LEVEL).map_err(fail)?;
    zstd.include_checksum(true).map_err(fail)?;
    loop {
        match queue.blocking_recv() {
            Some(Job::Bytes(bytes)) => zstd.write_all(&bytes).map_err(fail)?,
            Some(Job::Finish) => break,
            None => return Err("the export was given up".into()),
        }
    }
    let file = zstd.finish().map_err(fail)?;
    file.sync_all().map_err(fail)?;
    install(part, path)
}

/// Gives the whole file its name, which nobody else may have taken meanwhile.
fn install(part: &Path, path: &Path) -> Result<(), String> {
    match fs::hard_link(part, path) {
        Ok(()) => fs::remove_file(part).map_err(|error| cannot(part, &error))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists(path)),
        // A file system without links.
        Err(_) if path.symlink_metadata().is_ok() => return Err(exists(path)),
        Err(_) => fs::rename(part, path).map_err(|error| cannot(path, &error))?,
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| cannot(path, &error))
}

fn cannot(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be written: {error}", path.display())
}

fn exists(path: &Path) -> String {
    format!("{} exists already; name a new file", path.display())
}
