//! [`JoinableQueue`]: a queue whose items are to be done, and that can be waited for.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::QueueError;
use super::shared::SharedQueue;
use super::state::RingState;
use super::{Queue, checked};
use crate::executor::data::Data;

/// A [`Queue`], with all that it can, whose items are work: whoever takes one says when it is done, and
/// others wait until all are.
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
/// assert_eq!(queue.join().await, 0); // All are done, and none was lost.
/// # Ok(()) }
/// ```
///
/// # When a process is killed
///
/// It is counted which process has taken how many items that are not done. With a process that ends these
/// are lost: they count as done, so that nobody waits for them for ever, and [`join`](Self::join) tells how
/// many there were. So an item that is handed on to another process is still lost with the one that has taken it.
pub struct JoinableQueue<T>(Queue<T>);

impl<T: Data> JoinableQueue<T> {
    /// A queue for any number of items.
    ///
    /// # Errors
    /// As [`Queue::unbounded`].
    pub fn unbounded() -> Result<Self, QueueError> {
        Queue::create(0, true).map(Self)
    }

    /// A queue for so many items.
    ///
    /// # Errors
    /// As [`Queue::bounded`].
    pub fn bounded(capacity: usize) -> Result<Self, QueueError> {
        Queue::create(checked(capacity)?, true).map(Self)
    }

    /// An item that was taken is done. To be called once for each, also for one that was gone because it could
    /// not be decoded.
    ///
    /// It counts for the process that calls it, if that has items that are not done, and else for another
    /// that has: an item may be handed on.
    ///
    /// # Errors
    /// `is_nothing_taken()` if it is called more often than items were taken.
    ///
    /// # Panics
    /// If it has to wait for the lock of the queue outside of a tokio runtime, or in one without an I/O driver.
    ///
    /// # Cancel safety
    /// Cancel safe: if it is dropped before it has returned, the item is not done.
    pub async fn task_done(&self) -> Result<(), QueueError> {
        let shared = &*self.0.shared;
        let taken = |_: &RingState| true;
        shared
            .wait(taken, |held| Some(shared.task_done(held)))
            .await
    }

    /// As [`task_done`](Self::task_done), for code that is not async.
    ///
    /// # Errors
    /// As [`task_done`](Self::task_done).
    ///
    /// # Panics
    /// If it has to wait for the lock of the queue in an asynchronous task.
    pub fn blocking_task_done(&self) -> Result<(), QueueError> {
        let shared = &*self.0.shared;
        let taken = |_: &RingState| true;
        let done = shared.blocking_wait(None, taken, |held| Some(shared.task_done(held)));
        done.unwrap_or(Err(QueueError::TIMED_OUT))
    }

    /// Waits until all items that were put in are done. Gives how many of them, since the queue was made,
    /// were lost with a process that had taken them.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn join(&self) -> u64 {
        let shared = &*self.0.shared;
        shared
            .wait(RingState::is_done, |held| shared.all_done(held))
            .await
    }

    /// As [`join`](Self::join), for code that is not async. It blocks the thread.
    ///
    /// # Panics
    /// If it has to wait in an asynchronous task.
    pub fn blocking_join(&self) -> u64 {
        loop {
            if let Some(lost) = self.join_within(None) {
                return lost;
            }
        }
    }

    /// As [`blocking_join`](Self::blocking_join), for so long at the most.
    ///
    /// # Errors
    /// `is_timed_out()` if not all were done after so long.
    ///
    /// # Panics
    /// If it has to wait in an asynchronous task.
    pub fn blocking_join_timeout(&self, timeout: Duration) -> Result<u64, QueueError> {
        self.join_within(Some(timeout)).ok_or(QueueError::TIMED_OUT)
    }

    fn join_within(&self, timeout: Option<Duration>) -> Option<u64> {
        let shared = &*self.0.shared;
        shared.blocking_wait(timeout, RingState::is_done, |held| shared.all_done(held))
    }
}

impl<T> JoinableQueue<T> {
    /// How many items were put in and not done, a moment ago.
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
        let shared = SharedQueue::deserialize(deserializer)?;
        if !shared.counts_done {
            let error = "what came is a `Queue` and no `JoinableQueue`";
            return Err(serde::de::Error::custom(error));
        }
        Ok(Self(Queue::of(shared)))
    }
}
