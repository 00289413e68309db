//! A measured figure, and how it is shown.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use criterion::Criterion;
use serde_json::Value;

const NANOSECOND: f64 = 1e-9;

/// The unit of a figure. Less is better for all units.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Seconds for one run.
    Time,
    /// Seconds for a call or an item; shown as the number per second.
    Call,
    /// Seconds for a byte; shown as the number per second.
    Byte,
    /// Bytes.
    Memory,
    /// A plain number.
    Count,
}

#[derive(Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    /// From the best sample, which other programs on the machine disturb least.
    pub(crate) best: f64,
}

impl From<f64> for Figure {
    fn from(median: f64) -> Self {
        let best = median;
        Self { median, best }
    }
}

impl Unit {
    pub(crate) fn is_rate(self) -> bool {
        matches!(self, Self::Call | Self::Byte)
    }

    pub(crate) fn show(self, value: f64) -> String {
        let gib = f64::from(1 << 30);
        match self {
            Self::Time if value < 1e-3 => format!("{:.1} µs", value * 1e6),
            Self::Time => format!("{:.2} ms", value * 1e3),
            Self::Call if value > 1e-4 => format!("{:.0}/s", 1.0 / value),
            Self::Call if value > 1e-6 => format!("{:.0} k/s", 1e-3 / value),
            Self::Call => format!("{:.1} M/s", 1e-6 / value),
            Self::Byte => format!("{:.2} GiB/s", 1.0 / value / gib),
            Self::Memory if value < 10240.0 => format!("{value:.0} B"),
            Self::Memory => format!("{:.2} MiB", value / f64::from(1 << 20)),
            Self::Count => format!("{value}"),
        }
    }
}

/// Where criterion writes and the table reads.
pub(crate) fn criterion_home() -> PathBuf {
    match std::env::var_os("CRITERION_HOME") {
        Some(home) => home.into(),
        None => Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("criterion"),
    }
}

/// Criterion, as the command line configures it. Each figure takes these times.
pub(crate) fn criterion(warm_up: Duration, measurement: Duration) -> Criterion {
    Criterion::default()
        .output_directory(&criterion_home())
        .warm_up_time(warm_up)
        .measurement_time(measurement)
        .configure_from_args()
}

/// Whether criterion only runs everything once, as a test.
pub(crate) fn is_quick() -> bool {
    let given = |wanted: &str| std::env::args().any(|arg| arg == wanted);
    given("--test") || !given("--bench")
}

/// A part of the names of the measures that the command line selects.
pub(crate) fn filter() -> Option<String> {
    std::env::args().skip(1).find(|arg| !arg.starts_with('-'))
}

/// The figure that criterion has written since then.
pub(crate) fn read(measure: &str, contender: &str, since: SystemTime) -> Option<Figure> {
    let folder = criterion_home().join(measure).join(contender).join("new");
    let estimates = folder.join("estimates.json");
    if fs::metadata(&estimates).ok()?.modified().ok()? < since {
        return None; // The figure is of an earlier run.
    }
    let median = read_json(&estimates)?["median"]["point_estimate"].as_f64()?;
    let best = best(&read_json(&folder.join("sample.json"))?)?;
    let throughput = &read_json(&folder.join("benchmark.json"))?["throughput"];
    let amount = throughput["Elements"]
        .as_f64()
        .or(throughput["Bytes"].as_f64());
    let each = NANOSECOND / amount.unwrap_or(1.0);
    Some(Figure {
        median: median * each,
        best: best * each,
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
