//! The medians of one run side by side, and how they compare with the goals.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use super::figure::{Figure, Unit};

/// A measure, and the figure of each contender.
pub(crate) struct Row {
    pub(crate) measure: &'static str,
    pub(crate) unit: Unit,
    figures: BTreeMap<&'static str, Figure>,
}

/// All figures of a run.
pub(crate) struct Table {
    rows: Vec<Row>,
    /// In the order of the columns.
    contenders: Vec<&'static str>,
}

/// What a figure is compared with.
pub(crate) enum Goal {
    /// This number times the best of these: an upper bound for a time or for memory, a lower bound for a rate.
    Times(f64, &'static [&'static str]),
    /// This number times the contender's own figure in another row.
    OfRow(f64, &'static str),
    /// A figure of the row's unit.
    Value(f64),
}

impl Row {
    pub(crate) fn get(&self, contender: &str) -> Option<Figure> {
        self.figures.get(contender).copied()
    }

    /// The best of these contenders.
    fn least(&self, of: &[&'static str], by: fn(Figure) -> f64) -> Option<(&'static str, f64)> {
        let found = of
            .iter()
            .filter_map(|name| Some((*name, by(self.get(name)?))));
        found.min_by(|(_, one), (_, other)| one.total_cmp(other))
    }
}

impl Table {
    pub(crate) fn new(contenders: Vec<&'static str>) -> Self {
        let rows = Vec::new();
        Self { rows, contenders }
    }

    /// Adds a row without figures.
    pub(crate) fn add(&mut self, measure: &'static str, unit: Unit) {
        let figures = BTreeMap::new();
        self.rows.push(Row {
            measure,
            unit,
            figures,
        });
    }

    /// Puts a figure into a row that was added.
    pub(crate) fn put(&mut self, measure: &str, contender: &'static str, figure: Figure) {
        let row = self.rows.iter_mut().find(|row| row.measure == measure);
        row.expect("it was added").figures.insert(contender, figure);
    }

    pub(crate) fn row(&self, measure: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.measure == measure)
    }

    pub(crate) fn measures(&self) -> Vec<&'static str> {
        self.rows.iter().map(|row| row.measure).collect()
    }

    /// The contenders that have a figure.
    pub(crate) fn contenders(&self) -> impl Iterator<Item = &'static str> {
        let is_there = |name: &&str| self.rows.iter().any(|row| row.get(name).is_some());
        self.contenders.iter().copied().filter(is_there)
    }

    /// Prints the medians, a row for each measure.
    pub(crate) fn print(&self) {
        let names = self.rows.iter().map(|row| row.measure.chars().count());
        let width = 2 + names.max().unwrap_or(0);
        print!("\n{:<width$}", "median");
        self.contenders().for_each(|name| print!("{name:>17}"));
        println!();
        for row in self.rows.iter().filter(|row| !row.figures.is_empty()) {
            print!("{:<width$}", row.measure);
            for contender in self.contenders() {
                let figure = row.get(contender);
                let shown = figure.map_or("–".to_owned(), |figure| row.unit.show(figure.median));
                print!("{shown:>17}");
            }
            println!();
        }
    }

    /// The medians as a table of Markdown. A measure without figures has no row.
    fn markdown(&self) -> String {
        let contenders: Vec<_> = self.contenders().collect();
        let mut text = format!("| | {} |\n", contenders.join(" | "));
        let _ = writeln!(text, "|---{}|", "|---".repeat(contenders.len()));
        for row in self.rows.iter().filter(|row| !row.figures.is_empty()) {
            let shown = contenders.iter().map(|contender| match row.get(contender) {
                Some(figure) => row.unit.show(figure.median),
                None => "–".to_owned(),
            });
            let cells: Vec<String> = shown.collect();
            let _ = writeln!(text, "| {} | {} |", row.measure, cells.join(" | "));
        }
        text
    }

    /// Writes the medians to `$BENCH_REPORT/NAME.md`, if that folder is set: `benches/report` puts them
    /// into BENCHMARKS.md.
    pub(crate) fn report(&self, name: &str) {
        let Some(folder) = env::var_os("BENCH_REPORT") else {
            return;
        };
        let path = Path::new(&folder).join(name).with_extension("md");
        let written = fs::write(&path, self.markdown());
        written.unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    }

    /// Prints the head of the goals.
    pub(crate) fn print_goals_head(&self) {
        println!(
            "\n{:<72}{:>12}{:>16}",
            "goal", "by medians", "by best samples"
        );
    }

    /// Prints how a contender compares with a goal, if it was measured.
    pub(crate) fn print_goal(&self, measure: &str, contender: &'static str, goal: Goal) {
        let Some(row) = self.row(measure) else { return };
        let bound = if row.unit.is_rate() {
            "at least"
        } else {
            "at most"
        };
        let medians = self.stands(row, contender, &goal, |figure| figure.median);
        let best = self.stands(row, contender, &goal, |figure| figure.best);
        let (Some((medians, of)), Some((best, _))) = (medians, best) else {
            return;
        };
        let verdict = |stand: &Stand| if stand.is_met { ' ' } else { '!' };
        println!(
            "{:<72}{:>11}{}{:>15}{}",
            format!("{measure}, {contender}: {bound} {of}"),
            medians.shown,
            verdict(&medians),
            best.shown,
            verdict(&best),
        );
    }

    /// How a contender compares with a goal, and the goal in words.
    fn stands(
        &self,
        row: &Row,
        who: &'static str,
        goal: &Goal,
        by: fn(Figure) -> f64,
    ) -> Option<(Stand, String)> {
        let own = by(row.get(who)?);
        let (times, name, other) = match goal {
            Goal::Value(most) => {
                let shown = row.unit.show(own);
                let is_met = own <= *most;
                return Some((Stand { shown, is_met }, row.unit.show(*most)));
            }
            Goal::Times(times, others) => {
                let (name, other) = row.least(others, by)?;
                (*times, name, other)
            }
            Goal::OfRow(times, measure) => (*times, *measure, by(self.row(measure)?.get(who)?)),
        };
        let is_rate = row.unit.is_rate();
        let ratio = if is_rate { other / own } else { own / other };
        let is_met = if is_rate {
            ratio >= times
        } else {
            ratio <= times
        };
        let shown = format!("{ratio:.2}x");
        Some((Stand { shown, is_met }, format!("{times} x {name}")))
    }
}

struct Stand {
    shown: String,
    is_met: bool,
}
