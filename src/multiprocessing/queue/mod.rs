//! [`Queue`]: any process puts items in, and any process takes them out. Reading order:
//!
//! - [`state`]: the numbers that describe a queue and change as one; [`store`]: each step of a change;
//! - [`ring`]: the bytes of the items; [`holders`]: which process has which unfinished items;
//! - [`shared`]: the queue as one process sees it; under its lock, [`putting`] and [`taking`] move one item, and
//!   [`done`] counts what is done and what is lost;
//! - [`transfer`]: items in and out of it, in tasks and in threads; [`unreadable`]: one that cannot be decoded;
//! - this file: the queue; [`joinable`] and [`receipt`]: the queue that tasks can join; [`putter`] and [`getter`]: a
//!   queue whose end the getters see; [`error`]: the errors of a queue.
//!
//! Three rules hold. Each change is made under the queue's lock and committed by one store of the state. The
//! descriptors of an item are sent before the item, and dropped after it is taken. And a process enters an item among
//! the holders before it takes it. So a process that is killed at any step leaves whole items, each counted once. The
//! tests in [`cut_off`] cut each step off.

mod cut_off;
mod done;
mod error;
mod getter;
mod holders;
mod joinable;
mod putter;
mod putting;
mod receipt;
mod ring;
mod shared;
mod state;
mod store;
mod taking;
mod transfer;
mod unreadable;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

pub use self::error::{PutError, QueueError};
pub use self::getter::Getter;
pub use self::joinable::JoinableQueue;
pub use self::putter::Putter;
use self::putting::SendingEnd;
pub use self::receipt::Receipt;
use self::shared::SharedQueue;
use crate::executor::data::Data;
use crate::multiprocessing::handle::shared_handle;
use crate::multiprocessing::waiting::driver::InTask;
use crate::sys;
use crate::wire::descriptors::Descriptor;

/// An item of this size or more travels in a file of its own, which is written and read outside the lock. The system
/// gives a new file fresh memory, which takes several times as long as a copy to and from an existing ring. The largest
/// ring that is kept holds two items that are a little smaller than this.
const LARGE: usize = ring::KEPT as usize / 2;

/// A queue between processes. Any number of processes, and of tasks and threads in each, put items in and take
/// them out. Items leave in the order in which they entered, each once.
///
/// A clone is the same queue. So is the queue that another process receives, as an argument of a task or in an
/// item. The queue, with all items in it, is freed with the last of them.
///
/// ```
/// use concurrent_futures::multiprocessing::Queue;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let queue = Queue::unbounded()?;
/// queue.put((1, "one".to_owned())).await?;
/// queue.put((2, "two".to_owned())).await?;
/// assert_eq!(queue.len(), 2);
/// assert_eq!(queue.get().await?, (1, "one".to_owned()));
/// # Ok(()) }
/// ```
///
/// # Guarantees
///
/// An item is in the queue once the method that puts it has returned `Ok`. From then on it lies in memory that
/// belongs to no single process: its producer may exit or be killed. If the producer is killed earlier, the whole
/// item is in the queue or none of it.
///
/// An item is taken when the method that gets it returns it. A `get` that is dropped or times out takes none. The items
/// that a process has taken are lost with that process. All others remain for the other processes. A process that is
/// killed at any point, even in a `put` or a `get`, does not block the others.
///
/// Tasks of one runtime that wait for an item, or for room, take turns, and so do the threads of one process. Runtimes
/// and processes compete, and none is preferred.
///
/// # The end
///
/// [`close`](Self::close) ends the queue: puts fail, and gets fail once the queue is empty.
/// [`close_now`](Self::close_now) also drops the items. [`split`](Self::split) returns two halves: the queue ends when
/// the last [`Putter`] is dropped, or its process is killed.
///
/// # Items
///
/// An item can be anything that an argument of a task can be (see [`Data`]), including shared objects, for example
/// another queue. It encodes to at most 1 GiB. A queue holds some hundreds of shared objects at a time. Then
/// [`put`](Self::put) waits and [`try_put`](Self::try_put) returns `is_full()`, until some are taken. One item holds
/// at most about 80 queues, which have four descriptors each. For a user without privileges, the descriptors in
/// transit in all queues are limited to the number that one process may have open: a `put` beyond that is an error.
///
/// A `put` borrows the item until it is in the queue. If it fails, the error holds the item as it was.
///
/// A process that misuses the memory can lose, invent and reorder items, or damage the queue: then its methods return
/// `is_damaged()`. It can do no more: see [hostile processes](super#hostile-processes).
///
/// # Cost
///
/// While no task waits, a small item costs no system call, and no memory but its own. Large items (2 MiB or more) are
/// written and read while others use the queue. The queue allocates the memory for its items before it writes to it. It
/// frees all but 4 MiB of it when it is empty. When its memory is full, the queue doubles it and copies the items.
///
/// The calling task or thread encodes, decodes and copies the items: some milliseconds for 10 MiB. For larger data use
/// [`SharedMemory`](super::SharedMemory), which can be an item itself.
///
/// # Platform
/// Linux.
pub struct Queue<T> {
    shared: Arc<SharedQueue>,
    to: Arc<SendingEnd>,
    items: PhantomData<fn(T) -> T>,
}

