//! What a link has under its lock: the calls that its worker owes, and what was decided of it. The
//! worker may run only the front one; those behind it were sent ahead.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::fate::{Ending, Tenure};
use crate::executor::encoded::EncodedCall;
use crate::executor::options::TaskName;
use crate::observe::Raised;
use crate::sys;
use crate::wire::Chain;
use crate::wire::spare::Spare;

/// So long a worker has the items of a call for itself.
const HOLD: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) in_flight: VecDeque<InFlight>,
    /// What the socket would not take yet.
    pub(super) unwritten: Chain,
    /// What the ring had no room for yet, of calls that are written or about to be.
    pub(super) ring_backlog: VecDeque<Bytes>,
    /// When the rings were used last, if they may hold memory.
    pub(super) rings_used: Option<Instant>,
    /// What its arguments lay in.
    pub(super) spare: Spare,
    pub(super) next_seq: u32,
    /// How many calls it has been given.
    pub(super) given: u64,
    /// Calls that have been promised to it and not been given yet.
    pub(super) reserved: usize,
    /// How long a call takes: a running average, in nanoseconds.
    pub(super) call_time: Option<u64>,
    pub(super) ending: Option<Ending>,
    /// When it is killed for `ending`, if it was asked to end before; else at once.
    pub(super) kill_at: Option<Instant>,
    /// Since when it has nothing to do, if that matters.
    pub(super) idle_since: Option<Instant>,
    /// When it is to be replaced for its age, or tried again to be.
    pub(super) retires_at: Option<Instant>,
    /// It was found to hold too much memory.
    pub(super) exceeds_memory_limit: bool,
    /// How often a successor could not be started.
    pub(super) retirements: u32,
    /// Its place is another's: it ends what it has, and goes.
    pub(super) leaving: bool,
    /// The deadline of the shutdown that is going on.
    pub(super) shutdown_at: Option<Instant>,
    /// The task that was cancelled last between two of its items: what it printed may be unread.
    pub(super) left: Option<(u64, TaskName)>,
    /// Takes no more calls.
    pub(super) closed: bool,
}

impl Lane {
    /// The worker has to go. The first reason counts, unless it was to go by itself.
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

    /// A call has taken so long, in nanoseconds.
    pub(super) fn count_call_time(&mut self, nanos: u64) {
        self.call_time = Some(self.call_time.map_or(nanos, |average| {
            (average - average / 8).saturating_add(nanos / 8)
        }));
    }

    /// A call that it was given comes back. One that had been given its last leaves all the same: its
    /// place may be another's by now.
    pub(super) fn take_back(&mut self, max_tasks: u64) {
        self.leaving |= self.given >= max_tasks;
        self.given -= 1;
    }

    /// When it will have idled for long enough.
    pub(super) fn idle_end(&self, tenure: &Tenure) -> Option<Instant> {
        if !self.in_flight.is_empty() || self.reserved > 0 {
            return None;
        }
        self.idle_since?.checked_add(tenure.idle_timeout?)
    }

    /// When a task that is told now, and may go on for `grace`, is asked to end by a signal.
    pub(super) fn end_of_grace(&self, grace: Duration) -> Option<Instant> {
        let now = Instant::now();
        let by = self.shutdown_at.map(|end| before(end, grace, now));
        let own = now.checked_add(grace);
        own.into_iter().chain(by).min()
    }
}

/// So long before `end`; `now`, if the clock cannot tell.
pub(super) fn before(end: Instant, span: Duration, now: Instant) -> Instant {
    end.checked_sub(span).unwrap_or(now)
}

#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) seq: u32,
    pub(super) call: EncodedCall,
    /// The first item that it was given with.
    pub(super) first: u32,
    /// When its item at the front can have begun at the earliest, once that is asked for.
    pub(super) began: Option<Beginning>,
    /// How long its items have run so far, in nanoseconds.
    pub(super) elapsed: u64,
    /// The item that runs has been told to end.
    pub(super) overrun: Option<Overrun>,
    /// Since when it is known to be the call at the front, if it has more than one item.
    pub(super) fronts_since: Option<Instant>,
    /// When it is looked whether others can do what is left of it.
    pub(super) shares_at: Option<Instant>,
    /// It was too early to tell its item of a shutdown; not before this is it tried again.
    pub(super) look_again: Option<Instant>,
    /// The version of the report on its progress that was told last.
    pub(super) reported: u64,
    pub(super) _running: Raised,
}

/// An item that was told to end and still runs.
#[derive(Debug)]
pub(super) struct Overrun {
    pub(super) item: u32,
    /// What its worker ends of if it does not end in time.
    pub(super) why: Ending,
    /// When its time is up.
    pub(super) ends: Option<Instant>,
    /// Its caller has been answered: what it gives is dropped.
    pub(super) answered: bool,
    /// No item of its call begins after it.
    pub(super) is_last: bool,
}

impl InFlight {
    /// When it is to be looked whether others can do what is left of it.
    pub(super) fn share_moment(&mut self) -> Option<Instant> {
        if self.overrun.is_some() || self.call.owed.remaining() < 2 {
            return None;
        }
        let now = Instant::now();
        self.fronts_since.get_or_insert(now);
        Some(*self.shares_at.get_or_insert(now + HOLD))
    }

    /// Its caller has cancelled while the item ran. Says whether that answers for the item.
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

    /// The item is to be its last. What it gives counts.
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

    /// When the item at the front is to be told to end.
    pub(super) fn soft_end(&mut self, shutdown_at: Option<Instant>) -> Option<Instant> {
        if self.overrun.is_some() {
            return None;
        }
        let by_timeout = self.call.ticket().timeout().and_then(|limit| {
            let began = self.began.get_or_insert_with(Beginning::now);
            began.tokio.checked_add(limit)
        });
        let grace = self.call.ticket().grace_period();
        let by_shutdown = shutdown_at.filter(|_| !grace.is_zero()).map(|end| {
            self.look_again
                .unwrap_or_else(|| before(end, grace.saturating_mul(2), Instant::now()))
        });
        by_timeout.into_iter().chain(by_shutdown).min()
    }
}

/// A moment by two clocks: the system's, which the worker reads too, and tokio's, which a test may
/// stop and move.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning {
    pub(super) tokio: Instant,
    pub(super) system: u64,
}

impl Beginning {
    pub(super) fn now() -> Self {
        Self {
            tokio: Instant::now(),
            system: sys::monotonic_nanos(),
        }
    }

    pub(super) fn later_by(self, nanos: u64) -> Self {
        Self {
            tokio: self.tokio + Duration::from_nanos(nanos),
            system: self.system + nanos,
        }
    }
}
