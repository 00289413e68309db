//! Counts of what a worker did.

/// How the tasks of a [`Worker`](super::Worker) ended, from its start to its end. A chunk of a `map` counts as one
/// task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerReport {
    /// Tasks whose outcome this worker stored, with a result for each item.
    pub done: u64,
    /// Tasks whose outcome this worker stored, with an error for at least one item: a panic, a time-out, a cancel.
    pub failed: u64,
    /// Deliveries that went back to the queue: the worker does not have the function, another worker runs the task, or
    /// this worker ended before the task started.
    pub given_back: u64,
}
