//! [`pipe`]: two connected ends, each with a process of its own. Reading order:
//!
//! - [`packet`]: what travels; [`watch`]: waiting for the socket that it travels by;
//! - [`outbox`]: sending; [`inbox`]: receiving; [`flow`]: both, as a stream and a sink;
//! - [`error`]: why something was not done.

mod error;
mod flow;
mod inbox;
mod outbox;
mod packet;
mod watch;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::error::{ConnectionError, SendError};
use self::flow::{Receiving, Sending};
use self::inbox::PipeInbox;
use self::outbox::{PipeOutbox, check};
use super::item::OutgoingItem;
use super::wait::end_of;
use super::waiter::may_block;
use crate::executor::data::Data;
use crate::sys;
use crate::wire::descriptors::Descriptor;

/// Two ends that are connected: what is sent by one is received by the other, both ways. The first sends
/// values of type `A` and receives values of type `B`.
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
/// `is_no_space()` if there is no memory or no descriptor for it: each end takes one of these.
pub fn pipe<A: Data, B: Data>() -> Result<ConnectedEnds<A, B>, ConnectionError> {
    let (one, other) = sys::roomy_packet_pair()?;
    Ok((Connection::new(one.into()), Connection::new(other.into())))
}

/// What a pipe has two of.
type ConnectedEnds<A, B> = (Connection<A, B>, Connection<B, A>);

/// One end of a [`pipe`], which sends values of type `S` and receives values of type `R`.
///
/// To be given to another process, as an argument of a task, or within a value that is sent there:
///
/// ```no_run
/// use concurrent_futures::multiprocessing::{Connection, pipe};
/// use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
///
/// fn double(numbers: Connection<u64, u64>) {
///     while let Ok(number) = numbers.blocking_recv() {
///         numbers.blocking_send(2 * number).expect("somebody receives it");
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
/// It is also a [`Stream`](futures::Stream) of what it receives, which ends when nobody can send any more,
/// and a [`Sink`](futures::Sink) of what it sends. To close the sink says that this end sends no more, and
/// none of its copies does: the other end then receives what was sent before, and then that it is closed. A
/// value that the sink has taken is on its way once it is flushed.
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
/// # Who has an end
///
/// A clone, and a copy that was sent to another process, is the same end: what it sends comes in between
/// what the others send, each value as a whole, and each value is received by one of them. An end is gone when
/// the last of them is; a process that ends, however it does, has none any more. A copy that was given to a
/// pool is kept by it until the task has begun, or, if that may be run again, until it has an outcome.
///
/// # What is promised of a value
///
/// A value is sent, as a whole, when the method that sends it has returned `Ok`. Then it is received by
/// whoever has the other end, unless all of these go first, or the one that has begun to receive it. One whose
/// sender was dropped, timed out or killed before that has been sent as a whole or not at all. A process that is
/// killed at any point, also in the middle of sending or receiving, leaves nothing torn, and nobody waiting.
///
/// A value is received when the method that receives it returns it: one that is dropped or times out has
/// received nothing. If it had begun to read a large value, that is for whoever receives next in this process,
/// and for nobody else. What the stream has begun to read is the stream's, until it is polled again or dropped:
/// so do not use both `next` and `recv` of one connection.
///
/// # Room
///
/// Some hundreds of small values (less than a KiB) can be under way in each direction, or some of 64 KiB. Then a
/// sender waits. Values that take more than 64 KiB are copied while sender and receiver both are at
/// it: such a `send` returns when the receiver has taken nearly all of it. So two processes that both send large
/// values before they receive wait for ever, as with any pipe: in a task, do both at a time (`tokio::join!`,
/// [`split`](futures::StreamExt::split)), or use a [`Queue`](super::Queue).
///
/// Values are what arguments of a task may be (see [`Data`]), also with objects in them that processes share, such
/// as another connection. They are encoded and decoded by who sends and receives: one of many MiB that
/// is not plain bytes or numbers keeps a thread of the runtime busy for that time.
pub struct Connection<S, R> {
    end: Arc<ConnectionEnd>,
    receiving: Receiving<R>,
    sending: Sending,
    values: PhantomData<fn(S) -> R>,
}

/// An end as a process has it.
#[derive(Debug)]
struct ConnectionEnd {
    socket: Descriptor,
    outbox: PipeOutbox,
    inbox: PipeInbox,
}

impl<S, R> Connection<S, R> {
    fn new(socket: Descriptor) -> Self {
        Self::of(Arc::new(ConnectionEnd {
            outbox: PipeOutbox::new(socket.clone()),
            inbox: PipeInbox::new(socket.clone()),
            socket,
        }))
    }

    fn of(end: Arc<ConnectionEnd>) -> Self {
        Self {
            end,
            receiving: Receiving::default(),
            sending: Sending::default(),
            values: PhantomData,
        }
    }

    /// Whether there is something to receive, or the end of all, within that time. With
    /// [`Duration::ZERO`] it does not wait.
    ///
    /// Somebody else who has this end may be quicker to receive it; a value that is large may still be on its way.
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
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver and a timer.
    ///
    /// # Cancel safety
    /// Cancel safe: it receives nothing.
    pub async fn poll(&self, timeout: Duration) -> bool {
        if self.end.inbox.has_news() || timeout.is_zero() {
            return self.end.inbox.has_news();
        }
        let news = self.end.inbox.until_news();
        tokio::time::timeout(timeout, news).await.is_ok()
    }

