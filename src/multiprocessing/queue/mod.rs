//! [`Queue`]: any process puts items in, and any process takes them out. Reading order:
//!
//! - [`state`]: the numbers that describe a queue and change as one; [`store`]: each step of a change;
//! - [`ring`]: the bytes of the items;
//! - [`holders`]: which process has taken how many items; [`joinable`]: the queue that tasks can join;
//! - [`shared`]: the queue as one process sees it; [`error`]: its errors.

mod error;
mod holders;
mod joinable;
mod ring;
mod shared;
mod state;
mod store;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::error::{PutError, QueueError};
pub use self::joinable::JoinableQueue;
use self::shared::SharedQueue;
use crate::executor::data::Data;
use crate::multiprocessing::item::{IncomingItem, OutgoingItem};
use crate::multiprocessing::waiting::driver::{InTask, InThread, forever};

/// An item of this size or more travels in a file of its own, which is written and read outside of the lock. A
/// new file gets fresh memory from the system, which takes several times as long as a copy to and from an
/// existing ring. The largest ring that is kept holds two items that are a little smaller than this.
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
/// belongs to no single process: its producer may exit or be killed. If the producer is killed earlier, the
/// item is in the queue completely or not at all.
///
/// An item is taken when the method that gets it returns it, and not before: a `get` that is dropped or times
/// out takes none. The items that a process has taken are lost with that process; all others remain for the
/// other processes. A process that is killed at any point, also in a `put` or a `get`, does not block the
/// others.
///
/// # Items
///
/// An item can be anything that an argument of a task can be (see [`Data`]), including shared objects such as
/// another queue. It encodes to at most 1 GiB. A queue holds some hundreds of shared objects at a time. Then [`put`](Self::put) waits and
/// [`try_put`](Self::try_put) returns `is_full()`, until some are taken. One item holds at most about 80
/// queues, which have four descriptors each. For a user without privileges, the descriptors in transit in all
/// queues are limited to the number that one process may have open: a `put` beyond that is an error.
///
/// A process that misuses the memory can lose, invent and reorder items, or damage the queue, which is then
/// `is_damaged()`. It can do no more: see [hostile processes](super#hostile-processes).
///
/// # Cost
///
/// While no one waits, a small item costs no system call, and no memory but its own. Large items (2 MiB or
/// more) are written and read while others use the queue. The queue allocates the memory for its items before
/// it writes to it, and frees it, except for at most 4 MiB, when it is empty. When its memory is full, the
/// queue doubles it and copies the items.
///
/// The calling task or thread encodes, decodes and copies the items: some milliseconds for 10 MiB. For larger
/// data use [`SharedMemory`](super::SharedMemory), which can be an item itself.
///
/// # Platform
/// Linux.
pub struct Queue<T> {
    shared: Arc<SharedQueue>,
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
        let new = SharedQueue::create(capacity, counts_done)?;
        Ok(Self::of(new.recognised()))
    }

    fn of(shared: Arc<SharedQueue>) -> Self {
        Self {
            shared,
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
    /// `is_codec()` if the item cannot be encoded; `is_too_large()`; `is_no_space()` if no memory is left for
    /// it, or too many descriptors are in transit. The error holds the item, unless encoding consumed it.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Dropping the future drops the item, which is then not in the queue.
    pub async fn put(&self, item: T) -> Result<(), PutError<T>> {
        let item = packed(item)?;
        let shared = &*self.shared;
        let put = shared.wait_to_put(&InTask, |held| shared.put(held, &item));
        forever(put.await).map_err(|error| not_put(item, error))
    }

    /// Puts an item if there is room.
    ///
    /// # Errors
    /// `is_full()` if there is no room; `is_busy()` if the lock of the queue stays held by another process;
    /// otherwise like [`put`](Self::put).
    pub fn try_put(&self, item: T) -> Result<(), PutError<T>> {
        if self.shared.is_full(&self.shared.glance()) {
            return Err(PutError::new(QueueError::FULL, Some(item)));
        }
        let item = packed(item)?;
        let put = self.shared.at_once(|held| {
            self.shared
                .put(held, &item)
                .unwrap_or(Err(QueueError::FULL))
        });
        put.map_err(|error| not_put(item, error))
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
    /// If it has to wait on a thread that drives async code.
    pub fn blocking_put(&self, item: T) -> Result<(), PutError<T>> {
        self.put_within(item, None)
    }

    /// Like [`blocking_put`](Self::blocking_put), for at most `timeout`.
    ///
    /// # Errors
    /// `is_timed_out()` if there was no room within `timeout`; otherwise like [`put`](Self::put).
    ///
    /// # Panics
    /// If it has to wait on a thread that drives async code.
    pub fn blocking_put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.put_within(item, Some(timeout))
    }

    fn put_within(&self, item: T, timeout: Option<Duration>) -> Result<(), PutError<T>> {
        let item = packed(item)?;
        let shared = &*self.shared;
        let driver = InThread::within(timeout);
        let put = shared.wait_to_put(&driver, |held| shared.put(held, &item));
        let put = InThread::run(put).unwrap_or(Err(QueueError::TIMED_OUT));
        put.map_err(|error| not_put(item, error))
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
    /// `is_codec()` if the item cannot be decoded: the item is lost. `is_no_space()` if no memory or no
    /// descriptor is left for it: the item stays in the queue. `is_damaged()`.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has taken no item.
    pub async fn get(&self) -> Result<T, QueueError> {
        let mut item = IncomingItem::for_type::<T>();
        let shared = &*self.shared;
        let taken = shared.wait_to_get(&InTask, |held| shared.take(held, &mut item));
        forever(taken.await)?;
        Ok(item.into_item()?)
    }

    /// Takes the first item, if there is one.
    ///
    /// # Errors
    /// `is_empty()` if there is no item; `is_busy()` if the lock of the queue stays held by another process;
    /// otherwise like [`get`](Self::get).
    pub fn try_get(&self) -> Result<T, QueueError> {
        let mut item = IncomingItem::for_type::<T>();
        self.shared.at_once(|held| {
            let taken = self.shared.take(held, &mut item);
            taken.unwrap_or(Err(QueueError::EMPTY))
        })?;
        Ok(item.into_item()?)
    }

    /// Like [`get`](Self::get), for a thread that may block.
    ///
    /// # Errors
    /// Like [`get`](Self::get).
    ///
    /// # Panics
    /// If it has to wait on a thread that drives async code.
    pub fn blocking_get(&self) -> Result<T, QueueError> {
        self.get_within(None)
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
    /// If it has to wait on a thread that drives async code.
    pub fn blocking_get_timeout(&self, timeout: Duration) -> Result<T, QueueError> {
        self.get_within(Some(timeout))
    }

    fn get_within(&self, timeout: Option<Duration>) -> Result<T, QueueError> {
        let mut item = IncomingItem::for_type::<T>();
        let shared = &*self.shared;
        let driver = InThread::within(timeout);
        let taken = shared.wait_to_get(&driver, |held| shared.take(held, &mut item));
        InThread::run(taken).unwrap_or(Err(QueueError::TIMED_OUT))?;
        Ok(item.into_item()?)
    }
}

impl<T> Queue<T> {
    /// The number of items at this moment.
    pub fn len(&self) -> usize {
        self.shared.glance().len() as usize
    }

    /// Whether there is no item at this moment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The capacity, or `None` for an unbounded queue.
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

/// Encodes an item for the queue.
fn packed<T: Data>(item: T) -> Result<OutgoingItem, PutError<T>> {
    let mut item = OutgoingItem::of(item).map_err(|error| PutError::new(error.into(), None))?;
    match item.pack(LARGE) {
        Ok(()) => Ok(item),
        Err(error) => Err(not_put(item, error.into())),
    }
}

fn not_put<T: Data>(item: OutgoingItem, error: QueueError) -> PutError<T> {
    PutError::new(error, item.into_item())
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            items: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

impl<T> Serialize for Queue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shared.serialize(serializer)
    }
}

impl<'de, T: Data> Deserialize<'de> for Queue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SharedQueue::receive(deserializer).map(Self::of)
    }
}
