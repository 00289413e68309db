//! The errors of a queue.

use std::io;

use super::ring::RingError;
use crate::multiprocessing::error::{TransferCause, Unsent, Words, transfer_error};

/// An operation on a [`Queue`](super::Queue) failed.
///
/// The predicates tell errors apart; the text says what happened and what to do.
///
/// ```
/// use concurrent_futures::multiprocessing::Queue;
///
/// let queue = Queue::<u32>::unbounded()?;
/// let error = queue.try_get().unwrap_err();
/// assert!(error.is_empty());
/// assert_eq!(error.to_string(), "the queue is empty; use `get` to wait for an item");
/// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
/// ```
#[derive(Debug)]
pub struct QueueError(TransferCause);

/// An item was not put into a [`Queue`](super::Queue). Holds the reason and the item.
///
/// ```
/// use concurrent_futures::multiprocessing::Queue;
///
/// let queue = Queue::unbounded()?;
/// queue.blocking_close();
/// let error = queue.try_put("late".to_owned()).unwrap_err();
/// assert!(error.error().is_closed());
/// assert_eq!(error.into_inner(), "late");
/// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
/// ```
pub type PutError<T> = Unsent<T, QueueError>;

const WORDS: Words = Words {
    object: "queue",
    value: "item",
    article: "an",
    put: "put",
    get: "get",
};

transfer_error!(QueueError);

impl QueueError {
    pub(super) const CLOSED: Self = Self(TransferCause::Closed);
    pub(super) const ENDED: Self = Self(TransferCause::Ended);
    pub(super) const FULL: Self = Self(TransferCause::Full);
    pub(super) const EMPTY: Self = Self(TransferCause::Empty);
    pub(super) const TIMED_OUT: Self = Self(TransferCause::TimedOut);
    pub(super) const BUSY: Self = Self(TransferCause::Busy);
    pub(super) const NO_CAPACITY: Self = Self(TransferCause::NoCapacity);
    pub(super) const NOTHING_TAKEN: Self = Self(TransferCause::NothingTaken);

    /// The system refused to create a queue.
    pub(super) fn no_space(error: io::Error) -> Self {
        Self(TransferCause::NoSpace(error))
    }

    /// For a put: the queue is closed. For a get: it is closed and empty, or no process can put into it any more.
    pub fn is_closed(&self) -> bool {
        matches!(self.0, TransferCause::Closed | TransferCause::Ended)
    }

    /// The queue is at its capacity, or holds as many shared objects as the system allows.
    pub fn is_full(&self) -> bool {
        matches!(self.0, TransferCause::Full)
    }

    /// The queue has no item.
    pub fn is_empty(&self) -> bool {
        matches!(self.0, TransferCause::Empty)
    }

    /// Another process holds the lock of the queue for longer than any operation takes: it is stopped, or gets
    /// no processor time. Only the methods that never wait return this.
    pub fn is_busy(&self) -> bool {
        matches!(self.0, TransferCause::Busy)
    }

    /// This platform has no queues that processes share, or a filter denies a system call that they need.
    ///
    /// # Platform
    /// Only Linux is supported so far. For the tasks of one process, use [`sync::Queue`](crate::sync::Queue).
    pub fn is_unsupported(&self) -> bool {
        matches!(self.0, TransferCause::Unsupported(_))
    }

    /// A setting is invalid: the capacity of a queue is 0.
    pub fn is_invalid_setting(&self) -> bool {
        matches!(self.0, TransferCause::NoCapacity)
    }

    /// `task_done` was called more often than items were taken.
    pub fn is_nothing_taken(&self) -> bool {
        matches!(self.0, TransferCause::NothingTaken)
    }

    /// The memory of the queue is invalid: a process wrote to it by other means. The queue cannot be used any
    /// more.
    pub fn is_damaged(&self) -> bool {
        matches!(self.0, TransferCause::Damaged)
    }
}

impl From<io::Error> for QueueError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // A received object failed its check.
            io::ErrorKind::InvalidData => Self(TransferCause::Damaged),
            _ => Self(error.into()),
        }
    }
}

impl From<RingError> for QueueError {
    fn from(error: RingError) -> Self {
        match error {
            RingError::NoSpace(error) => error.into(),
            RingError::Damaged => Self(TransferCause::Damaged),
        }
    }
}
