//! The state of a link under its lock: the phase of its worker, and the calls that the worker has to answer. The
//! worker runs only the front call; those behind it were sent ahead.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::overrun::Overrun;
use super::phase::WorkerPhase;
use super::tenure::{Retirement, Tenure};
use crate::executor::decoded::PromiseEncoded;
use crate::executor::encoded::EncodedCall;
use crate::executor::options::TaskName;
use crate::observe::RunningCount;
use crate::sys;
use crate::wire::Chain;
use crate::wire::spare::Spare;

/// The time for which a worker keeps all items of a call to itself.
const HOLD: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) phase: WorkerPhase,
    pub(super) in_flight: VecDeque<InFlight>,
    /// The number of reserved calls that were not sent yet.
    pub(super) reserved: usize,
    /// Whether it is among the pool's idle workers.
    pub(super) rests: bool,
    pub(super) next_seq: u32,
    /// The number of further calls that it may get in its life.
    pub(super) calls_left: u64,
    /// The duration of a call: a running average, in nanoseconds.
    pub(super) call_time: Option<u64>,
    /// Bytes that the socket has not accepted yet.
    pub(super) unwritten: Chain,
    /// Payloads that did not fit into the ring yet, of calls that are written or about to be.
    pub(super) ring_backlog: VecDeque<Bytes>,
    /// When the rings were last used, if they may hold memory.
    pub(super) rings_used: Option<Instant>,
    /// Buffers of its former arguments.
    pub(super) spare: Spare,
    pub(super) retirement: Retirement,
    /// The end of its idle timeout, if it has one and nothing else to do.
    pub(super) idle_until: Option<Instant>,
    /// The deadline of the shutdown in progress.
    pub(super) shutdown_at: Option<Instant>,
    /// The task that was last cancelled between two of its items: some of its output may be unread.
    pub(super) last_cancelled: Option<(u64, TaskName)>,
}

impl Lane {
    pub(super) fn new(tenure: &Tenure) -> Self {
        Self {
            phase: WorkerPhase::new(),
            in_flight: VecDeque::new(),
            reserved: 0,
            rests: false,
            next_seq: 0,
            calls_left: tenure.max_tasks.unwrap_or(u64::MAX),
            call_time: None,
            unwritten: Chain::new(),
            ring_backlog: VecDeque::new(),
            rings_used: None,
            spare: Spare::default(),
            retirement: Retirement::new(tenure.max_age, Instant::now()),
            idle_until: None,
            shutdown_at: None,
            last_cancelled: None,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.reserved == 0
    }

    /// Counts a call that it gets. With its last one it leaves its place to another worker.
    pub(super) fn count_given(&mut self) {
        self.calls_left = self.calls_left.saturating_sub(1);
        if self.calls_left == 0 {
            self.phase.vacate();
        }
    }

    /// Counts a call that is taken back. A worker that left its place does not get it back.
    pub(super) fn count_taken_back(&mut self) {
        self.calls_left += 1;
    }

    /// Records the duration of a call, in nanoseconds.
    fn count_call_time(&mut self, nanos: u64) {
        self.call_time = Some(self.call_time.map_or(nanos, |average| {
            (average - average / 8).saturating_add(nanos / 8)
        }));
    }

    /// The front call is over. Returns its items that no worker runs, and how many have run, and for how long.
    pub(super) fn finish_front(&mut self) -> (Option<EncodedCall>, Option<(u32, Duration)>) {
        let Some(entry) = self.in_flight.pop_front() else {
            return (None, None);
        };
        let call = entry.call;
        let took = (entry.elapsed > 0).then(|| {
            self.count_call_time(entry.elapsed);
            let items = call.owed.next() - entry.first;
            (items, Duration::from_nanos(entry.elapsed))
        });
        if call.owed.remaining() > 0 {
            return (Some(call), took);
        }
        if self.rings_used.is_some()
            && let Some(payload) = call.payload.into_chain()
        {
            self.spare.keep(payload);
        }
        (None, took)
    }

    /// When it will have been idle for too long.
    pub(super) fn idle_end(&self) -> Option<Instant> {
        self.idle_until.filter(|_| self.is_idle())
    }

    /// When the first of the items that were asked to end has used up its time.
    pub(super) fn overrun_end(&self) -> Option<Instant> {
        let overruns = self.in_flight.iter().filter_map(InFlight::overrun_end);
        overruns.min()
    }

    /// When an item that is warned now, with the grace period `grace`, is asked to end by a signal.
    pub(super) fn end_of_grace(&self, grace: Duration, now: Instant) -> Option<Instant> {
        let by_shutdown = self.shutdown_at.map(|end| before(end, grace, now));
        earlier(now.checked_add(grace), by_shutdown)
    }
}

/// `span` before `end`, or `now` if that is out of range.
pub(super) fn before(end: Instant, span: Duration, now: Instant) -> Instant {
    end.checked_sub(span).unwrap_or(now)
}

/// The earlier of two instants, where there are any.
pub(super) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

/// A call that the worker has, and has not answered completely.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) seq: u32,
    pub(super) call: EncodedCall,
    /// The first item when it was sent.
    first: u32,
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
    pub(super) _running: RunningCount,
}

