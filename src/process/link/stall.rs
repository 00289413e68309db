//! When a worker counts as stalled: it has something to do, and several checks in a row find no progress.
//!
//! The parent counts its own checks rather than the time. If the parent itself did not run for a while, because the
//! machine is slow or a user stopped it with its workers, it has made no checks in that time either.

use std::time::{Duration, Instant};

/// The time between two checks.
const INTERVAL: Duration = Duration::from_secs(1);
/// How many checks in a row must find no progress before a worker counts as stalled.
const MOST_CHECKS: u32 = 10;
/// The least number of bytes that a worker must read between two checks while it receives a large payload. A worker
/// that reads a byte at a time would delay its call, and the call's timeout with it.
const LEAST_BYTES: usize = 64 * 1024;

/// What a check finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StallCheck {
    /// The worker has nothing to do.
    Idles,
    /// The worker runs an item.
    Runs,
    /// The worker has something to do, and runs none of it.
    Stands(Standstill),
}

/// The position of a worker that runs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standstill {
    /// The call that the worker must begin or answer, and the item.
    pub(super) seq: u32,
    pub(super) item: u32,
    /// The number of bytes that are still to be sent to it.
    pub(super) unsent: usize,
}

impl Standstill {
    /// Whether the worker has made progress since an earlier check. Only the parent makes `unsent` grow, so growth does
    /// not count.
    fn has_moved_since(self, before: Self) -> bool {
        let accepted = before.unsent.saturating_sub(self.unsent);
        let is_sent = self.unsent == 0 && accepted > 0;
        (self.seq, self.item) != (before.seq, before.item) || is_sent || accepted >= LEAST_BYTES
    }
}

#[derive(Debug, Default)]
pub(super) struct StallWatch {
    /// `None` while the worker has nothing to do, so an idle worker wakes no task.
    next_check: Option<Instant>,
    found: Option<Standstill>,
    /// How many checks in a row have found no progress.
    checks: u32,
}

impl StallWatch {
    /// Whether a check is planned.
    pub(super) fn is_armed(&self) -> bool {
        self.next_check.is_some()
    }

    /// When to check next, if the worker `is_busy` or was before.
    pub(super) fn moment(
        &mut self,
        is_busy: bool,
        now: impl FnOnce() -> Instant,
    ) -> Option<Instant> {
        if is_busy && self.next_check.is_none() {
            self.next_check = Some(now() + INTERVAL);
        }
        self.next_check
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next_check.is_some_and(|moment| moment <= now)
    }

    /// Skips this check, because the parent itself delays the worker.
    pub(super) fn postpone(&mut self, now: Instant) {
        self.next_check = Some(now + INTERVAL);
    }

    /// Records the result of a check. Returns whether the worker counts as stalled.
    pub(super) fn check(&mut self, result: StallCheck, now: Instant) -> bool {
        let found = match result {
            StallCheck::Idles => {
                *self = Self::default();
                return false;
            }
            StallCheck::Runs => None,
            StallCheck::Stands(found) => Some(found),
        };
        self.postpone(now);
        self.checks = match (self.found, found) {
            (Some(before), Some(now)) if !now.has_moved_since(before) => self.checks + 1,
            _ => u32::from(found.is_some()),
        };
        self.found = found;
        self.checks >= MOST_CHECKS
    }
}

#[cfg(all(test, properties))]
#[path = "../../../tests/properties/process/link/stall.rs"]
mod tests;
