//! Why a worker ends or gets a successor. A dismissed worker exits by itself, and a terminated one may finish
//! its item. Every other ending is a kill, at once or when its time is up.

use std::io;
use std::time::Duration;

use tokio::time::Instant;

use super::Link;
use crate::wire::message;

/// How long a worker serves.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::process) struct Tenure {
    /// The number of calls.
    pub(in crate::process) max_tasks: Option<u64>,
    /// The time since it became ready.
    pub(in crate::process) max_age: Option<Duration>,
    /// The time without work.
    pub(in crate::process) idle_timeout: Option<Duration>,
}

/// Why an idle worker is told to exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) enum Dismissal {
    /// The pool is closed.
    Closed,
    /// It has served for long enough.
    Retired,
    /// It was idle for long enough.
    Idle,
}

/// Why the pool ends a worker.
#[derive(Clone, Debug)]
pub(in crate::process) enum Ending {
    /// It was idle, and was told to exit.
    Dismissed(Dismissal),
    /// It ran an item for too long.
    TimedOut { limit: Duration },
    /// It runs a call that was cancelled.
    Cancelled,
    /// It still runs at the deadline of a shutdown.
    Shutdown,
    /// The user of the pool ends its workers; it may still finish its item.
    Terminated,
    /// It sent something invalid.
    Protocol(String),
}

impl Ending {
    /// Its socket failed.
    pub(in crate::process) fn failed(error: &io::Error) -> Self {
        Self::Protocol(format!("a connection that failed: {error}"))
    }
}

/// What the supervisor's task has to do with the worker.
pub(in crate::process) enum Fate {
    /// Serve it, and check the clock at this instant.
    Serve(Option<Instant>),
    /// It was told to exit.
    Leave,
    /// Ask it to end, and kill it at this instant.
    Terminate(Option<Instant>),
    Kill,
}

impl Link {
    /// Tells the worker to exit, if it is idle.
    pub(in crate::process) fn dismiss(&self, why: Dismissal) {
        let mut lane = self.lock();
        // A worker that got work since it looked idle is dismissed when it is idle again.
        if lane.ending.is_some() || !lane.in_flight.is_empty() || lane.reserved > 0 {
            return;
        }
        lane.closed = true;
        lane.ending = Some(Ending::Dismissed(why));
        message::put_exit(&mut lane.unwritten);
        self.write(&mut lane);
        self.wake.notify_one();
    }

    /// Whether it accepts no more calls, because it has had its last one or has a successor. Then its place is
    /// free for another.
    pub(in crate::process) fn is_leaving(&self) -> bool {
        let lane = self.lock();
        lane.leaving || lane.given >= self.max_tasks()
    }

    /// It has a successor.
    pub(in crate::process) fn leave(&self) {
        self.lock().leaving = true;
    }

    /// Whether it needs a successor, for its age or its memory. True once, until the next attempt is due.
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

    /// Its successor could not be started. It stays, and the pool tries again.
    pub(in crate::process) fn retire_later(&self, pause: impl FnOnce(u32) -> Duration) {
        let mut lane = self.lock();
        lane.retirements += 1;
        lane.retires_at = Instant::now().checked_add(pause(lane.retirements));
        self.wake.notify_one();
    }

    pub(super) fn max_tasks(&self) -> u64 {
        self.tenure.max_tasks.unwrap_or(u64::MAX)
    }

    /// Ends the worker, whatever it does.
    pub(in crate::process) fn end(&self, ending: Ending) {
        let mut lane = self.lock();
        lane.condemn(ending, None);
        lane.kill_at = None;
        self.wake.notify_one();
    }

    /// Why the pool ends the worker, if it does.
    pub(in crate::process) fn ending(&self) -> Option<Ending> {
        self.lock().ending.clone()
    }

    /// It is idle from now on.
    pub(in crate::process) fn rests(&self) {
        if self.tenure.idle_timeout.is_some() {
            self.lock().idle_since = Some(Instant::now());
        }
    }

    /// Whether it was idle for longer than it may.
    pub(in crate::process) fn has_idled(&self) -> bool {
        let end = self.lock().idle_end(&self.tenure);
        end.is_some_and(|end| end <= Instant::now())
    }
}
