//! The medians of this run side by side, and the ratios that count.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

const NANOSECOND: f64 = 1e-9;

/// What one contender took for one measure.
#[derive(Clone, Copy)]
struct Figure {
    /// Seconds for an iteration.
    median: f64,
    /// The same in the fastest sample: what a neighbour on the machine disturbs least.
    best: f64,
    amount: Amount,
}

/// How much an iteration does.
#[derive(Clone, Copy)]
enum Amount {
    Once,
    Elements(f64),
    Bytes(f64),
}

impl Amount {
    fn count(self) -> f64 {
        match self {
            Self::Once => 1.0,
            Self::Elements(count) | Self::Bytes(count) => count,
        }
    }
}

impl Figure {
    fn show(self) -> String {
        let rate = self.amount.count() / self.median;
        match self.amount {
            Amount::Once if self.median < 1e-3 => format!("{:.1} µs", self.median * 1e6),
            Amount::Once => format!("{:.2} ms", self.median * 1e3),
            Amount::Elements(_) if rate < 1e6 => format!("{:.0} k/s", rate / 1e3),
            Amount::Elements(_) => format!("{:.1} M/s", rate / 1e6),
            Amount::Bytes(_) => format!("{:.2} GiB/s", rate / f64::from(1 << 30)),
        }
    }
}

/// The figures that criterion has written since a moment.
pub(crate) struct Table {
    measures: Vec<&'static str>,
    contenders: Vec<&'static str>,
    figures: BTreeMap<(&'static str, &'static str), Figure>,
}

impl Table {
    pub(crate) fn read(
        measures: Vec<&'static str>,
        contenders: Vec<&'static str>,
        since: SystemTime,
    ) -> Self {
        let home = criterion_home();
        let mut figures = BTreeMap::new();
        for &measure in &measures {
            for &contender in &contenders {
                let folder = home.join(measure).join(contender).join("new");
                if let Some(figure) = read_figure(&folder, since) {
                    figures.insert((measure, contender), figure);
                }
            }
        }
        Self {
            measures,
            contenders,
            figures,
        }
    }

    /// Prints the medians, a row for each measure.
    pub(crate) fn print(&self) {
        print!("\n{:<16}", "median");
        for contender in &self.contenders {
            print!("{contender:>16}");
        }
        println!();
        let measured = |measure| self.figures.keys().any(|(found, _)| *found == measure);
        for measure in self.measures.iter().copied().filter(|name| measured(*name)) {
            print!("{measure:<16}");
            for &contender in &self.contenders {
                let figure = self.figures.get(&(measure, contender));
                let shown = figure.map_or("–".to_owned(), |figure| figure.show());
                print!("{shown:>16}");
            }
            println!();
        }
        println!("\n{:<52}{:>10}{:>16}", "ratio", "medians", "best samples");
    }

    /// Prints how many times the time of the second the first takes: less is better.
    pub(crate) fn print_time(&self, measure: &'static str, of: &'static str, to: &'static str) {
        let ratio = |of: f64, to: f64| of / to;
        self.print_ratio("time", measure, of, to, ratio);
    }

    /// Prints how many times the speed of the second the first has: more is better.
    pub(crate) fn print_speed(&self, measure: &'static str, of: &'static str, to: &'static str) {
        let ratio = |of: f64, to: f64| to / of;
        self.print_ratio("speed", measure, of, to, ratio);
    }

    fn print_ratio(
        &self,
        unit: &str,
        measure: &'static str,
        of: &'static str,
        to: &'static str,
        ratio: impl Fn(f64, f64) -> f64,
    ) {
        let Some(first) = self.figures.get(&(measure, of)) else {
            return;
        };
        let Some(second) = self.figures.get(&(measure, to)) else {
            return;
        };
        let (by, over) = (first.amount.count(), second.amount.count());
        println!(
            "{:<52}{:>9.2}x{:>15.2}x",
            format!("{measure}, {unit}: {of} / {to}"),
            ratio(first.median / by, second.median / over),
            ratio(first.best / by, second.best / over),
        );
    }
}

/// Where criterion is to write, and the table reads.
pub(crate) fn criterion_home() -> PathBuf {
    match std::env::var_os("CRITERION_HOME") {
        Some(home) => home.into(),
        None => Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("criterion"),
    }
}

fn read_figure(folder: &Path, since: SystemTime) -> Option<Figure> {
    let estimates = folder.join("estimates.json");
    if fs::metadata(&estimates).ok()?.modified().ok()? < since {
        return None; // Of an earlier run.
    }
    let median = read_json(&estimates)?["median"]["point_estimate"].as_f64()?;
    let sample = read_json(&folder.join("sample.json"))?;
    let throughput = &read_json(&folder.join("benchmark.json"))?["throughput"];
    let amount = if let Some(count) = throughput["Elements"].as_f64() {
        Amount::Elements(count)
    } else if let Some(count) = throughput["Bytes"].as_f64() {
        Amount::Bytes(count)
    } else {
        Amount::Once
    };
    Some(Figure {
        median: median * NANOSECOND,
        best: best(&sample)? * NANOSECOND,
        amount,
    })
}

/// The time of an iteration in the fastest sample.
fn best(sample: &Value) -> Option<f64> {
    let times = sample["times"].as_array()?.iter();
    let iterations = sample["iters"].as_array()?.iter();
    times
        .zip(iterations)
        .filter_map(|(time, count)| Some(time.as_f64()? / count.as_f64()?))
        .min_by(f64::total_cmp)
}

fn read_json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
