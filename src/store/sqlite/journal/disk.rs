//! What the journal needs of a file system, so that its tests can put a faulty one in its place.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use parking_lot::Mutex;
use rustix::io::Errno;

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
    /// The folder, open, so that its names can be synced while no more files may be opened.
    folder: OnceLock<File>,
    /// A file that is given up for the next segment's while no more may be opened.
    spare: Mutex<Option<File>>,
}

impl Beside {
    pub(in super::super) fn new(database: &Path) -> Self {
        Self { database: database.into(), folder: OnceLock::new(), spare: Mutex::default() }
    }

    /// From now on it needs no file beyond those it has.
    pub(in super::super) fn hold_files(&self) -> io::Result<()> {
        let folder = File::open(self.folder())?;
        *self.spare.lock() = Some(folder.try_clone()?);
        // Held before: just as good.
        drop(self.folder.set(folder));
        Ok(())
    }

    pub(in super::super) fn path(&self, slot: u32) -> PathBuf {
        let mut path = OsString::from(&self.database);
        path.push(format!(".log-{slot}"));
        path.into()
    }

    /// What all of them take.
    pub(in super::super) fn bytes(&self) -> io::Result<u64> {
        let sizes = self.slots()?.into_iter().map(|slot| fs::metadata(self.path(slot)).map_or(0, |file| file.len()));
        Ok(sizes.sum())
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
        let path = self.path(slot);
        let file = options.open(&path).or_else(|error| {
            let none_left =
                [Errno::MFILE, Errno::NFILE].iter().any(|errno| Some(errno.raw_os_error()) == error.raw_os_error());
            let spare = self.spare.lock().take().filter(|_| none_left);
            if spare.map(drop).is_some() { options.open(&path) } else { Err(error) }
        })?;
        let mut spare = self.spare.lock();
        if spare.is_none() && self.folder.get().is_some() {
            *spare = self.folder.get().and_then(|folder| folder.try_clone().ok());
        }
        Ok(Box::new(file))
    }

    fn remove(&self, slot: u32) -> io::Result<()> {
        fs::remove_file(self.path(slot))
    }

    fn sync_names(&self) -> io::Result<()> {
        match self.folder.get() {
            Some(folder) => folder.sync_all(),
            None => File::open(self.folder())?.sync_all(),
        }
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
