//! The resource limits of a worker.

use std::time::Duration;

use crate::executor::error::BuildError;
use crate::sys::Limit;

/// Resource limits for each worker of a pool, set by
/// [`ProcessPoolBuilder::limits`](crate::ProcessPoolBuilder::limits), or for a process, set by
/// `multiprocessing::ProcessBuilder::limits`. A limit that is not set is inherited.
///
/// A worker sets its limits before it runs any user code, its initializer included. A task cannot raise them
/// again without the privilege to do so. Processes that a task starts have the limits too.
///
/// ```no_run
/// use std::time::Duration;
/// use concurrent_futures::{Limits, ProcessPoolExecutor};
///
/// # fn main() -> Result<(), concurrent_futures::BuildError> {
/// let pool = ProcessPoolExecutor::builder()
///     .limits(
///         Limits::new()
///             .address_space(4 << 30)
///             .cpu_time(Duration::from_secs(600))
///             .core_size(0)
///             .nice(10),
///     )
///     .build()?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`build`](crate::ProcessPoolBuilder::build) refuses a limit of 0 under which nothing could run, and a nice
/// value out of range: `is_invalid_setting()`. A limit that the system refuses (more than this process may
/// have) fails each start of a worker, like the error of an initializer: `is_init_failed()`, with the limit,
/// its value and the system's reason in the text. Each method says what happens when its limit is exceeded.
///
/// # Platform
/// Linux.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    address_space: Option<u64>,
    cpu_time: Option<Duration>,
    open_files: Option<u64>,
    core_size: Option<u64>,
    nice: Option<i32>,
}

impl Limits {
    /// Creates an empty set of limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// The maximal address space of a worker, in bytes: everything that is mapped, used or not, including the
    /// executable, its libraries and the stacks of all threads.
    ///
    /// Beyond it, allocations fail. Then Rust code aborts: the task fails with `is_worker_lost()`, and with
    /// `is_out_of_memory()` if the pool [reads](crate::Output) the worker's stderr. Code that handles failed
    /// allocations itself goes on.
    #[must_use]
    pub fn address_space(mut self, bytes: u64) -> Self {
        self.address_space = Some(bytes);
        self
    }

    /// The processor time of a worker in its whole life, for all tasks and threads together, rounded up to
    /// whole seconds. Waiting uses none.
    ///
    /// Beyond it, SIGXCPU ends the worker, or SIGKILL a second later if a task ignores that. The running task
    /// fails with `is_worker_lost()`, [`signal`](crate::TaskError::signal) returns the signal, and a new worker
    /// replaces it. For a limit of each task, use [`TaskOptions::timeout`](crate::TaskOptions::timeout).
    #[must_use]
    pub fn cpu_time(mut self, limit: Duration) -> Self {
        self.cpu_time = Some(limit);
        self
    }

    /// The maximal number of open descriptors of a worker. It needs about ten for itself.
    ///
    /// Beyond it, opening a file or socket fails in the task ("Too many open files").
    #[must_use]
    pub fn open_files(mut self, descriptors: u64) -> Self {
        self.open_files = Some(descriptors);
        self
    }

    /// The maximal size of a core dump of a worker, in bytes; 0 for none. A larger dump is truncated, without
    /// an error. Without this limit, the system dumps no worker, unless it is
    /// [`dumpable`](crate::ProcessPoolBuilder::dumpable).
    #[must_use]
    pub fn core_size(mut self, bytes: u64) -> Self {
        self.core_size = Some(bytes);
        self
    }

    /// The nice value of a worker: from -20, the highest priority, which needs a privilege, to 19, the lowest.
    #[must_use]
    pub fn nice(mut self, nice: i32) -> Self {
        self.nice = Some(nice);
        self
    }

    /// Whether the memory of a worker that crashes may be written to a file.
    pub(super) fn dump_memory(&self) -> bool {
        self.core_size.is_some_and(|bytes| bytes > 0)
    }

    /// The limits that a worker must set, or an error for an invalid one.
    pub(super) fn check(&self) -> Result<Vec<(Limit, i64)>, BuildError> {
        // A started second counts as a whole one.
        let seconds = |time: Duration| {
            time.as_secs()
                .saturating_add((time.subsec_nanos() > 0).into())
        };
        let numbers = [
            (Limit::AddressSpace, self.address_space),
            (Limit::CpuTime, self.cpu_time.map(seconds)),
            (Limit::OpenFiles, self.open_files),
            (Limit::CoreSize, self.core_size),
        ];
        let mut limits = Vec::new();
        for (limit, value) in numbers {
            match value {
                None => {}
                Some(0) if limit != Limit::CoreSize => {
                    let name = limit.name();
                    return Err(BuildError::invalid(format!(
                        "the limit `{name}` is 0, which lets nothing run; raise it"
                    )));
                }
                // The system accepts no limit beyond an i64.
                Some(value) => limits.push((limit, i64::try_from(value).unwrap_or(i64::MAX))),
            }
        }
        match self.nice {
            None => {}
            Some(nice @ -20..=19) => limits.push((Limit::Nice, nice.into())),
            Some(nice) => {
                return Err(BuildError::invalid(format!(
                    "the limit `nice` is {nice}; it must be from -20 to 19"
                )));
            }
        }
        Ok(limits)
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_second_of_processor_time_counts_as_a_whole_one() {
        let seconds = |time| {
            Limits::new()
                .cpu_time(time)
                .check()
                .expect("the limit is valid")
                .remove(0)
        };
        let millis = Duration::from_millis;
        assert_eq!(seconds(millis(1)), (Limit::CpuTime, 1));
        assert_eq!(seconds(millis(2000)), (Limit::CpuTime, 2));
        assert_eq!(seconds(millis(2001)), (Limit::CpuTime, 3));
        assert_eq!(
            seconds(Duration::MAX),
            (Limit::CpuTime, i64::MAX),
            "nothing overflows"
        );
    }
}
