//! [`Event`]: something has happened, or not.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::wait::end_of;
use super::waiter::{may_block, pause};
use crate::sys::{self, Edges};
use crate::wire::descriptors::Descriptor;

/// Says whether something has happened, and lets tasks and threads of all processes that have it wait until
/// it has.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use concurrent_futures::multiprocessing::Event;
///
/// let event = Event::new()?;
/// let waiting = tokio::spawn({
///     let event = event.clone();
///     async move { event.wait().await }
/// });
/// event.set();
/// waiting.await?;
/// assert!(event.is_set());
/// event.clear();
/// assert!(!event.is_set());
/// # Ok(())
/// # }
/// ```
///
/// # When a process ends
/// It leaves nothing behind: to set and to clear it is one step each, which the system makes. As long as
/// any process has the event it stays as it is.
///
/// # What it costs
/// One descriptor in each process that has it, and no memory. Each method is one system call; who has to
/// wait in a task takes another descriptor meanwhile.
#[derive(Clone)]
pub struct Event(Descriptor);

impl Event {
    /// An event that has not happened.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(sys::eventfd()?.into()))
    }

    /// It has happened: everybody who waits is woken, and nobody waits until it is cleared.
    pub fn set(&self) {
        sys::signal(self.0.as_fd());
    }

    /// It has not happened yet.
    ///
    /// Whoever waited when it was set and has not been woken when it is cleared goes on waiting.
    pub fn clear(&self) {
        sys::silence(self.0.as_fd());
    }

    /// Whether it has happened.
    pub fn is_set(&self) -> bool {
        sys::is_readable(self.0.as_fd())
    }

    /// Waits until it has happened.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn wait(&self) {
        let mut edges = None;
        while !self.is_set() {
            // What happened before it listens counts as an edge, so nothing goes unheard.
            let listen = || self.0.as_fd().try_clone_to_owned().and_then(Edges::of);
            let listening = match edges.take() {
                Some(edges) => Ok(edges),
                None => listen(),
            };
            match listening {
                Ok(listening)
                    if poll_fn(|context| listening.poll_next(context))
                        .await
                        .is_ok() =>
                {
                    edges = Some(listening);
                }
                _ => pause().await, // There is no descriptor left, or the runtime has ended.
            }
        }
    }

    /// As [`wait`](Self::wait), for a thread.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let event = concurrent_futures::multiprocessing::Event::new()?;
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| event.set());
    ///     event.blocking_wait();
    /// });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// If it has to wait in an asynchronous task.
    pub fn blocking_wait(&self) {
        self.blocking_wait_by(None);
    }

    /// As [`blocking_wait`](Self::blocking_wait), until `timeout` has passed. Says whether it has happened.
    ///
    /// # Panics
    /// If it has to wait in an asynchronous task.
    pub fn blocking_wait_timeout(&self, timeout: Duration) -> bool {
        self.blocking_wait_by(end_of(Some(timeout)))
    }

    fn blocking_wait_by(&self, end: Option<Instant>) -> bool {
        self.is_set() || {
            may_block();
            sys::await_readable(self.0.as_fd(), end)
        }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("is_set", &self.is_set())
            .finish()
    }
}

/// To a process only: anywhere else it is an error that says so.
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Descriptor::deserialize(deserializer).map(Self)
    }
}
