//! The errors of a queue.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;

use super::ring::Trouble;
use crate::multiprocessing::item::ItemError;
use crate::wire::CodecError;

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
pub struct QueueError(QueueErrorKind);

#[derive(Debug)]
enum QueueErrorKind {
    Full,
    Empty,
    TimedOut,
    Busy,
    NoSpace(io::Error),
    Unsupported(io::Error),
    TooLarge(Cow<'static, str>),
    Codec(CodecError),
    NoCapacity,
    NothingTaken,
    Damaged,
}

impl QueueError {
    pub(super) const FULL: Self = Self(QueueErrorKind::Full);
    pub(super) const EMPTY: Self = Self(QueueErrorKind::Empty);
    pub(super) const TIMED_OUT: Self = Self(QueueErrorKind::TimedOut);
    pub(super) const BUSY: Self = Self(QueueErrorKind::Busy);
    pub(super) const NO_CAPACITY: Self = Self(QueueErrorKind::NoCapacity);
    pub(super) const NOTHING_TAKEN: Self = Self(QueueErrorKind::NothingTaken);

    pub(super) fn too_large(what: impl Into<Cow<'static, str>>) -> Self {
        Self(QueueErrorKind::TooLarge(what.into()))
    }

    /// The queue is at its capacity, or holds as many shared objects as the system allows.
    pub fn is_full(&self) -> bool {
        matches!(self.0, QueueErrorKind::Full)
    }

    /// The queue has no item.
    pub fn is_empty(&self) -> bool {
        matches!(self.0, QueueErrorKind::Empty)
    }

    /// The timeout has passed.
    pub fn is_timed_out(&self) -> bool {
        matches!(self.0, QueueErrorKind::TimedOut)
    }

    /// Another process holds the lock of the queue for longer than any operation takes: it is stopped, or gets
    /// no processor time. Only the methods that never wait return this.
    pub fn is_busy(&self) -> bool {
        matches!(self.0, QueueErrorKind::Busy)
    }

    /// The system has no memory or no descriptor left.
    pub fn is_no_space(&self) -> bool {
        matches!(self.0, QueueErrorKind::NoSpace(_))
    }

    /// This platform has no queues that processes share, or a filter denies a system call that they need.
    ///
    /// # Platform
    /// Only Linux has them yet. For the tasks of one process, use [`sync::Queue`](crate::sync::Queue).
    pub fn is_unsupported(&self) -> bool {
        matches!(self.0, QueueErrorKind::Unsupported(_))
    }

    /// The item cannot be encoded or decoded.
    pub fn is_codec(&self) -> bool {
        matches!(self.0, QueueErrorKind::Codec(_))
    }

    /// The item encodes to more than 1 GiB, exceeds the file size limit of this process, or holds more shared objects than
    /// one item can.
    pub fn is_too_large(&self) -> bool {
        matches!(self.0, QueueErrorKind::TooLarge(_))
    }

    /// A setting is invalid: the capacity of a queue is 0.
    pub fn is_invalid_setting(&self) -> bool {
        matches!(self.0, QueueErrorKind::NoCapacity)
    }

    /// `task_done` was called more often than items were taken.
    pub fn is_nothing_taken(&self) -> bool {
        matches!(self.0, QueueErrorKind::NothingTaken)
    }

    /// The memory of the queue is invalid: a process wrote to it by other means. The queue cannot be used any
    /// more.
    pub fn is_damaged(&self) -> bool {
        matches!(self.0, QueueErrorKind::Damaged)
    }
}

impl QueueError {
    /// There is nothing to create a queue with.
    pub(super) fn no_space(error: io::Error) -> Self {
        Self(QueueErrorKind::NoSpace(error))
    }
}

impl From<io::Error> for QueueError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::FileTooLarge => Self::too_large(
                "the item exceeds the file size limit of this process; raise RLIMIT_FSIZE or send less",
            ),
            io::ErrorKind::Unsupported => Self(QueueErrorKind::Unsupported(error)),
            // A check of what another process has sent.
            io::ErrorKind::InvalidData => Self(QueueErrorKind::Damaged),
            _ => Self(QueueErrorKind::NoSpace(error)),
        }
    }
}

impl From<CodecError> for QueueError {
    fn from(error: CodecError) -> Self {
        Self(QueueErrorKind::Codec(error))
    }
}

impl From<ItemError> for QueueError {
    fn from(error: ItemError) -> Self {
        match error {
            ItemError::Codec(error) => error.into(),
            ItemError::TooLarge(what) => Self::too_large(what),
            ItemError::System(error) => error.into(),
        }
    }
}

impl From<Trouble> for QueueError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::NoSpace(error) => error.into(),
            Trouble::Damaged => Self(QueueErrorKind::Damaged),
        }
    }
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            QueueErrorKind::Full => f.write_str("the queue is full; use `put` to wait for room"),
            QueueErrorKind::Empty => {
                f.write_str("the queue is empty; use `get` to wait for an item")
            }
            QueueErrorKind::TimedOut => {
                f.write_str("timed out waiting for the queue; retry, or use a longer timeout")
            }
            QueueErrorKind::Busy => f.write_str(
                "the queue is busy: a process that holds its lock seems to be stopped; \
                 retry later",
            ),
            QueueErrorKind::NoSpace(_) => f.write_str(
                "no memory or no descriptor is left for the queue; free some, or raise the limits",
            ),
            QueueErrorKind::Unsupported(error) => error.fmt(f),
            QueueErrorKind::TooLarge(what) => f.write_str(what),
            QueueErrorKind::Codec(error) => error.fmt(f),
            QueueErrorKind::NoCapacity => {
                f.write_str("the capacity of a queue is 0; it must be at least 1")
            }
            QueueErrorKind::NothingTaken => f.write_str(
                "no taken item is unfinished; call `task_done` once for each item taken",
            ),
            QueueErrorKind::Damaged => f.write_str(
                "the memory of the queue is damaged: a process wrote to it by other means; \
                 create a new queue",
            ),
        }
    }
}

impl Error for QueueError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            QueueErrorKind::NoSpace(error) => Some(error),
            _ => None,
        }
    }
}

/// An item was not put into a [`Queue`](super::Queue). Holds the reason and the item.
///
/// ```
/// use concurrent_futures::multiprocessing::Queue;
///
/// let queue = Queue::bounded(1)?;
/// queue.try_put("first".to_owned())?;
/// let error = queue.try_put("second".to_owned()).unwrap_err();
/// assert!(error.error().is_full());
/// assert_eq!(error.into_item().as_deref(), Some("second"));
/// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
/// ```
pub struct PutError<T> {
    error: QueueError,
    item: Option<T>,
}

impl<T> PutError<T> {
    pub(super) fn new(error: QueueError, item: Option<T>) -> Self {
        Self { error, item }
    }

    /// The reason.
    pub fn error(&self) -> &QueueError {
        &self.error
    }

    /// Returns the item, to try again. `None` if encoding consumed it.
    pub fn into_item(self) -> Option<T> {
        self.item
    }

    /// Returns the reason.
    pub fn into_error(self) -> QueueError {
        self.error
    }
}

impl<T> From<PutError<T>> for QueueError {
    fn from(error: PutError<T>) -> Self {
        error.error
    }
}

impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutError")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T> Error for PutError<T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}
