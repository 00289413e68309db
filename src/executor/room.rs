//! Room in a bounded queue: a task takes it when it is submitted and gives it back when it
//! leaves the queue, to run or to be cancelled.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::error::{Cause, Rejection, TaskError};
use super::options::TaskName;

/// A place in an executor's queue. Dropping it gives the place back.
#[derive(Debug, Default)]
pub struct Room {
    _place: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Room in a queue without bounds.
    pub fn unbounded() -> Self {
        Self::default()
    }
}

/// All the room that a queue has.
#[derive(Debug)]
pub(crate) struct Rooms {
    places: Option<(usize, Arc<Semaphore>)>,
}

impl Rooms {
    pub(crate) fn new(capacity: Option<usize>) -> Self {
        Self {
            places: capacity.map(|capacity| (capacity, Arc::new(Semaphore::new(capacity)))),
        }
    }

    /// The most places a queue can have.
    pub(crate) const MAX: usize = Semaphore::MAX_PERMITS;

    pub(crate) fn try_take(&self) -> Result<Room, Cause> {
        match &self.places {
            None => Ok(Room::unbounded()),
            Some((capacity, places)) => match places.clone().try_acquire_owned() {
                Ok(place) => Ok(Room {
                    _place: Some(place),
                }),
                Err(TryAcquireError::Closed) => Err(Cause::Shutdown),
                Err(TryAcquireError::NoPermits) => Err(Cause::Rejected(Rejection::QueueFull {
                    capacity: *capacity,
                })),
            },
        }
    }

    /// Waits for room, first come, first served.
    pub(crate) async fn take(&self) -> Result<Room, Cause> {
        match &self.places {
            None => Ok(Room::unbounded()),
            Some((_, places)) => match places.clone().acquire_owned().await {
                Ok(place) => Ok(Room {
                    _place: Some(place),
                }),
                Err(_) => Err(Cause::Shutdown),
            },
        }
    }

    /// Everyone who waits for room learns that there will be none.
    pub(crate) fn close(&self) {
        if let Some((_, places)) = &self.places {
            places.close();
        }
    }
}

/// An error about a place in the queue, before there is a task.
pub(crate) fn refused(cause: Cause) -> TaskError {
    TaskError::new(TaskName::Function("(not submitted)"), false, cause)
}
