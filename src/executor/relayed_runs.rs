//! The outcomes of a relayed call. Consecutive items often end alike, so their outcomes are kept in runs.

use std::ops::Range;
use std::time::Duration;

use super::error::TaskError;
use crate::wire::outcomes::Values;
use crate::wire::{Payload, Reader};

/// The outcomes of all items of a relayed call.
#[derive(Debug)]
pub(crate) struct RelayedOutcomes {
    /// How long the items ran in all, as far as known.
    pub(crate) time: Duration,
    /// In the order of the items. Each item is in one run.
    pub(crate) runs: Vec<RelayedRun>,
}

/// The outcomes of consecutive items.
#[derive(Debug)]
pub(crate) enum RelayedRun {
    Values(Values),
    Failed {
        first: u32,
        count: u32,
        error: TaskError,
    },
}

impl RelayedOutcomes {
    /// The kind of outcome, as metrics name it, and the number of items, run by run.
    pub(super) fn kinds(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.runs.iter().map(|run| match run {
            RelayedRun::Values(values) => ("ok", values.count as usize),
            RelayedRun::Failed { count, error, .. } => (error.kind(), *count as usize),
        })
    }
}

/// Values of this size or more stay in the buffer that they arrived in.
const LARGE: usize = 16 * 1024;

/// Outcomes that arrive in any order. The first outcome of an item counts.
pub(super) struct GatheredRuns {
    items: u32,
    left: u32,
    /// A bit for each item that has an outcome. Grows as item numbers grow.
    answered: Vec<u64>,
    /// In the order of arrival.
    runs: Vec<OpenRun>,
}

/// A run that may grow.
enum OpenRun {
    Small {
        first: u32,
        count: u32,
        /// Encoded as in [`Values`].
        entries: Vec<u8>,
    },
    Large(Values),
    Failed {
        first: u32,
        count: u32,
        error: TaskError,
    },
}

impl GatheredRuns {
    pub(super) fn new(items: u32) -> Self {
        Self {
            items,
            left: items,
            answered: Vec::new(),
            runs: Vec::new(),
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.left == 0
    }

    /// Whether the item has an outcome.
    pub(super) fn has(&self, item: u32) -> bool {
        let word = self.answered.get(item as usize / 64);
        self.left == 0 || word.is_some_and(|word| word >> (item % 64) & 1 == 1)
    }

    pub(super) fn put_value(&mut self, item: u32, value: Payload) {
        if !self.mark(item) {
            return;
        }
        self.append(match value {
            Payload::Small(bytes) => OpenRun::Small {
                first: item,
                count: 1,
                entries: bytes.into(),
            },
            Payload::Large(chain) => OpenRun::Large(Values::of(item, 1, chain.into_reader())),
        });
    }

    pub(super) fn put_values(&mut self, mut values: Values) {
        if values.items().any(|item| self.has(item)) {
            while values.count > 0 {
                let value = values.take(1);
                if self.mark(value.first) {
                    self.append(OpenRun::Large(value));
                }
            }
            return;
        }
        for item in values.items() {
            self.mark(item);
        }
        self.append(match values.len() < LARGE {
            true => OpenRun::Small {
                first: values.first,
                count: values.count,
                entries: values.into_entries().into_bytes().into(),
            },
            false => OpenRun::Large(values),
        });
    }

    pub(super) fn put_failure(&mut self, item: u32, error: TaskError) {
        if self.mark(item) {
            self.append(OpenRun::Failed {
                first: item,
                count: 1,
                error,
            });
        }
    }

    pub(super) fn fail_rest(&mut self, error: &TaskError) {
        if self.left == self.items {
            // The usual case loops over no items: their number may exceed what memory can hold.
            let count = std::mem::take(&mut self.left);
            self.append(OpenRun::Failed {
                first: 0,
                count,
                error: error.clone(),
            });
        }
        for item in 0..self.items {
            if self.left == 0 {
                break;
            }
            self.put_failure(item, error.clone());
        }
    }

    /// Takes out the runs, in the order of the items.
    pub(super) fn take(&mut self) -> Vec<RelayedRun> {
        let mut runs = std::mem::take(&mut self.runs);
        runs.sort_by_key(|run| run.items().start);
        for run in runs {
            self.append(run);
        }
        let runs = std::mem::take(&mut self.runs);
        runs.into_iter().map(OpenRun::close).collect()
    }

    /// Marks an item as answered. Returns false if it already was.
    fn mark(&mut self, item: u32) -> bool {
        if item >= self.items || self.has(item) {
            return false;
        }
        let word = item as usize / 64;
        if self.answered.len() <= word {
            self.answered.resize(word + 1, 0);
        }
        self.answered[word] |= 1 << (item % 64);
        self.left -= 1;
        true
    }

    /// Adds a run. Extends the latest run if the new one continues it.
    fn append(&mut self, run: OpenRun) {
        match self.runs.last_mut() {
            Some(last) if last.items().end == run.items().start => {
                if let Err(run) = last.join(run) {
                    self.runs.push(run);
                }
            }
            _ => self.runs.push(run),
        }
    }
}

impl OpenRun {
    fn items(&self) -> Range<u32> {
        match self {
            Self::Large(values) => values.items(),
            Self::Small { first, count, .. } | Self::Failed { first, count, .. } => {
                *first..first + count
            }
        }
    }

    /// Appends a run if it starts after this run's last item and is of the same kind.
    fn join(&mut self, next: Self) -> Result<(), Self> {
        match (self, next) {
            (
                Self::Small { count, entries, .. },
                Self::Small {
                    count: more,
                    entries: rest,
                    ..
                },
            ) => {
                *count += more;
                Values::join(entries, &rest);
                Ok(())
            }
            (
                Self::Failed { count, error, .. },
                Self::Failed {
                    count: more,
                    error: other,
                    ..
                },
            ) if error.is_same(&other) => {
                *count += more;
                Ok(())
            }
            (_, next) => Err(next),
        }
    }

    fn close(self) -> RelayedRun {
        match self {
            Self::Small {
                first,
                count,
                entries,
            } => RelayedRun::Values(Values::of(first, count, Reader::from(entries))),
            Self::Large(values) => RelayedRun::Values(values),
            Self::Failed {
                first,
                count,
                error,
            } => RelayedRun::Failed {
                first,
                count,
                error,
            },
        }
    }
}

#[cfg(all(test, properties))]
#[path = "../../tests/properties/executor/relayed_runs.rs"]
mod tests;
