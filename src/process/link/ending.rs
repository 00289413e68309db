//! How long a worker serves, and why the pool ends it.

use std::io;
use std::time::Duration;

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
