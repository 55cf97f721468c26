//! Steady traffic in one room, alone and beside something else that the same server does: what the one costs the other.

use clap::Args;
use serde_json::{Value, json};

use crate::apart::Apart;
use crate::check::Faults;
use crate::people::People;
use crate::report::Report;
use crate::server::Target;
use crate::side::{Measured, Side};
use crate::stats::figure;
use crate::table::{Ceiling, Table, compare_all};
use crate::{Result, at_least_one};

#[derive(Args, Debug, Clone)]
pub struct Traffic {
    /// Sockets that follow the room
    #[arg(long, default_value_t = 200, value_parser = at_least_one)]
    pub readers: usize,
    /// Messages per second in it
    #[arg(long, default_value_t = 50.0)]
    pub rate: f64,
    /// Length of each measurement
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// Length of a message's content
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    pub bytes: u32,
}

impl Traffic {
    fn messages(&self) -> u64 {
        (self.rate * self.seconds as f64).ceil() as u64
    }

    pub fn json(&self) -> Value {
        json!({ "readers": self.readers, "rate": self.rate, "seconds": self.seconds, "bytes": self.bytes })
    }

    pub fn title(&self) -> String {
        format!("{} msg/s to {} readers", figure(self.rate), self.readers)
    }
}

/// Everyone who reads and posts, connected.
pub struct Live<'a> {
    side: Side<'a>,
    traffic: Traffic,
}

impl<'a> Live<'a> {
    /// The first `traffic.readers` of `people` follow `chat_id`.
    pub async fn start(target: &'a Target, people: &People, chat_id: &str, traffic: &Traffic) -> Result<Self> {
        let side =
            Side::follow(target, people, &[chat_id.to_owned()], (traffic.readers, 1), traffic.bytes as usize).await?;
        Ok(Self { side, traffic: traffic.clone() })
    }

    pub async fn measure(&mut self) -> Result<Measured> {
        self.side.paced(self.traffic.rate, self.traffic.messages()).await
    }

    /// While `other` goes on, which is ended then; what it did.
    pub async fn beside<T: Send + 'static>(&mut self, other: Apart<T>) -> Result<(Measured, T)> {
        let measured = self.measure().await?;
        Ok((measured, other.end().await?))
    }

    /// The seq of the room's last event.
    pub fn head(&self) -> u64 {
        self.side.heads()[0]
    }

    /// Ends everybody and says what went wrong.
    pub fn leave(self) -> Faults {
        let faults = self.side.faults();
        self.side.leave();
        faults
    }
}

/// A table of deliveries beside something, and alone. `name` begins the names of the figures.
pub fn fill(report: &mut Report, title: String, name: &str, beside: &[Measured], alone: &[Measured]) {
    let mut table = Table::new(title, &["median (min–max)", &format!("beside {name}"), "alone", "×"]);
    let ceiling = [Ceiling { rounds: alone, figure: "alone", ratio: "ratio" }];
    let mut row = |label: &str, figure: &str, of: fn(&Measured) -> f64| {
        compare_all(report, &mut table, label, &format!("beside_{name}_{figure}"), beside, &ceiling, of);
    };
    row("deliveries: p50, ms", "p50_ms", |round| round.latency.millis_at(50.0));
    row("p99, ms", "p99_ms", |round| round.latency.millis_at(99.0));
    row("max, ms", "max_ms", |round| round.latency.max_millis());
    row("server, cores", "server_cores", Measured::server_cores);
    row("client, cores", "client_cores", Measured::client_cores);
    report.table(table);
}
