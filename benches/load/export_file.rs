//! An export file on its way to disk, as `docs/export-format.md` says it: one zstd stream, with the checksums that its reader wants.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use zstd::Encoder;

use crate::{Outcome, Result};

/// A checksum has to stand after so many lines.
const CHECK_LINES: u64 = 1_000;

pub struct ExportFile {
    zstd: Encoder<'static, File>,
    /// Of every line, and of those that are content.
    all: Sha256,
    content: Sha256,
    lines: u64,
    since_check: u64,
}

impl ExportFile {
    /// `from` says what has made it.
    pub fn create(path: &Path, from: &str) -> Result<Self> {
        let file = File::create_new(path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        let (all, content) = (Sha256::new(), Sha256::new());
        let mut export = Self { zstd: Encoder::new(file, 1)?, all, content, lines: 0, since_check: 0 };
        let (id, natter) = (Uuid::now_v7(), env!("CARGO_PKG_VERSION"));
        export.put(&json!({ "natter_export": 1, "id": id, "natter": natter, "from": from }).to_string())?;
        Ok(export)
    }

    /// A room, an event, a member or a user.
    pub fn content(&mut self, line: &str) -> Outcome {
        self.content.update(line);
        self.content.update("\n");
        self.line(line)
    }

    pub fn line(&mut self, line: &str) -> Outcome {
        self.put(line)?;
        if self.since_check < CHECK_LINES {
            return Ok(());
        }
        self.put(&json!({ "check": { "line": self.lines + 1, "sha256": hex(&self.all) } }).to_string())?;
        self.since_check = 0;
        Ok(())
    }

    fn put(&mut self, line: &str) -> Outcome {
        for bytes in [line.as_bytes(), b"\n"] {
            self.all.update(bytes);
            self.zstd.write_all(bytes)?;
        }
        self.lines += 1;
        self.since_check += 1;
        Ok(())
    }

    pub fn end(mut self, counts: &Value) -> Outcome {
        let (line, digest, sha256) = (self.lines + 1, hex(&self.content), hex(&self.all));
        self.put(
            &json!({ "end": { "line": line, "counts": counts, "digest": digest, "sha256": sha256 } }).to_string(),
        )?;
        self.zstd.finish()?.sync_all()?;
        Ok(())
    }
}

/// Of what was hashed so far.
fn hex(hash: &Sha256) -> String {
    hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