impl<T: Data> Queue<T> {
    /// Creates an unbounded queue.
    ///
    /// # Errors
    /// `is_no_space()` if no memory or no descriptor is left; a queue takes four descriptors.
    pub fn unbounded() -> Result<Self, QueueError> {
        Self::create(0, false)
    }

    /// Creates a queue that holds at most `capacity` items.
    ///
    /// ```
    /// use concurrent_futures::multiprocessing::Queue;
    ///
    /// let queue = Queue::bounded(2)?;
    /// queue.try_put(1)?;
    /// queue.try_put(2)?;
    /// assert!(queue.try_put(3).unwrap_err().error().is_full());
    /// assert!(Queue::<u8>::bounded(0).unwrap_err().is_invalid_setting());
    /// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
    /// ```
    ///
    /// # Errors
    /// `is_invalid_setting()` if `capacity` is 0; `is_no_space()` like [`unbounded`](Self::unbounded).
    pub fn bounded(capacity: usize) -> Result<Self, QueueError> {
        Self::create(checked(capacity)?, false)
    }

    fn create(capacity: u64, counts_done: bool) -> Result<Self, QueueError> {
        let (shared, to) = SharedQueue::create(capacity, counts_done)?;
        Ok(Self::of(shared, to))
    }

    fn of(shared: SharedQueue, to: Descriptor) -> Self {
        Self {
            shared: shared.recognised(),
            to: SendingEnd::recognised(to),
            items: PhantomData,
        }
    }

    /// Puts an item. Waits until there is room.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Queue;
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let queue = Queue::bounded(1)?;
    /// queue.put("text".to_owned()).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `is_closed()` if the queue is closed; `is_codec()` if the item cannot be encoded; `is_too_large()`;
    /// `is_no_space()` if no memory is left for it, or too many descriptors are in transit. The error holds the item.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Dropping the future drops the item, which is then not in the queue.
    pub async fn put(&self, item: T) -> Result<(), PutError<T>> {
        self.shared.put_item(&self.to.0, item).await
    }

    /// Puts an item if there is room.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Queue;
    /// let queue = Queue::bounded(1)?;
    /// queue.try_put("one".to_owned())?;
    /// let error = queue.try_put("two".to_owned()).unwrap_err();
    /// assert!(error.error().is_full());
    /// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
    /// ```
    ///
    /// # Errors
    /// `is_full()` if there is no room; `is_busy()` if the lock of the queue stays held by another process;
    /// otherwise like [`put`](Self::put).
    pub fn try_put(&self, item: T) -> Result<(), PutError<T>> {
        self.shared.try_put_item(&self.to.0, item)
    }

    /// Like [`put`](Self::put), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Queue;
    /// let queue = Queue::unbounded()?;
    /// let putter = queue.clone();
    /// std::thread::spawn(move || putter.blocking_put(5));
    /// assert_eq!(queue.blocking_get()?, 5);
    /// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
    /// ```
    ///
    /// # Errors
    /// Like [`put`](Self::put).
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_put(&self, item: T) -> Result<(), PutError<T>> {
        self.shared.blocking_put_item(&self.to.0, item, None)
    }

    /// Like [`blocking_put`](Self::blocking_put), for at most `timeout`.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Queue;
    /// # use std::time::Duration;
    /// let queue = Queue::bounded(1)?;
    /// queue.blocking_put(1)?;
    /// let error = queue.blocking_put_timeout(2, Duration::from_millis(1)).unwrap_err();
    /// assert!(error.error().is_timed_out());
    /// assert_eq!(error.into_inner(), 2);
    /// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
    /// ```
    ///
    /// # Errors
    /// `is_timed_out()` if there was no room within `timeout`; otherwise like [`put`](Self::put).
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutError<T>> {
        let timeout = Some(timeout);
        self.shared.blocking_put_item(&self.to.0, item, timeout)
    }

    /// Takes the first item. Waits until there is one.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Queue;
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let queue = Queue::unbounded()?;
    /// let getter = queue.clone();
    /// let item = tokio::spawn(async move { getter.get().await });
    /// queue.put(7).await?;
    /// assert_eq!(item.await??, 7);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `is_closed()` if the queue is closed and empty. `is_codec()` if the item cannot be decoded: the item is lost.
    /// `is_no_space()` if no memory or no descriptor is left for it: the item stays in the queue. `is_damaged()`.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
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
    /// let queue = Queue::unbounded()?;
    /// assert!(queue.try_get().unwrap_err().is_empty());
    /// queue.try_put(1)?;
    /// assert_eq!(queue.try_get()?, 1);
    /// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
    /// ```
    ///
    /// # Errors
    /// `is_empty()` if there is no item; `is_busy()` if the lock of the queue stays held by another process;
    /// otherwise like [`get`](Self::get).
    pub fn try_get(&self) -> Result<T, QueueError> {
        self.shared.try_get_item()
    }

