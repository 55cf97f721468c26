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

/// Anonymous resident memory of a process: what it has allocated, without the pages of files it has mapped.
pub fn anon_bytes(pid: u32) -> Result<u64> {
    let status = read(&format!("/proc/{pid}/status"))?;
    Ok(kib_after(&status, "RssAnon:").unwrap_or(0) * 1024)
}

/// What the kernel keeps for TCP sockets, all of this machine's (of this network namespace's): bytes read by nobody yet and
/// bytes not acknowledged yet, at both ends.
pub fn tcp_bytes() -> Result<u64> {
    const PAGE_BYTES: u64 = 4096;
    let sockstat = read("/proc/net/sockstat")?;
    let tcp = sockstat.lines().find_map(|line| line.strip_prefix("TCP:")).unwrap_or_default();
    let pages = tcp.split_whitespace().skip_while(|word| *word != "mem").nth(1).and_then(|pages| pages.parse().ok());
    Ok(pages.unwrap_or(0) * PAGE_BYTES)
}

/// User and system time of a process and all that it has started, the ended ones included.
pub fn family_cpu_secs(pid: u32) -> f64 {
    let stats: Vec<(u32, u32, f64)> =
        fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(family_row).collect();
    let (mut family, mut secs) = (vec![pid], 0.0);
    while let Some(member) = family.pop() {
        secs += stats.iter().find(|(pid, ..)| *pid == member).map_or(0.0, |(.., cpu)| *cpu);
        family.extend(stats.iter().filter(|(_, parent, _)| *parent == member).map(|(pid, ..)| pid));
    }
    secs
}

/// Id, parent, and CPU seconds with those of ended children.
fn family_row(entry: fs::DirEntry) -> Option<(u32, u32, f64)> {
    let pid = entry.file_name().to_str()?.parse().ok()?;
    let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>();
    Some((pid, fields.get(1)?.parse().ok()?, ticks / TICKS_PER_SEC))
}

/// What all cores together have done since the machine started, in seconds of a core.
#[derive(Debug, Default, Clone, Copy)]
pub struct Cores {
    pub busy: f64,
    /// Taken by whoever shares the hardware.
    pub stolen: f64,
}

pub fn cores() -> Cores {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let numbers = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let secs: Vec<f64> = numbers.map(|ticks| ticks.parse::<f64>().unwrap_or(0.0) / TICKS_PER_SEC).collect();
    let of = |fields: &[usize]| fields.iter().filter_map(|&field| secs.get(field)).sum();
    // user nice system idle iowait irq softirq steal
    Cores { busy: of(&[0, 1, 2, 5, 6]), stolen: of(&[7]) }
}

/// For how long something waited for a disk since the machine started, and the percentage of the last ten seconds; `None`
/// where the kernel does not say.
pub fn disk_waits() -> Option<(f64, f64)> {
    let pressure = fs::read_to_string("/proc/pressure/io").ok()?;
    let some = pressure.lines().find_map(|line| line.strip_prefix("some "))?;
    let of = |key: &str| some.split_whitespace().find_map(|word| word.strip_prefix(key)?.parse::<f64>().ok());
    Some((of("total=")? / 1e6, of("avg10=")?))
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
