//! What the kernel says about processes and about its own memory. Linux only: everything is read from `/proc`.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;

use crate::Result;

/// CPU times count in these on every Linux architecture.
const TICKS_PER_SEC: f64 = 100.0;
const PAGE_BYTES: i64 = 4_096;

/// Anonymous resident memory of a process: what it has allocated, without its program and files.
pub fn rss_anon(pid: u32) -> Result<u64> {
    Ok(kib_after(&read(&format!("/proc/{pid}/status"))?, "RssAnon:").unwrap_or(0) as u64 * 1024)
}

/// How much of that is in pages of 2 MiB, which count in full however little of them is used.
pub fn huge_pages(pid: u32) -> Result<u64> {
    Ok(kib_after(&read(&format!("/proc/{pid}/smaps_rollup"))?, "AnonHugePages:").unwrap_or(0) as u64 * 1024)
}

/// User and system time of a process so far.
pub fn cpu_secs(pid: u32) -> Result<f64> {
    let stat = read(&format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = |nth: usize| after_name.split_whitespace().nth(nth).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / TICKS_PER_SEC)
}

/// Memory of the kernel, in bytes; differences of two of these are what came between.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Kernel {
    /// Objects in each slab cache times their size; empty where only others may see them.
    pub caches: BTreeMap<String, i64>,
    /// All slabs, with what is not in use of them.
    pub slab: i64,
    /// Buffers of TCP sockets.
    pub tcp_buffers: i64,
    pub page_tables: i64,
    /// Tables of open files, mostly.
    pub vmalloc: i64,
    pub per_cpu: i64,
    pub available: i64,
}

impl Kernel {
    pub fn now() -> Result<Self> {
        let meminfo = read("/proc/meminfo")?;
        let bytes = |key| kib_after(&meminfo, key).unwrap_or(0) * 1024;
        Ok(Self {
            caches: fs::read_to_string("/proc/slabinfo").map_or_else(|_| BTreeMap::new(), |text| caches(&text)),
            slab: bytes("Slab:"),
            tcp_buffers: tcp_pages(&read("/proc/net/sockstat")?) * PAGE_BYTES,
            page_tables: bytes("PageTables:"),
            vmalloc: bytes("VmallocUsed:"),
            per_cpu: bytes("Percpu:"),
            available: bytes("MemAvailable:"),
        })
    }

    pub fn since(&self, before: &Self) -> Self {
        let cache = |(name, bytes): (&String, &i64)| {
            let grown = bytes - before.caches.get(name).unwrap_or(&0);
            (grown != 0).then(|| (name.clone(), grown))
        };
        Self {
            caches: self.caches.iter().filter_map(cache).collect(),
            slab: self.slab - before.slab,
            tcp_buffers: self.tcp_buffers - before.tcp_buffers,
            page_tables: self.page_tables - before.page_tables,
            vmalloc: self.vmalloc - before.vmalloc,
            per_cpu: self.per_cpu - before.per_cpu,
            available: self.available - before.available,
        }
    }
}

/// `name active_objs num_objs objsize …` on each line after the header.
fn caches(slabinfo: &str) -> BTreeMap<String, i64> {
    let cache = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, active, size) =
            (words.next()?, words.next()?.parse::<i64>().ok()?, words.nth(1)?.parse::<i64>().ok()?);
        Some((name.to_owned(), active * size))
    };
    slabinfo.lines().filter_map(cache).collect()
}

/// The number after `mem` in the line of TCP.
fn tcp_pages(sockstat: &str) -> i64 {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:")).unwrap_or_default();
    let mem = line.split_whitespace().skip_while(|word| *word != "mem").nth(1);
    mem.and_then(|pages| pages.parse().ok()).unwrap_or(0)
}

fn kib_after(text: &str, key: &str) -> Option<i64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}; is the process gone?").into())
}
