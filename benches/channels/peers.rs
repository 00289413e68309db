//! Python's queue and pipe, measured by `channels/peers.py` if there is a Python.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::figure::Figure;

/// The script's names.
pub(crate) const QUEUE: &str = "Python Queue";
pub(crate) const PIPE: &str = "Python Pipe";
pub(crate) const NAMES: [&str; 2] = [QUEUE, PIPE];

/// The results of the script: seconds for an item or a byte.
pub(crate) struct Peers(Value);

impl Peers {
    /// Runs the script with `$PYTHON`, or otherwise `python3`, for the measures whose names contain the filter.
    pub(crate) fn measure(filter: Option<String>) -> Result<Self, String> {
        let python = env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("channels/peers.py");
        let output = Command::new(&python)
            .arg(script)
            .args(filter)
            .stderr(Stdio::inherit())
            .output();
        let output = output.map_err(|error| format!("{}: {error}", python.display()))?;
        let table = serde_json::from_slice(&output.stdout);
        table
            .map(Self)
            .map_err(|_| format!("{}: {}", python.display(), output.status))
    }

    pub(crate) fn get(&self, measure: &str, contender: &str) -> Option<Figure> {
        self.0[measure][contender].as_f64().map(Figure::from)
    }
}
