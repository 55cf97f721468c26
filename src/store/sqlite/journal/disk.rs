//! What the journal needs of a file system, so that its tests can put a faulty one in its place.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Numbered files, each of which holds a segment and is used again for a later one.
pub(in super::super) trait Disk: Send {
    /// The files that there are, ascending.
    fn slots(&self) -> io::Result<Vec<u32>>;
    /// Opens a file, or makes it.
    fn open(&self, slot: u32) -> io::Result<Box<dyn Slot>>;
    fn remove(&self, slot: u32) -> io::Result<()>;
    /// Files that were made or removed stay so after a power cut.
    fn sync_names(&self) -> io::Result<()>;
    /// What an operator calls it.
    fn name(&self, slot: u32) -> String;
}

pub(in super::super) trait Slot: Send {
    fn read(&self) -> io::Result<Vec<u8>>;
    fn bytes(&self) -> io::Result<u64>;
    /// All of it, or an error.
    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Returns when what was written would survive a power cut. After an error nobody knows, now or later.
    fn sync(&self) -> io::Result<()>;
}

/// The files beside a database: `natter.db.log-0`, `natter.db.log-1`, …
pub(in super::super) struct Beside {
    database: PathBuf,
}

impl Beside {
    pub(in super::super) fn new(database: &Path) -> Self {
        Self { database: database.into() }
    }

    pub(in super::super) fn path(&self, slot: u32) -> PathBuf {
        let mut path = OsString::from(&self.database);
        path.push(format!(".log-{slot}"));
        path.into()
    }

    fn folder(&self) -> &Path {
        super::super::backup::folder_of(&self.database)
    }
}

impl Disk for Beside {
    fn slots(&self) -> io::Result<Vec<u32>> {
        let mut prefix = self.database.file_name().unwrap_or_default().to_owned();
        prefix.push(".log-");
        let mut slots = Vec::new();
        for entry in fs::read_dir(self.folder())? {
            let name = entry?.file_name();
            let number = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
            slots.extend(number.and_then(|number| str::from_utf8(number).ok()?.parse::<u32>().ok()));
        }
        slots.sort_unstable();
        Ok(slots)
    }

    fn open(&self, slot: u32) -> io::Result<Box<dyn Slot>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        Ok(Box::new(options.open(self.path(slot))?))
    }

    fn remove(&self, slot: u32) -> io::Result<()> {
        fs::remove_file(self.path(slot))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(self.folder())?.sync_all()
    }

    fn name(&self, slot: u32) -> String {
        self.path(slot).display().to_string()
    }
}

impl Slot for File {
    fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file: &File = self;
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
