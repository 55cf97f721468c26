//! A thread that looks at the disk once in a while: how much is free, and how long the write-ahead log and the journal are.
//!
//! The log can begin anew only where nobody reads it. A reader that stays (a shell, a backup tool, a backup of our own) makes it grow
//! for as long as people post; then the log is told, with the name of who holds it, and is made short as soon as they have
//! gone. Of our own only a backup reads for long, and it is given up where the disk comes down to its reserve.

use std::{
    fs,
    os::{linux::fs::MetadataExt, unix::fs::MetadataExt as _},
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    batch::{Durability, Need},
    journal::disk::Beside,
    readings::Readings,
    space::{Disk, Space, beside},
    writer::Writer,
};
use crate::{metrics::Metrics, store::Result};
use parking_lot::Mutex;

const EVERY: Duration = Duration::from_secs(1);
/// While the log is too long, so that it is short soon after its reader has gone.
const EVERY_WHILE_LONG: Duration = Duration::from_millis(25);

/// Where a reader of the log holds a lock in the log's index, by SQLite's own count.
const READ_LOCKS: std::ops::RangeInclusive<u64> = 123..=127;

pub(super) struct Watch {
    stop: Mutex<Option<Sender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Watch {
    pub(super) fn start(
        database: PathBuf,
        space: Arc<Space>,
        writer: Arc<Writer>,
        readings: Arc<Readings>,
        log_bytes: u64,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        let mut looks = Looks { database, space, writer, readings, log_bytes, metrics, full: false, told: 0 };
        let thread = thread::Builder::new().name("natter-disk".into()).spawn(move || {
            let mut pause = looks.look();
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                pause = looks.look();
            }
        })?;
        Ok(Self { stop: Mutex::new(Some(stop)), thread: Mutex::new(Some(thread)) })
    }

    /// Blocks; the second call finds nothing to do. To be called while the writer still takes something.
    pub(super) fn stop(&self) {
        drop(self.stop.lock().take());
        let thread = self.thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that looks at the disk ended with a panic");
        }
    }
}

struct Looks {
    database: PathBuf,
    space: Arc<Space>,
    writer: Arc<Writer>,
    readings: Arc<Readings>,
    /// `store.wal_bytes`: past it, it is long.
    log_bytes: u64,
    metrics: Arc<Metrics>,
    /// It was told that the disk has come down to its reserve.
    full: bool,
    /// It was told that the log is so long; 0: it is short.
    told: u64,
}

impl Looks {
    /// Gives the time until the next one.
    fn look(&mut self) -> Duration {
        self.space.lay_aside();
        let journal = Beside::new(&self.database).bytes().unwrap_or_default();
        self.metrics.journal_bytes.set(signed(journal));
        self.metrics.database_bytes.set(signed(fs::metadata(&self.database).map_or(0, |file| file.len())));
        let Some(disk) = self.space.look() else { return EVERY };
        self.metrics.store_free_bytes.set(signed(disk.free));
        self.metrics.store_reserve_bytes.set(signed(disk.reserve));
        self.metrics.wal_bytes.set(signed(disk.log));
        self.tell_of_room(disk);
        self.mind_the_log(disk.log)
    }

    fn tell_of_room(&mut self, disk: Disk) {
        let Disk { free, reserve, .. } = disk;
        let full = disk.is_full();
        if full {
            self.readings.give_up();
        }
        match (full, self.full) {
            (true, false) => tracing::error!(
                free,
                reserve,
                "the disk has come down to its reserve (store.reserve): posts, accounts, rooms and sign-ins are refused until \
                 there is room; ending logins, disabling accounts and deleting still work"
            ),
            (false, true) => tracing::info!(free, "the disk has room again"),
            _ => {}
        }
        self.full = full;
    }

    fn mind_the_log(&mut self, bytes: u64) -> Duration {
        if bytes <= self.log_bytes {
            if self.told > 0 {
                tracing::info!(bytes, "the write-ahead log is short again");
            }
            self.told = 0;
            return EVERY;
        }
        // Any write makes the log short where it can be; it may be full, or closed, and then says so to others.
        let shortened: Result<()> = self.writer.write_blocking(|_| Ok(()), Durability::Lazy, Need::Promised);
        let still = self.space.look().is_some_and(|disk| disk.log > self.log_bytes);
        if still && bytes >= 2 * self.told {
            let mut held_by = self.readings.longer_than(EVERY);
            held_by.extend(self.other_readers());
            let held_by = if held_by.is_empty() { "nobody known".to_owned() } else { held_by.join(", ") };
            tracing::warn!(
                bytes,
                held_by,
                failed = shortened.is_err(),
                "the write-ahead log cannot begin anew while somebody reads the database, and grows with every post"
            );
            self.told = bytes;
        }
        EVERY_WHILE_LONG
    }

    /// Other processes that hold the log, by the locks that the kernel lists.
    fn other_readers(&self) -> Vec<String> {
        let Ok(index) = fs::metadata(beside(&self.database, "-shm")) else { return Vec::new() };
        let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
        let mut pids: Vec<u32> =
            locks.lines().filter_map(|lock| reader_of(lock, index.st_dev(), index.ino())).collect();
        pids.sort_unstable();
        pids.dedup();
        let name = |pid: u32| {
            let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("process {pid} ({})", command.trim())
        };
        pids.into_iter().filter(|pid| *pid != std::process::id()).map(name).collect()
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The process behind a line of `/proc/locks`, where it reads the log whose index is this file.
fn reader_of(lock: &str, device: u64, inode: u64) -> Option<u32> {
    let words: Vec<&str> = lock.split_whitespace().collect();
    let [_, "POSIX", _, "READ", pid, file, from, to] = words[..] else { return None };
    let mut file = file.split(':');
    let (major, minor) = (u64::from_str_radix(file.next()?, 16).ok()?, u64::from_str_radix(file.next()?, 16).ok()?);
    let device_of = (rustix::fs::major(device), rustix::fs::minor(device));
    if (major, minor) != (u64::from(device_of.0), u64::from(device_of.1)) || file.next()?.parse() != Ok(inode) {
        return None;
    }
    let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().unwrap_or(u64::MAX));
    (from <= *READ_LOCKS.end() && to >= *READ_LOCKS.start()).then(|| pid.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_known_by_its_lock_in_the_logs_index() {
        let device = rustix::fs::makedev(0xfe, 0x01);
        let held = "12: POSIX  ADVISORY  READ 4321 fe:01:777 124 124";
        assert_eq!(reader_of(held, device, 777), Some(4321));
        for other in [
            "12: POSIX  ADVISORY  READ 4321 fe:01:778 124 124",
            "12: POSIX  ADVISORY  READ 4321 fe:00:777 124 124",
            // Whoever has the database open at all.
            "12: POSIX  ADVISORY  READ 4321 fe:01:777 128 128",
            "12: POSIX  ADVISORY  WRITE 4321 fe:01:777 120 120",
            "12: FLOCK  ADVISORY  READ 4321 fe:01:777 0 EOF",
            "12: -> POSIX  ADVISORY  READ 4321 fe:01:777 124 124",
            "",
        ] {
            assert_eq!(reader_of(other, device, 777), None, "{other}");
        }
    }
}
