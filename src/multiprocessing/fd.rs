//! An open file as a value that travels between processes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sys;
use crate::wire::descriptors::Descriptor;

/// An open file that can be sent to another process: a file, a socket, the end of a pipe, a listening socket.
///
/// Anything that converts into an [`OwnedFd`] converts into an `Fd`, and [`into_inner`](Self::into_inner) returns it.
/// It can be an argument of a task, of an initializer or of a [`Process`](super::Process), an item of a
/// [`Queue`](super::Queue), and a value sent through a [`Connection`](super::Connection). It cannot be part of a
/// result.
///
/// Two workers accept connections from one listening socket:
///
/// ```
/// use std::io::{Read as _, Write as _};
/// use std::net::{TcpListener, TcpStream};
///
/// use concurrent_futures::multiprocessing::Fd;
/// use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
///
/// fn serve(listener: Fd) {
///     let listener = TcpListener::from(listener.into_inner());
///     let (mut client, _) = listener.accept().expect("a client connects");
///     client.write_all(b"hello").expect("the client reads");
/// }
/// # concurrent_futures::init_before_main!();
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ProcessPoolExecutor::with_workers(2)?;
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// let listener = Fd::from(listener);
/// let workers = [(); 2].map(|()| listener.try_clone().map(|listener| pool.submit(serve, listener)));
/// for _ in 0..2 {
///     let mut text = String::new();
///     TcpStream::connect(address)?.read_to_string(&mut text)?; // Either of them accepts it.
///     assert_eq!(text, "hello");
/// }
/// for worker in workers {
///     worker?.await?;
/// }
/// # Ok(()) }
/// ```
///
/// # One open file, several processes
///
/// The receiver gets a descriptor of its own for the same open file. Closing one leaves the other. It is closed on
/// `exec` in every process, whatever it was before.
///
/// What belongs to the open file is shared: the position in a file, `O_NONBLOCK` and `O_APPEND`, and the options of a
/// socket. So `set_nonblocking` in one process changes it in all. A listener or a stream of [`tokio`] is non-blocking:
/// call `into_std`, and `set_nonblocking(false)` if the receiver blocks.
///
/// What another process sends may be any file. Check it before use if you do not trust the sender: reading from it may
/// block, and so may closing it.
///
/// # Copies
///
/// It is not [`Clone`], because a copy takes a descriptor, and there may be none left: see
/// [`try_clone`](Self::try_clone). Sending takes one more descriptor until the message is received. If there is none,
/// the error of the send says so.
///
/// # Platform
/// Unix. It can only be sent on Linux.
#[derive(Debug)]
pub struct Fd(OwnedFd);

impl Fd {
    /// Returns the open file.
    ///
    /// ```
    /// use std::io::Read as _;
    ///
    /// use concurrent_futures::multiprocessing::{Fd, pipe};
    ///
    /// let (one, other) = pipe::<Fd, ()>()?;
    /// let (mut reader, writer) = std::io::pipe()?;
    /// one.try_send(Fd::from(writer))?;
    /// let writer = std::io::PipeWriter::from(other.try_recv()?.into_inner());
    /// drop(writer); // No other process has this end.
    /// assert_eq!(reader.read(&mut [0])?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_inner(self) -> OwnedFd {
        self.0
    }

    /// Returns another descriptor for the same open file.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Fd;
    /// let (_reader, writer) = std::io::pipe()?;
    /// let writer = Fd::from(writer);
    /// let other = writer.try_clone()?; // The same end of the pipe.
    /// # drop((writer, other));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// The process or the system has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

impl<T: Into<OwnedFd>> From<T> for Fd {
    fn from(file: T) -> Self {
        Self(file.into())
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Serialize for Fd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let copy = sys::own_descriptor(&self.0).map_err(serde::ser::Error::custom)?;
        Descriptor::from(copy).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The message keeps its descriptor until all of it is decoded: serde reads some values more than once.
        let received = Descriptor::deserialize(deserializer)?;
        let copy = sys::own_descriptor(&received).map_err(serde::de::Error::custom)?;
        Ok(Self::from(copy))
    }
}
