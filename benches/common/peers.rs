//! Python's pools and processes, measured by `peers.py` if there is a Python.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::figure::Figure;

/// The script's names.
pub(crate) const POOL: &str = "Python Pool";
pub(crate) const EXECUTOR: &str = "Python Executor";
pub(crate) const LOKY: &str = "loky";
pub(crate) const PEBBLE: &str = "pebble";
pub(crate) const NAMES: [&str; 4] = [POOL, EXECUTOR, LOKY, PEBBLE];

/// The figures of the script.
pub(crate) struct Peers(Value);

impl Peers {
    /// Runs the script with `$PYTHON`, or else `python3`: its part `what`, for the measures whose names contain
    /// the filter.
    pub(crate) fn measure(what: &str, filter: Option<String>) -> Result<Self, String> {
        Self::measure_by("peers.py", what, filter)
    }

    /// The same by another script.
    pub(crate) fn measure_by(
        script: &str,
        what: &str,
        filter: Option<String>,
    ) -> Result<Self, String> {
        let python = env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
        let mut command = Command::new(&python);
        let output = command
            .arg(script)
            .arg(what)
            .args(filter)
            .stderr(Stdio::inherit())
            .output();
        let output = output.map_err(|error| format!("{}: {error}", python.display()))?;
        let table = serde_json::from_slice(&output.stdout);
        table
            .map(Self)
            .map_err(|_| format!("{}: {}", python.display(), output.status))
    }

    /// Seconds for a call, an item or a byte.
    pub(crate) fn get(&self, measure: &str, contender: &str) -> Option<Figure> {
        self.0[measure][contender].as_f64().map(Figure::from)
    }

    /// Python's pools without a figure.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        self.missing_of(&NAMES)
    }

    /// Those of these contenders that have no figure.
    pub(crate) fn missing_of(&self, names: &[&'static str]) -> Vec<&'static str> {
        let rows = self
            .0
            .as_object()
            .into_iter()
            .flat_map(|table| table.values());
        let rows: Vec<&Value> = rows.collect();
        let is_there = |name: &str| rows.iter().any(|row| row.get(name).is_some());
        let missing = names.iter().copied().filter(|name| !is_there(name));
        missing.collect()
    }
}