impl InFlight {
    pub(super) fn new(seq: u32, call: EncodedCall) -> Self {
        Self {
            seq,
            first: call.owed.next(),
            _running: call.ticket().running(),
            call,
            began: None,
            elapsed: 0,
            overrun: None,
            fronts_since: None,
            shares_at: None,
            look_again: None,
            reported: 0,
        }
    }

    /// Takes out the items that have outcomes, of `items`, for as many as are treated alike. The first may have been
    /// asked to end. `None` if none of them is awaited.
    pub(super) fn take_answered(&mut self, items: &Range<u32>) -> Option<Taken> {
        let next = self.call.owed.next();
        let end = items.end.min(next + self.call.owed.remaining());
        if next < items.start || end <= next {
            return None;
        }
        self.began = None;
        self.look_again = None;
        let until = self
            .overrun
            .as_ref()
            .map(|overrun| overrun.settles_until(next));
        let overrun = self.overrun.take_if(|overrun| overrun.item == next);
        let end = until.map_or(end, |until| until.min(end));
        let (promise, items) = self.call.owed.take_until(end);
        Some((promise, items, overrun))
    }

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
        if let Some(overrun) = self.overrun_of(item) {
            return overrun.cancel(ends);
        }
        self.overrun = Some(Overrun::cancelled(item, ends));
        true
    }

    /// Makes the item the last of its call. Its outcome counts.
    pub(super) fn end_with(&mut self, item: u32) {
        match self.overrun_of(item) {
            Some(overrun) => overrun.make_last(),
            None => self.overrun = Some(Overrun::last(item)),
        }
    }

    fn overrun_of(&mut self, item: u32) -> Option<&mut Overrun> {
        self.overrun.as_mut().filter(|overrun| overrun.item == item)
    }

    fn overrun_end(&self) -> Option<Instant> {
        self.overrun.as_ref()?.ends()
    }

    /// When its front item has used up its time, if it was not asked to end before. The time begins with the first
    /// call.
    pub(super) fn timeout_end(&mut self) -> Option<Instant> {
        let limit = self.call.ticket().timeout()?;
        if self.overrun.is_some() {
            return None;
        }
        let began = self.began.get_or_insert_with(Beginning::now);
        began.at.checked_add(limit)
    }

    /// When to warn its front item of a shutdown that ends at `end`: two grace periods before, if it has any.
    pub(super) fn warning_time(&self, end: Instant) -> Option<Instant> {
        let grace = self.call.ticket().grace_period();
        if grace.is_zero() || self.overrun.is_some() {
            return None;
        }
        let first = || before(end, grace.saturating_mul(2), Instant::now());
        Some(self.look_again.unwrap_or_else(first))
    }
}

/// The receiver of outcomes, their items, and the first of them if it was asked to end.
type Taken = (Arc<dyn PromiseEncoded>, Range<u32>, Option<Overrun>);

/// When an item began, or could have begun at the earliest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning {
    at: Instant,
    /// The same by the system's clock, in nanoseconds, which the worker reads too.
    nanos: u64,
}

impl Beginning {
    pub(super) fn now() -> Self {
        Self {
            at: Instant::now(),
            nanos: sys::monotonic_nanos(),
        }
    }

    /// This beginning, or that which the worker reports if it is later. None is later than now.
    pub(super) fn or_later(self, reported: u64) -> Self {
        let nanos = reported.min(sys::monotonic_nanos()).max(self.nanos);
        Self {
            at: self.at + Duration::from_nanos(nanos - self.nanos),
            nanos,
        }
    }

    pub(super) fn elapsed(self) -> Duration {
        self.at.elapsed()
    }
}
