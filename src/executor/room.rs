//! Room in a queue: a task takes it when it is submitted and gives it back when it leaves the queue,
//! to run or because it is cancelled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};

use super::error::{Cause, Rejection, TaskError};
use super::options::TaskName;
use crate::observe::Meter;

/// A place in an executor's queue. Dropping it frees the place.
///
/// Each queued task has one, so it is one pointer.
#[derive(Debug, Default)]
pub struct Room(Option<Arc<RoomQueue>>);

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(queue) = &self.0 {
            queue.leave();
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
        self.0.is_some()
    }
}

/// All room of a queue.
#[derive(Debug)]
pub(crate) struct Rooms {
    queue: Arc<RoomQueue>,
    closed: AtomicBool,
}

/// What dropping a room gives a place back to.
#[derive(Debug)]
struct RoomQueue {
    /// The capacity and the free places of a bounded queue.
    places: Option<(usize, Semaphore)>,
    meter: Meter,
}

impl RoomQueue {
    fn leave(&self) {
        self.meter.leave_queue();
        if let Some((_, places)) = &self.places {
            places.add_permits(1);
        }
    }
}

impl Rooms {
    pub(crate) fn new(capacity: Option<usize>, meter: Meter) -> Self {
        let places = capacity.map(|capacity| (capacity, Semaphore::new(capacity)));
        Self {
            queue: Arc::new(RoomQueue { places, meter }),
            closed: AtomicBool::new(false),
        }
    }

    /// The most places a queue can have.
    pub(crate) const MAX: usize = Semaphore::MAX_PERMITS;

    /// Takes room, if there is any.
    pub(crate) fn try_take(&self) -> Result<Room, TaskError> {
        let cause = match &self.queue.places {
            _ if self.is_closed() => Cause::Shutdown,
            None => return Ok(self.unbounded()),
            Some((capacity, places)) => match places.try_acquire() {
                Ok(place) => return Ok(self.taken(place)),
                Err(TryAcquireError::Closed) => Cause::Shutdown,
                Err(TryAcquireError::NoPermits) => Cause::Rejected(Rejection::QueueFull {
                    capacity: *capacity,
                }),
            },
        };
        let refusal = refused(cause);
        self.queue.meter.ended(refusal.kind(), 1);
        Err(refusal)
    }

    /// Waits for room. Callers are served in order.
    pub(crate) async fn take(&self) -> Result<Room, TaskError> {
        match &self.queue.places {
            _ if self.is_closed() => Err(refused(Cause::Shutdown)),
            None => Ok(self.unbounded()),
            Some((_, places)) => match places.acquire().await {
                Ok(place) => Ok(self.taken(place)),
                Err(_) => Err(refused(Cause::Shutdown)),
            },
        }
    }

    /// Room in the unbounded queue.
    fn unbounded(&self) -> Room {
        if !Meter::COUNTS_QUEUED {
            return Room(None); // Dropping it has no effect.
        }
        self.queue.meter.enter_queue();
        Room(Some(self.queue.clone()))
    }

    /// Turns a permit, which has two words, into room, which has one.
    fn taken(&self, place: SemaphorePermit<'_>) -> Room {
        place.forget();
        self.queue.meter.enter_queue();
        Room(Some(self.queue.clone()))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Refuses all callers that wait for room.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        if let Some((_, places)) = &self.queue.places {
            places.close();
        }
    }
}

/// An error of a call for which there is no task yet.
fn refused(cause: Cause) -> TaskError {
    TaskError::new(TaskName::Function("(not submitted)"), false, cause)
}
