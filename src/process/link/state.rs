//! The state of a link under its lock: the phase of its worker, and the calls that the worker has to answer. The
//! worker runs only the front call; those behind it were sent ahead.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;

use super::in_flight::{InFlight, before};
use super::phase::WorkerPhase;
use super::stall::StallWatch;
use super::tenure::{Retirement, Tenure};
use crate::executor::encoded::EncodedCall;
use crate::executor::options::TaskName;
use crate::observe::RunningCount;
use crate::wire::Chain;
use crate::wire::spare::Spare;

#[derive(Debug)]
pub(super) struct LinkState {
    pub(super) phase: WorkerPhase,
    pub(super) in_flight: VecDeque<InFlight>,
    /// Whether the pool has searched this worker for calls that have not started, since it was last sent calls. Those
    /// may have been on their way.
    pub(super) was_searched: bool,
    /// The number of reserved calls that were not sent yet.
    pub(super) reserved: usize,
    /// Whether the worker is in the pool's list of idle workers.
    pub(super) rests: bool,
    pub(super) next_seq: u32,
    /// The number of further calls that the worker may get before it is retired.
    pub(super) calls_left: u64,
    /// The duration of a call: a running average, in nanoseconds.
    pub(super) call_time: Option<u64>,
    /// Messages for the worker, sent with the next write.
    pub(super) messages: Chain,
    /// Whether to wake the supervisor when the lock is free.
    pub(super) wakes: bool,
    /// When the rings were last used, if they may hold memory.
    pub(super) rings_used: Option<Instant>,
    /// Buffers of earlier arguments, for reuse.
    pub(super) spare: Spare,
    pub(super) retirement: Retirement,
    pub(super) stall: StallWatch,
    /// Whether the supervisor has sent a probe that the worker has not answered. Until it does, it gets no calls.
    pub(super) is_probed: bool,
    /// The end of its idle timeout, counted from when it last became idle.
    pub(super) idle_until: Option<Instant>,
    /// The deadline of the shutdown in progress.
    pub(super) shutdown_at: Option<Instant>,
    /// The task that was last cancelled between two of its items: some of its output may be unread.
    pub(super) last_cancelled: Option<(u64, TaskName)>,
}

/// The locked state of a link. Dropping it frees the lock and then wakes the supervisor if needed: waking may be a
/// system call.
#[derive(Debug)]
pub(super) struct LinkStateGuard<'a> {
    /// `None` only during the drop.
    pub(super) state: Option<MutexGuard<'a, LinkState>>,
    pub(super) wake: &'a SupervisorWake,
}

impl Deref for LinkStateGuard<'_> {
    type Target = LinkState;

    fn deref(&self) -> &LinkState {
        self.state.as_ref().expect("only the drop takes it")
    }
}

impl DerefMut for LinkStateGuard<'_> {
    fn deref_mut(&mut self) -> &mut LinkState {
        self.state.as_mut().expect("only the drop takes it")
    }
}

impl Drop for LinkStateGuard<'_> {
    fn drop(&mut self) {
        let wakes = std::mem::take(&mut self.wakes);
        drop(self.state.take());
        if wakes {
            self.wake.notify();
        }
    }
}

/// Wakes the supervisor of a worker, from any thread. Notifications that arrive before the next poll count as one.
#[derive(Debug, Default)]
pub(super) struct SupervisorWake {
    is_due: AtomicBool,
    waker: AtomicWaker,
}

impl SupervisorWake {
    pub(super) fn notify(&self) {
        if !self.is_due.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Ready once after one or more notifications. Only one task may poll it.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Usually the task is woken for something else. Then `take` only reads the flag.
        if !self.take() {
            self.waker.register(cx.waker());
            if !self.take() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    fn take(&self) -> bool {
        self.is_due.load(Ordering::Acquire) && self.is_due.swap(false, Ordering::AcqRel)
    }
}

/// What is left of a call that its worker does not run any more.
#[derive(Default)]
pub(in crate::process) struct FinishedCall {
    /// Its items that no worker runs.
    pub(in crate::process) rest: Option<EncodedCall>,
    /// How many of its items have run, and for how long.
    pub(in crate::process) took: Option<(u32, Duration)>,
    /// Dropping it lowers a metric, which calls code of another crate, so it must happen without a lock.
    _running: RunningCount,
}

impl LinkState {
    pub(super) fn new(tenure: &Tenure) -> Self {
        Self {
            phase: WorkerPhase::new(),
            in_flight: VecDeque::new(),
            was_searched: false,
            reserved: 0,
            rests: false,
            next_seq: 0,
            calls_left: tenure.max_tasks.unwrap_or(u64::MAX),
            call_time: None,
            messages: Chain::new(),
            wakes: false,
            rings_used: None,
            spare: Spare::default(),
            retirement: Retirement::new(tenure.max_age, Instant::now()),
            stall: StallWatch::default(),
            is_probed: false,
            idle_until: None,
            shutdown_at: None,
            last_cancelled: None,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.reserved == 0 && !self.is_probed
    }

    /// Whether the worker has something to do.
    pub(super) fn is_busy(&self) -> bool {
        !self.in_flight.is_empty() || self.is_probed
    }

    /// Counts a call that the worker gets. With its last call, the worker leaves its place to another worker.
    pub(super) fn count_sent(&mut self) {
        self.calls_left = self.calls_left.saturating_sub(1);
        if self.calls_left == 0 {
            self.phase.vacate();
        }
    }

    /// Counts a call that is taken back. A worker that has left its place does not get it back.
    pub(super) fn count_taken_back(&mut self) {
        self.calls_left += 1;
    }

    /// Records the duration of a call, in nanoseconds.
    fn count_call_time(&mut self, nanos: u64) {
        self.call_time = Some(self.call_time.map_or(nanos, |average| {
            (average - average / 8).saturating_add(nanos / 8)
        }));
    }

    /// Removes the front call, which is over. Returns its items that no worker runs, how many have run, and for how
    /// long.
    pub(super) fn finish_front(&mut self) -> FinishedCall {
        let Some(entry) = self.in_flight.pop_front() else {
            return FinishedCall::default();
        };
        let call = entry.call;
        let took = (entry.elapsed > 0).then(|| {
            self.count_call_time(entry.elapsed);
            let items = call.owed.next() - entry.first;
            (items, Duration::from_nanos(entry.elapsed))
        });
        let finished = FinishedCall {
            rest: None,
            took,
            _running: entry.running,
        };
        if call.owed.remaining() > 0 {
            let rest = Some(call);
            return FinishedCall { rest, ..finished };
        }
        if self.rings_used.is_some()
            && let Some(payload) = call.payload.into_chain()
        {
            self.spare.keep(payload);
        }
        finished
    }

    /// When the worker's idle timeout ends.
    pub(super) fn idle_end(&self) -> Option<Instant> {
        self.idle_until.filter(|_| self.is_idle())
    }

    /// The earliest end of the time of an item that was asked to end.
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

/// The earlier of two instants, where there are any.
pub(super) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
