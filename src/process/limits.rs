//! What each worker may use.

use std::time::Duration;

use crate::executor::error::BuildError;
use crate::sys::Limit;

/// What each worker of a pool may use of the system, set by
/// [`ProcessPoolBuilder::limits`](crate::ProcessPoolBuilder::limits). What is not set stays as it
/// is for the process that has the pool.
///
/// A worker sets its limits before any code of the user's runs in it, its initializer included; a
/// task cannot lift them again, unless it has the privilege to. What a task starts has them too.
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
/// A limit of 0, where that lets nothing run, and a niceness that cannot be are refused by
/// [`build`](crate::ProcessPoolBuilder::build): `is_invalid_setting()`. One that the system refuses
/// (more than the process itself may have) fails each start of a worker as an initializer's error
/// does: `is_init_failed()`, with the limit, its value and the system's reason in the text. What a
/// breach looks like is told with each limit.
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
    /// No limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes of address space a worker may have: all that is mapped, used or not, so the
    /// executable, its libraries and the stacks of all threads count.
    ///
    /// Past it, memory cannot be had. Rust code then aborts: the task's error is
    /// `is_worker_lost()` and `is_out_of_memory()`, as far as the worker's stderr is
    /// [read](crate::Output). Code that handles a lack of memory by itself does what it does.
    #[must_use]
    pub fn address_space(mut self, bytes: u64) -> Self {
        self.address_space = Some(bytes);
        self
    }

    /// How much processor time a worker may use in its life, all tasks and threads together,
    /// rounded up to whole seconds. To wait uses none.
    ///
    /// Past it, SIGXCPU ends the worker, or, if a task has that ignored, SIGKILL a second
    /// later. The task that runs then fails with `is_worker_lost()`, and
    /// [`signal`](crate::TaskError::signal) tells which; a new worker begins anew. For a limit of each
    /// task by itself, see [`TaskOptions::timeout`](crate::TaskOptions::timeout).
    #[must_use]
    pub fn cpu_time(mut self, limit: Duration) -> Self {
        self.cpu_time = Some(limit);
        self
    }

    /// How many descriptors a worker may have open; it needs about ten for itself.
    ///
    /// Past it, a task's own attempt to open something fails ("Too many open files").
    #[must_use]
    pub fn open_files(mut self, descriptors: u64) -> Self {
        self.open_files = Some(descriptors);
        self
    }

    /// How large a core dump of a worker may be; 0 for none. A breach cuts the dump short, and is
    /// told nowhere.
    #[must_use]
    pub fn core_size(mut self, bytes: u64) -> Self {
        self.core_size = Some(bytes);
        self
    }

    /// How readily a worker gives way to other processes: from -20, which needs a privilege, to 19,
    /// the nicest. There is no breach.
    #[must_use]
    pub fn nice(mut self, nice: i32) -> Self {
        self.nice = Some(nice);
        self
    }

    /// What a worker has to set. Refuses what cannot be meant.
    pub(super) fn check(&self) -> Result<Vec<(Limit, i64)>, BuildError> {
        // A part of a second counts as a whole one.
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
                        "the limit {name} is 0; a worker could do nothing"
                    )));
                }
                // The system takes more than an i64 can hold for no limit; so large is as good.
                Some(value) => limits.push((limit, i64::try_from(value).unwrap_or(i64::MAX))),
            }
        }
        match self.nice {
            None => {}
            Some(nice @ -20..=19) => limits.push((Limit::Nice, nice.into())),
            Some(nice) => {
                return Err(BuildError::invalid(format!(
                    "the limit nice is {nice}; it goes from -20 to 19"
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
                .expect("it can be")
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
