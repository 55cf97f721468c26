//! Tables as they are printed, and the rows that set natter's figures beside those of something else.

use crate::report::Report;
use crate::stats::Spread;

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

    pub fn print(&self) {
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

/// What natter is compared with, and how the names of its figures, and of the ratios to it, end.
pub struct Ceiling<'a, T> {
    pub rounds: &'a [T],
    pub figure: &'static str,
    pub ratio: &'static str,
}

impl<'a, T> Ceiling<'a, T> {
    pub fn bare(rounds: &'a [T]) -> Self {
        Self { rounds, figure: "bare", ratio: "ratio" }
    }
}

/// One row: a figure of both sides, and their ratio.
pub fn compare<T>(
    report: &mut Report,
    table: &mut Table,
    label: &str,
    name: &str,
    natter: &[T],
    bare: &[T],
    of: impl Fn(&T) -> f64,
) {
    compare_all(report, table, label, name, natter, &[Ceiling::bare(bare)], of);
}

/// The same beside any number of others.
pub fn compare_all<T>(
    report: &mut Report,
    table: &mut Table,
    label: &str,
    name: &str,
    natter: &[T],
    ceilings: &[Ceiling<'_, T>],
    of: impl Fn(&T) -> f64,
) {
    let spread = |rounds: &[T]| Spread::of(rounds.iter().map(&of));
    let mut cells = vec![label.into(), spread(natter).to_string()];
    report.figure(name, spread(natter));
    for ceiling in ceilings {
        let ratio = Spread::of(natter.iter().zip(ceiling.rounds).map(|(natter, bare)| of(natter) / of(bare)));
        cells.extend([spread(ceiling.rounds).to_string(), ratio.to_string()]);
        report.figure(&format!("{name}_{}", ceiling.figure), spread(ceiling.rounds));
        report.figure(&format!("{name}_{}", ceiling.ratio), ratio);
    }
    table.row(cells);
}
