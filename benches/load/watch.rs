//! What else the machine did while the tool measured. A run that others disturbed beyond a bound is marked as such, and
//! refused with `--strict`: single runs beside a busy neighbour have been off by a factor of four.

use std::fmt;
use std::time::Instant;

use serde_json::{Value, json};

use crate::proc::{self, Cores};
use crate::stats::figure;

/// Of all cores: what processes other than the tool, its server and its bare servers may use, and the hardware's other guests.
const MOST_FOREIGN_SHARE: f64 = 0.05;
/// Percent of the ten seconds before the run in which somebody may have waited for a disk.
const MOST_DISK_PERCENT_BEFORE: f64 = 5.0;

/// Where the meters stood when the run began.
#[derive(Debug, Default, Clone)]
pub struct Watch {
    began: Option<Instant>,
    /// A server that the tool has not started.
    server: Option<u32>,
    /// There is one, and nobody has said which process it is.
    server_unknown: bool,
    cores: Cores,
    own_secs: f64,
    disk_secs: Option<f64>,
    disk_percent_before: Option<f64>,
}

pub struct Disturbance {
    server_unknown: bool,
    cores: usize,
    foreign_cores: f64,
    stolen_cores: f64,
    /// Of the run's time, in which somebody waited for a disk; the server under load among them.
    disk_share: Option<f64>,
    disk_percent_before: Option<f64>,
}

impl Watch {
    pub fn start(server: Option<u32>, server_unknown: bool) -> Self {
        let disk = proc::disk_waits();
        Self {
            began: Some(Instant::now()),
            server,
            server_unknown,
            cores: proc::cores(),
            own_secs: own_secs(server),
            disk_secs: disk.map(|(secs, _)| secs),
            disk_percent_before: disk.map(|(_, percent)| percent),
        }
    }

    pub fn look(&self) -> Disturbance {
        let secs = self.began.map_or(f64::NAN, |began| began.elapsed().as_secs_f64());
        let (now, own) = (proc::cores(), own_secs(self.server) - self.own_secs);
        let disk = proc::disk_waits().zip(self.disk_secs);
        Disturbance {
            server_unknown: self.server_unknown,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            foreign_cores: ((now.busy - self.cores.busy - own) / secs).max(0.0),
            stolen_cores: (now.stolen - self.cores.stolen) / secs,
            disk_share: disk.map(|((now, _), before)| (now - before) / secs),
            disk_percent_before: self.disk_percent_before,
        }
    }
}

/// Of the tool and the servers: those are its children, or the one that `--pid` names.
fn own_secs(server: Option<u32>) -> f64 {
    proc::family_cpu_secs(std::process::id()) + server.map_or(0.0, proc::family_cpu_secs)
}

impl Disturbance {
    fn most_foreign_cores(&self) -> f64 {
        MOST_FOREIGN_SHARE * self.cores as f64
    }

    pub fn is_over(&self) -> bool {
        self.foreign_cores + self.stolen_cores > self.most_foreign_cores()
            || self.disk_percent_before.is_some_and(|percent| percent > MOST_DISK_PERCENT_BEFORE)
    }

    pub fn json(&self) -> Value {
        json!({
            "disturbed": self.is_over(),
            "foreign_cores": self.foreign_cores,
            "stolen_cores": self.stolen_cores,
            "most_foreign_cores": self.most_foreign_cores(),
            "disk_wait_share": self.disk_share,
            "disk_wait_percent_before": self.disk_percent_before,
            "most_disk_wait_percent_before": MOST_DISK_PERCENT_BEFORE,
        })
    }
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_over() { "DISTURBED, do not trust these figures: others" } else { "undisturbed: others" };
        write!(
            f,
            "{mark} used {} of {} cores, and {} were stolen (together at most {})",
            figure(self.foreign_cores),
            self.cores,
            figure(self.stolen_cores),
            figure(self.most_foreign_cores())
        )?;
        if self.server_unknown {
            write!(f, "; if the server runs on this machine it counts among them, as --pid does not say which it is")?;
        }
        if let (Some(share), Some(before)) = (self.disk_share, self.disk_percent_before) {
            write!(f, "; somebody waited for a disk {} % of the time", figure(100.0 * share))?;
            write!(f, ", before the run {} % (at most {MOST_DISK_PERCENT_BEFORE})", figure(before))?;
        }
        Ok(())
    }
}
