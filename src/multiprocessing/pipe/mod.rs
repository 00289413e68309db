//! [`pipe`]: two connected ends, each for one process. Reading order:
//!
//! - [`packet`]: what is sent on the socket; [`watch`]: waiting for the socket;
//! - [`outbox`]: the sending side; [`inbox`]: the receiving side; [`arriving`] and [`put_back`]: large values that
//!   arrive;
//! - [`send`] and [`receive`]: steps that never wait; [`step`]: takes the steps, in a task or on a thread;
//! - [`end`]: both sides, for all handles of this process; this file: the handle;
//! - [`flow`]: the handle as a stream and a sink; [`pending`]: the future that one of these waits for;
//! - [`error`]: the errors of a connection.
//!
//! A step never waits, and takes effect completely or not at all. So a wait can be dropped between two steps, and the
//! next wait continues.

mod arriving;
mod end;
mod error;
mod flow;
mod inbox;
mod outbox;
mod packet;
mod pending;
mod put_back;
mod receive;
mod send;
pub(super) mod step;
pub(super) mod watch;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::coop;

use self::end::ConnectionEnd;
pub use self::error::{ConnectionError, SendError};
use self::outbox::check;
use self::pending::{Receiving, Sending};
use crate::executor::data::Data;
use crate::multiprocessing::handle::shared_handle;
use crate::multiprocessing::item::OutgoingItem;
use crate::multiprocessing::waiting::driver::{end_of, may_block};
use crate::sys;
use crate::wire::descriptors::Descriptor;

/// Creates two connected ends: each receives what the other sends. The first sends values of type `A` and
/// receives values of type `B`.
///
/// ```
/// use concurrent_futures::multiprocessing::pipe;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (one, other) = pipe::<u32, String>()?;
/// one.send(7).await?;
/// assert_eq!(other.recv().await?, 7);
/// other.send("seven".to_owned()).await?;
/// assert_eq!(one.recv().await?, "seven");
/// # Ok(()) }
/// ```
///
/// # Errors
/// `is_no_space()` if no memory or no descriptor is left; each end takes one descriptor.
///
/// # Platform
/// Linux.
pub fn pipe<A: Data, B: Data>() -> Result<ConnectedEnds<A, B>, ConnectionError> {
    let (one, other) = sys::roomy_packet_pair()?;
    Ok((Connection::new(one.into()), Connection::new(other.into())))
}

/// The two ends of a pipe.
type ConnectedEnds<A, B> = (Connection<A, B>, Connection<B, A>);

