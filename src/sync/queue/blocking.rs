//! The methods of a queue for threads that may block.

use std::time::Duration;

use super::error::{GetError, PutError};
use super::order::Order;
use super::ordered::OrderedQueue;
use crate::sync::block::{block_on, block_on_timeout};

impl<T, O: Order<T>> OrderedQueue<T, O> {
    /// Like [`put`](Self::put), for a thread that may block.
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
    #[track_caller]
    pub fn blocking_put(&self, item: T) -> Result<(), PutError<T>> {
        block_on(self.put(item))
    }

    /// Like [`blocking_put`](Self::blocking_put), for at most `timeout`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let queue = concurrent_futures::sync::Queue::bounded(1);
    /// queue.blocking_put("an item").unwrap();
    /// let error = queue.blocking_put_timeout("another", Duration::from_millis(1)).unwrap_err();
    /// assert!(error.is_timed_out());
    /// assert_eq!(error.into_inner(), "another");
    /// ```
    ///
    /// # Errors
    /// `is_timed_out()` if there was no room within `timeout`, `is_closed()` if the queue is closed. The error holds
    /// the item.
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[track_caller]
    pub fn blocking_put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutError<T>> {
        match block_on_timeout(self.take_room(), timeout) {
            Some(room) => self.push(room, item),
            None => Err(PutError::timed_out(item)),
        }
    }

    /// Like [`get`](Self::get), for a thread that may block.
    ///
    /// ```
    /// let queue = concurrent_futures::sync::Queue::new();
    /// queue.try_put(1).unwrap();
    /// assert_eq!(queue.blocking_get(), Some(1));
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[track_caller]
    pub fn blocking_get(&self) -> Option<T> {
        block_on(self.get())
    }

    /// Like [`blocking_get`](Self::blocking_get), for at most `timeout`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let queue = concurrent_futures::sync::Queue::<u8>::new();
    /// let error = queue.blocking_get_timeout(Duration::from_millis(1)).unwrap_err();
    /// assert!(error.is_timed_out());
    /// ```
    ///
    /// # Errors
    /// `is_timed_out()` if there was no item within `timeout`, `is_closed()` if the queue is closed and empty.
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[track_caller]
    pub fn blocking_get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        let item = block_on_timeout(self.get(), timeout).ok_or(GetError::TIMED_OUT)?;
        item.ok_or(GetError::CLOSED)
    }

    /// Like [`join`](Self::join), for a thread that may block.
    ///
    /// ```
    /// concurrent_futures::sync::Queue::<u8>::new().blocking_join();
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[track_caller]
    pub fn blocking_join(&self) {
        block_on(self.join());
    }

    /// Like [`blocking_join`](Self::blocking_join), for at most `timeout`. Returns whether every item is done.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let queue = concurrent_futures::sync::Queue::new();
    /// queue.try_put(1).unwrap();
    /// assert!(!queue.blocking_join_timeout(Duration::from_millis(1)));
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[track_caller]
    pub fn blocking_join_timeout(&self, timeout: Duration) -> bool {
        block_on_timeout(self.join(), timeout).is_some()
    }
}
