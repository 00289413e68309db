//! The state of a link under its lock: the calls that its worker has to answer, and the decisions about the
//! worker. The worker runs only the front call; those behind it were sent ahead.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::ending::{Ending, Tenure};
use crate::executor::encoded::EncodedCall;
use crate::executor::options::TaskName;
use crate::observe::Raised;
use crate::sys;
use crate::wire::Chain;
use crate::wire::spare::Spare;

/// The time for which a worker keeps all items of a call to itself.
const HOLD: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) in_flight: VecDeque<InFlight>,
    /// Bytes that the socket has not accepted yet.
    pub(super) unwritten: Chain,
    /// Payloads that did not fit into the ring yet, of calls that are written or about to be.
    pub(super) ring_backlog: VecDeque<Bytes>,
    /// When the rings were last used, if they may hold memory.
    pub(super) rings_used: Option<Instant>,
    /// Buffers of its former arguments.
    pub(super) spare: Spare,
    pub(super) next_seq: u32,
    /// The number of calls that were sent to it.
    pub(super) given: u64,
    /// The number of reserved calls that were not sent yet.
    pub(super) reserved: usize,
    /// The duration of a call: a running average, in nanoseconds.
    pub(super) call_time: Option<u64>,
    pub(super) ending: Option<Ending>,
    /// When it is killed for `ending`, if it was asked to end before; otherwise at once.
    pub(super) kill_at: Option<Instant>,
    /// Since when it is idle, if that matters.
    pub(super) idle_since: Option<Instant>,
    /// When it is replaced for its age, or the next attempt to do so.
    pub(super) retires_at: Option<Instant>,
    /// It exceeds its memory limit.
    pub(super) exceeds_memory_limit: bool,
    /// The number of times that its successor could not be started.
    pub(super) retirements: u32,
    /// Its place belongs to a successor: it finishes its calls, and leaves.
    pub(super) leaving: bool,
    /// The deadline of the shutdown in progress.
    pub(super) shutdown_at: Option<Instant>,
    /// The task that was last cancelled between two of its items: some of its output may be unread.
    pub(super) left: Option<(u64, TaskName)>,
    /// Accepts no more calls.
    pub(super) closed: bool,
}

impl Lane {
    /// Ends the worker. The first reason counts, unless it was to end by itself.
    pub(super) fn condemn(&mut self, ending: Ending, kill_at: Option<Instant>) {
        self.closed = true;
        if matches!(
            self.ending,
            None | Some(Ending::Dismissed(_) | Ending::Terminated)
        ) {
            self.ending = Some(ending);
            self.kill_at = kill_at;
        }
    }

    /// Records the duration of a call, in nanoseconds.
    pub(super) fn count_call_time(&mut self, nanos: u64) {
        self.call_time = Some(self.call_time.map_or(nanos, |average| {
            (average - average / 8).saturating_add(nanos / 8)
        }));
    }

    /// Takes back a call. A worker that got its last call leaves all the same: its place may be taken by
    /// now.
    pub(super) fn take_back(&mut self, max_tasks: u64) {
        self.leaving |= self.given >= max_tasks;
        self.given -= 1;
    }

    /// When it will have been idle for too long.
    pub(super) fn idle_end(&self, tenure: &Tenure) -> Option<Instant> {
        if !self.in_flight.is_empty() || self.reserved > 0 {
            return None;
        }
        self.idle_since?.checked_add(tenure.idle_timeout?)
    }

    /// When a task that is warned now, with the grace period `grace`, is asked to end by a signal.
    pub(super) fn end_of_grace(&self, grace: Duration) -> Option<Instant> {
        let now = Instant::now();
        let by = self.shutdown_at.map(|end| before(end, grace, now));
        let own = now.checked_add(grace);
        own.into_iter().chain(by).min()
    }
}

/// `span` before `end`, or `now` if that is out of range.
pub(super) fn before(end: Instant, span: Duration, now: Instant) -> Instant {
    end.checked_sub(span).unwrap_or(now)
}

