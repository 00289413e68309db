//! How long a worker serves, and why the pool ends it.

use std::io;
use std::time::Duration;

/// For how long a worker serves.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::process) struct Tenure {
    /// The number of calls it runs at most.
    pub(in crate::process) max_tasks: Option<u64>,
    /// The time it serves at most, from when it is ready.
    pub(in crate::process) max_age: Option<Duration>,
    /// The time it may be idle.
    pub(in crate::process) idle_timeout: Option<Duration>,
}

/// Why the pool tells an idle worker to exit.
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
    /// The pool told it to exit; it has nothing to do.
    Dismissed(Dismissal),
    /// It ran an item for too long.
    TimedOut { limit: Duration },
    /// It runs a call that was cancelled.
    Cancelled,
    /// It still runs at the deadline of a shutdown.
    Shutdown,
    /// `terminate_workers` was called. The worker may still finish what it runs.
    Terminated,
    /// It sent something that is not valid.
    Protocol(String),
}

impl Ending {
    /// Its socket fails.
    pub(in crate::process) fn failed(error: &io::Error) -> Self {
        Self::Protocol(format!("a connection that failed: {error}"))
    }
}
