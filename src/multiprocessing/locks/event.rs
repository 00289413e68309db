//! [`Event`]: a flag that processes wait for.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::multiprocessing::handle::shared_handle;
use crate::multiprocessing::known::{Part, recognised};
use crate::multiprocessing::waiting::driver::{end_of, may_block};
use crate::multiprocessing::waiting::level::Level;
use crate::sys::{self, AsFd as _, BorrowedFd};
use crate::wire::descriptors::Descriptor;

/// A flag that the tasks and threads of all processes that have it can set and wait for.
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
/// The event does not change: setting and clearing are one system call each. The event keeps its state while any
/// process has it.
///
/// A process that misuses the descriptor can set and clear the event. It can also block a `set` of another process, by
/// filling the descriptor at that moment: see [hostile processes](crate::multiprocessing#hostile-processes).
///
/// # Cost
/// One descriptor in each process that has it, and no memory. Each method is one or two system calls. The waiting tasks
/// of one runtime use one more descriptor together.
///
/// # Platform
/// Linux.
#[derive(Clone)]
pub struct Event(Arc<EventFd>);

/// The eventfd of an event, and the tasks of this process that wait for it.
struct EventFd {
    fd: Descriptor,
    level: Level,
}

impl EventFd {
    fn new(fd: Descriptor) -> Self {
        let level = Level::default();
        Self { fd, level }
    }
}

impl Event {
    /// Creates an event that is not set.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(EventFd::new(sys::eventfd()?.into()))))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }

    /// Sets the event: wakes all waiters. Later waits return at once until [`clear`](Self::clear).
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Event;
    /// let event = Event::new()?;
    /// event.set();
    /// event.blocking_wait(); // Returns at once.
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set(&self) {
        sys::signal(self.fd());
    }

    /// Clears the event.
    ///
    /// A waiter that has not seen an earlier [`set`](Self::set) keeps waiting.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Event;
    /// let event = Event::new()?;
    /// event.set();
    /// event.clear();
    /// assert!(!event.is_set());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn clear(&self) {
        sys::silence(self.fd());
    }

    /// Whether the event is set.
    pub fn is_set(&self) -> bool {
        sys::is_readable(self.fd())
    }

    /// Waits until the event is set. Returns at once if it is.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Event;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let event = Event::new()?;
    /// tokio::join!(event.wait(), async { event.set() });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn wait(&self) {
        tokio::task::coop::consume_budget().await;
        self.0.level.wait(self.fd(), || self.is_set()).await;
    }

    /// Like [`wait`](Self::wait), for a thread that may block.
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
    /// On a thread that drives async code.
    pub fn blocking_wait(&self) {
        self.blocking_wait_by(None);
    }

    /// Like [`blocking_wait`](Self::blocking_wait), for at most `timeout`. Returns whether the event is set.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Event;
    /// # use std::time::Duration;
    /// assert!(!Event::new()?.blocking_wait_timeout(Duration::from_millis(1)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_wait_timeout(&self, timeout: Duration) -> bool {
        self.blocking_wait_by(end_of(Some(timeout)))
    }

    fn blocking_wait_by(&self, end: Option<Instant>) -> bool {
        may_block();
        self.is_set() || sys::await_readable(self.fd(), end)
    }
}

shared_handle! {
    Event as event;
    sends event.0.fd;
    receives deserializer => {
        let descriptor = Descriptor::deserialize(deserializer)?;
        sys::check_eventfd(&descriptor).map_err(serde::de::Error::custom)?;
        // An event that was created here is not registered as known, because identifying it takes longer than creating
        // it. So it costs one more descriptor, once, when it comes back.
        let eventfd = Part::eventfd(&descriptor);
        Ok(Self(recognised(EventFd::new(descriptor), eventfd, |_| {
            Some(Vec::new())
        })))
    };
    shows { is_set: event.is_set() }
}
