//! What the kernel knows of this process, under the names that every monitor knows: read when somebody asks.

use std::fs;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

/// What /proc counts time in, on every Linux.
const TICKS_PER_SEC: f64 = 100.0;

#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut tell = |name: &str, help: &str, unit: Option<&Unit>, metric: &dyn Told| {
            metric.tell(encoder.encode_descriptor(name, help, unit, metric.kind())?)
        };
        if let Some(stat) = Stat::read() {
            let cpu = ConstCounter::new(stat.cpu_secs);
            tell("cpu", "CPU time used.", Some(&Unit::Seconds), &cpu)?;
            let started = ConstGauge::new(stat.started_at);
            tell("start_time", "When it started, in Unix time.", Some(&Unit::Seconds), &started)?;
            tell("threads", "Threads.", None, &ConstGauge::new(stat.threads))?;
        }
        if let Some(kib) = kib("VmRSS:") {
            tell("resident_memory", "Memory in use.", Some(&Unit::Bytes), &ConstGauge::new(kib * 1024))?;
        }
        if let Some(kib) = kib("VmSize:") {
            tell("virtual_memory", "Addresses in use.", Some(&Unit::Bytes), &ConstGauge::new(kib * 1024))?;
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            let open = i64::try_from(files.count()).unwrap_or(i64::MAX);
            tell("open_fds", "Files open, connections too.", None, &ConstGauge::new(open))?;
        }
        if let Ok((most, _)) = rlimit::Resource::NOFILE.get() {
            let most = ConstGauge::new(i64::try_from(most).unwrap_or(i64::MAX));
            tell("max_fds", "Files it may have open (ulimit -n).", None, &most)?;
        }
        Ok(())
    }
}

/// The two kinds that are told here.
trait Told {
    fn kind(&self) -> MetricType;
    fn tell(&self, encoder: prometheus_client::encoding::MetricEncoder<'_>) -> Result<(), std::fmt::Error>;
}

impl<M: EncodeMetric> Told for M {
    fn kind(&self) -> MetricType {
        self.metric_type()
    }

    fn tell(&self, encoder: prometheus_client::encoding::MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.encode(encoder)
    }
}

struct Stat {
    cpu_secs: f64,
    started_at: f64,
    threads: i64,
}

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        // The name before it may hold anything.
        let fields: Vec<f64> =
            text.rsplit_once(')')?.1.split_whitespace().map(|word| word.parse().unwrap_or(0.0)).collect();
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let booted: f64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        // The third field of the whole line is the first here.
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Self {
            cpu_secs: (field(14)? + field(15)?) / TICKS_PER_SEC,
            started_at: booted + field(22)? / TICKS_PER_SEC,
            threads: field(20)? as i64,
        })
    }
}

fn kib(name: &str) -> Option<i64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    text.lines().find_map(|line| line.strip_prefix(name))?.trim().trim_end_matches(" kB").parse().ok()
}