/// One end of a [`pipe`]. It sends values of type `S` and receives values of type `R`.
///
/// It can be an argument of a task, or part of a value that is sent to another process:
///
/// ```no_run
/// use concurrent_futures::multiprocessing::{Connection, pipe};
/// use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
///
/// fn double(numbers: Connection<u64, u64>) {
///     while let Ok(number) = numbers.blocking_recv() {
///         numbers.blocking_send(2 * number).expect("the other end is open");
///     }
/// }
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ProcessPoolExecutor::new()?;
/// let (ours, theirs) = pipe()?;
/// let task = pool.submit(double, theirs);
/// ours.send(3).await?;
/// assert_eq!(ours.recv().await?, 6);
/// drop(ours); // Ends the loop.
/// task.await?;
/// # Ok(()) }
/// ```
///
/// It is also a [`Stream`](futures::Stream) of the received values, which ends when all copies of the other end are
/// closed, and a [`Sink`](futures::Sink) for values to send. Closing the sink ends sending for this end and all its
/// copies: the other end receives the earlier values, and then `is_closed()`. The sink sends an accepted value when it
/// is flushed.
///
/// ```
/// use concurrent_futures::multiprocessing::pipe;
/// use futures::{SinkExt as _, StreamExt as _};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (one, other) = pipe::<u32, u32>()?;
/// let (mut to, mut from) = one.split();
/// let echo = tokio::spawn(async move {
///     let (to, from) = other.split();
///     from.forward(to).await // Closes the sink at the end.
/// });
/// to.send(5).await?;
/// to.send(6).await?;
/// to.close().await?;
/// assert_eq!([from.next().await.unwrap()?, from.next().await.unwrap()?], [5, 6]);
/// assert!(from.next().await.is_none());
/// echo.await??;
/// # Ok(()) }
/// ```
///
/// # Copies of an end
///
/// A clone is the same end. So is the end that another process receives. Values that several copies send arrive
/// in some order, each complete, and each value is received by one copy. An end is closed when the last copy is
/// dropped; a process that ends, however it does, drops its copies. A pool keeps the copy that it received
/// until the task starts, or, if the task may be retried, until it has an outcome.
///
/// # Guarantees
///
/// A value is sent once the method that sends it has returned `Ok`. Then a copy of the other end receives it,
/// unless all of them are dropped first, or the copy that has started to receive it is. If a sender is dropped,
/// times out or is killed earlier, the value is sent completely or not at all. A process that is killed at any
/// point, even while it sends or receives, leaves no torn value and blocks no other process.
///
/// A value is received when the method that receives it returns it. A receive that is dropped or times out has received
/// nothing. If it has started to read a large value, the next receiver in this process continues, and no other process
/// gets the value. A value that the stream has started to read belongs to the stream until that is polled again or
/// dropped. So do not mix `next` and `recv` on one connection.
///
/// A process that misuses its end can send anything, or nothing. Bytes that are not a value are an error of the
/// receive, and take little memory: see [hostile processes](super#hostile-processes).
///
/// # Capacity
///
/// Each direction holds some hundreds of small values (less than 1 KiB), or a few of 64 KiB. Then a sender
/// waits. A value of more than 64 KiB is copied while sender and receiver are both active: its `send` returns
/// when the receiver has taken nearly all of it. So two processes that both send large values before they
/// receive wait forever, as with any pipe. In a task, do both concurrently (`tokio::join!`,
/// [`split`](futures::StreamExt::split)), or use a [`Queue`](super::Queue).
///
/// Values can be anything that an argument of a task can be (see [`Data`]), including shared objects, for example
/// another connection. A value encodes to at most 1 GiB. The sender encodes and the receiver decodes them: a value of
/// many MiB that is not plain bytes or numbers occupies a thread of the runtime for that time.
///
/// # Platform
/// Linux.
pub struct Connection<S, R> {
    end: Arc<ConnectionEnd>,
    receiving: Receiving<R>,
    sending: Sending,
    values: PhantomData<fn(S) -> R>,
}

impl<S, R> Connection<S, R> {
    pub(super) fn new(socket: Descriptor) -> Self {
        Self::of(Arc::new(ConnectionEnd::new(socket)))
    }

    fn of(end: Arc<ConnectionEnd>) -> Self {
        Self {
            end,
            receiving: Receiving::default(),
            sending: Sending::default(),
            values: PhantomData,
        }
    }

    /// Waits for at most `timeout`. Returns whether there is a value to receive, or the end is closed. With
    /// [`Duration::ZERO`] it does not wait.
    ///
    /// Another copy of this end may receive the value first. A large value may still be in transit.
    ///
    /// ```
    /// use concurrent_futures::multiprocessing::pipe;
    /// use std::time::Duration;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (one, other) = pipe::<u32, u32>()?;
    /// assert!(!one.poll(Duration::from_millis(1)).await);
    /// other.send(1).await?;
    /// assert!(one.poll(Duration::ZERO).await);
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver and a timer
    /// (`enable_all`).
    ///
    /// # Cancel safety
    /// Cancel safe: it receives nothing.
    pub async fn poll(&self, timeout: Duration) -> bool {
        coop::consume_budget().await;
        if self.end.has_news() || timeout.is_zero() {
            return self.end.has_news();
        }
        let news = self.end.await_news();
        tokio::time::timeout(timeout, news).await.is_ok()
    }

