//! The errors of a connection.

use std::io;

use crate::multiprocessing::error::{TransferCause, Unsent, Words, transfer_error};
use crate::sys;
use crate::wire::CodecError;

/// An operation on a [`Connection`](super::Connection) failed.
///
/// The predicates tell errors apart; the text says what happened and what to do.
///
/// ```
/// use concurrent_futures::multiprocessing::pipe;
///
/// let (one, other) = pipe::<u32, u32>()?;
/// assert!(one.try_recv().unwrap_err().is_empty());
/// drop(other);
/// let error = one.try_recv().unwrap_err();
/// assert!(error.is_closed());
/// assert_eq!(error.to_string(), "the pipe is closed: the other end was dropped, or sending was closed");
/// # Ok::<(), concurrent_futures::multiprocessing::ConnectionError>(())
/// ```
#[derive(Debug)]
pub struct ConnectionError(TransferCause);

/// A value was not sent by a [`Connection`](super::Connection). Holds the reason and the value.
///
/// ```
/// use concurrent_futures::multiprocessing::pipe;
///
/// let (one, other) = pipe::<String, ()>()?;
/// drop(other);
/// let error = one.try_send("text".to_owned()).unwrap_err();
/// assert!(error.error().is_closed());
/// assert_eq!(error.into_inner(), "text");
/// # Ok::<(), concurrent_futures::multiprocessing::ConnectionError>(())
/// ```
pub type SendError<T> = Unsent<T, ConnectionError>;

const WORDS: Words = Words {
    object: "pipe",
    value: "value",
    article: "a",
    put: "send",
    get: "recv",
};

transfer_error!(ConnectionError);

impl ConnectionError {
    pub(super) const CLOSED: Self = Self(TransferCause::Disconnected);
    pub(super) const FULL: Self = Self(TransferCause::Full);
    pub(super) const EMPTY: Self = Self(TransferCause::Empty);
    pub(super) const TIMED_OUT: Self = Self(TransferCause::TimedOut);

    /// A message arrived with more descriptors than this process may open.
    pub(super) fn too_few_descriptors() -> Self {
        Self(TransferCause::NoSpace(io::Error::other(
            "the received value needs more descriptors than this process may open; raise RLIMIT_NOFILE",
        )))
    }

    /// For a send: the other end, or the sink of this end, is closed. For a receive: the other end is closed, and all
    /// values were received.
    pub fn is_closed(&self) -> bool {
        matches!(self.0, TransferCause::Disconnected)
    }

    /// There is no room until a value is received.
    pub fn is_full(&self) -> bool {
        matches!(self.0, TransferCause::Full)
    }

    /// There is no value to receive now.
    pub fn is_empty(&self) -> bool {
        matches!(self.0, TransferCause::Empty)
    }

    /// This platform has no pipes between processes, or a filter denies a system call that they need.
    ///
    /// # Platform
    /// Only Linux is supported so far. For the tasks of one process, use the channels of [`tokio::sync`].
    pub fn is_unsupported(&self) -> bool {
        matches!(self.0, TransferCause::Unsupported(_))
    }
}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            _ if sys::is_hangup(&error) => Self::CLOSED,
            // A received object failed its check.
            io::ErrorKind::InvalidData => CodecError::new(error.to_string()).into(),
            _ => Self(error.into()),
        }
    }
}
