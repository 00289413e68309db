//! Checks of the settings that every executor has.

#[cfg(any(feature = "process", feature = "cluster"))]
use std::time::Duration;

use super::error::BuildError;
use super::room::Rooms;

/// The number of workers: at least one. The default is one for each CPU that this process may use, which includes its
/// affinity and its container's CPU quota.
pub(crate) fn workers(asked: Option<usize>) -> Result<usize, BuildError> {
    match asked {
        Some(0) => Err(BuildError::invalid(
            "max_workers is 0; an executor needs at least one worker",
        )),
        Some(workers) => Ok(workers),
        None => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
    }
}

/// How many tasks may wait: at least one, or no limit.
pub(crate) fn queue_capacity(asked: Option<usize>) -> Result<Option<usize>, BuildError> {
    match asked {
        Some(0) => Err(BuildError::invalid(
            "queue_capacity is 0; a queue needs room for at least one task",
        )),
        Some(capacity) if capacity > Rooms::MAX => Err(BuildError::invalid(format!(
            "queue_capacity is {capacity}; a bounded queue has at most {} places",
            Rooms::MAX
        ))),
        asked => Ok(asked),
    }
}

/// A time limit that is not 0.
#[cfg(any(feature = "process", feature = "cluster"))]
pub(crate) fn positive(setting: &str, value: Duration) -> Result<Duration, BuildError> {
    if value.is_zero() {
        Err(BuildError::invalid(format!(
            "`{setting}` is 0; it must be longer"
        )))
    } else {
        Ok(value)
    }
}
