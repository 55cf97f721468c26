//! Bounds that nobody has set follow the memory and the files of the machine: on a small one they are smaller than what
//! config.toml shows.
//!
//! `limits.memory_mib` is what all of them together are a part of. Where it is 0 it is a quarter of the machine's memory, or all that
//! the process may have, where that is less: a container's limit, or one on its address space.

use std::fs;

use super::Config;

const MIB: u64 = 1024 * 1024;

/// Which part of the memory a bound may be at most: one of so many.
const ANSWERS: u64 = 8;
const INCOMING: u64 = 8;
const RINGS: u64 = 4;
const UNSETTLED: u64 = 8;
const SOCKETS: u64 = 2;
/// A connection, in natter and in the kernel.
const SOCKET: u64 = 8 * 1024;
/// A user and their login, or a verified token, in memory.
const CACHED: u64 = 512;

/// Makes bounds smaller that `is_set` says nobody has chosen. Returns what an operator should know of it.
/// There are `files` for connections.
pub fn fit(config: &mut Config, files: usize, is_set: &dyn Fn(&str) -> bool) -> Option<String> {
    let memory = match config.limits.memory_mib {
        0 => memory_here()?,
        mib => mib.saturating_mul(MIB),
    };
    fit_to(config, memory, files, is_set)
}

fn fit_to(config: &mut Config, memory: u64, files: usize, is_set: &dyn Fn(&str) -> bool) -> Option<String> {
    let mut changed = Vec::new();
    let mut at_most = |key: &str, value: &mut usize, most: u64| {
        let most = usize::try_from(most).unwrap_or(usize::MAX).max(1);
        if *value > most && !is_set(key) {
            *value = most;
            changed.push(format!("{key} is {most}"));
        }
    };
    let Config { auth, store, rooms, sockets, limits, .. } = config;
    at_most("sockets.connections", &mut sockets.connections, (memory / SOCKETS / SOCKET).min(files as u64));
    at_most("limits.http_connections", &mut limits.http_connections, files as u64);
    at_most("limits.connections_per_address", &mut limits.connections_per_address, files as u64 / 2);
    at_most("limits.answer_bytes", &mut limits.answer_bytes, memory / ANSWERS);
    at_most("limits.incoming_bytes", &mut limits.incoming_bytes, memory / INCOMING);
    at_most("rooms.rings_bytes", &mut rooms.rings_bytes, memory / RINGS);
    at_most("rooms.ring_bytes", &mut rooms.ring_bytes, rooms.rings_bytes as u64);
    at_most("store.unsettled_bytes", &mut store.unsettled_bytes, memory / UNSETTLED);
    at_most("auth.cached_users", &mut auth.cached_users, memory / ANSWERS / CACHED);
    at_most("auth.cached_tokens", &mut auth.cached_tokens, memory / ANSWERS / CACHED);
    (!changed.is_empty()).then(|| {
        let memory = memory / MIB;
        format!(
            "the limits fit {memory} MiB of memory (limits.memory_mib) and files for {files} connections (ulimit -Hn): {}",
            changed.join(", ")
        )
    })
}

/// `None` where the system does not say.
fn memory_here() -> Option<u64> {
    let quarter = kib("/proc/meminfo", "MemTotal:").map(|kib| kib * 1024 / 4);
    [quarter, control_group(), address_space()].into_iter().flatten().min()
}

fn kib(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name))?.trim().trim_end_matches(" kB").parse().ok()
}

/// The least that this process's control groups, one in the other, allow.
fn control_group() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned();
    let mut folder = std::path::Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
    let mut least = None;
    while folder.starts_with("/sys/fs/cgroup") {
        let most = fs::read_to_string(folder.join("memory.max")).ok().and_then(|text| text.trim().parse::<u64>().ok());
        least = [least, most].into_iter().flatten().min();
        folder.pop();
    }
    least
}

fn address_space() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_has_set_follows_the_memory_and_what_is_set_stays() {
        let mut config = Config::default();
        assert_eq!(fit_to(&mut config, 64 * 1024 * MIB, 2_000_000, &|_| false), None);
        let told = fit_to(&mut config, 256 * MIB, 100_000, &|key| key == "rooms.rings_bytes").expect("it is told");
        assert_eq!(config.limits.answer_bytes, 32 * 1024 * 1024);
        assert_eq!(config.rooms.rings_bytes, Config::default().rooms.rings_bytes);
        assert!(told.contains("256 MiB of memory") && told.contains("limits.answer_bytes is 33554432"), "{told}");
        assert!(told.contains("sockets.connections is 16384") && !told.contains("http_connections"), "{told}");
        let told = fit_to(&mut Config::default(), 64 * 1024 * MIB, 1_000, &|_| false).expect("it is told");
        assert!(told.contains("sockets.connections is 1000, limits.http_connections is 1000"), "{told}");
        assert!(told.contains("limits.connections_per_address is 500") && told.lines().count() == 1, "{told}");
    }

    #[test]
    fn this_machine_says_what_it_has() {
        assert!(memory_here().is_some_and(|bytes| bytes > 16 * MIB));
    }
}
