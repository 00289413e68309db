//! Why a worker ends, or is to have a successor. One that was told to exit is left to do so, one that
//! is terminated may finish what it runs; any other ending is a kill, at once or when its time is up.

use std::io;
use std::time::Duration;

use tokio::time::Instant;

use super::Link;
use crate::wire::message;

/// For how long a worker serves.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::process) struct Tenure {
    /// So many calls.
    pub(in crate::process) max_tasks: Option<u64>,
    /// So long, from when it is ready.
    pub(in crate::process) max_age: Option<Duration>,
    /// Until it has had nothing to do for so long.
    pub(in crate::process) idle_timeout: Option<Duration>,
}

/// Why a worker that has nothing to do is told to exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) enum Dismissal {
    /// The pool is closed.
    Closed,
    /// It has served for long enough.
    Retired,
    /// It has idled for long enough.
    Idle,
}

/// Why the pool ends a worker.
#[derive(Clone, Debug)]
pub(in crate::process) enum Ending {
    /// Its work is done: it was told to exit.
    Dismissed(Dismissal),
    /// It ran an item for too long.
    TimedOut { limit: Duration },
    /// It runs a call that was cancelled.
    Cancelled,
    /// It is still running at the deadline of a shutdown.
    Shutdown,
    /// The pool's user wants its workers to end; it may still finish what it runs.
    Terminated,
    /// It said something that makes no sense.
    Protocol(String),
}

impl Ending {
    /// Its socket fails.
    pub(in crate::process) fn failed(error: &io::Error) -> Self {
        Self::Protocol(format!("a connection that failed: {error}"))
    }
}

/// What the driving task is to do with the worker.
pub(in crate::process) enum Fate {
    /// Look at the clock at that moment.
    Serve(Option<Instant>),
    /// It was told to exit.
    Leave,
    /// Ask it to end, and kill it at that moment.
    Terminate(Option<Instant>),
    Kill,
}

impl Link {
    /// Tells the worker to exit, if it has nothing to do.
    pub(in crate::process) fn dismiss(&self, why: Dismissal) {
        let mut lane = self.lock();
        // One that has got work since it looked idle is dismissed when it rests.
        if lane.ending.is_some() || !lane.in_flight.is_empty() || lane.reserved > 0 {
            return;
        }
        lane.closed = true;
        lane.ending = Some(Ending::Dismissed(why));
        message::put_exit(&mut lane.unwritten);
        self.write(&mut lane);
        self.wake.notify_one();
    }

    /// Whether it takes no more calls, because it has been given as many as it may, or has a
    /// successor. Then its place is another's.
    pub(in crate::process) fn is_leaving(&self) -> bool {
        let lane = self.lock();
        lane.leaving || lane.given >= self.max_tasks()
    }

    /// It has a successor.
    pub(in crate::process) fn leave(&self) {
        self.lock().leaving = true;
    }

    /// Whether it is to have a successor, for its age or its memory. Said once, until it is to be
    /// tried again.
    pub(in crate::process) fn is_due(&self) -> bool {
        let mut lane = self.lock();
        let exceeds_memory_limit = self.page.exceeds_memory_limit();
        let is_news = exceeds_memory_limit
            && !std::mem::replace(&mut lane.exceeds_memory_limit, exceeds_memory_limit);
        let is_old = lane
            .retires_at
            .take_if(|moment| *moment <= Instant::now())
            .is_some();
        (is_news || is_old) && !lane.leaving && lane.ending.is_none()
    }

    /// Its successor could not be started. It stays, and that is tried again.
    pub(in crate::process) fn retire_later(&self, pause: impl FnOnce(u32) -> Duration) {
        let mut lane = self.lock();
        lane.retirements += 1;
        lane.retires_at = Instant::now().checked_add(pause(lane.retirements));
        self.wake.notify_one();
    }

    pub(super) fn max_tasks(&self) -> u64 {
        self.tenure.max_tasks.unwrap_or(u64::MAX)
    }

    /// The worker has to go, whatever it does.
    pub(in crate::process) fn end(&self, ending: Ending) {
        let mut lane = self.lock();
        lane.condemn(ending, None);
        lane.kill_at = None;
        self.wake.notify_one();
    }

    /// Why the pool wants the worker to end, if it does.
    pub(in crate::process) fn ending(&self) -> Option<Ending> {
        self.lock().ending.clone()
    }

    /// It has nothing to do from now on.
    pub(in crate::process) fn start_idle_time(&self) {
        if self.tenure.idle_timeout.is_some() {
            self.lock().idle_since = Some(Instant::now());
        }
    }

    /// Whether it has had nothing to do for longer than it may.
    pub(in crate::process) fn has_idled(&self) -> bool {
        let end = self.lock().idle_end(&self.tenure);
        end.is_some_and(|end| end <= Instant::now())
    }
}
