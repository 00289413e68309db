//! The errors of a queue.

use std::error::Error;
use std::fmt;

/// An item was not put. Holds the item.
///
/// ```
/// let queue = concurrent_futures::sync::Queue::bounded(1);
/// queue.try_put("first").unwrap();
/// let error = queue.try_put("second").unwrap_err();
/// assert!(error.is_full());
/// assert_eq!(error.to_string(), "the queue is full; use `put` to wait for room");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PutError<T> {
    item: T,
    reason: PutFailure,
}

/// A queue returned no item.
///
/// ```
/// let queue = concurrent_futures::sync::Queue::<u8>::new();
/// queue.close();
/// assert!(queue.try_get().unwrap_err().is_closed());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetError {
    reason: GetFailure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PutFailure {
    Full,
    TimedOut,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GetFailure {
    Empty,
    TimedOut,
    Closed,
}

impl<T> PutError<T> {
    pub(super) fn full(item: T) -> Self {
        let reason = PutFailure::Full;
        Self { item, reason }
    }

    pub(super) fn timed_out(item: T) -> Self {
        let reason = PutFailure::TimedOut;
        Self { item, reason }
    }

    pub(super) fn closed(item: T) -> Self {
        let reason = PutFailure::Closed;
        Self { item, reason }
    }

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
        self.reason == PutFailure::Full
    }

    /// Whether the queue stayed full until the timeout.
    pub fn is_timed_out(&self) -> bool {
        self.reason == PutFailure::TimedOut
    }

    /// Whether the queue is closed.
    pub fn is_closed(&self) -> bool {
        self.reason == PutFailure::Closed
    }
}

impl GetError {
    pub(super) const EMPTY: Self = Self {
        reason: GetFailure::Empty,
    };
    pub(super) const TIMED_OUT: Self = Self {
        reason: GetFailure::TimedOut,
    };
    pub(super) const CLOSED: Self = Self {
        reason: GetFailure::Closed,
    };

    /// Whether the queue was empty, but not closed.
    pub fn is_empty(&self) -> bool {
        self.reason == GetFailure::Empty
    }

    /// Whether the queue stayed empty until the timeout.
    pub fn is_timed_out(&self) -> bool {
        self.reason == GetFailure::TimedOut
    }

    /// Whether the queue is closed and empty, so that no item can follow.
    pub fn is_closed(&self) -> bool {
        self.reason == GetFailure::Closed
    }
}

impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutError")
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reason {
            PutFailure::Full => "the queue is full; use `put` to wait for room",
            PutFailure::TimedOut => {
                "timed out waiting for room in the queue; retry, or use a longer timeout"
            }
            PutFailure::Closed => "the queue is closed",
        })
    }
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reason {
            GetFailure::Empty => "the queue is empty; use `get` to wait for an item",
            GetFailure::TimedOut => {
                "timed out waiting for an item of the queue; retry, or use a longer timeout"
            }
            GetFailure::Closed => "the queue is closed and empty",
        })
    }
}

impl<T> Error for PutError<T> {}

impl Error for GetError {}
