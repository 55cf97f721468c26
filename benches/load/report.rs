//! What a run leaves: tables on stdout, the same figures as JSON and CSV, and a plot beside them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::check::Faults;
use crate::stats::Spread;
use crate::svg::{self, Plot};
use crate::table::Table;
use crate::{Common, Outcome, proc};

pub struct Report {
    scenario: &'static str,
    target: String,
    options: Value,
    figures: Map<String, Value>,
    tables: Vec<Table>,
    notes: Vec<String>,
    pub faults: Faults,
    pub plot: Plot,
}

impl Report {
    pub fn new(scenario: &'static str, target: String, options: Value) -> Self {
        Self {
            scenario,
            target,
            options,
            figures: Map::new(),
            tables: Vec::new(),
            notes: Vec::new(),
            faults: Faults::default(),
            plot: Plot::default(),
        }
    }

    pub fn figure(&mut self, name: &str, spread: Spread) {
        self.figures.insert(name.into(), spread.json());
    }

    pub fn value(&mut self, name: &str, value: Value) {
        self.figures.insert(name.into(), value);
    }

    pub fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Prints and writes everything; an error where the server lost, doubled or reordered anything, or with `--strict`
    /// where others disturbed the run.
    pub fn finish(self, common: &Common) -> Outcome {
        let disturbance = common.watch.look();
        let machine = proc::machine();
        let text = |name: &str| machine[name].to_string().replace('"', "");
        println!("\n{}: {}", self.scenario, self.target);
        println!(
            "on {} cores of {}, {} GiB, Linux {}; client on the same machine unless --url says otherwise",
            text("cores"),
            text("cpu"),
            text("memory_gib"),
            text("kernel")
        );
        self.tables.iter().for_each(Table::print);
        println!();
        self.notes.iter().for_each(|note| println!("{note}"));
        let Faults { lost, doubled, reordered, closed } = &self.faults;
        println!(
            "lost {lost}, doubled {doubled}, reordered {reordered}, sockets closed early {}",
            closed.values().sum::<u64>()
        );
        closed.iter().for_each(|(reason, count)| println!("  {count} × {reason}"));
        println!("{disturbance}");

        let path = common.json.clone().unwrap_or_else(|| PathBuf::from(format!("target/load/{}.json", self.scenario)));
        let document = json!({
            "scenario": self.scenario,
            "target": self.target,
            "at": OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
            "machine": machine,
            "disturbance": disturbance.json(),
            "rounds": common.rounds,
            "options": self.options,
            "figures": self.figures,
            "faults": { "lost": lost, "doubled": doubled, "reordered": reordered, "closed": closed },
        });
        write(&path, &format!("{document:#}\n"))?;
        write(&path.with_extension("csv"), &csv(&self.figures))?;
        write(&path.with_extension("svg"), &svg::draw(&self.plot))?;
        println!("written: {}, and beside it .csv and .svg", path.display());
        if !self.faults.none() {
            return Err("events were lost, doubled or reordered, or sockets closed early: see above".into());
        }
        match common.strict && disturbance.is_over() {
            true => Err("others disturbed this run (--strict): see above".into()),
            false => Ok(()),
        }
    }
}

/// A line for each figure that has a median; where there is no number, nothing stands.
fn csv(figures: &Map<String, Value>) -> String {
    let mut text = String::from("figure,median,min,max\n");
    for (name, figure) in figures.iter().filter(|(_, figure)| figure.is_object()) {
        let cell = |of: &str| figure[of].as_f64().map_or_else(String::new, |number| number.to_string());
        text.push_str(&format!("{name},{},{},{}\n", cell("median"), cell("min"), cell("max")));
    }
    text
}

fn write(path: &Path, text: &str) -> Outcome {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    }
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}
