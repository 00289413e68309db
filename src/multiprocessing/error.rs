//! Why a queue or a pipe did not carry a value: one cause, which `QueueError` and `ConnectionError` wrap, and
//! [`Unsent`], which hands the value back.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Display as _};
use std::io;

use crate::wire::CodecError;

/// What happened. Some causes occur only with a queue.
#[derive(Debug)]
pub(super) enum TransferCause {
    /// The other end of a pipe is closed.
    Disconnected,
    /// A queue accepts no more items.
    Closed,
    /// Closed, and no item is left.
    Ended,
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

/// The names of an object and its values in error texts.
pub(super) struct Words {
    pub(super) object: &'static str,
    pub(super) value: &'static str,
    pub(super) article: &'static str,
    pub(super) put: &'static str,
    pub(super) get: &'static str,
}

impl TransferCause {
    /// The text of the error, without that of its source.
    pub(super) fn describe(&self, words: &Words, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Words {
            object,
            value,
            article,
            put,
            get,
        } = words;
        match self {
            Self::Disconnected => write!(
                f,
                "the {object} is closed: the other end was dropped, or sending was closed"
            ),
            Self::Closed => write!(f, "the {object} is closed; it accepts no more {value}s"),
            Self::Ended => write!(
                f,
                "the {object} is closed and empty; no {value} will follow"
            ),
            Self::Full => write!(f, "the {object} is full; use `{put}` to wait for room"),
            Self::Empty => write!(
                f,
                "the {object} is empty; use `{get}` to wait for {article} {value}"
            ),
            Self::TimedOut => write!(
                f,
                "timed out waiting for the {object}; retry, or use a longer timeout"
            ),
            Self::Busy => write!(
                f,
                "the {object} is busy: a process that holds its lock seems to be stopped; retry later"
            ),
            Self::NoSpace(_) => write!(
                f,
                "no memory or no descriptor is left for the {object}; free some, or raise the limits"
            ),
            Self::Unsupported(error) => error.fmt(f),
            Self::TooLarge(what) => f.write_str(what),
            Self::Codec(error) => error.fmt(f),
            Self::NoCapacity => write!(f, "the capacity of a {object} is 0; it must be at least 1"),
            Self::NothingTaken => {
                f.write_str("no taken item is unfinished; mark each item as done once")
            }
            Self::Damaged => write!(
                f,
                "the memory of the {object} is damaged: a process wrote to it by other means; \
                 create a new {object}"
            ),
        }
    }

    pub(super) fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoSpace(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for TransferCause {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::FileTooLarge => Self::TooLarge(Cow::Borrowed(
                "the value exceeds the file size limit of this process; raise RLIMIT_FSIZE or send less",
            )),
            io::ErrorKind::Unsupported => Self::Unsupported(error),
            _ => Self::NoSpace(error),
        }
    }
}

impl From<CodecError> for TransferCause {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

/// Implements what the errors of queues and pipes have in common. Each wraps a [`TransferCause`] and has `WORDS`.
macro_rules! transfer_error {
    ($Error:ident) => {
        impl $Error {
            /// The timeout has passed.
            pub fn is_timed_out(&self) -> bool {
                matches!(self.0, TransferCause::TimedOut)
            }

            /// The system has no memory or no descriptor left.
            pub fn is_no_space(&self) -> bool {
                matches!(self.0, TransferCause::NoSpace(_))
            }

            /// The value cannot be encoded or decoded.
            pub fn is_codec(&self) -> bool {
                matches!(self.0, TransferCause::Codec(_))
            }

            /// The value encodes to more than 1 GiB, exceeds the file size limit of this process, or holds more
            /// shared objects than travel together.
            pub fn is_too_large(&self) -> bool {
                matches!(self.0, TransferCause::TooLarge(_))
            }
        }

        impl From<TransferCause> for $Error {
            fn from(cause: TransferCause) -> Self {
                Self(cause)
            }
        }

        impl From<crate::wire::CodecError> for $Error {
            fn from(error: crate::wire::CodecError) -> Self {
                Self(TransferCause::Codec(error))
            }
        }

        impl<T> From<Unsent<T, $Error>> for $Error {
            fn from(unsent: Unsent<T, $Error>) -> Self {
                unsent.into_error()
            }
        }

        impl std::fmt::Display for $Error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.describe(&WORDS, f)
            }
        }

        impl std::error::Error for $Error {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                self.0.source()
            }
        }
    };
}
pub(super) use transfer_error;

/// A value was not put into a [`Queue`](super::Queue) or not sent by a [`Connection`](super::Connection). Holds the
/// reason and the value, as it was.
///
/// [`PutError`](super::PutError) and [`SendError`](super::SendError) are this type, with the error of a queue and of a
/// pipe.
///
/// ```
/// use concurrent_futures::multiprocessing::Queue;
///
/// let queue = Queue::bounded(1)?;
/// queue.try_put("first".to_owned())?;
/// let error = queue.try_put("second".to_owned()).unwrap_err();
/// assert!(error.error().is_full());
/// assert_eq!(error.into_inner(), "second");
/// # Ok::<(), concurrent_futures::multiprocessing::QueueError>(())
/// ```
pub struct Unsent<T, E> {
    value: T,
    error: E,
}

impl<T, E> Unsent<T, E> {
    pub(super) fn new(value: T, error: E) -> Self {
        Self { value, error }
    }

    /// The reason.
    pub fn error(&self) -> &E {
        &self.error
    }

    /// Returns the reason.
    pub fn into_error(self) -> E {
        self.error
    }

    /// Returns the value, to try again.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T, E: fmt::Debug> fmt::Debug for Unsent<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsent")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<T, E: fmt::Display> fmt::Display for Unsent<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T, E: Error> Error for Unsent<T, E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}
