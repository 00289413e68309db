//! Why a queue did not do what it was asked for.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;

use super::ring::Trouble;
use crate::multiprocessing::item::ItemError;
use crate::wire::CodecError;

/// Why nothing was put in or taken out of a [`Queue`](super::Queue), or why there is none.
///
/// Ask it with the predicates; print it to learn what happened and what to do.
///
/// ```
/// use concurrent_futures::multiprocessing::Queue;
///
/// let queue = Queue::<u32>::unbounded()?;
/// let error = queue.try_get().unwrap_err();
/// assert!(error.is_empty());
/// assert_eq!(error.to_string(), "the queue is empty");
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

    /// The queue has as many items as it may have, or as many shared objects are under way in it as
    /// the system lets it have.
    pub fn is_full(&self) -> bool {
        matches!(self.0, QueueErrorKind::Full)
    }

    /// There is no item.
    pub fn is_empty(&self) -> bool {
        matches!(self.0, QueueErrorKind::Empty)
    }

    /// The time that was given is over.
    pub fn is_timed_out(&self) -> bool {
        matches!(self.0, QueueErrorKind::TimedOut)
    }

    /// Somebody else was at the queue just now, for longer than that ever takes: a process that is
    /// stopped, or that gets no time to run. Only the methods that do not wait say so.
    pub fn is_busy(&self) -> bool {
        matches!(self.0, QueueErrorKind::Busy)
    }

    /// The system has no memory, or no descriptor, for it.
    pub fn is_no_space(&self) -> bool {
        matches!(self.0, QueueErrorKind::NoSpace(_))
    }

    /// The item cannot be encoded or decoded.
    pub fn is_codec(&self) -> bool {
        matches!(self.0, QueueErrorKind::Codec(_))
    }

    /// The item is larger than this process may make a file, or more shared objects are in it than can
    /// travel together.
    pub fn is_too_large(&self) -> bool {
        matches!(self.0, QueueErrorKind::TooLarge(_))
    }

    /// A setting has a value it cannot have: a queue needs room for one item at least.
    pub fn is_invalid_setting(&self) -> bool {
        matches!(self.0, QueueErrorKind::NoCapacity)
    }

    /// More items were told to be done than had been taken.
    pub fn is_nothing_taken(&self) -> bool {
        matches!(self.0, QueueErrorKind::NothingTaken)
    }

    /// What the queue has in memory makes no sense: a process has written there what it must not. The
    /// queue is of no more use.
    pub fn is_damaged(&self) -> bool {
        matches!(self.0, QueueErrorKind::Damaged)
    }
}

impl From<io::Error> for QueueError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::FileTooLarge {
            return Self::too_large(
                "the memory that it takes is more than a file of this process may have",
            );
        }
        Self(QueueErrorKind::NoSpace(error))
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
            QueueErrorKind::Full => f.write_str("the queue is full"),
            QueueErrorKind::Empty => f.write_str("the queue is empty"),
            QueueErrorKind::TimedOut => f.write_str("the time for it is over"),
            QueueErrorKind::Busy => {
                f.write_str("the queue is busy: a process that uses it seems to be stopped")
            }
            QueueErrorKind::NoSpace(_) => {
                f.write_str("the system has no memory or no descriptor for it")
            }
            QueueErrorKind::TooLarge(what) => f.write_str(what),
            QueueErrorKind::Codec(error) => error.fmt(f),
            QueueErrorKind::NoCapacity => {
                f.write_str("the capacity is 0; a queue needs room for one item at least")
            }
            QueueErrorKind::NothingTaken => f.write_str(
                "no item is taken and not done; call `task_done` once for each item that was taken",
            ),
            QueueErrorKind::Damaged => f.write_str(
                "the memory of the queue is damaged: a process has written there what it must not",
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

/// Why an item was not put into a [`Queue`](super::Queue), with the item.
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

    /// Why it was not put in.
    pub fn error(&self) -> &QueueError {
        &self.error
    }

    /// The item, to try again with. There is none if it could not be encoded, which takes it.
    pub fn into_item(self) -> Option<T> {
        self.item
    }

    /// The reason alone.
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
