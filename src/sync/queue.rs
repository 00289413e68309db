//! A queue with many producers and many consumers: a deque, one semaphore that counts its items, and one that
//! counts its free places.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, TryAcquireError};

use super::block::block_on;

/// A first-in, first-out queue that any number of tasks put items into and get items from.
///
/// Share it in an [`Arc`](std::sync::Arc). On a bounded queue, [`put`](Self::put) waits while it is full.
/// [`join`](Self::join) waits until every item is marked done.
///
/// ```
/// use std::sync::Arc;
/// use concurrent_futures::sync::Queue;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let queue = Arc::new(Queue::bounded(2));
/// let workers = [1, 2].map(|_| {
///     let queue = queue.clone();
///     tokio::spawn(async move {
///         let mut sum = 0;
///         while let Some(number) = queue.get().await {
///             sum += number;
///             queue.task_done();
///         }
///         sum
///     })
/// });
/// for number in 0..10 {
///     queue.put(number).await?;
/// }
/// queue.join().await;
/// queue.close();
/// let sums = futures::future::try_join_all(workers).await?;
/// assert_eq!(sums.iter().sum::<i32>(), 45);
/// # Ok(()) }
/// ```
pub struct Queue<T> {
    state: Mutex<QueueState<T>>,
    /// One permit for each item. A task that acquires one finds an item, unless the queue is closed.
    filled: Semaphore,
    /// One permit for each free place.
    room: Semaphore,
    all_done: Notify,
}

struct QueueState<T> {
    items: VecDeque<T>,
    /// Items that were put and not yet marked done.
    unfinished: usize,
    is_closed: bool,
}

/// An item was not put. Holds the item.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PutError<T> {
    item: T,
    is_closed: bool,
}

/// There was no item to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetError {
    is_closed: bool,
}

impl<T> Queue<T> {
    /// Creates an unbounded queue: putting never waits.
    ///
    /// ```
    /// use concurrent_futures::sync::Queue;
    ///
    /// static JOBS: Queue<String> = Queue::new();
    /// assert!(JOBS.is_empty());
    /// ```
    pub const fn new() -> Self {
        Self::with_room(Semaphore::MAX_PERMITS)
    }

    /// Creates a queue that holds at most `capacity` items.
    ///
    /// ```
    /// use concurrent_futures::sync::Queue;
    ///
    /// let queue = Queue::bounded(1);
    /// queue.try_put("an item").unwrap();
    /// assert!(queue.try_put("another").is_err());
    /// ```
    ///
    /// # Panics
    /// If `capacity` is 0.
    #[track_caller]
    pub const fn bounded(capacity: usize) -> Self {
        assert!(
            capacity > 0,
            "the capacity of a queue is 0; it must be at least 1"
        );
        let most = Semaphore::MAX_PERMITS;
        Self::with_room(if capacity < most { capacity } else { most })
    }

    const fn with_room(room: usize) -> Self {
        Self {
            state: Mutex::new(QueueState {
                items: VecDeque::new(),
                unfinished: 0,
                is_closed: false,
            }),
            filled: Semaphore::const_new(0),
            room: Semaphore::const_new(room),
            all_done: Notify::const_new(),
        }
    }

    /// Puts an item. Waits until there is room and all earlier callers have put theirs.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let queue = concurrent_futures::sync::Queue::bounded(1);
    /// queue.put("an item").await?;
    /// assert_eq!(queue.get().await, Some("an item"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `is_closed()` if the queue is closed. The error holds the item.
    ///
    /// # Cancel safety
    /// Dropping the future drops the item, which is then not in the queue.
    pub async fn put(&self, item: T) -> Result<(), PutError<T>> {
        if let Ok(room) = self.room.acquire().await {
            room.forget();
        }
        self.push(item)
    }

    /// Puts an item if there is room.
    ///
    /// ```
    /// let queue = concurrent_futures::sync::Queue::bounded(1);
    /// queue.try_put("an item").unwrap();
    /// let error = queue.try_put("another").unwrap_err();
    /// assert!(error.is_full());
    /// assert_eq!(error.into_inner(), "another");
    /// ```
    ///
    /// # Errors
    /// `is_full()` if there is no room, `is_closed()` if the queue is closed. The error holds the item.
    pub fn try_put(&self, item: T) -> Result<(), PutError<T>> {
        match self.room.try_acquire() {
            Ok(room) => room.forget(),
            Err(TryAcquireError::Closed) => {}
            Err(TryAcquireError::NoPermits) => {
                let is_closed = false;
                return Err(PutError { item, is_closed });
            }
        }
        self.push(item)
    }

