//! The permitted outcomes of a task of each kind.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use concurrent_futures::TaskError;

/// How a task was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Without retries.
    Once,
    /// With enough retries for each task to succeed.
    Again,
    /// Aborted at a random moment.
    Aborted,
    /// With a short `queue_timeout`.
    Impatient,
    /// With a `timeout` that is shorter than its work.
    Slow,
    Panicking,
    /// An item of a `map`, without retries.
    Item,
    /// An item of a `map`, with retries.
    ItemAgain,
    /// Submitted twice with one deduplication id, with retries.
    Twice,
    /// Submitted, its handle dropped, and found again by its key, with retries.
    Reattached,
    /// An echo of a large payload, with retries.
    Large,
}

pub(crate) const RETRIES: u32 = 9;

impl Kind {
    pub(crate) fn retries(self) -> u32 {
        match self {
            Self::Again | Self::ItemAgain | Self::Twice | Self::Reattached | Self::Large => RETRIES,
            _ => 0,
        }
    }

    /// The name of the outcome, or why it is wrong. `runs`: how often it started.
    pub(crate) fn judge(
        self,
        result: &Result<u64, TaskError>,
        number: u64,
        runs: u32,
    ) -> Result<&'static str, String> {
        if runs > self.retries() + 1 {
            return Err(format!("it ran {runs} times"));
        }
        let error = match result {
            Ok(value) if *value != number => return Err(format!("its result is {value}")),
            Ok(_) if runs == 0 => return Err("it has a result, and did not run".to_owned()),
            Ok(_) if matches!(self, Self::Panicking) => return Err("it did not panic".to_owned()),
            Ok(_) => return Ok("results"),
            Err(error) => error,
        };
        if runs > 0 && !error.was_started() {
            return Err(format!("it ran {runs} times: {error}"));
        }
        if error.is_worker_lost() && self.retries() == 0 && error.was_started() {
            return Ok("lost");
        }
        let may = [
            (Self::Aborted, error.is_cancelled(), "cancelled"),
            (
                Self::Impatient,
                error.is_rejected() && !error.was_started(),
                "waited too long",
            ),
            (
                Self::Slow,
                error.is_timeout() && error.was_started(),
                "ran too long",
            ),
            (Self::Panicking, error.is_panic(), "panicked"),
        ];
        let fits = may.iter().find(|(kind, is, _)| *kind == self && *is);
        fits.map(|(.., name)| *name)
            .ok_or_else(|| format!("{runs} runs, {error:?}"))
    }
}

/// How often each task started.
pub(crate) fn runs(log: &Path) -> HashMap<u64, u32> {
    let mut runs = HashMap::new();
    for line in fs::read_to_string(log).expect("the log").lines() {
        *runs.entry(line.parse().expect("a number")).or_default() += 1;
    }
    runs
}