    /// As [`poll`](Self::poll), for code that is not async. It blocks the thread.
    ///
    /// # Panics
    /// In an async task, where it would stop a thread of its runtime.
    pub fn blocking_poll(&self, timeout: Duration) -> bool {
        may_block();
        self.end.inbox.blocking_until_news(end_of(Some(timeout)))
    }
}

impl<S: Data, R> Connection<S, R> {
    /// Sends a value, and waits for room if there is none.
    ///
    /// # Errors
    /// `is_closed()` if nobody has the other end any more, or if the sink of this one was closed; `is_codec()` if
    /// the value cannot be encoded; `is_too_large()`; `is_no_space()` if the system has no memory, or no descriptor,
    /// for it. The error has the value, if that still exists.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver.
    ///
    /// # Cancel safety
    /// If it is dropped before it has returned, the value was not sent, and is dropped with it.
    pub async fn send(&self, value: S) -> Result<(), SendError<S>> {
        tokio::task::coop::consume_budget().await;
        let item = encoded(value)?;
        let sent = self.end.outbox.send(&item).await;
        sent.map_err(|error| not_sent(item, error))
    }

    /// Sends a value, if there is room for it now. One of more than 64 KiB takes memory of its own until it is
    /// received.
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
    /// `is_full()` if there is none; else as [`send`](Self::send).
    pub fn try_send(&self, value: S) -> Result<(), SendError<S>> {
        let mut item = encoded(value)?;
        let sent = self.end.outbox.try_send(&mut item);
        sent.map_err(|error| not_sent(item, error))
    }

    /// As [`send`](Self::send), for code that is not async. It blocks the thread.
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
    /// As [`send`](Self::send).
    ///
    /// # Panics
    /// In an async task, where it would stop a thread of its runtime.
    pub fn blocking_send(&self, value: S) -> Result<(), SendError<S>> {
        may_block();
        let item = encoded(value)?;
        let sent = self.end.outbox.blocking_send(&item);
        sent.map_err(|error| not_sent(item, error))
    }
}

impl<S, R: Data> Connection<S, R> {
    /// Receives the next value, and waits for one if there is none.
    ///
    /// # Errors
    /// `is_closed()` if there is nobody who could send one, and all that was sent has been received;
    /// `is_codec()` if the value cannot be decoded: it is gone. `is_no_space()` if there is no memory for it: it
    /// stays the next one, until there is. Or if this process may not have the descriptors that come with it: of
    /// objects in it, or of a large value. Then it is gone, but for a large one that [`send`](Self::send) sends
    /// again. (A large value that [`try_send`](Self::try_send) has sent is gone in both cases.)
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver.
    ///
    /// # Cancel safety
    /// Cancel safe: if it is dropped before it has returned, nothing was received.
    pub async fn recv(&self) -> Result<R, ConnectionError> {
        self.end.inbox.receive().await
    }

    /// Receives the next value, if there is one now, as a whole.
    ///
    /// # Errors
    /// `is_empty()` if there is none; else as [`recv`](Self::recv).
    pub fn try_recv(&self) -> Result<R, ConnectionError> {
        let received = self.end.inbox.try_receive();
        received.unwrap_or(Err(ConnectionError::EMPTY))
    }

    /// As [`recv`](Self::recv), for code that is not async. It blocks the thread.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    ///
    /// # Panics
    /// In an async task, where it would stop a thread of its runtime.
    pub fn blocking_recv(&self) -> Result<R, ConnectionError> {
        self.receive_by(None)
    }

    /// As [`blocking_recv`](Self::blocking_recv), for so long at the most.
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
    /// `is_timed_out()` if nothing came for so long; else as [`recv`](Self::recv).
    ///
    /// # Panics
    /// In an async task, where it would stop a thread of its runtime.
    pub fn blocking_recv_timeout(&self, timeout: Duration) -> Result<R, ConnectionError> {
        self.receive_by(end_of(Some(timeout)))
    }

    fn receive_by(&self, end: Option<Instant>) -> Result<R, ConnectionError> {
        may_block();
        let received = self.end.inbox.blocking_receive(end);
        received.unwrap_or(Err(ConnectionError::TIMED_OUT))
    }
}

/// A value, ready to be sent.
fn encoded<S: Data>(value: S) -> Result<OutgoingItem, SendError<S>> {
    let item = OutgoingItem::of(value).map_err(|error| SendError::new(error.into(), None))?;
    match check(&item) {
        Ok(()) => Ok(item),
        Err(error) => Err(not_sent(item, error)),
    }
}

fn not_sent<S: Data>(item: OutgoingItem, error: ConnectionError) -> SendError<S> {
    SendError::new(error, item.into_item())
}

/// The same end. What the sink of the other has taken and not flushed stays with that.
impl<S, R> Clone for Connection<S, R> {
    fn clone(&self) -> Self {
        Self::of(self.end.clone())
    }
}

impl<S, R> Serialize for Connection<S, R> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        self.end.socket.serialize(serializer)
    }
}

impl<'de, S, R> Deserialize<'de> for Connection<S, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Descriptor::deserialize(deserializer).map(Self::new)
    }
}
