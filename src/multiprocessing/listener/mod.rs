//! Pipes between unrelated programs of one user, by a path. Reading order:
//!
//! - [`handshake`]: what both ends prove to each other before they are connected;
//! - [`reception`]: the listener's side of all handshakes; [`client`]: the client's side of one;
//! - [`error`]: why there is no connection.

mod client;
mod error;
mod handshake;
mod reception;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::task::coop;

pub use self::client::Client;
pub use self::error::ConnectError;
use self::handshake::{DEFAULT_TIMEOUT, Key};
use self::reception::{Accept, Reception};
use crate::multiprocessing::pipe::Connection;
use crate::multiprocessing::pipe::step::{in_task, in_thread};
use crate::multiprocessing::waiting::driver::{end_of, may_block};
use crate::sys::{self, BoundPath, ProcessIdentity};
use crate::wire::descriptors::Descriptor;

/// Accepts connections from other programs of the same user, at a path. The other program uses a [`Client`].
///
/// Each connection is a [`Connection`], like the end of a [`pipe`](super::pipe()): values of any type travel, and in
/// them shared objects and open files (a [`Lock`](super::Lock), a [`Queue`](super::Queue), an [`Fd`](super::Fd)).
///
/// ```
/// use concurrent_futures::multiprocessing::{Client, Connection, Listener};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("listener-{}", std::process::id()));
/// # std::fs::create_dir(&folder)?;
/// # let path = folder.join("socket");
/// # let key = b"0123456789abcdef";
/// // One program:
/// let listener = Listener::bind(&path, key)?;
/// let server = tokio::spawn(async move {
///     let client: Connection<u64, u64> = listener.accept().await?;
///     while let Ok(number) = client.recv().await {
///         client.send(2 * number).await?;
///     }
///     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// });
///
/// // Another program:
/// let server_end: Connection<u64, u64> = Client::new(&path, key).connect().await?;
/// server_end.send(21).await?;
/// assert_eq!(server_end.recv().await?, 42);
/// # drop(server_end);
/// # server.await?.unwrap();
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok(()) }
/// ```
///
/// # Who can connect
///
/// - Only processes of the same user. The system says which user a process belongs to; both ends check it. `root` is
///   another user. The socket's file has the mode `0600` from its first moment.
/// - Only programs that know the key. Each end proves that it knows the key and does not send it: they exchange random
///   challenges and their HMAC-SHA256. The key separates programs of one user, for example two instances of a service,
///   or a sandboxed process. Use 16 random bytes or more: a program that intercepts a handshake can try short keys.
///   Keep it in a file of mode `0600`, for example.
///
/// Nothing is encrypted, because the bytes do not leave the kernel. A process of the same user that can trace the other
/// one, or read its files, needs no connection to harm it.
///
/// # What travels
///
/// The types are not checked: both programs must agree on them. A value of another type is an error of the receive
/// (`is_codec()`), or another value, if it can be read as one. Both programs must use the same version of this crate's
/// protocol; otherwise `is_other_version()`. Functions do not travel.
///
/// A shared object is valid only within one pid and time namespace. A program in another container receives an error in
/// its place. An [`Fd`](super::Fd) and a [`Connection`] are valid everywhere.
///
/// # Clients that misbehave
///
/// A client that is silent, sends something else, or has another key or user delays no other client: all handshakes run
/// at the same time, while [`accept`](Self::accept) waits. Each may last for
/// [`handshake_timeout`](ListenerBuilder::handshake_timeout). At most 64 run at a time; one more ends the oldest. Each
/// takes one descriptor and less than 1 KiB. `accept` returns no error for a client that misbehaves;
/// [`refused`](Self::refused) counts them.
///
/// # The path
///
/// A socket that a killed program has left at the path is replaced. Anything else there is an error (`is_in_use()`).
/// The path has at most 108 bytes. When the listener is dropped, its socket is removed from the path; connections stay
/// open. Choose a directory that only its user can write to, for example `$XDG_RUNTIME_DIR`.
///
/// # Platform
/// Linux.
pub struct Listener {
    reception: Reception,
    bound: BoundPath,
    path: PathBuf,
    /// The process that removes the socket; a fork of it does not.
    owner: ProcessIdentity,
}

impl Listener {
    /// Listens at `path`, for clients that know `key`. For an example see [above](Self).
    ///
    /// # Errors
    /// `is_in_use()` if another program listens at the path, or something else is there; `is_invalid()` if the path or
    /// the key cannot be used; `is_no_space()`; `is_unsupported()`. Otherwise the system's error is the source.
    pub fn bind(path: impl AsRef<Path>, key: impl AsRef<[u8]>) -> Result<Self, ConnectError> {
        Self::builder().bind(path, key)
    }

    /// Returns a builder, to set a timeout.
    pub fn builder() -> ListenerBuilder {
        ListenerBuilder {
            handshake_timeout: DEFAULT_TIMEOUT,
        }
    }

