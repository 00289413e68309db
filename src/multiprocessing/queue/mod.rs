//! [`Queue`]: items that any process puts in and any other takes out. Reading order:
//!
//! - [`state`]: what a queue is, in a few numbers that change as one; [`store`]: each step of a change;
//! - [`ring`]: the bytes of the items;
//! - [`holders`]: who has taken what, for [`joinable`]: the queue that can be waited for;
//! - [`shared`]: a queue as a process has it; [`error`]: why it did not do something.

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
use self::state::RingState;
use crate::executor::data::Data;
use crate::multiprocessing::item::{IncomingItem, OutgoingItem};
use crate::multiprocessing::robust::RobustGuard;

/// From this size on, the bytes of an item travel in a file of their own, which is written and read outside
/// of the lock. A file has all its memory from the system anew, which takes several times as long as the copy
/// to and from a ring that stays: two items a little smaller than this fit into one.
const LARGE: usize = ring::KEPT as usize / 2;

/// A queue between processes: any number of them, and of tasks and threads in each, put items in and take
/// them out. Items come out in the order in which they went in, each once.
///
/// A clone, and a copy that was sent to another process as an argument of a task or in an item, is the same
/// queue. It is gone when the last of them is, with all that is in it.
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
/// # What is promised of an item
///
/// An item is accepted when the method that puts it in has returned `Ok`. From then on it lies in memory
/// that belongs to no process: whoever put it in may end, or be killed. An item whose putter was killed
/// before that has been put in as a whole or not at all.
///
/// An item is taken when the method that gets it returns it, and not before: a `get` that is dropped or
/// times out has taken none. What a process has taken ends with that process; all else is for the others.
/// A process that is killed at any point, also in the middle of a `put` or a `get`, holds up none of them.
///
/// # What an item may be
///
/// What an argument of a task may be (see [`Data`]), also with objects in it that processes share, such as
/// another queue. Some hundreds of these can be under way in one queue: then a `put` of more waits, and a
/// `try_put` says that the queue is full, until some have been taken. One item can have some 80 queues in it,
/// which have four descriptors each. Of a user without privileges the system lets no more descriptors be under
/// way at one time, in all queues, than one process may have open: a `put` of more is an error.
///
/// # Costs
///
/// As long as nobody waits, a small item costs no system call, and takes no memory but its own. Large
/// ones (2 MiB) are written and read while others use the queue. What the items in it take, a queue has from
/// the system before it writes to it, and gives back when it is empty, but for 4 MiB at the most. Its memory is
/// doubled when that is full, and what is in it is copied.
///
/// Items are encoded, decoded and copied by whoever calls the method, also in a task: some milliseconds for
/// 10 MiB. For what is larger there is [`SharedMemory`](super::SharedMemory), which itself can be an item.
pub struct Queue<T> {
    shared: Arc<SharedQueue>,
    items: PhantomData<fn(T) -> T>,
}

impl<T: Data> Queue<T> {
    /// A queue for any number of items.
    ///
    /// # Errors
    /// `is_no_space()` if there is no memory or no descriptor for it: it takes four of these.
    pub fn unbounded() -> Result<Self, QueueError> {
        Self::create(0, false)
    }

    /// A queue for so many items. To put in another, one waits.
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
    /// `is_invalid_setting()` if `capacity` is 0; `is_no_space()` as of [`unbounded`](Self::unbounded).
    pub fn bounded(capacity: usize) -> Result<Self, QueueError> {
        Self::create(checked(capacity)?, false)
    }

    fn create(capacity: u64, counts_done: bool) -> Result<Self, QueueError> {
        SharedQueue::create(capacity, counts_done).map(Self::of)
    }

    fn of(shared: SharedQueue) -> Self {
        Self {
            shared: Arc::new(shared),
            items: PhantomData,
        }
    }

    /// Puts an item in, and waits for room if there is none.
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
    /// `is_codec()` if the item cannot be encoded, `is_too_large()`, or `is_no_space()` if there is no memory
    /// for it, or too many descriptors are under way. The error has the item, if that still exists.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver.
    ///
    /// # Cancel safety
    /// If it is dropped before it has returned, the item was not put in, and is dropped with it.
    pub async fn put(&self, item: T) -> Result<(), PutError<T>> {
        let item = packed(item)?;
        let shared = &*self.shared;
        let has_room = |state: &RingState| !shared.is_full(state);
        let put = shared.wait(has_room, |held| shared.put(held, &item)).await;
        put.map_err(|error| not_put(item, error))
    }

