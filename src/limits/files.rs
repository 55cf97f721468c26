//! How many files this process may open: every connection is one.

use std::fs;

/// What the server may need at work besides connections: a backup, commands of the operator, files of the database. Where there
/// are few files, a quarter of them.
const AT_WORK: u64 = 64;

/// With files for fewer connections nobody is served.
const LEAST: usize = 8;

/// What a start opens at least: the listener, the store's files and threads, a poller for each core.
const TO_START: usize = 16;

/// Raises the soft limit to the hard one: the first is for programs that cannot bear many, and this one can.
pub fn raise_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit on open files (ulimit -n) stays as it is");
    }
}

/// How many connections there are files for, with what is open now and what the server itself may need.
pub fn room() -> usize {
    let Ok((most, _)) = rlimit::Resource::NOFILE.get() else { return usize::MAX };
    let open = fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64);
    usize::try_from(most.saturating_sub(open + AT_WORK.min(most / 4)).max(1)).unwrap_or(usize::MAX)
}

/// A sentence where there are so few files that the server would have none left for its data; to be asked before it opens any.
pub fn too_few() -> Option<String> {
    let (most, _) = rlimit::Resource::NOFILE.get().ok()?;
    (room() < TO_START + LEAST).then(|| {
        format!(
            "This process may open only {most} files, which are too few for its data and {LEAST} connections: raise `ulimit -Hn`, \
             or LimitNOFILE= of systemd, to 64 or more."
        )
    })
}

/// A sentence where there are files for fewer connections than the settings allow.
pub fn note(sockets: usize, per_address: usize) -> Option<String> {
    let room = room();
    let share = if room / 2 < per_address {
        format!(", {} of them from one address", (room / 2).max(1))
    } else {
        String::new()
    };
    (room < sockets).then(|| {
        format!(
            "this process may open files for {room} connections{share}, fewer than sockets.connections ({sockets}); \
             `ulimit -Hn` or LimitNOFILE= of systemd changes that"
        )
    })
}
