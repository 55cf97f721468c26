//! What a run leaves: tables on stdout, the same figures as JSON, and a plot beside it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::check::Faults;
use crate::stats::Spread;
use crate::svg::{self, Plot};
use crate::{Outcome, proc};

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

pub struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: impl Into<String>, header: &[&str]) -> Self {
        Self { title: title.into(), rows: vec![header.iter().map(|&name| name.into()).collect()] }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    fn print(&self) {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |at: usize| self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
        println!("\n{}", self.title);
        for (at, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> =
                row.iter().zip(&widths).enumerate().map(|(n, (cell, width))| pad(n, cell, *width)).collect();
            println!("  {}", cells.join("  ").trim_end());
            if at == 0 {
                println!("  {}", widths.iter().map(|width| "─".repeat(*width)).collect::<Vec<_>>().join("──"));
            }
        }
    }
}

/// The first column names things and starts at the left; figures end at the right.
fn pad(column: usize, cell: &str, width: usize) -> String {
    let space = " ".repeat(width - cell.chars().count());
    if column == 0 { format!("{cell}{space}") } else { format!("{space}{cell}") }
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

    /// Prints and writes everything; an error where the server lost, doubled or reordered anything.
    pub fn finish(self, json_path: Option<&Path>) -> Outcome {
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

        let path =
            json_path.map_or_else(|| PathBuf::from(format!("target/load/{}.json", self.scenario)), Path::to_owned);
        let document = json!({
            "scenario": self.scenario,
            "target": self.target,
            "at": OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
            "machine": machine,
            "options": self.options,
            "figures": self.figures,
            "faults": { "lost": lost, "doubled": doubled, "reordered": reordered, "closed": closed },
        });
        write(&path, &format!("{document:#}\n"))?;
        let plot = path.with_extension("svg");
        write(&plot, &svg::draw(&self.plot))?;
        println!("written: {} and {}", path.display(), plot.display());
        match self.faults.none() {
            true => Ok(()),
            false => Err("events were lost, doubled or reordered, or sockets closed early: see above".into()),
        }
    }
}

fn write(path: &Path, text: &str) -> Outcome {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    }
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}