    /// Puts an item in, if there is room for it now.
    ///
    /// # Errors
    /// `is_full()` if there is none; else as [`put`](Self::put). `is_busy()` if it could not be found out
    /// without waiting.
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

    /// As [`put`](Self::put), for code that is not async. It blocks the thread.
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
    /// As [`put`](Self::put).
    ///
    /// # Panics
    /// If it has to wait in an asynchronous task.
    pub fn blocking_put(&self, item: T) -> Result<(), PutError<T>> {
        self.put_within(item, None)
    }

    /// As [`blocking_put`](Self::blocking_put), for so long at the most.
    ///
    /// # Errors
    /// `is_timed_out()` if there was no room for so long; else as [`put`](Self::put).
    ///
    /// # Panics
    /// If it has to wait in an asynchronous task.
    pub fn blocking_put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.put_within(item, Some(timeout))
    }

    fn put_within(&self, item: T, timeout: Option<Duration>) -> Result<(), PutError<T>> {
        let item = packed(item)?;
        let shared = &*self.shared;
        let has_room = |state: &RingState| !shared.is_full(state);
        let put = shared.blocking_wait(timeout, has_room, |held| shared.put(held, &item));
        let put = put.unwrap_or(Err(QueueError::TIMED_OUT));
        put.map_err(|error| not_put(item, error))
    }

    /// Takes the first item out, and waits for one if there is none.
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
    /// `is_codec()` if the item cannot be decoded: it is gone. `is_no_space()` if there is no memory, or no
    /// descriptor, for what is in it: it stays in the queue. `is_damaged()`.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver.
    ///
    /// # Cancel safety
    /// Cancel safe: if it is dropped before it has returned, no item was taken.
    pub async fn get(&self) -> Result<T, QueueError> {
        let mut item = IncomingItem::for_type::<T>();
        let shared = &*self.shared;
        let has_some = |state: &RingState| state.len() > 0;
        let taken = shared.wait(has_some, |held| shared.take(held, &mut item));
        taken.await?;
        Ok(item.into_item()?)
    }

    /// Takes the first item out, if there is one now.
    ///
    /// # Errors
    /// `is_empty()` if there is none; else as [`get`](Self::get). `is_busy()` if it could not be found out
    /// without waiting.
    pub fn try_get(&self) -> Result<T, QueueError> {
        let mut item = IncomingItem::for_type::<T>();
        self.shared.at_once(|held| {
            let taken = self.shared.take(held, &mut item);
            taken.unwrap_or(Err(QueueError::EMPTY))
        })?;
        Ok(item.into_item()?)
    }

    /// As [`get`](Self::get), for code that is not async. It blocks the thread.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Panics
    /// If it has to wait in an asynchronous task.
    pub fn blocking_get(&self) -> Result<T, QueueError> {
        self.get_within(None)
    }

    /// As [`blocking_get`](Self::blocking_get), for so long at the most.
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
    /// `is_timed_out()` if there was no item for so long; else as [`get`](Self::get).
    ///
    /// # Panics
    /// If it has to wait in an asynchronous task.
    pub fn blocking_get_timeout(&self, timeout: Duration) -> Result<T, QueueError> {
        self.get_within(Some(timeout))
    }

    fn get_within(&self, timeout: Option<Duration>) -> Result<T, QueueError> {
        let mut item = IncomingItem::for_type::<T>();
        let shared = &*self.shared;
        let has_some = |state: &RingState| state.len() > 0;
        let look = |held: &mut RobustGuard<'_>| shared.take(held, &mut item);
        let taken = shared.blocking_wait(timeout, has_some, look);
        taken.unwrap_or(Err(QueueError::TIMED_OUT))?;
        Ok(item.into_item()?)
    }
}

impl<T> Queue<T> {
    /// How many items were in it a moment ago.
    pub fn len(&self) -> usize {
        self.shared.glance().len() as usize
    }

    /// Whether there was no item in it a moment ago.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// For how many items it has room, if there is a bound.
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

/// An item, ready to be put in.
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
        SharedQueue::deserialize(deserializer).map(Self::of)
    }
}
