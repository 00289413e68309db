//! How long a worker serves, and why the pool ends it.

use std::io;
use std::time::Duration;

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

/// Why an idle worker is asked to exit.
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
    /// It was idle, and was asked to exit.
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
