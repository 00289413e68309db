//! [`JoinableQueue`]: a queue whose items are marked as done, and that tasks can join.

use std::ops::Deref;
use std::time::Duration;

use super::error::QueueError;
use super::receipt::Receipt;
use super::{Queue, checked};
use crate::executor::data::Data;
use crate::multiprocessing::handle::shared_handle;
use crate::multiprocessing::robust::lock::RobustGuard;
use crate::multiprocessing::waiting::driver::{InTask, InThread, forever};
use crate::multiprocessing::waiting::wait::WatchedProcesses;

/// A [`Queue`] whose items are work: the consumer marks each item as done, and others wait until all are done. It
/// dereferences to [`Queue`].
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
/// # Which item is done
///
/// [`task_done`](Self::task_done) names no item, as in Python. The queue counts the unfinished items of each process:
///
/// - A call counts for an item that the calling process took. That is right whenever the process that takes an item
///   also marks it.
/// - If the process has no unfinished item, the call counts for the only other process that has some. If several have
///   some, the item is unknown; it counts for none of them until all taken items are done.
///
/// While no process dies, [`join`](Self::join) returns exactly when all items are done, whichever process marks them.
/// To hand items on to other processes and still be exact about deaths, take them [with a
/// receipt](Self::get_with_receipt).
///
/// # When a process is killed
///
/// When a process ends, its unfinished items are lost. They count as done, so that no `join` waits for them, and `join`
/// returns their number. The owner of an item is the process that took it, or the last process that
/// [accepted](Self::accept) its receipt.
///
/// After calls for unknown items, a `join` may wait for a living process until that ends or all taken items are done.
/// It does not return early.
///
/// # The end
///
/// [`close`](Queue::close) ends puts. A `join` still waits for the items. [`close_now`](Queue::close_now) counts the
/// items in the queue as done; a `join` waits for those that are taken.
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

    /// Marks one taken item as done. Call it once for each taken item, even if the item could not be decoded. See
    /// [which item is done](Self#which-item-is-done).
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::JoinableQueue;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let queue = JoinableQueue::unbounded()?;
    /// queue.put(1).await?;
    /// queue.get().await?;
    /// queue.task_done().await?;
    /// assert_eq!(queue.unfinished(), 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `is_nothing_taken()` if it is called more often than items were taken.
    ///
    /// # Panics
    /// If it has to wait for the lock of the queue outside of a tokio runtime, or in one without an I/O driver
    /// (`enable_io`).
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has marked the item or not.
    pub async fn task_done(&self) -> Result<(), QueueError> {
        let shared = &*self.0.shared;
        let done = shared.locked(&InTask, |held| shared.task_done(held));
        done.await
    }

    /// Like [`task_done`](Self::task_done), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::JoinableQueue;
    /// let queue = JoinableQueue::<u32>::unbounded()?;
    /// assert!(queue.blocking_task_done().unwrap_err().is_nothing_taken());
    /// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
    /// ```
    ///
    /// # Errors
    /// Like [`task_done`](Self::task_done).
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_task_done(&self) -> Result<(), QueueError> {
        let shared = &*self.0.shared;
        shared.blocking_locked(|held| shared.task_done(held))
    }

    /// Takes the first item, like [`get`](Queue::get), with a receipt. The receipt names the item: send both to the
    /// process that does the work, which [accepts](Self::accept) the receipt and marks the item with it.
    ///
    /// ```no_run
    /// use concurrent_futures::multiprocessing::{JoinableQueue, Receipt};
    /// use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
    ///
    /// fn work(queue: JoinableQueue<u64>, number: u64, receipt: Receipt) {
    ///     if queue.blocking_accept(&receipt).is_ok() {
    ///         println!("{}", number * number);
    ///         queue.blocking_task_done_with(receipt).expect("it is unfinished");
    ///     }
    /// }
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (queue, pool) = (JoinableQueue::unbounded()?, ProcessPoolExecutor::new()?);
    /// queue.put(7).await?;
    /// queue.close().await;
    /// while let Ok((number, receipt)) = queue.get_with_receipt().await {
    ///     pool.submit(work, (queue.clone(), number, receipt));
    /// }
    /// let lost = queue.join().await; // With workers that were killed.
    /// # drop(lost);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Like [`get`](Queue::get). An item that cannot be decoded counts as done. `is_no_space()` if some thousand
    /// receipts are in use.
    ///
    /// # Panics
    /// Like [`get`](Queue::get).
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has taken no item. If it was just about to return that an item cannot be decoded,
    /// that item counts as done.
    pub async fn get_with_receipt(&self) -> Result<(T, Receipt), QueueError> {
        let shared = &self.0.shared;
        let (item, place) = shared.get_item_with_receipt(&InTask).await?;
        Ok((item, Receipt::of(shared, place)))
    }

    /// Like [`get_with_receipt`](Self::get_with_receipt), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::JoinableQueue;
    /// let queue = JoinableQueue::unbounded()?;
    /// queue.blocking_put("work".to_owned())?;
    /// let (_item, receipt) = queue.blocking_get_with_receipt()?;
    /// queue.blocking_accept(&receipt)?; // In the process that does the work.
    /// queue.blocking_task_done_with(receipt)?;
    /// assert_eq!(queue.blocking_join(), 0);
    /// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
    /// ```
    ///
    /// # Errors
    /// Like [`get_with_receipt`](Self::get_with_receipt).
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_get_with_receipt(&self) -> Result<(T, Receipt), QueueError> {
        let shared = &self.0.shared;
        let driver = InThread::within(None);
        let (item, place) = InThread::run(shared.get_item_with_receipt(&driver))?;
        Ok((item, Receipt::of(shared, place)))
    }

    /// Makes this process the owner of an item that another process took. The item is then lost if this process ends,
    /// and no longer if the other one does. For an example see [`get_with_receipt`](Self::get_with_receipt).
    ///
    /// # Errors
    /// `is_nothing_taken()` if the item is done, or was lost with its owner.
    ///
    /// # Panics
    /// Like [`task_done`](Self::task_done).
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has accepted the item or not.
    pub async fn accept(&self, receipt: &Receipt) -> Result<(), QueueError> {
        let (shared, place) = (&*self.0.shared, receipt.in_queue(&self.0.shared)?);
        let done = shared.locked(&InTask, |held| shared.accept(held, place));
        done.await
    }

    /// Like [`accept`](Self::accept), for a thread that may block.
    ///
    /// # Errors
    /// Like [`accept`](Self::accept).
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_accept(&self, receipt: &Receipt) -> Result<(), QueueError> {
        let (shared, place) = (&*self.0.shared, receipt.in_queue(&self.0.shared)?);
        shared.blocking_locked(|held| shared.accept(held, place))
    }

    /// Marks the item of a receipt as done, in any process. For an example see
    /// [`get_with_receipt`](Self::get_with_receipt).
    ///
    /// # Errors
    /// `is_nothing_taken()` if the item is done already, or was lost with its owner.
    ///
    /// # Panics
    /// Like [`task_done`](Self::task_done).
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has marked the item or not.
    pub async fn task_done_with(&self, receipt: Receipt) -> Result<(), QueueError> {
        let (shared, place) = (&*self.0.shared, receipt.in_queue(&self.0.shared)?);
        let done = shared.locked(&InTask, |held| shared.item_done(held, place));
        done.await
    }

    /// Like [`task_done_with`](Self::task_done_with), for a thread that may block.
    ///
    /// # Errors
    /// Like [`task_done_with`](Self::task_done_with).
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_task_done_with(&self, receipt: Receipt) -> Result<(), QueueError> {
        let (shared, place) = (&*self.0.shared, receipt.in_queue(&self.0.shared)?);
        shared.blocking_locked(|held| shared.item_done(held, place))
    }

    /// Waits until all items that were put are done. Returns how many of them, since the queue was created,
    /// were lost with a process that had taken them.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::JoinableQueue;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let queue = JoinableQueue::<u32>::unbounded()?;
    /// assert_eq!(queue.join().await, 0); // No item was put, and none is lost.
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn join(&self) -> u64 {
        let shared = &*self.0.shared;
        let check = |held: &mut RobustGuard<'_>, watched: &mut WatchedProcesses| {
            shared.all_done(held, watched)
        };
        forever(shared.lock.wait_until(&InTask, check).await)
    }

    /// Like [`join`](Self::join), for a thread that may block.
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_join(&self) -> u64 {
        forever(self.join_within(None))
    }

    /// Like [`blocking_join`](Self::blocking_join), for at most `timeout`.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::JoinableQueue;
    /// # use std::time::Duration;
    /// let queue = JoinableQueue::unbounded()?;
    /// queue.blocking_put(1)?;
    /// let error = queue.blocking_join_timeout(Duration::from_millis(1)).unwrap_err();
    /// assert!(error.is_timed_out());
    /// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
    /// ```
    ///
    /// # Errors
    /// `is_timed_out()` if not all items were done within `timeout`.
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_join_timeout(&self, timeout: Duration) -> Result<u64, QueueError> {
        self.join_within(Some(timeout)).ok_or(QueueError::TIMED_OUT)
    }

    fn join_within(&self, timeout: Option<Duration>) -> Option<u64> {
        let shared = &*self.0.shared;
        let check = |held: &mut RobustGuard<'_>, watched: &mut WatchedProcesses| {
            shared.all_done(held, watched)
        };
        let driver = InThread::within(timeout);
        InThread::run(shared.lock.wait_until(&driver, check))
    }
}

impl<T> JoinableQueue<T> {
    /// The number of items that were put and are not done, at this moment.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::JoinableQueue;
    /// let queue = JoinableQueue::unbounded()?;
    /// queue.blocking_put(1)?;
    /// queue.blocking_get()?; // Taken, and not done.
    /// assert_eq!(queue.unfinished(), 1);
    /// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
    /// ```
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

shared_handle! {
    JoinableQueue<T: Data> as queue;
    sends queue.0;
    receives deserializer => {
        let queue = Queue::deserialize(deserializer)?;
        if !queue.shared.counts_done {
            let error = "expected a `JoinableQueue`, received a `Queue`";
            return Err(serde::de::Error::custom(error));
        }
        Ok(Self(queue))
    };
    clones { 0 }
    shows { len: queue.len(), unfinished: queue.unfinished(), capacity: queue.capacity() }
}
