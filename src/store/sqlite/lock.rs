//! One process per data folder, by a lock on `natter.lock` that the kernel lets go when the process ends, however
//! it ends. The file's text tells whoever comes second who was first.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::OpenError;
use crate::types::Timestamp;

const NAME: &str = "natter.lock";

/// The folder is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

impl FolderLock {
    pub(crate) fn take(folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join(NAME);
        let io = |error| OpenError::Folder { folder: folder.into(), error };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Owned { by: owner(&mut file) }),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        file.set_len(0).map_err(io)?;
        writeln!(file, "process {}, since {}", std::process::id(), Timestamp::now()).map_err(io)?;
        Ok(Self { _file: file })
    }
}

/// The owner writes its line just after it has the lock, so for an instant there may be none.
fn owner(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    match text.trim() {
        line if read.is_ok() && !line.is_empty() => format!("another natter ({line})"),
        _ => "another natter".to_owned(),
    }
}
