//! The errors of a connection.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;

use crate::multiprocessing::item::ItemError;
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
pub struct ConnectionError(ConnectionErrorKind);

#[derive(Debug)]
enum ConnectionErrorKind {
    Closed,
    Full,
    Empty,
    TimedOut,
    NoSpace(io::Error),
    Unsupported(io::Error),
    TooLarge(Cow<'static, str>),
    Codec(CodecError),
}

impl ConnectionError {
    pub(super) const CLOSED: Self = Self(ConnectionErrorKind::Closed);
    pub(super) const FULL: Self = Self(ConnectionErrorKind::Full);
    pub(super) const EMPTY: Self = Self(ConnectionErrorKind::Empty);
    pub(super) const TIMED_OUT: Self = Self(ConnectionErrorKind::TimedOut);

    /// A message came with more descriptors than this process may have.
    pub(super) fn too_few_descriptors() -> Self {
        Self(ConnectionErrorKind::NoSpace(io::Error::other(
            "the received value needs more descriptors than this process may open; raise RLIMIT_NOFILE",
        )))
    }

    /// For a send: the other end is closed, or the sink of this end was. For a receive: no one can send any
    /// more, and all values were received.
    pub fn is_closed(&self) -> bool {
        matches!(self.0, ConnectionErrorKind::Closed)
    }

    /// There is no room until a value is received.
    pub fn is_full(&self) -> bool {
        matches!(self.0, ConnectionErrorKind::Full)
    }

    /// There is no value to receive now.
    pub fn is_empty(&self) -> bool {
        matches!(self.0, ConnectionErrorKind::Empty)
    }

    /// The timeout has passed.
    pub fn is_timed_out(&self) -> bool {
        matches!(self.0, ConnectionErrorKind::TimedOut)
    }

    /// The system has no memory or no descriptor left.
    pub fn is_no_space(&self) -> bool {
        matches!(self.0, ConnectionErrorKind::NoSpace(_))
    }

    /// This platform has no pipes that processes share, or a filter denies a system call that they need.
    ///
    /// # Platform
    /// Only Linux has them yet. For the tasks of one process, use the channels of [`tokio::sync`].
    pub fn is_unsupported(&self) -> bool {
        matches!(self.0, ConnectionErrorKind::Unsupported(_))
    }

    /// The value cannot be encoded or decoded.
    pub fn is_codec(&self) -> bool {
        matches!(self.0, ConnectionErrorKind::Codec(_))
    }

    /// The value holds more shared objects than one message can, or exceeds the file size limit of this
    /// process.
    pub fn is_too_large(&self) -> bool {
        matches!(self.0, ConnectionErrorKind::TooLarge(_))
    }
}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            _ if sys::is_hangup(&error) => Self::CLOSED,
            io::ErrorKind::FileTooLarge => Self(ConnectionErrorKind::TooLarge(Cow::Borrowed(
                "the value exceeds the file size limit of this process; raise RLIMIT_FSIZE or send less",
            ))),
            io::ErrorKind::Unsupported => Self(ConnectionErrorKind::Unsupported(error)),
            // A check of what another process has sent.
            io::ErrorKind::InvalidData => CodecError::new(error.to_string()).into(),
            _ => Self(ConnectionErrorKind::NoSpace(error)),
        }
    }
}

impl From<CodecError> for ConnectionError {
    fn from(error: CodecError) -> Self {
        Self(ConnectionErrorKind::Codec(error))
    }
}

impl From<ItemError> for ConnectionError {
    fn from(error: ItemError) -> Self {
        match error {
            ItemError::Codec(error) => error.into(),
            ItemError::TooLarge(what) => Self(ConnectionErrorKind::TooLarge(what.into())),
            ItemError::System(error) => error.into(),
        }
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            ConnectionErrorKind::Closed => {
                f.write_str("the pipe is closed: the other end was dropped, or sending was closed")
            }
            ConnectionErrorKind::Full => {
                f.write_str("the pipe is full; use `send` to wait for room")
            }
            ConnectionErrorKind::Empty => {
                f.write_str("the pipe has no value to receive; use `recv` to wait for one")
            }
            ConnectionErrorKind::TimedOut => {
                f.write_str("timed out waiting for a value; retry, or use a longer timeout")
            }
            ConnectionErrorKind::NoSpace(_) => f.write_str(
                "no memory or no descriptor is left for the pipe; free some, or raise the limits",
            ),
            ConnectionErrorKind::Unsupported(error) => error.fmt(f),
            ConnectionErrorKind::TooLarge(what) => f.write_str(what),
            ConnectionErrorKind::Codec(error) => error.fmt(f),
        }
    }
}

impl Error for ConnectionError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            ConnectionErrorKind::NoSpace(error) => Some(error),
            _ => None,
        }
    }
}

/// A value was not sent by a [`Connection`](super::Connection). Holds the reason and the value.
///
/// ```
/// use concurrent_futures::multiprocessing::pipe;
///
/// let (one, other) = pipe::<String, ()>()?;
/// drop(other);
/// let error = one.try_send("text".to_owned()).unwrap_err();
/// assert!(error.error().is_closed());
/// assert_eq!(error.into_value().as_deref(), Some("text"));
/// # Ok::<(), concurrent_futures::multiprocessing::ConnectionError>(())
/// ```
pub struct SendError<T> {
    error: ConnectionError,
    value: Option<T>,
}

impl<T> SendError<T> {
    pub(super) fn new(error: ConnectionError, value: Option<T>) -> Self {
        Self { error, value }
    }

    /// The reason.
    pub fn error(&self) -> &ConnectionError {
        &self.error
    }

    /// Returns the value, to try again. `None` if encoding consumed it.
    pub fn into_value(self) -> Option<T> {
        self.value
    }

    /// Returns the reason.
    pub fn into_error(self) -> ConnectionError {
        self.error
    }
}

impl<T> From<SendError<T>> for ConnectionError {
    fn from(error: SendError<T>) -> Self {
        error.error
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T> Error for SendError<T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}
