//! The timers of tasks. Pure: the caller passes the time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// What to do with a task when its timer is due. The task may have ended by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TaskTimer {
    /// Publish it again.
    Resend,
    /// End it: its queue timeout is over.
    Expire,
    /// Answer the caller of a cancel, although the server has not decided.
    AnswerCancel,
    /// Check whether a message about it was lost.
    Check,
}

/// All timers, by time. The number is that of the task.
#[derive(Debug, Default)]
pub(super) struct TaskTimers(BinaryHeap<Reverse<(Instant, u64, TaskTimer)>>);

impl TaskTimers {
    pub(super) fn add(&mut self, at: Instant, number: u64, timer: TaskTimer) {
        self.0.push(Reverse((at, number, timer)));
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes a timer that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<(u64, TaskTimer)> {
        if self.next_at()? > now {
            return None;
        }
        self.0
            .pop()
            .map(|Reverse((_, number, timer))| (number, timer))
    }

    /// Removes all timers.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
