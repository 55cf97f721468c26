//! What the kernel says about a process and this machine. Linux only: everything is read from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::{Value, json};

use crate::{Outcome, Result};

/// `utime` and `stime` count in these on every Linux architecture.
const TICKS_PER_SEC: f64 = 100.0;

/// User and system time of a process so far, all threads together.
pub fn cpu_secs(pid: u32) -> Result<f64> {
    Ok(cpu_secs_in(&read(&format!("/proc/{pid}/stat"))?))
}

/// The same of each thread that lives now, by its id.
pub fn thread_cpu_secs(pid: u32) -> Result<BTreeMap<u32, f64>> {
    let mut threads = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?;
        // One that has ended meanwhile is left out.
        if let (Ok(stat), Some(Ok(id))) =
            (fs::read_to_string(thread.path().join("stat")), thread.file_name().to_str().map(str::parse))
        {
            threads.insert(id, cpu_secs_in(&stat));
        }
    }
    Ok(threads)
}

fn cpu_secs_in(stat: &str) -> f64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = |nth: usize| after_name.split_whitespace().nth(nth).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / TICKS_PER_SEC
}

pub fn own_cpu_secs() -> Result<f64> {
    cpu_secs(std::process::id())
}

/// Resident memory of a process.
pub fn rss_bytes(pid: u32) -> Result<u64> {
    let status = read(&format!("/proc/{pid}/status"))?;
    Ok(kib_after(&status, "VmRSS:").unwrap_or(0) * 1024)
}

/// What every report says it was measured on.
pub fn machine() -> Value {
    let of = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let memory_kib = kib_after(&of("/proc/meminfo"), "MemTotal:").unwrap_or(0);
    let cpuinfo = of("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':')).map(|(_, name)| name);
    json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "cpu": model.unwrap_or("unknown").trim(),
        "memory_gib": (memory_kib as f64 / 1024.0 / 1024.0 * 10.0).round() / 10.0,
        "kernel": of("/proc/sys/kernel/osrelease").trim(),
    })
}

/// Makes sure that this process, and the server it will start, may open `needed` files: once more by way of a shell
/// with a higher limit where the system allows that, and otherwise with a sentence.
pub fn allow_open_files(needed: u64) -> Outcome {
    let limits = read("/proc/self/limits")?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    let mut numbers = line.split_whitespace().skip(3).map(|n| n.parse::<u64>().unwrap_or(u64::MAX));
    let (soft, hard) = (numbers.next().unwrap_or(u64::MAX), numbers.next().unwrap_or(u64::MAX));
    if soft >= needed {
        return Ok(());
    }
    if hard < needed {
        return Err(format!(
            "{needed} open files are needed, and this system allows a process {hard}: ask for fewer connections, or raise the limit"
        )
        .into());
    }
    let failure = Command::new("sh")
        .args(["-c", r#"ulimit -S -n "$0" && exec "$@""#])
        .arg(needed.to_string())
        .args(std::env::args_os())
        .exec();
    Err(format!("cannot raise the limit of open files to {needed}: {failure}").into())
}

fn kib_after(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}; is the process gone?").into())
}
