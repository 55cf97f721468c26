//! `natter backup --keep N FOLDER`: backups in a folder, named after their time, of which the last so many stay.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use natter::{config::Config, types::Timestamp};

use super::admin;

const BEGINS: &str = "natter-";
const ENDS: &str = ".db";

/// A new one first; only then an old one goes.
pub fn backup(config: &Config, folder: &Path, keep: usize) -> Result<(), String> {
    let wrong = |error: io::Error| format!("{}: the folder of the backups cannot be used ({error})", folder.display());
    if !fs::metadata(folder).map_err(wrong)?.is_dir() {
        return Err(format!("{} is no folder; with --keep natter names the backups in it", folder.display()));
    }
    let now: String = Timestamp::now().to_string().chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    admin::backup(config, &folder.join(format!("{BEGINS}{now}{ENDS}")))?;
    let mut own = own_backups(folder).map_err(wrong)?;
    own.sort();
    let old = own.len().saturating_sub(keep);
    for file in own.drain(..old) {
        fs::remove_file(&file).map_err(|error| format!("{} is too old, and stays ({error})", file.display()))?;
        println!("{} is gone, as {keep} are kept", file.display());
    }
    Ok(())
}

/// What has a name of ours to the letter: nothing else in the folder is ever touched.
fn own_backups(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let is_own = |name: &str| {
        let time = name.strip_prefix(BEGINS).and_then(|rest| rest.strip_suffix(ENDS));
        // 20261128T194501123Z
        time.is_some_and(|time| {
            time.len() == 19
                && time.bytes().enumerate().all(|(at, byte)| match at {
                    8 => byte == b'T',
                    18 => byte == b'Z',
                    _ => byte.is_ascii_digit(),
                })
        })
    };
    let mut own = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_own) && entry.file_type()?.is_file() {
            own.push(entry.path());
        }
    }
    Ok(own)
}
