//! Room in a bounded queue: a task takes it when it is submitted and gives it back when it
//! leaves the queue, to run or to be cancelled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    closed: AtomicBool,
}

impl Rooms {
    pub(crate) fn new(capacity: Option<usize>) -> Self {
        let places = capacity.map(|capacity| (capacity, Arc::new(Semaphore::new(capacity))));
        Self {
            places,
            closed: AtomicBool::new(false),
        }
    }

    /// The most places a queue can have.
    pub(crate) const MAX: usize = Semaphore::MAX_PERMITS;

    /// Takes room, if there is any.
    pub(crate) fn try_take(&self) -> Result<Room, TaskError> {
        let cause = match &self.places {
            _ if self.is_closed() => Cause::Shutdown,
            None => return Ok(Room::unbounded()),
            Some((capacity, places)) => match places.clone().try_acquire_owned() {
                Ok(place) => {
                    return Ok(Room {
                        _place: Some(place),
                    });
                }
                Err(TryAcquireError::Closed) => Cause::Shutdown,
                Err(TryAcquireError::NoPermits) => Cause::Rejected(Rejection::QueueFull {
                    capacity: *capacity,
                }),
            },
        };
        Err(refused(cause))
    }

    /// Waits for room, first come, first served.
    pub(crate) async fn take(&self) -> Result<Room, TaskError> {
        match &self.places {
            _ if self.is_closed() => Err(refused(Cause::Shutdown)),
            None => Ok(Room::unbounded()),
            Some((_, places)) => match places.clone().acquire_owned().await {
                Ok(place) => Ok(Room {
                    _place: Some(place),
                }),
                Err(_) => Err(refused(Cause::Shutdown)),
            },
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Everyone who waits for room learns that there will be none.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        if let Some((_, places)) = &self.places {
            places.close();
        }
    }
}

/// An error about a place in the queue, before there is a task.
fn refused(cause: Cause) -> TaskError {
    TaskError::new(TaskName::Function("(not submitted)"), false, cause)
}
