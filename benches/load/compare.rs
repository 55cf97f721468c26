//! Two runs of a scenario beside each other: which figures have changed by more than their rounds differ among themselves.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use crate::stats::{Spread, figure};
use crate::table::Table;
use crate::{Outcome, Result};

#[derive(Args, Debug, Clone)]
pub struct Options {
    /// The JSON of the earlier run
    a: PathBuf,
    /// The JSON of the later one
    b: PathBuf,
}

/// Ends of the names of figures of which less is better, and of those of which more is.
const LESS_IS_BETTER: [&str; 6] = ["_ms", "_secs", "_bytes", "_per_million", "_per_connection", "_mib"];
const MORE_IS_BETTER: [&str; 1] = ["_per_sec"];

/// A change by less is called none, even where no round of one run reaches those of the other.
const SMALLEST_CHANGE: f64 = 0.03;

pub fn run(options: &Options) -> Outcome {
    let (a, b) = (read(&options.a)?, read(&options.b)?);
    if a["scenario"] != b["scenario"] {
        return Err(format!("{} and {} are different scenarios", a["scenario"], b["scenario"]).into());
    }
    let title = format!("{}: {} and {}", a["scenario"], a["at"], b["at"]).replace('"', "");
    let mut table = Table::new(title, &["", "A", "B", "B / A", ""]);
    let (mut changed, mut told_apart) = (0, true);
    for (name, of_a) in a["figures"].as_object().into_iter().flatten() {
        let (Some(of_a), Some(of_b)) = (spread(of_a), spread(&b["figures"][name])) else { continue };
        let verdict = verdict(name, of_a, of_b);
        changed += u32::from(!matches!(verdict, "" | UNKNOWN));
        told_apart &= verdict != UNKNOWN;
        let ratio = figure(of_b.median / of_a.median);
        table.row(vec![name.clone(), of_a.to_string(), of_b.to_string(), ratio, verdict.into()]);
    }
    table.print();
    println!("\n{changed} figures changed beyond noise: no round of one run came near those of the other.");
    if !told_apart {
        println!("?: one round has no spread, so that a change cannot be told from noise; use --rounds.");
    }
    for (name, run) in [("A", &a), ("B", &b)] {
        if run["disturbance"]["disturbed"] == true {
            println!("{name} was disturbed by others: measure it again before you believe it.");
        }
    }
    for what in ["options", "machine", "rounds"] {
        if a[what] != b[what] {
            println!("not the same {what}: {} and {}", a[what], b[what]);
        }
    }
    Ok(())
}

const UNKNOWN: &str = "?";

/// Empty where nothing has changed.
fn verdict(name: &str, a: Spread, b: Spread) -> &'static str {
    if a.median == b.median {
        return "";
    }
    if a.min == a.max && b.min == b.max {
        return UNKNOWN;
    }
    let apart = a.max < b.min || b.max < a.min;
    if !apart || (b.median / a.median - 1.0).abs() < SMALLEST_CHANGE {
        return "";
    }
    let more = b.median > a.median;
    let ends_in = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    match (ends_in(&LESS_IS_BETTER), ends_in(&MORE_IS_BETTER)) {
        (true, _) => {
            if more {
                "worse"
            } else {
                "better"
            }
        }
        (_, true) => {
            if more {
                "better"
            } else {
                "worse"
            }
        }
        _ => {
            if more {
                "more"
            } else {
                "less"
            }
        }
    }
}

fn read(file: &Path) -> Result<Value> {
    let text = fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{} is no report: {error}", file.display()).into())
}

/// `None` for what has no rounds, or could not be measured.
fn spread(figure: &Value) -> Option<Spread> {
    let of = |name: &str| figure[name].as_f64();
    Some(Spread { median: of("median")?, min: of("min")?, max: of("max")? })
}
