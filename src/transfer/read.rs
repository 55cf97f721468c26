//! Reads an export file line by line, and says where it is damaged. It trusts nothing: every line counts into the
//! checksums, and what does not fit ends the reading.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use sha2::{Digest, Sha256};

use super::{
    format::{CHECK_LINES, Encoder, End, Header, Line, MOST_LINE_BYTES, VERSION, Version},
    hex,
};
use crate::types::RoomId;

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Counts the bytes that were read of the file, for whoever shows how far it is.
struct Counting<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

pub(super) struct FileReader {
    path: PathBuf,
    pub(super) header: Header,
    pub(super) bytes: u64,
    pub(super) bytes_read: Arc<AtomicU64>,
    lines: BufReader<zstd::Decoder<'static, BufReader<Counting<File>>>>,
    /// The line that was read last, with its newline.
    text: Vec<u8>,
    number: u64,
    /// The last line that a checksum vouches for.
    sound: u64,
    /// The room whose lines are being read.
    room: Option<RoomId>,
    all: Sha256,
    encoder: Encoder,
    ended: bool,
}

impl FileReader {
    /// Reads the header. The error says what the file is instead.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let io = |error: std::io::Error| format!("{shown} cannot be read: {error}");
        let mut file = File::open(path).map_err(io)?;
        let about = file.metadata().map_err(io)?;
        if !about.is_file() {
            return Err(format!("{shown} is no file"));
        }
        let mut magic = Vec::new();
        Read::by_ref(&mut file).take(4).read_to_end(&mut magic).map_err(io)?;
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        if magic.is_empty() {
            return Err(format!("{shown} is empty; make an export with: natter export FILE"));
        }
        if magic != ZSTD_MAGIC {
            return Err(format!("{shown} is not an export of natter: it does not begin as one (zstd)"));
        }
        let bytes_read = Arc::new(AtomicU64::new(0));
        let counting = Counting { inner: file, read: bytes_read.clone() };
        let zstd = zstd::Decoder::new(counting).map_err(io)?;
        let header = Header { natter_export: 0, id: uuid::Uuid::nil(), natter: String::new(), from: String::new() };
        let mut reader = Self {
            path: path.into(),
            header,
            bytes: about.len(),
            bytes_read,
            lines: BufReader::with_capacity(256 * 1024, zstd),
            text: Vec::new(),
            number: 0,
            sound: 0,
            room: None,
            all: Sha256::new(),
            encoder: Encoder::default(),
            ended: false,
        };
        reader.read_header()?;
        Ok(reader)
    }

    fn read_header(&mut self) -> Result<(), String> {
        let shown = self.path.display().to_string();
        self.read_text()?;
        let Ok(Version { natter_export }) = serde_json::from_slice(&self.text) else {
            return Err(format!("{shown} is not an export of natter: its first line is no header of one"));
        };
        if natter_export > VERSION {
            return Err(format!(
                "{shown} was made by a newer natter (format {natter_export}, this one knows {VERSION}); import it with \
                 that version"
            ));
        }
        self.header = serde_json::from_slice(&self.text).map_err(|error| self.damaged(&format!("{error}")))?;
        if self.header.natter_export == 0 {
            return Err(self.damaged("its format has a number that never was one"));
        }
        self.all.update(&self.text);
        Ok(())
    }

    /// The next line but the checksums, which are compared on the way; `None` after the end, and nothing may follow.
    pub(super) fn next(&mut self) -> Result<Option<Line<'static>>, String> {
        loop {
            if self.ended {
                return Ok(None);
            }
            self.read_text()?;
            let line: Line<'static> = serde_json::from_slice(&self.text)
                .map_err(|error| self.damaged(&format!("this is no line of it ({error})")))?;
            match &line {
                Line::Check(check) => self.compare(check.line, &check.sha256)?,
                Line::End(end) => self.compare_end(end)?,
                Line::Room(room) => self.room = Some(room.id),
                Line::User(_) => self.room = None,
                _ => {}
            }
            self.all.update(&self.text);
            if self.number - self.sound > CHECK_LINES {
                return Err(self.damaged("a checksum is missing"));
            }
            self.encoder.seen(&line, &self.text);
            if !matches!(line, Line::Check(_)) {
                return Ok(Some(line));
            }
        }
    }

    fn compare(&mut self, line: u64, sha256: &str) -> Result<(), String> {
        if line != self.number {
            return Err(self.damaged(&format!("this line says that it is line {line}")));
        }
        if sha256 != hex(&self.all.clone().finalize()) {
            return Err(self.damaged("the checksum does not fit what stands before it"));
        }
        self.sound = self.number;
        Ok(())
    }

    fn compare_end(&mut self, end: &End) -> Result<(), String> {
        self.compare(end.line, &end.sha256)?;
        if end.digest != self.encoder.digest() {
            return Err(self.damaged("the content digest does not fit the content"));
        }
        self.ended = true;
        // Up to the end of the stream, so that its own checksum is compared too.
        let mut rest = [0];
        match self.lines.read(&mut rest) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.damaged("something follows its end")),
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn read_text(&mut self) -> Result<(), String> {
        self.text.clear();
        self.number += 1;
        let most = MOST_LINE_BYTES as u64;
        let read = Read::by_ref(&mut self.lines).take(most).read_until(b'\n', &mut self.text);
        match read {
            Err(error) => Err(self.broken(&error)),
            Ok(_) if self.text.last() == Some(&b'\n') => Ok(()),
            Ok(length) if length as u64 == most => Err(self.damaged("a line is longer than any line may be")),
            Ok(_) => Err(self.damaged("it ends too early: the rest of it is missing")),
        }
    }

    fn broken(&self, error: &std::io::Error) -> String {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => self.damaged("it ends too early: the rest of it is missing"),
            _ => self.damaged(&format!("it cannot be unpacked ({error})")),
        }
    }

    /// A sentence that names the place.
    pub(super) fn damaged(&self, what: &str) -> String {
        let room = self.room.map(|room| format!(", in chat {room}")).unwrap_or_default();
        let sound = match self.sound {
            0 => "no line of it is vouched for by a checksum".to_owned(),
            line => format!("up to line {line} it is sound"),
        };
        format!(
            "{} is damaged at line {}{room}: {what}; {sound}. Take another copy of it, or export again",
            self.path.display(),
            self.number
        )
    }
}
