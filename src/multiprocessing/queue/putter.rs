//! [`Putter`]: the half of a queue that keeps it open, and how a queue is split.

use std::time::Duration;

use super::Queue;
use super::error::PutError;
use super::getter::Getter;
use crate::executor::data::Data;
use crate::multiprocessing::handle::shared_handle;

/// The half of a [`Queue`] that puts items. [`Queue::split`] returns it.
///
/// A clone puts into the same queue, and so does the putter that another process receives. When all putters are
/// dropped, or their processes have ended, the queue ends. [`Getter`] has an example.
///
/// The reverse does not hold: a putter that waits for room keeps waiting when the last getter is dropped or killed. The
/// process that supervises the getters can [close](Self::close) the queue, or the putter can use a timeout.
///
/// # Platform
/// Linux.
pub struct Putter<T>(pub(super) Queue<T>);

impl<T> Queue<T> {
    /// Splits the queue into two halves. Each can be cloned and sent to other processes. When all putters are dropped
    /// or their processes have ended, the getters take the rest, and then get an error with `is_closed()`.
    ///
    /// A [`Queue`] counts as a putter. So drop all clones of this queue, and each putter that this process does not
    /// use.
    ///
    /// ```
    /// use concurrent_futures::multiprocessing::Queue;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (putter, getter) = Queue::bounded(10)?.split();
    /// let producer = tokio::spawn(async move {
    ///     for number in 0..100 {
    ///         putter.put(number).await?;
    ///     }
    ///     Ok::<(), concurrent_futures::multiprocessing::QueueError>(()) // The putter is dropped.
    /// });
    /// let mut sum = 0;
    /// while let Ok(number) = getter.get().await {
    ///     sum += number;
    /// }
    /// assert_eq!(sum, 4950);
    /// producer.await??;
    /// # Ok(()) }
    /// ```
    pub fn split(self) -> (Putter<T>, Getter<T>) {
        let getter = Getter::of(self.shared.of_getter());
        (Putter(self), getter)
    }
}

impl<T: Data> Putter<T> {
    /// Like [`Queue::put`].
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Queue;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (putter, getter) = Queue::unbounded()?.split();
    /// putter.put(1).await?;
    /// assert_eq!(getter.get().await?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Like [`Queue::put`].
    ///
    /// # Panics
    /// Like [`Queue::put`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the item, which is then not in the queue.
    pub async fn put(&self, item: T) -> Result<(), PutError<T>> {
        self.0.put(item).await
    }

    /// Like [`Queue::try_put`].
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Queue;
    /// let (putter, _getter) = Queue::bounded(1)?.split();
    /// putter.try_put(1)?;
    /// assert!(putter.try_put(2).unwrap_err().error().is_full());
    /// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
    /// ```
    ///
    /// # Errors
    /// Like [`Queue::try_put`].
    pub fn try_put(&self, item: T) -> Result<(), PutError<T>> {
        self.0.try_put(item)
    }

    /// Like [`Queue::blocking_put`].
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Queue;
    /// let (putter, getter) = Queue::unbounded()?.split();
    /// putter.blocking_put(1)?;
    /// assert_eq!(getter.blocking_get()?, 1);
    /// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
    /// ```
    ///
    /// # Errors
    /// Like [`Queue::put`].
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_put(&self, item: T) -> Result<(), PutError<T>> {
        self.0.blocking_put(item)
    }

    /// Like [`Queue::blocking_put_timeout`].
    ///
    /// # Errors
    /// Like [`Queue::blocking_put_timeout`].
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.0.blocking_put_timeout(item, timeout)
    }
}

impl<T> Putter<T> {
    /// Closes the queue for all putters. Like [`Queue::close`].
    ///
    /// # Panics
    /// Like [`Queue::close`].
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has closed the queue or not.
    pub async fn close(&self) {
        self.0.close().await;
    }

    /// Closes the queue for all putters. Like [`Queue::blocking_close`].
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Queue;
    /// let (putter, getter) = Queue::<u32>::unbounded()?.split();
    /// putter.blocking_close();
    /// assert!(getter.is_closed());
    /// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_close(&self) {
        self.0.blocking_close();
    }

    /// Whether the queue is closed. Items may still be in it.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// The number of items in the queue at this moment.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the queue has no item at this moment.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The capacity, or `None` for an unbounded queue.
    pub fn capacity(&self) -> Option<usize> {
        self.0.capacity()
    }
}

shared_handle! {
    Putter<T: Data> as putter;
    sends putter.0;
    receives deserializer => Queue::deserialize(deserializer).map(Self);
    clones { 0 }
    shows { len: putter.len(), capacity: putter.capacity() }
}
