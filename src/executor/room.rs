//! Room in a queue: a task takes it when it is submitted and gives it back when it leaves the queue,
//! to run or because it is cancelled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};

use super::error::{Cause, Rejection, TaskError};
use super::options::TaskName;
use crate::observe::{Meter, Raised};

/// A place in an executor's queue. Dropping it gives the place back.
#[derive(Debug, Default)]
pub struct Room {
    /// Where the place belongs, in a bounded queue.
    places: Option<Arc<Semaphore>>,
    _queued: Raised,
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(places) = &self.places {
            places.add_permits(1);
        }
    }
}

impl Room {
    /// Returns room in an unbounded queue.
    #[cfg(feature = "process")]
    pub(crate) fn unbounded() -> Self {
        Self::default()
    }

    /// Whether dropping it wakes a caller or lowers a metric.
    #[cfg(feature = "process")]
    pub(crate) fn has_effect(&self) -> bool {
        self.places.is_some() || cfg!(feature = "metrics")
    }
}

/// All room of a queue.
#[derive(Debug)]
pub(crate) struct Rooms {
    places: Option<(usize, Arc<Semaphore>)>,
    closed: AtomicBool,
    meter: Meter,
}

impl Rooms {
    pub(crate) fn new(capacity: Option<usize>, meter: Meter) -> Self {
        let places = capacity.map(|capacity| (capacity, Arc::new(Semaphore::new(capacity))));
        Self {
            places,
            closed: AtomicBool::new(false),
            meter,
        }
    }

    /// The most places a queue can have.
    pub(crate) const MAX: usize = Semaphore::MAX_PERMITS;

    /// Takes room, if there is any.
    pub(crate) fn try_take(&self) -> Result<Room, TaskError> {
        let cause = match &self.places {
            _ if self.is_closed() => Cause::Shutdown,
            None => return Ok(self.taken(None)),
            Some((capacity, places)) => match places.try_acquire() {
                Ok(place) => return Ok(self.taken(Some((place, places)))),
                Err(TryAcquireError::Closed) => Cause::Shutdown,
                Err(TryAcquireError::NoPermits) => Cause::Rejected(Rejection::QueueFull {
                    capacity: *capacity,
                }),
            },
        };
        let refusal = refused(cause);
        self.meter.ended(refusal.kind(), 1);
        Err(refusal)
    }

    /// Makes the permit one pointer, since each waiting task holds one.
    fn taken(&self, place: Option<(SemaphorePermit<'_>, &Arc<Semaphore>)>) -> Room {
        let places = place.map(|(place, places)| {
            place.forget();
            places.clone()
        });
        Room {
            places,
            _queued: self.meter.queued(),
        }
    }

    /// Waits for room. Callers are served in order.
    pub(crate) async fn take(&self) -> Result<Room, TaskError> {
        match &self.places {
            _ if self.is_closed() => Err(refused(Cause::Shutdown)),
            None => Ok(self.taken(None)),
            Some((_, places)) => match places.acquire().await {
                Ok(place) => Ok(self.taken(Some((place, places)))),
                Err(_) => Err(refused(Cause::Shutdown)),
            },
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Refuses everyone who waits for room.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        if let Some((_, places)) = &self.places {
            places.close();
        }
    }
}

/// An error before there is a task.
fn refused(cause: Cause) -> TaskError {
    TaskError::new(TaskName::Function("(not submitted)"), false, cause)
}