    /// Like [`get`](Self::get), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Queue;
    /// let queue = Queue::unbounded()?;
    /// queue.blocking_put(1)?;
    /// assert_eq!(queue.blocking_get()?, 1);
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
    /// ```
    /// # use concurrent_futures::multiprocessing::Queue;
    /// # use std::time::Duration;
    /// let queue = Queue::<String>::unbounded()?;
    /// let error = queue.blocking_get_timeout(Duration::from_millis(1)).unwrap_err();
    /// assert!(error.is_timed_out());
    /// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
    /// ```
    ///
    /// # Errors
    /// `is_timed_out()` if there was no item within `timeout`; otherwise like [`get`](Self::get).
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_get_timeout(&self, timeout: Duration) -> Result<T, QueueError> {
        self.shared.blocking_get_item(Some(timeout))
    }
}

impl<T> Queue<T> {
    /// Closes the queue: no process puts another item into it. The getters take the rest, and then get an error with
    /// `is_closed()`. Closing a closed queue does nothing.
    ///
    /// ```
    /// use concurrent_futures::multiprocessing::Queue;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let queue = Queue::unbounded()?;
    /// queue.put(1).await?;
    /// queue.close().await;
    /// let error = queue.put(2).await.unwrap_err();
    /// assert!(error.error().is_closed());
    /// assert_eq!(queue.get().await?, 1);
    /// assert!(queue.get().await.unwrap_err().is_closed());
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without an I/O driver (`enable_io`), if it has to wait for the lock of the
    /// queue.
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has closed the queue or not.
    pub async fn close(&self) {
        self.shared
            .locked(&InTask, |held| self.shared.close(held, false))
            .await;
    }

    /// Like [`close`](Self::close), and drops the items that are in the queue. Returns their number. In a
    /// [`JoinableQueue`], each counts as done.
    ///
    /// ```
    /// use concurrent_futures::multiprocessing::Queue;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let queue = Queue::unbounded()?;
    /// queue.put(1).await?;
    /// assert_eq!(queue.close_now().await, 1);
    /// assert!(queue.get().await.unwrap_err().is_closed());
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// Like [`close`](Self::close).
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has closed the queue or not.
    pub async fn close_now(&self) -> usize {
        let closed = self
            .shared
            .locked(&InTask, |held| self.shared.close(held, true));
        closed.await
    }

    /// Like [`close`](Self::close), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Queue;
    /// let queue = Queue::unbounded()?;
    /// queue.blocking_put(1)?;
    /// queue.blocking_close();
    /// assert_eq!(queue.blocking_get()?, 1);
    /// assert!(queue.blocking_get().unwrap_err().is_closed());
    /// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_close(&self) {
        self.shared
            .blocking_locked(|held| self.shared.close(held, false));
    }

    /// Like [`close_now`](Self::close_now), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Queue;
    /// let queue = Queue::unbounded()?;
    /// queue.blocking_put(1)?;
    /// assert_eq!(queue.blocking_close_now(), 1);
    /// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_close_now(&self) -> usize {
        self.shared
            .blocking_locked(|held| self.shared.close(held, true))
    }

    /// Whether the queue is closed. Items may still be in it.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Queue;
    /// let queue = Queue::<u32>::unbounded()?;
    /// queue.blocking_close();
    /// assert!(queue.is_closed());
    /// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
    /// ```
    pub fn is_closed(&self) -> bool {
        self.shared.glance().is_closed()
    }

    /// The number of items at this moment.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Queue;
    /// let queue = Queue::unbounded()?;
    /// queue.blocking_put(1)?;
    /// assert_eq!(queue.len(), 1);
    /// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
    /// ```
    pub fn len(&self) -> usize {
        self.shared.glance().len() as usize
    }

    /// Whether there is no item at this moment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The capacity, or `None` for an unbounded queue.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Queue;
    /// assert_eq!(Queue::<u32>::bounded(2)?.capacity(), Some(2));
    /// assert_eq!(Queue::<u32>::unbounded()?.capacity(), None);
    /// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
    /// ```
    pub fn capacity(&self) -> Option<usize> {
        self.shared.capacity().map(|capacity| capacity as usize)
    }
}

fn checked(capacity: usize) -> Result<u64, QueueError> {
    match capacity {
        0 => Err(QueueError::NO_CAPACITY),
        capacity => Ok(capacity as u64),
    }
}

shared_handle! {
    Queue<T: Data> as queue;
    sends (&*queue.shared, &queue.to.0);
    receives deserializer => {
        let (shared, to) = <(SharedQueue, Descriptor)>::deserialize(deserializer)?;
        sys::check_packets(&to).map_err(serde::de::Error::custom)?;
        Ok(Self::of(shared, to))
    };
    clones { shared, to, items }
    shows { len: queue.len(), capacity: queue.capacity() }
}
