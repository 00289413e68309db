//! How long a worker serves, and when it needs a successor.

use std::time::{Duration, Instant};

/// How long a worker serves.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::process) struct Tenure {
    /// The most calls.
    pub(in crate::process) max_tasks: Option<u64>,
    /// The longest time since it became ready.
    pub(in crate::process) max_age: Option<Duration>,
    /// The longest time without work.
    pub(in crate::process) idle_timeout: Option<Duration>,
}

/// When a worker needs a successor, for its age or its memory. If the successor cannot be started, the worker
/// stays, and needs another one later.
#[derive(Debug)]
pub(super) struct Retirement {
    /// When to make the next attempt.
    due_at: Option<Instant>,
    /// Whether its memory was too large. The worker reports that only once.
    has_outgrown: bool,
    /// The number of successors that could not be started.
    failures: u32,
}

impl Retirement {
    pub(super) fn new(max_age: Option<Duration>, now: Instant) -> Self {
        Self {
            due_at: max_age.and_then(|age| now.checked_add(age)),
            has_outgrown: false,
            failures: 0,
        }
    }

    /// When to check whether it is due.
    pub(super) fn moment(&self) -> Option<Instant> {
        self.due_at
    }

    /// Whether a successor must be started now. Returns true once for each attempt.
    pub(super) fn is_due(
        &mut self,
        exceeds_memory_limit: bool,
        now: impl FnOnce() -> Instant,
    ) -> bool {
        let outgrows = exceeds_memory_limit && !std::mem::replace(&mut self.has_outgrown, true);
        let is_old = self.due_at.is_some() && self.due_at <= Some(now());
        if is_old {
            self.due_at = None;
        }
        outgrows || is_old
    }

    /// Called when the successor could not be started. The next attempt follows a pause, which depends on the number of
    /// failures.
    pub(super) fn postpone(&mut self, now: Instant, pause: impl FnOnce(u32) -> Duration) {
        self.failures += 1;
        self.due_at = now.checked_add(pause(self.failures));
    }
}

#[cfg(all(test, properties))]
#[path = "../../../tests/properties/process/link/tenure.rs"]
mod tests;
