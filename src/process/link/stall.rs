//! When a worker counts as stalled: it has something to do, and looks in a row find that it has not begun.
//!
//! The parent counts its own looks rather than the time. A parent that did not run for a while, because the machine
//! is slow or a user stopped it with its workers, has not looked in that time either.

use std::time::{Duration, Instant};

/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// The number of looks in a row that find no move before a worker counts as stalled.
const MOST_LOOKS: u32 = 10;
/// The number of bytes that a worker accepts between two looks, at least, if it reads a large payload. One that accepts
/// a byte at a time would hold its call up, and the call's timeout with it.
const LEAST_BYTES: usize = 64 * 1024;

/// What a look finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LookResult {
    /// Nothing to do.
    Idles,
    /// It runs an item.
    Runs,
    /// It has something to do, and runs none of it.
    Stands(Standstill),
}

/// How far a worker is that runs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standstill {
    /// The call that it has to begin or to answer, and the item.
    pub(super) seq: u32,
    pub(super) item: u32,
    /// The number of bytes that are still to be sent to it.
    pub(super) unsent: usize,
}

impl Standstill {
    /// Whether the worker has moved since an earlier look. More to send is the parent's doing.
    fn has_moved_since(self, before: Self) -> bool {
        let accepted = before.unsent.saturating_sub(self.unsent);
        let is_sent = self.unsent == 0 && accepted > 0;
        (self.seq, self.item) != (before.seq, before.item) || is_sent || accepted >= LEAST_BYTES
    }
}

#[derive(Debug, Default)]
pub(super) struct StallWatch {
    /// `None` while the worker has nothing to do, so an idle worker wakes no task.
    next_look: Option<Instant>,
    found: Option<Standstill>,
    /// The number of looks in a row that have found no move.
    looks: u32,
}

impl StallWatch {
    /// Whether a look is planned.
    pub(super) fn is_armed(&self) -> bool {
        self.next_look.is_some()
    }

    /// When to look next, if the worker `is_busy` or was before.
    pub(super) fn moment(
        &mut self,
        is_busy: bool,
        now: impl FnOnce() -> Instant,
    ) -> Option<Instant> {
        if is_busy && self.next_look.is_none() {
            self.next_look = Some(now() + INTERVAL);
        }
        self.next_look
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next_look.is_some_and(|moment| moment <= now)
    }

    /// Does not look this time: the parent itself holds the worker up.
    pub(super) fn postpone(&mut self, now: Instant) {
        self.next_look = Some(now + INTERVAL);
    }

    /// Takes note of a look. Returns whether the worker counts as stalled.
    pub(super) fn look(&mut self, result: LookResult, now: Instant) -> bool {
        let found = match result {
            LookResult::Idles => {
                *self = Self::default();
                return false;
            }
            LookResult::Runs => None,
            LookResult::Stands(found) => Some(found),
        };
        self.postpone(now);
        self.looks = match (self.found, found) {
            (Some(before), Some(now)) if !now.has_moved_since(before) => self.looks + 1,
            _ => u32::from(found.is_some()),
        };
        self.found = found;
        self.looks >= MOST_LOOKS
    }
}

#[cfg(all(test, properties))]
#[path = "../../../tests/properties/process/link/stall.rs"]
mod tests;
