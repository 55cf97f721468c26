//! The file of `log.audit`, or standard error: one JSON object a line, in the order in which things happened.
//!
//! The file is opened anew where somebody has moved it away, as logrotate does. By itself it grows to `audit.file_bytes`; then
//! it becomes `FILE.1`, in place of the one before.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use serde::Serialize;

use crate::{store::AuditRecord, types::Timestamp};

#[derive(Clone)]
pub(super) enum Sink {
    Nowhere,
    Stderr,
    File(Arc<Mutex<Kept>>),
}

pub(super) struct Kept {
    path: PathBuf,
    most: u64,
    file: File,
}

#[derive(Serialize)]
struct Line<'a> {
    at: Timestamp,
    audit: &'a str,
    who: Option<&'a str>,
    address: Option<&'a str>,
    whom: Option<&'a str>,
    detail: Option<&'a str>,
    request_id: Option<&'a str>,
    count: u64,
}

fn lines(entries: &[AuditRecord]) -> Vec<u8> {
    let mut lines = Vec::new();
    for entry in entries {
        let line = Line {
            at: entry.at,
            audit: &entry.what,
            who: entry.who.as_deref(),
            address: entry.address.as_deref(),
            whom: entry.whom.as_deref(),
            detail: entry.detail.as_deref(),
            request_id: entry.request_id.as_deref(),
            count: entry.count,
        };
        serde_json::to_writer(&mut lines, &line).expect("an entry is plain values");
        lines.push(b'\n');
    }
    lines
}

/// Makes nothing.
pub(super) fn check(to: &str) -> Result<(), String> {
    if matches!(to, "" | "stderr") {
        return Ok(());
    }
    let path = Path::new(to);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let looked = match OpenOptions::new().append(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::read_dir(folder).map(|_| ()),
        opened => opened.map(|_| ()),
    };
    looked.map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &io::Error) -> String {
    format!("log.audit: {} cannot be written ({error}); name another file, or none", path.display())
}

impl Sink {
    /// `to` is `log.audit`. The error is a sentence.
    pub fn open(to: &str, most: u64) -> Result<Self, String> {
        match to {
            "" => Ok(Self::Nowhere),
            "stderr" => Ok(Self::Stderr),
            path => {
                let path = PathBuf::from(path);
                let file = open(&path).map_err(|error| unwritable(&path, &error))?;
                Ok(Self::File(Arc::new(Mutex::new(Kept { path, most, file }))))
            }
        }
    }

    /// Where it cannot be written the server goes on without, and says so.
    pub async fn write(&self, entries: &[AuditRecord]) {
        if matches!(self, Sink::Nowhere) {
            return;
        }
        let (sink, lines) = (self.clone(), lines(entries));
        // A disk that hangs holds up this task alone.
        let written = tokio::task::spawn_blocking(move || match sink {
            Sink::Nowhere => Ok(()),
            Sink::Stderr => io::stderr().lock().write_all(&lines),
            Sink::File(kept) => kept.lock().write(&lines),
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the audit could not be written (log.audit)"),
            Err(error) => tracing::warn!(%error, "writing the audit was cut off"),
        }
    }
}

impl Kept {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let own = self.file.metadata()?;
        let is_there = fs::metadata(&self.path).is_ok_and(|at| (at.dev(), at.ino()) == (own.dev(), own.ino()));
        if !is_there {
            self.file = open(&self.path)?;
        } else if own.len() > 0 && own.len() + lines.len() as u64 > self.most {
            let mut older = self.path.clone().into_os_string();
            older.push(".1");
            fs::rename(&self.path, older)?;
            self.file = open(&self.path)?;
        }
        self.file.write_all(lines)
    }
}

/// Readable by its owner and group: fail2ban reads it as root, people by the group.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn entry(who: &str) -> AuditRecord {
        AuditRecord {
            id: Uuid::now_v7(),
            at: Timestamp(0),
            who: Some(who.into()),
            address: None,
            what: "sign_in".into(),
            whom: None,
            detail: None,
            request_id: None,
            count: 1,
        }
    }

    #[tokio::test]
    async fn a_file_that_was_moved_away_is_made_anew_and_a_large_one_becomes_the_older_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, moved, older) =
            (folder.path().join("audit"), folder.path().join("moved"), folder.path().join("audit.1"));
        let sink = Sink::open(path.to_str().expect("a path"), 300).expect("a file");
        sink.write(&[entry("one")]).await;
        fs::rename(&path, &moved).expect("logrotate does so");
        sink.write(&[entry("two\n\"")]).await;
        let text = |path: &Path| fs::read_to_string(path).expect("a file");
        assert!(text(&moved).contains("one") && text(&path).contains(r#""who":"two\n\"""#));
        assert_eq!(text(&path).lines().count(), 1, "nobody writes lines of their own");
        for _ in 0..5 {
            sink.write(&[entry("many")]).await;
        }
        assert!(text(&path).len() <= 300 && text(&older).len() <= 300);
        assert!(Sink::open("/no/such/folder/audit", 1).is_err_and(|sentence| sentence.contains("log.audit")));
    }
}
