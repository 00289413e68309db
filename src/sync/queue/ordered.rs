//! The queue: a store of items, one semaphore that counts the items, and one that counts the free places. Tasks wait
//! at the semaphores, which serve them in the order of arrival.

use std::fmt;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, SemaphorePermit, TryAcquireError};
use tokio::task::coop::{consume_budget, cooperative};

use super::error::{GetError, PutError};
use super::order::Order;
use super::store::ItemStore;

/// A queue that any number of tasks put items into and get items from: a [`Queue`](super::Queue), a
/// [`LifoQueue`](super::LifoQueue) or a [`PriorityQueue`](super::PriorityQueue).
///
/// `O` says which item is next. The methods are the same for each order. For examples see those types.
pub struct OrderedQueue<T, O: Order<T>> {
    state: Mutex<QueueState<O::Store>>,
    /// One permit for each item. A task that acquires one finds an item, unless the queue is closed.
    filled: Semaphore,
    /// One permit for each free place.
    room: Semaphore,
    capacity: usize,
    all_done: Notify,
}

struct QueueState<S> {
    items: S,
    /// The number of items that were put and are not done.
    unfinished: usize,
    is_closed: bool,
}

impl<T, O: Order<T>> OrderedQueue<T, O> {
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

    const fn with_room(capacity: usize) -> Self {
        Self {
            state: Mutex::new(QueueState {
                items: O::Store::EMPTY,
                unfinished: 0,
                is_closed: false,
            }),
            filled: Semaphore::const_new(0),
            room: Semaphore::const_new(capacity),
            capacity,
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
        let room = self.take_room().await;
        self.push(room, item)
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
        let room = match self.room.try_acquire() {
            Err(TryAcquireError::NoPermits) => return Err(PutError::full(item)),
            room => room.ok(),
        };
        self.push(room, item)
    }

    /// Takes the item that is next. Waits until there is one and all earlier callers have theirs. Returns `None` once
    /// the queue is closed and empty.
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
        let filled = self.filled.acquire().await.ok();
        if filled.is_none() {
            consume_budget().await; // Waiting on a closed semaphore alone would let no other task run.
        }
        self.pop(filled)
    }

    /// Takes the item that is next, if there is one.
    ///
    /// ```
    /// let queue = concurrent_futures::sync::Queue::<u8>::new();
    /// assert!(queue.try_get().unwrap_err().is_empty());
    /// ```
    ///
    /// # Errors
    /// `is_empty()` if there is no item, `is_closed()` if the queue is closed and empty.
    pub fn try_get(&self) -> Result<T, GetError> {
        let filled = match self.filled.try_acquire() {
            Err(TryAcquireError::NoPermits) => return Err(GetError::EMPTY),
            filled => filled.ok(),
        };
        self.pop(filled).ok_or(GetError::CLOSED)
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
    /// Dropping the future has no effect on the queue; call it again to continue the wait.
    pub async fn join(&self) {
        // From here on it receives each notification that all items are done.
        let all_done = self.all_done.notified();
        let wait = async {
            if self.state().unfinished > 0 {
                all_done.await;
            }
        };
        cooperative(wait).await; // Waiting on a `Notify` alone would let no other task run.
    }

    /// Closes the queue. Nothing more can be put, and waiting producers get an error. Items that are in the queue can
    /// still be taken; then consumers get `None`.
    ///
    /// ```
    /// let queue = concurrent_futures::sync::Queue::new();
    /// queue.try_put(1).unwrap();
    /// queue.close();
    /// assert!(queue.try_put(2).unwrap_err().is_closed());
    /// assert_eq!(queue.try_get(), Ok(1));
    /// ```
    pub fn close(&self) {
        self.state().is_closed = true; // First, because the tasks that wake read it.
        self.room.close();
        self.filled.close();
    }

    /// Closes the queue and drops the items in it, each of which counts as done. Consumers get `None` at once.
    /// Returns the number of items that it has dropped.
    ///
    /// ```
    /// # #[tokio::main] async fn main() {
    /// let queue = concurrent_futures::sync::Queue::new();
    /// queue.try_put(1).unwrap();
    /// assert_eq!(queue.close_now(), 1);
    /// assert_eq!(queue.get().await, None);
    /// queue.join().await;
    /// # }
    /// ```
    pub fn close_now(&self) -> usize {
        let mut state = self.state();
        state.is_closed = true;
        let rest = mem::replace(&mut state.items, O::Store::EMPTY);
        state.unfinished = state.unfinished.saturating_sub(rest.len());
        let is_all_done = state.unfinished == 0;
        drop(state); // Before the items, whose destructors are user code.
        self.room.close();
        self.filled.close();
        if is_all_done {
            self.all_done.notify_waiters();
        }
        rest.len()
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

    /// The number of items that the queue holds at most. `None` for an unbounded queue.
    ///
    /// ```
    /// use concurrent_futures::sync::Queue;
    ///
    /// assert_eq!(Queue::<u8>::bounded(2).capacity(), Some(2));
    /// assert_eq!(Queue::<u8>::new().capacity(), None);
    /// ```
    pub fn capacity(&self) -> Option<usize> {
        (self.capacity < Semaphore::MAX_PERMITS).then_some(self.capacity)
    }

    /// Whether the queue has no items.
    ///
    /// ```
    /// assert!(concurrent_futures::sync::Queue::<u8>::new().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for a free place, or for the end of the queue.
    pub(super) async fn take_room(&self) -> Option<SemaphorePermit<'_>> {
        let room = self.room.acquire().await.ok();
        if room.is_none() {
            consume_budget().await;
        }
        room
    }

    /// Puts an item in a free place. `None`: the caller has seen that the queue is closed.
    pub(super) fn push(
        &self,
        room: Option<SemaphorePermit<'_>>,
        item: T,
    ) -> Result<(), PutError<T>> {
        let mut state = self.state();
        if state.is_closed {
            return Err(PutError::closed(item));
        }
        let place = state.items.place(&item); // If this panics, the place is free again, and the item is dropped last.
        state.items.push(item, place);
        state.unfinished += 1;
        drop(state);
        keep(room);
        self.filled.add_permits(1);
        Ok(())
    }

    /// Takes the item that a permit of `filled` stands for. A closed queue receives no more items, so consumers may
    /// take the remaining ones without a permit.
    fn pop(&self, filled: Option<SemaphorePermit<'_>>) -> Option<T> {
        let item = self.state().items.pop()?;
        keep(filled);
        self.room.add_permits(1);
        Some(item)
    }

    fn state(&self) -> MutexGuard<'_, QueueState<O::Store>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Uses up a permit. A permit that is dropped instead, by a panic or because the queue is closed, returns to its
/// semaphore.
fn keep(permit: Option<SemaphorePermit<'_>>) {
    if let Some(permit) = permit {
        permit.forget();
    }
}

impl<T, O: Order<T>> Default for OrderedQueue<T, O> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, O: Order<T>> fmt::Debug for OrderedQueue<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct(O::NAME)
            .field("len", &state.items.len())
            .field("unfinished", &state.unfinished)
            .field("is_closed", &state.is_closed)
            .finish_non_exhaustive()
    }
}
