//! An item that was asked to end and still runs. It has a time limit, or none; past it, its worker is ended.

use std::time::{Duration, Instant};

use super::phase::Ending;

#[derive(Debug)]
pub(super) struct Overrun {
    pub(super) item: u32,
    /// The reason of the kill if it does not end in time.
    why: Ending,
    /// When its time is up.
    ends: Option<Instant>,
    /// Its caller has an answer: its outcome is dropped.
    is_answered: bool,
    /// No item of its call begins after it.
    is_last: bool,
}

impl Overrun {
    /// It has run for `limit`, and its caller gets the error.
    pub(super) fn timed_out(item: u32, limit: Duration, ends: Option<Instant>) -> Self {
        Self {
            item,
            why: Ending::TimedOut { limit },
            ends,
            is_answered: true,
            is_last: false,
        }
    }

    /// It is warned of a shutdown. It may go on, and its outcome counts.
    pub(super) fn warned(item: u32, ends: Instant) -> Self {
        Self {
            item,
            why: Ending::Shutdown,
            ends: Some(ends),
            is_answered: false,
            is_last: false,
        }
    }

    /// Its caller has cancelled.
    pub(super) fn cancelled(item: u32, ends: Option<Instant>) -> Self {
        Self {
            item,
            why: Ending::Cancelled,
            ends,
            is_answered: true,
            is_last: true,
        }
    }

    /// Its worker ends after it. Its outcome counts.
    pub(super) fn last(item: u32) -> Self {
        Self {
            item,
            why: Ending::Terminated,
            ends: None,
            is_answered: false,
            is_last: true,
        }
    }

    /// Its caller cancels now. Returns whether that answers the item.
    pub(super) fn cancel(&mut self, ends: Option<Instant>) -> bool {
        self.is_last = true;
        self.ends = self.ends.or(ends);
        !std::mem::replace(&mut self.is_answered, true)
    }

    /// Makes it the last item of its call.
    pub(super) fn make_last(&mut self) {
        self.is_last = true;
    }

    /// A shutdown ends it at `end`, or a shutdown was called off. An item without a time limit keeps none.
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

    /// Whether its time is up. True once: if it does not run any more by then, its outcome is in transit.
    pub(super) fn expires(&mut self, now: Instant) -> bool {
        self.ends.take_if(|end| *end <= now).is_some()
    }

    /// The reason to end its worker.
    pub(super) fn why(&self) -> Ending {
        self.why.clone()
    }

    /// Whether its caller has an answer.
    pub(super) fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// Whether no item of its call begins after it.
    pub(super) fn is_last(&self) -> bool {
        self.is_last
    }

    /// The end of the items that are settled together with `next`: this item is settled by itself.
    pub(super) fn settles_until(&self, next: u32) -> u32 {
        self.item.max(next + 1)
    }
}

#[cfg(all(test, properties))]
#[path = "../../../tests/properties/process/link/overrun.rs"]
mod tests;