    /// Like [`poll`](Self::poll), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::pipe;
    /// # use std::time::Duration;
    /// let (one, other) = pipe::<u32, u32>()?;
    /// other.blocking_send(1)?;
    /// assert!(one.blocking_poll(Duration::ZERO));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_poll(&self, timeout: Duration) -> bool {
        may_block();
        self.end.blocking_await_news(end_of(Some(timeout)))
    }
}

impl<S: Data, R> Connection<S, R> {
    /// Sends a value. Waits until there is room.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::pipe;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (one, other) = pipe::<String, ()>()?;
    /// one.send("text".to_owned()).await?;
    /// assert_eq!(other.recv().await?, "text");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `is_closed()` if the other end is closed, or the sink of this end was; `is_codec()` if the value cannot
    /// be encoded; `is_too_large()`; `is_no_space()` if no memory or no descriptor is left for it. The error
    /// holds the value.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Dropping the future drops the value, which is then not sent.
    pub async fn send(&self, value: S) -> Result<(), SendError<S>> {
        coop::consume_budget().await;
        let sent = self.end.send_encoded(encoded(&value)).await;
        sent.map_err(|error| SendError::new(value, error))
    }

    /// Sends a value if there is room. A value of more than 64 KiB takes separate memory until it is received.
    ///
    /// ```
    /// use concurrent_futures::multiprocessing::pipe;
    ///
    /// let (one, other) = pipe::<usize, ()>()?;
    /// let full = (0..).find_map(|number| one.try_send(number).err()).unwrap();
    /// assert!(full.error().is_full());
    /// assert_eq!(other.try_recv()?, 0);
    /// # Ok::<(), concurrent_futures::multiprocessing::ConnectionError>(())
    /// ```
    ///
    /// # Errors
    /// `is_full()` if there is no room; otherwise like [`send`](Self::send).
    pub fn try_send(&self, value: S) -> Result<(), SendError<S>> {
        let sent = encoded(&value).and_then(|mut item| self.end.outbox.try_send(&mut item));
        sent.map_err(|error| SendError::new(value, error))
    }

    /// Like [`send`](Self::send), for a thread that may block.
    ///
    /// ```
    /// use concurrent_futures::multiprocessing::pipe;
    ///
    /// let (one, other) = pipe::<Vec<u8>, ()>()?;
    /// let sender = std::thread::spawn(move || one.blocking_send(vec![7; 1 << 20]));
    /// assert_eq!(other.blocking_recv()?, vec![7; 1 << 20]);
    /// sender.join().unwrap()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Like [`send`](Self::send).
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_send(&self, value: S) -> Result<(), SendError<S>> {
        self.send_by(value, None)
    }

    /// Like [`blocking_send`](Self::blocking_send), for at most `timeout`.
    ///
    /// A value that was not sent in time is not received: the error returns it. If a part of a large value was already
    /// copied, the receiver drops that part and continues with the next value. The announcement of the value takes a
    /// little room until a receiver has passed it.
    ///
    /// ```
    /// use concurrent_futures::multiprocessing::pipe;
    /// use std::time::Duration;
    ///
    /// let (one, other) = pipe::<String, ()>()?;
    /// let large = "x".repeat(16 << 20);
    /// let error = one.blocking_send_timeout(large, Duration::from_millis(5)).unwrap_err();
    /// assert!(error.error().is_timed_out()); // No one receives.
    /// assert_eq!(error.into_inner().len(), 16 << 20);
    /// one.blocking_send_timeout("small".to_owned(), Duration::from_millis(5))?;
    /// assert_eq!(other.blocking_recv()?, "small");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `is_timed_out()` if the value was not sent within `timeout`; otherwise like [`send`](Self::send).
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_send_timeout(&self, value: S, timeout: Duration) -> Result<(), SendError<S>> {
        self.send_by(value, end_of(Some(timeout)))
    }

