//! [`JoinableQueue`]: a queue whose items are marked as done, and that tasks can join.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::QueueError;
use super::shared::SharedQueue;
use super::{Queue, checked};
use crate::executor::data::Data;
use crate::multiprocessing::robust::lock::RobustGuard;
use crate::multiprocessing::waiting::driver::{InTask, InThread, forever};

/// A [`Queue`] whose items are work: the consumer marks each item as done, and others wait until all are. It
/// derefs to [`Queue`].
///
/// ```
/// use concurrent_futures::multiprocessing::JoinableQueue;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let queue = JoinableQueue::unbounded()?;
/// let worker = queue.clone();
/// tokio::spawn(async move {
///     while let Ok(number) = worker.get().await {
///         println!("{}", number * 2);
///         worker.task_done().await?;
///     }
///     Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
/// });
/// for number in 0..10 {
///     queue.put(number).await?;
/// }
/// assert_eq!(queue.join().await, 0); // All are done, none is lost.
/// # Ok(()) }
/// ```
///
/// # When a process is killed
///
/// The queue counts the unfinished items of each process. When a process ends, its unfinished items are lost.
/// They count as done, so that no one waits for them forever, and [`join`](Self::join) returns their number. An
/// item that a process has handed on to another process still counts for the one that took it.
///
/// # Platform
/// Linux.
pub struct JoinableQueue<T>(Queue<T>);

impl<T: Data> JoinableQueue<T> {
    /// Creates an unbounded queue.
    ///
    /// # Errors
    /// Like [`Queue::unbounded`].
    pub fn unbounded() -> Result<Self, QueueError> {
        Queue::create(0, true).map(Self)
    }

    /// Creates a queue that holds at most `capacity` items.
    ///
    /// # Errors
    /// Like [`Queue::bounded`].
    pub fn bounded(capacity: usize) -> Result<Self, QueueError> {
        Queue::create(checked(capacity)?, true).map(Self)
    }

    /// Marks one taken item as done. Call it once for each item taken, also for one that could not be decoded.
    ///
    /// It counts for the calling process if that has unfinished items, otherwise for another process that has
    /// some: an item may have been handed on.
    ///
    /// # Errors
    /// `is_nothing_taken()` if it is called more often than items were taken.
    ///
    /// # Panics
    /// If it has to wait for the lock of the queue outside of a tokio runtime, or in one without an I/O driver
    /// (`enable_io`).
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has not marked the item.
    pub async fn task_done(&self) -> Result<(), QueueError> {
        let shared = &*self.0.shared;
        shared.task_done(&mut shared.lock.lock().await)
    }

    /// Like [`task_done`](Self::task_done), for a thread that may block.
    ///
    /// # Errors
    /// Like [`task_done`](Self::task_done).
    ///
    /// # Panics
    /// If it has to wait for the lock of the queue on a thread that drives async code.
    pub fn blocking_task_done(&self) -> Result<(), QueueError> {
        let shared = &*self.0.shared;
        shared.task_done(&mut forever(shared.lock.blocking_lock(None)))
    }

    /// Waits until all items that were put are done. Returns how many of them, since the queue was created,
    /// were lost with a process that had taken them.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn join(&self) -> u64 {
        let shared = &*self.0.shared;
        let look = |held: &mut RobustGuard<'_>| shared.all_done(held);
        forever(shared.lock.wait_until(&InTask, look).await)
    }

    /// Like [`join`](Self::join), for a thread that may block.
    ///
    /// # Panics
    /// If it has to wait on a thread that drives async code.
    pub fn blocking_join(&self) -> u64 {
        forever(self.join_within(None))
    }

    /// Like [`blocking_join`](Self::blocking_join), for at most `timeout`.
    ///
    /// # Errors
    /// `is_timed_out()` if not all items were done within `timeout`.
    ///
    /// # Panics
    /// If it has to wait on a thread that drives async code.
    pub fn blocking_join_timeout(&self, timeout: Duration) -> Result<u64, QueueError> {
        self.join_within(Some(timeout)).ok_or(QueueError::TIMED_OUT)
    }

    fn join_within(&self, timeout: Option<Duration>) -> Option<u64> {
        let shared = &*self.0.shared;
        let look = |held: &mut RobustGuard<'_>| shared.all_done(held);
        let driver = InThread::within(timeout);
        InThread::run(shared.lock.wait_until(&driver, look))
    }
}

impl<T> JoinableQueue<T> {
    /// The number of items that were put and are not done, at this moment.
    pub fn unfinished(&self) -> usize {
        let state = self.0.shared.glance();
        state.put.saturating_sub(state.done) as usize
    }
}

impl<T> Deref for JoinableQueue<T> {
    type Target = Queue<T>;

    fn deref(&self) -> &Queue<T> {
        &self.0
    }
}

impl<T> Clone for JoinableQueue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for JoinableQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinableQueue")
            .field("len", &self.len())
            .field("unfinished", &self.unfinished())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

impl<T> Serialize for JoinableQueue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Data> Deserialize<'de> for JoinableQueue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let shared = SharedQueue::receive(deserializer)?;
        if !shared.counts_done {
            let error = "expected a `JoinableQueue`, received a `Queue`";
            return Err(serde::de::Error::custom(error));
        }
        Ok(Self(Queue::of(shared)))
    }
}
