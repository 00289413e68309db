//! What an executor reports about itself.

#[cfg(feature = "serde")]
use crate::record::record;

/// The state of an executor at one moment, and its totals since it was built.
///
/// With the feature `serde` it can be serialized, as data with named fields. On reading, a missing field is 0 and an
/// unknown one is ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Tasks that wait for a worker.
    pub queued: usize,
    /// Tasks that run now.
    pub running: usize,
    /// Live workers: processes, or threads that run a task. While a process retires, its successor
    /// counts too.
    pub workers: usize,
    /// Tasks that ended by themselves, with a result or a panic. An `Err` that a task returns is a result.
    pub finished: u64,
    /// Tasks that started and gave no result: they panicked, lost their worker, or were killed. A task that
    /// panicked counts here and in `finished`.
    pub failed: u64,
    /// Workers that ended, by cause.
    pub restarts: Restarts,
}

/// Workers that ended while their executor was open, by cause. Serialized as [`Stats`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restarts {
    /// Exited, crashed, or were killed from outside.
    pub crashed: u64,
    /// Killed because a task exceeded its timeout.
    pub timed_out: u64,
    /// Killed because a running task was cancelled.
    pub cancelled: u64,
    /// Retired by number of tasks, age or memory: `max_tasks_per_child`, `max_age_per_child`,
    /// `max_memory_per_child`.
    pub retired: u64,
    /// Never became ready.
    pub failed_to_start: u64,
    /// Dismissed after the `idle_timeout`.
    pub idle: u64,
}

#[cfg(feature = "serde")]
record!(Stats as "Stats" {
    queued = 0,
    running = 0,
    workers = 0,
    finished = 0,
    failed = 0,
    restarts = Restarts::default(),
});

#[cfg(feature = "serde")]
record!(Restarts as "Restarts" {
    crashed = 0,
    timed_out = 0,
    cancelled = 0,
    retired = 0,
    failed_to_start = 0,
    idle = 0,
});
