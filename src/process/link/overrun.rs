//! An item that was asked to end and still runs. It may have a time limit; past that, its worker is ended. Without a
//! grace period its worker is killed at once.

use std::time::{Duration, Instant};

use super::phase::Ending;

#[derive(Debug)]
pub(super) struct Overrun {
    pub(super) item: u32,
    /// Why the worker is killed if the item does not end in time.
    why: Ending,
    /// When its time is up.
    ends: Option<Instant>,
    outcome: OverrunOutcome,
    /// Whether it is the last item of its call that may begin.
    is_last: bool,
}

/// What becomes of the outcome of an item that was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OverrunOutcome {
    /// Its caller gets it.
    Counts,
    /// Its caller already has one.
    IsLate,
    /// Its caller gets the reason of the kill, after its worker's death.
    IsVoid,
}

impl Overrun {
    /// An item that has run for `limit`. Its caller gets the error.
    pub(super) fn timed_out(item: u32, limit: Duration, ends: Option<Instant>) -> Self {
        Self {
            item,
            why: Ending::TimedOut { limit },
            ends,
            outcome: OverrunOutcome::IsLate,
            is_last: false,
        }
    }

    /// An item that has run for `limit`, for which its worker is killed now. The page says so too, so the item may see
    /// that it should end, and return before the kill.
    pub(super) fn condemned(item: u32, limit: Duration) -> Self {
        Self {
            item,
            why: Ending::TimedOut { limit },
            ends: None,
            outcome: OverrunOutcome::IsVoid,
            is_last: false,
        }
    }

    /// An item that is warned of a shutdown. It may go on, and its outcome counts.
    pub(super) fn warned(item: u32, ends: Instant) -> Self {
        Self {
            item,
            why: Ending::Shutdown,
            ends: Some(ends),
            outcome: OverrunOutcome::Counts,
            is_last: false,
        }
    }

    /// An item whose caller has cancelled.
    pub(super) fn cancelled(item: u32, ends: Option<Instant>) -> Self {
        Self {
            item,
            why: Ending::Cancelled,
            ends,
            outcome: OverrunOutcome::IsLate,
            is_last: true,
        }
    }

    /// An item after which its worker ends. Its outcome counts.
    pub(super) fn last(item: u32) -> Self {
        Self {
            item,
            why: Ending::Terminated,
            ends: None,
            outcome: OverrunOutcome::Counts,
            is_last: true,
        }
    }

    /// Records that its caller cancels now. Returns whether that resolves the item.
    pub(super) fn cancel(&mut self, ends: Option<Instant>) -> bool {
        self.is_last = true;
        self.ends = self.ends.or(ends);
        std::mem::replace(&mut self.outcome, OverrunOutcome::IsLate) != OverrunOutcome::IsLate
    }

    /// Makes it the last item of its call.
    pub(super) fn make_last(&mut self) {
        self.is_last = true;
    }

    /// Sets the end to that of a shutdown, or removes it if the shutdown was called off. An item without a time limit
    /// keeps none.
    pub(super) fn shut_down(&mut self, end: Option<Instant>) {
        self.ends = match self.ends {
            _ if self.why == Ending::Shutdown => end,
            Some(own) => Some(end.map_or(own, |end| end.min(own))),
            None => None,
        };
    }

    /// When its time is up.
    pub(super) fn ends(&self) -> Option<Instant> {
        self.ends
    }

    /// Whether its time is up. Returns true once: if the item does not run any more by then, its outcome is in transit.
    pub(super) fn expires(&mut self, now: Instant) -> bool {
        self.ends.take_if(|end| *end <= now).is_some()
    }

    /// The reason to end its worker.
    pub(super) fn why(&self) -> Ending {
        self.why.clone()
    }

    /// Whether its caller already has an outcome.
    pub(super) fn is_answered(&self) -> bool {
        self.outcome == OverrunOutcome::IsLate
    }

    /// Whether its caller gets the reason of the kill, and no outcome of the worker.
    pub(super) fn is_void(&self) -> bool {
        self.outcome == OverrunOutcome::IsVoid
    }

    /// Whether it is the last item of its call that may begin.
    pub(super) fn is_last(&self) -> bool {
        self.is_last
    }

    /// The end of the range of items from `next` that are settled together. This item is settled alone.
    pub(super) fn settles_until(&self, next: u32) -> u32 {
        self.item.max(next + 1)
    }
}

#[cfg(all(test, properties))]
#[path = "../../../tests/properties/process/link/overrun.rs"]
mod tests;
