//! Why there is no listener, or no connection with one.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;

use crate::sys;

/// A [`Listener`](super::Listener) or a [`Client`](super::Client) has no connection.
///
/// The predicates tell errors apart; the text says what happened and what to do.
///
/// ```
/// use concurrent_futures::multiprocessing::{Client, Connection};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let connected: Result<Connection<u32, u32>, _> = Client::new("/nowhere/socket", "key").connect().await;
/// let error = connected.unwrap_err();
/// assert!(error.is_not_listening());
/// assert_eq!(error.to_string(), "no program listens at /nowhere/socket; start it first, or check the path");
/// # }
/// ```
#[derive(Debug)]
pub struct ConnectError(ConnectErrorKind);

#[derive(Debug)]
enum ConnectErrorKind {
    NotListening(String),
    InUse(String),
    Invalid(String),
    WrongKey,
    OtherUser,
    OtherVersion,
    TimedOut,
    Closed,
    NoSpace(io::Error),
    Unsupported(io::Error),
    Other(String, io::Error),
}

impl ConnectError {
    pub(super) const WRONG_KEY: Self = Self(ConnectErrorKind::WrongKey);
    pub(super) const OTHER_USER: Self = Self(ConnectErrorKind::OtherUser);
    pub(super) const OTHER_VERSION: Self = Self(ConnectErrorKind::OtherVersion);
    pub(super) const TIMED_OUT: Self = Self(ConnectErrorKind::TimedOut);
    pub(super) const CLOSED: Self = Self(ConnectErrorKind::Closed);

    pub(super) fn empty_key() -> Self {
        Self(ConnectErrorKind::Invalid(
            "the key is empty; use 16 random bytes or more".to_owned(),
        ))
    }

    /// The system refuses to listen at, or connect to, a path.
    pub(super) fn at(path: &Path, error: io::Error) -> Self {
        let path = path.display().to_string();
        Self(match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ConnectErrorKind::NotListening(path)
            }
            io::ErrorKind::AddrInUse => ConnectErrorKind::InUse(path),
            io::ErrorKind::InvalidInput => ConnectErrorKind::Invalid(error.to_string()),
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::ResourceBusy => ConnectErrorKind::Other(path, error),
            _ => return error.into(),
        })
    }

    /// No program listens at the path, or its directory does not exist.
    pub fn is_not_listening(&self) -> bool {
        matches!(self.0, ConnectErrorKind::NotListening(_))
    }

    /// Another program listens at the path, or something else is there.
    pub fn is_in_use(&self) -> bool {
        matches!(self.0, ConnectErrorKind::InUse(_))
    }

    /// The path is empty or too long, or the key is empty.
    pub fn is_invalid(&self) -> bool {
        matches!(self.0, ConnectErrorKind::Invalid(_))
    }

    /// The other program has another key.
    pub fn is_wrong_key(&self) -> bool {
        matches!(self.0, ConnectErrorKind::WrongKey)
    }

    /// The other program belongs to another user.
    pub fn is_other_user(&self) -> bool {
        matches!(self.0, ConnectErrorKind::OtherUser)
    }

    /// The other program uses another version of the protocol, or another protocol.
    pub fn is_other_version(&self) -> bool {
        matches!(self.0, ConnectErrorKind::OtherVersion)
    }

    /// The timeout has passed: no client has connected, or the listening program does not answer.
    pub fn is_timed_out(&self) -> bool {
        matches!(self.0, ConnectErrorKind::TimedOut)
    }

    /// The other program ended, or dropped its listener, before the connection was made.
    pub fn is_closed(&self) -> bool {
        matches!(self.0, ConnectErrorKind::Closed)
    }

    /// The system has no memory or no descriptor left.
    pub fn is_no_space(&self) -> bool {
        matches!(self.0, ConnectErrorKind::NoSpace(_))
    }

    /// This platform has no sockets of this kind, or a filter denies a system call that they need.
    ///
    /// # Platform
    /// Only Linux is supported so far. Elsewhere use tokio's sockets.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.0, ConnectErrorKind::Unsupported(_))
    }
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self(match error.kind() {
            _ if sys::is_hangup(&error) => ConnectErrorKind::Closed,
            io::ErrorKind::Unsupported => ConnectErrorKind::Unsupported(error),
            _ => ConnectErrorKind::NoSpace(error),
        })
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            ConnectErrorKind::NotListening(path) => write!(
                f,
                "no program listens at {path}; start it first, or check the path"
            ),
            ConnectErrorKind::InUse(path) => write!(
                f,
                "another program listens at {path}, or something else is there; use another path, or remove it"
            ),
            ConnectErrorKind::Invalid(what) => f.write_str(what),
            ConnectErrorKind::WrongKey => {
                f.write_str("the other program has another key; give both the same one")
            }
            ConnectErrorKind::OtherUser => f.write_str(
                "the other program belongs to another user; run both as the same user",
            ),
            ConnectErrorKind::OtherVersion => f.write_str(
                "the other program uses another protocol, or another version of it; build both with the same version \
                 of concurrent-futures",
            ),
            ConnectErrorKind::TimedOut => f.write_str(
                "timed out waiting for a connection; retry, or use a longer timeout",
            ),
            ConnectErrorKind::Closed => f.write_str(
                "the other program ended, or dropped its listener, before the connection was made; retry",
            ),
            ConnectErrorKind::NoSpace(_) => f.write_str(
                "no memory or no descriptor is left for a connection; free some, or raise the limits",
            ),
            ConnectErrorKind::Unsupported(error) => error.fmt(f),
            ConnectErrorKind::Other(path, _) => {
                write!(f, "the system refuses to use {path}; check its permissions")
            }
        }
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            ConnectErrorKind::NoSpace(error) | ConnectErrorKind::Other(_, error) => Some(error),
            _ => None,
        }
    }
}