    fn send_by(&self, value: S, end: Option<Instant>) -> Result<(), SendError<S>> {
        may_block();
        let sent = encoded(&value).and_then(|item| self.end.blocking_send(&item, end));
        sent.map_err(|error| SendError::new(value, error))
    }
}

impl<S, R: Data> Connection<S, R> {
    /// Receives the next value. Waits until there is one.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::pipe;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (one, other) = pipe::<u32, u32>()?;
    /// one.send(1).await?;
    /// drop(one);
    /// assert_eq!(other.recv().await?, 1);
    /// assert!(other.recv().await.unwrap_err().is_closed());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `is_closed()` if the other end is closed and all values were received. `is_codec()` if the value cannot be
    /// decoded: the value is lost.
    ///
    /// `is_no_space()` if no memory is left for the value: it stays the next one. Also if this process has no
    /// descriptor left for an object in the value, or for a large value. Then the value is lost, except for a large
    /// value from [`send`](Self::send), which sends it again. (A large value from [`try_send`](Self::try_send) is lost
    /// in both cases.)
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has received nothing.
    pub async fn recv(&self) -> Result<R, ConnectionError> {
        self.end.receive().await
    }

    /// Receives the next value, if all of it is there.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::pipe;
    /// let (one, other) = pipe::<u32, u32>()?;
    /// assert!(other.try_recv().unwrap_err().is_empty());
    /// one.try_send(1)?;
    /// assert_eq!(other.try_recv()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `is_empty()` if there is no value; otherwise like [`recv`](Self::recv).
    pub fn try_recv(&self) -> Result<R, ConnectionError> {
        let received = self.end.try_receive();
        received.unwrap_or(Err(ConnectionError::EMPTY))
    }

    /// Like [`recv`](Self::recv), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::pipe;
    /// let (one, other) = pipe::<u32, u32>()?;
    /// one.blocking_send(1)?;
    /// assert_eq!(other.blocking_recv()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Like [`recv`](Self::recv).
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_recv(&self) -> Result<R, ConnectionError> {
        self.receive_by(None)
    }

    /// Like [`blocking_recv`](Self::blocking_recv), for at most `timeout`.
    ///
    /// ```
    /// use concurrent_futures::multiprocessing::pipe;
    /// use std::time::Duration;
    ///
    /// let (one, _other) = pipe::<u32, u32>()?;
    /// let error = one.blocking_recv_timeout(Duration::from_millis(1)).unwrap_err();
    /// assert!(error.is_timed_out());
    /// # Ok::<(), concurrent_futures::multiprocessing::ConnectionError>(())
    /// ```
    ///
    /// # Errors
    /// `is_timed_out()` if no value arrived within `timeout`; otherwise like [`recv`](Self::recv).
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_recv_timeout(&self, timeout: Duration) -> Result<R, ConnectionError> {
        self.receive_by(end_of(Some(timeout)))
    }

    fn receive_by(&self, end: Option<Instant>) -> Result<R, ConnectionError> {
        may_block();
        let received = self.end.blocking_receive(end);
        received.unwrap_or(Err(ConnectionError::TIMED_OUT))
    }
}

/// Encodes a value for sending.
fn encoded<S: Data>(value: &S) -> Result<OutgoingItem<'_>, ConnectionError> {
    let item = OutgoingItem::of(value)?;
    check(&item)?;
    Ok(item)
}

/// The same end. A value that this sink has accepted and not flushed stays with this handle.
impl<S, R> Clone for Connection<S, R> {
    fn clone(&self) -> Self {
        Self::of(self.end.clone())
    }
}

shared_handle! {
    Connection<S, R> as connection;
    sends connection.end.socket;
    receives deserializer => {
        let socket = Descriptor::deserialize(deserializer)?;
        sys::check_packets(&socket).map_err(serde::de::Error::custom)?;
        Ok(Self::new(socket))
    };
    shows {}
}

#[cfg(all(test, target_os = "linux", properties))]
#[path = "../../../tests/properties/multiprocessing/pipe.rs"]
mod properties;