#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) seq: u32,
    pub(super) call: EncodedCall,
    /// The first item when it was sent.
    pub(super) first: u32,
    /// The earliest possible beginning of its front item, once that is needed.
    pub(super) began: Option<Beginning>,
    /// The time that its items have run so far, in nanoseconds.
    pub(super) elapsed: u64,
    /// The running item that was asked to end.
    pub(super) overrun: Option<Overrun>,
    /// Since when it is known to be the front call, if it has more than one item.
    pub(super) fronts_since: Option<Instant>,
    /// When to check whether other workers can run the rest of it.
    pub(super) shares_at: Option<Instant>,
    /// It was too early to warn its item of a shutdown; the next attempt is at this instant.
    pub(super) look_again: Option<Instant>,
    /// The version of the last progress report that was passed on.
    pub(super) reported: u64,
    pub(super) _running: Raised,
}

/// An item that was asked to end and still runs.
#[derive(Debug)]
pub(super) struct Overrun {
    pub(super) item: u32,
    /// The reason of the kill if it does not end in time.
    pub(super) why: Ending,
    /// When its time is up.
    pub(super) ends: Option<Instant>,
    /// Its caller has an answer: its outcome is dropped.
    pub(super) answered: bool,
    /// No item of its call begins after it.
    pub(super) is_last: bool,
}

impl InFlight {
    /// When to check whether other workers can run the rest of it.
    pub(super) fn share_moment(&mut self) -> Option<Instant> {
        if self.overrun.is_some() || self.call.owed.remaining() < 2 {
            return None;
        }
        let now = Instant::now();
        self.fronts_since.get_or_insert(now);
        Some(*self.shares_at.get_or_insert(now + HOLD))
    }

    /// Its caller cancelled while the item ran. Returns whether that answers the item.
    pub(super) fn cancel(&mut self, item: u32, ends: Option<Instant>) -> bool {
        match &mut self.overrun {
            Some(overrun) if overrun.item == item => {
                overrun.is_last = true;
                overrun.ends = overrun.ends.or(ends);
                !std::mem::replace(&mut overrun.answered, true)
            }
            none => {
                *none = Some(Overrun {
                    item,
                    why: Ending::Cancelled,
                    ends,
                    answered: true,
                    is_last: true,
                });
                true
            }
        }
    }

    /// Makes the item the last of its call. Its outcome counts.
    pub(super) fn end_with(&mut self, item: u32) {
        match &mut self.overrun {
            Some(overrun) if overrun.item == item => overrun.is_last = true,
            none => {
                *none = Some(Overrun {
                    item,
                    why: Ending::Terminated,
                    ends: None,
                    answered: false,
                    is_last: true,
                });
            }
        }
    }

    /// When the front item is asked to end.
    pub(super) fn soft_end(&mut self, shutdown_at: Option<Instant>) -> Option<Instant> {
        if self.overrun.is_some() {
            return None;
        }
        let by_timeout = self.call.ticket().timeout().and_then(|limit| {
            let began = self.began.get_or_insert_with(Beginning::now);
            began.instant.checked_add(limit)
        });
        let grace = self.call.ticket().grace_period();
        let by_shutdown = shutdown_at.filter(|_| !grace.is_zero()).map(|end| {
            self.look_again
                .unwrap_or_else(|| before(end, grace.saturating_mul(2), Instant::now()))
        });
        by_timeout.into_iter().chain(by_shutdown).min()
    }
}

/// An instant, for computing with, and the same by the system's clock, which the worker reads too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning {
    pub(super) instant: Instant,
    pub(super) system: u64,
}

impl Beginning {
    pub(super) fn now() -> Self {
        Self {
            instant: Instant::now(),
            system: sys::monotonic_nanos(),
        }
    }

    pub(super) fn later_by(self, nanos: u64) -> Self {
        Self {
            instant: self.instant + Duration::from_nanos(nanos),
            system: self.system + nanos,
        }
    }
}