    /// Like [`put`](Self::put), for threads that may block.
    ///
    /// ```
    /// let queue = concurrent_futures::sync::Queue::bounded(1);
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| (0..3).try_for_each(|number| queue.blocking_put(number)));
    ///     assert_eq!([(); 3].map(|()| queue.blocking_get()), [Some(0), Some(1), Some(2)]);
    /// });
    /// ```
    ///
    /// # Errors
    /// Like [`put`](Self::put).
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_put(&self, item: T) -> Result<(), PutError<T>> {
        block_on(self.put(item))
    }

    /// Gets the first item. Waits until there is one and all earlier callers have got theirs. Returns `None`
    /// once the queue is closed and empty.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let queue = concurrent_futures::sync::Queue::new();
    /// queue.put("an item").await?;
    /// queue.close();
    /// assert_eq!(queue.get().await, Some("an item"));
    /// assert_eq!(queue.get().await, None);
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancel safety
    /// Dropping the future takes no item.
    pub async fn get(&self) -> Option<T> {
        if let Ok(filled) = self.filled.acquire().await {
            filled.forget();
        }
        self.pop()
    }

    /// Gets the first item, if there is one.
    ///
    /// ```
    /// let queue = concurrent_futures::sync::Queue::<u8>::new();
    /// assert!(queue.try_get().unwrap_err().is_empty());
    /// ```
    ///
    /// # Errors
    /// `is_empty()` if there is no item yet, `is_closed()` if the queue is closed and empty.
    pub fn try_get(&self) -> Result<T, GetError> {
        match self.filled.try_acquire() {
            Ok(filled) => filled.forget(),
            Err(TryAcquireError::Closed) => {}
            Err(TryAcquireError::NoPermits) => return Err(GetError { is_closed: false }),
        }
        self.pop().ok_or(GetError { is_closed: true })
    }

    /// Like [`get`](Self::get), for threads that may block.
    ///
    /// ```
    /// let queue = concurrent_futures::sync::Queue::new();
    /// queue.try_put(1).unwrap();
    /// assert_eq!(queue.blocking_get(), Some(1));
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_get(&self) -> Option<T> {
        block_on(self.get())
    }

    /// Marks one item that was taken from the queue as done.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let queue = concurrent_futures::sync::Queue::new();
    /// queue.put(1).await?;
    /// queue.get().await;
    /// queue.task_done();
    /// queue.join().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// If it is called more often than items were put.
    #[track_caller]
    pub fn task_done(&self) {
        let mut state = self.state();
        let Some(unfinished) = state.unfinished.checked_sub(1) else {
            drop(state);
            panic!(
                "`task_done` was called more often than items were put; call it once for each item taken"
            );
        };
        state.unfinished = unfinished;
        drop(state);
        if unfinished == 0 {
            self.all_done.notify_waiters();
        }
    }

    /// Waits until [`task_done`](Self::task_done) was called once for each item that was put.
    ///
    /// ```
    /// # #[tokio::main] async fn main() {
    /// let queue = concurrent_futures::sync::Queue::<u8>::new();
    /// queue.join().await; // Every item is done: there is none.
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Dropping the future has no effect on the queue; call it again to wait on.
    pub async fn join(&self) {
        // From here on, it receives each notification that all is done.
        let all_done = self.all_done.notified();
        if self.state().unfinished > 0 {
            all_done.await;
        }
    }

    /// Closes the queue. Nothing more can be put, and waiting producers get an error. Items that are in the
    /// queue can still be taken; then consumers get `None`.
    ///
    /// ```
    /// let queue = concurrent_futures::sync::Queue::new();
    /// queue.try_put(1).unwrap();
    /// queue.close();
    /// assert!(queue.try_put(2).unwrap_err().is_closed());
    /// assert_eq!(queue.try_get(), Ok(1));
    /// ```
    pub fn close(&self) {
        self.state().is_closed = true; // First: those that wake read it.
        self.room.close();
        self.filled.close();
    }

    /// Whether the queue is closed.
    ///
    /// ```
    /// let queue = concurrent_futures::sync::Queue::<u8>::new();
    /// queue.close();
    /// assert!(queue.is_closed());
    /// ```
    pub fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    /// The number of items in the queue. Other tasks may change it before the caller uses it.
    ///
    /// ```
    /// let queue = concurrent_futures::sync::Queue::new();
    /// queue.try_put(1).unwrap();
    /// assert_eq!(queue.len(), 1);
    /// ```
    pub fn len(&self) -> usize {
        self.state().items.len()
    }

    /// Whether the queue has no items.
    ///
    /// ```
    /// assert!(concurrent_futures::sync::Queue::<u8>::new().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The caller has taken a permit of `room`, or has seen that the queue is closed.
    fn push(&self, item: T) -> Result<(), PutError<T>> {
        let mut state = self.state();
        if state.is_closed {
            let is_closed = true;
            return Err(PutError { item, is_closed });
        }
        state.items.push_back(item);
        state.unfinished += 1;
        drop(state);
        self.filled.add_permits(1);
        Ok(())
    }

    /// The caller has taken a permit of `filled`, or has seen that the queue is closed. A closed queue receives
    /// nothing more, so consumers may take what is left without a permit.
    fn pop(&self) -> Option<T> {
        let item = self.state().items.pop_front()?;
        self.room.add_permits(1);
        Some(item)
    }

    fn state(&self) -> MutexGuard<'_, QueueState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Queue")
            .field("len", &state.items.len())
            .field("unfinished", &state.unfinished)
            .field("is_closed", &state.is_closed)
            .finish_non_exhaustive()
    }
}

impl<T> PutError<T> {
    /// Returns the item that was not put.
    ///
    /// ```
    /// let queue = concurrent_futures::sync::Queue::new();
    /// queue.close();
    /// assert_eq!(queue.try_put(1).unwrap_err().into_inner(), 1);
    /// ```
    pub fn into_inner(self) -> T {
        self.item
    }

    /// Whether the queue was full.
    pub fn is_full(&self) -> bool {
        !self.is_closed
    }

    /// Whether the queue is closed.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }
}

impl GetError {
    /// Whether the queue was empty, but not closed.
    pub fn is_empty(&self) -> bool {
        !self.is_closed
    }

    /// Whether the queue is closed and empty, so that no item can follow.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }
}

impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutError")
            .field("is_closed", &self.is_closed)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.is_closed {
            true => "the queue is closed",
            false => "the queue is full; use `put` to wait for room",
        })
    }
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.is_closed {
            true => "the queue is closed and empty",
            false => "the queue is empty; use `get` to wait for an item",
        })
    }
}

impl<T> Error for PutError<T> {}

impl Error for GetError {}