    /// Waits for a client. Returns a connection with it. For an example see [above](Self).
    ///
    /// # Errors
    /// `is_no_space()` if no descriptor or no memory is left: the client waits until the next call. A refused client is
    /// no error.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver and a timer (`enable_all`).
    ///
    /// # Cancel safety
    /// Cancel safe: the next call continues handshakes that have started.
    pub async fn accept<S, R>(&self) -> Result<Connection<S, R>, ConnectError> {
        coop::consume_budget().await;
        let accepted = in_task(Accept(&self.reception)).await?;
        Ok(Connection::new(accepted))
    }

    /// Like [`accept`](Self::accept), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::{Client, Connection, ConnectError, Listener};
    /// # let path = std::env::temp_dir().join(format!("listener-accept-{}", std::process::id()));
    /// let listener = Listener::bind(&path, "a secret of many bytes")?;
    /// std::thread::scope(|scope| {
    ///     let client = Client::new(&path, "a secret of many bytes");
    ///     let connect = scope.spawn(move || client.blocking_connect::<(), u32>());
    ///     let connection: Connection<u32, ()> = listener.blocking_accept()?;
    ///     let client = connect.join().expect("no panic")?;
    ///     connection.blocking_send(7).expect("the client is connected");
    ///     assert_eq!(client.blocking_recv().expect("a number"), 7);
    ///     Ok::<(), ConnectError>(())
    /// })?;
    /// # Ok::<(), concurrent_futures::multiprocessing::ConnectError>(())
    /// ```
    ///
    /// # Errors
    /// Like [`accept`](Self::accept).
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_accept<S, R>(&self) -> Result<Connection<S, R>, ConnectError> {
        self.accept_by(None)
    }

    /// Like [`blocking_accept`](Self::blocking_accept), for at most `timeout`.
    ///
    /// ```
    /// use concurrent_futures::multiprocessing::Listener;
    /// use std::time::Duration;
    ///
    /// # let path = std::env::temp_dir().join(format!("listener-timeout-{}", std::process::id()));
    /// let listener = Listener::bind(&path, "a secret of many bytes")?;
    /// let accepted = listener.blocking_accept_timeout::<u32, u32>(Duration::from_millis(1));
    /// assert!(accepted.unwrap_err().is_timed_out());
    /// drop(listener);
    /// assert!(!path.exists());
    /// # Ok::<(), concurrent_futures::multiprocessing::ConnectError>(())
    /// ```
    ///
    /// # Errors
    /// `is_timed_out()` if no client has connected within `timeout`; otherwise like [`accept`](Self::accept).
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_accept_timeout<S, R>(
        &self,
        timeout: Duration,
    ) -> Result<Connection<S, R>, ConnectError> {
        self.accept_by(end_of(Some(timeout)))
    }

    fn accept_by<S, R>(&self, end: Option<Instant>) -> Result<Connection<S, R>, ConnectError> {
        may_block();
        let accepted = in_thread(Accept(&self.reception), end);
        Ok(Connection::new(
            accepted.unwrap_or(Err(ConnectError::TIMED_OUT))?,
        ))
    }

    /// The path that was passed to [`bind`](Self::bind).
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of clients that were refused so far: with another key, another user or another version, and those
    /// that were silent, sent something else, or were more than may connect at a time.
    pub fn refused(&self) -> u64 {
        self.reception.refused()
    }
}

/// Sets how a [`Listener`] listens. Created by [`Listener::builder`].
///
/// ```
/// use concurrent_futures::multiprocessing::Listener;
/// use std::time::Duration;
///
/// # let path = std::env::temp_dir().join(format!("listener-builder-{}", std::process::id()));
/// let listener = Listener::builder()
///     .handshake_timeout(Duration::from_millis(500))
///     .bind(&path, "a secret of many bytes")?;
/// assert_eq!(listener.path(), path);
/// # Ok::<(), concurrent_futures::multiprocessing::ConnectError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "it listens only after `bind`"]
pub struct ListenerBuilder {
    handshake_timeout: Duration,
}

impl ListenerBuilder {
    /// How long a client may take to prove that it knows the key. Default: 10 seconds.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Listens at `path`, for clients that know `key`.
    ///
    /// # Errors
    /// Like [`Listener::bind`].
    pub fn bind(
        self,
        path: impl AsRef<Path>,
        key: impl AsRef<[u8]>,
    ) -> Result<Listener, ConnectError> {
        let (path, key) = (path.as_ref(), Key::new(key.as_ref())?);
        let (socket, bound) =
            sys::listen_at(path).map_err(|error| ConnectError::at(path, error))?;
        let socket = Descriptor::from(socket);
        let reception = Reception::new(socket.clone(), key, self.handshake_timeout);
        let reception = reception.inspect_err(|_| bound.remove())?;
        Ok(Listener {
            reception,
            bound,
            path: path.to_owned(),
            owner: ProcessIdentity::own(),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.owner == ProcessIdentity::own() {
            self.bound.remove();
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
