//! [`Getter`]: the half of a queue that sees its end. Only putters hold the sending end of the queue's sockets. The
//! kernel counts the copies of that end, in processes and in transit, so a getter sees when the last one is closed,
//! however its process ended.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::error::QueueError;
use super::shared::SharedQueue;
use crate::executor::data::Data;
use crate::multiprocessing::handle::shared_handle;
use crate::multiprocessing::waiting::driver::InTask;

/// The half of a [`Queue`](super::Queue) that takes items. [`Queue::split`](super::Queue::split) returns it.
///
/// Once no process has a [`Putter`](super::Putter) or a [`Queue`](super::Queue) for it, and all items are taken,
/// [`get`](Self::get) returns an error with `is_closed()`. A putter counts until it is dropped, or its process ends or
/// is killed. A putter in transit to a process counts, too. A pool keeps a putter that is an argument until the task
/// starts, or, if the task may be retried, until it has an outcome.
///
/// ```no_run
/// use concurrent_futures::multiprocessing::{Putter, Queue};
/// use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
///
/// fn produce(putter: Putter<u64>, from: u64) {
///     for number in from..from + 100 {
///         putter.blocking_put(number).expect("the system has memory for it");
///     }
/// }
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ProcessPoolExecutor::new()?;
/// let (putter, getter) = Queue::bounded(10)?.split();
/// let producers = [0, 100].map(|from| pool.submit(produce, (putter.clone(), from)));
/// drop(putter); // Now only the producers have one.
/// let mut sum = 0;
/// while let Ok(number) = getter.get().await {
///     sum += number;
/// }
/// println!("{sum}, though a producer may have been killed");
/// # drop(producers);
/// # Ok(()) }
/// ```
///
/// # Platform
/// Linux.
pub struct Getter<T> {
    shared: Arc<SharedQueue>,
    items: PhantomData<fn() -> T>,
}

impl<T> Getter<T> {
    pub(super) fn of(shared: Arc<SharedQueue>) -> Self {
        Self {
            shared,
            items: PhantomData,
        }
    }
}

impl<T: Data> Getter<T> {
    /// Takes the first item. Waits until there is one, or the queue has ended.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Queue;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (putter, getter) = Queue::unbounded()?.split();
    /// putter.put(1).await?;
    /// drop(putter); // The last one.
    /// assert_eq!(getter.get().await?, 1);
    /// assert!(getter.get().await.unwrap_err().is_closed());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `is_closed()` if the queue is closed or has no putter any more, and is empty. Otherwise like
    /// [`Queue::get`](super::Queue::get).
    ///
    /// # Panics
    /// Like [`Queue::get`](super::Queue::get).
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has taken no item.
    pub async fn get(&self) -> Result<T, QueueError> {
        self.shared.get_item().await
    }

    /// Takes the first item, if there is one.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Queue;
    /// let (putter, getter) = Queue::<u32>::unbounded()?.split();
    /// assert!(getter.try_get().unwrap_err().is_empty());
    /// drop(putter);
    /// assert!(getter.try_get().unwrap_err().is_closed());
    /// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
    /// ```
    ///
    /// # Errors
    /// `is_closed()` like [`get`](Self::get). Otherwise like [`Queue::try_get`](super::Queue::try_get).
    pub fn try_get(&self) -> Result<T, QueueError> {
        self.shared.try_get_item()
    }

    /// Like [`get`](Self::get), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Queue;
    /// let (putter, getter) = Queue::<u32>::unbounded()?.split();
    /// drop(putter);
    /// assert!(getter.blocking_get().unwrap_err().is_closed());
    /// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
    /// ```
    ///
    /// # Errors
    /// Like [`get`](Self::get).
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_get(&self) -> Result<T, QueueError> {
        self.shared.blocking_get_item(None)
    }

    /// Like [`blocking_get`](Self::blocking_get), for at most `timeout`.
    ///
    /// # Errors
    /// `is_timed_out()` if there was no item within `timeout`. Otherwise like [`get`](Self::get).
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_get_timeout(&self, timeout: Duration) -> Result<T, QueueError> {
        self.shared.blocking_get_item(Some(timeout))
    }
}

impl<T> Getter<T> {
    /// Closes the queue and drops its items, like [`Queue::close_now`](super::Queue::close_now). Later puts fail.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Queue;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (putter, getter) = Queue::unbounded()?.split();
    /// putter.put(1).await?;
    /// assert_eq!(getter.close_now().await, 1);
    /// assert!(putter.put(2).await.unwrap_err().error().is_closed());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// Like [`Queue::close`](super::Queue::close).
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has closed the queue or not.
    pub async fn close_now(&self) -> usize {
        let closed = self
            .shared
            .locked(&InTask, |held| self.shared.close(held, true));
        closed.await
    }

    /// Closes the queue and drops its items. Like [`Queue::blocking_close_now`](super::Queue::blocking_close_now).
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_close_now(&self) -> usize {
        self.shared
            .blocking_locked(|held| self.shared.close(held, true))
    }

    /// Whether the queue is closed or has no putter any more. Items may still be in it.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed(&self.shared.glance())
    }

    /// The number of items in the queue at this moment.
    pub fn len(&self) -> usize {
        self.shared.glance().len() as usize
    }

    /// Whether the queue has no item at this moment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The capacity, or `None` for an unbounded queue.
    pub fn capacity(&self) -> Option<usize> {
        self.shared.capacity().map(|capacity| capacity as usize)
    }
}

shared_handle! {
    Getter<T: Data> as getter;
    sends *getter.shared;
    receives deserializer => {
        let shared = SharedQueue::deserialize(deserializer)?;
        Ok(Self::of(shared.recognised().of_getter())) // It shares the state with a putter of this process.
    };
    clones { shared, items }
    shows { len: getter.len(), capacity: getter.capacity() }
}
