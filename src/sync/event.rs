//! A flag that tasks wait for.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::coop::cooperative;

use super::block::{block_on, block_on_timeout};

/// A flag that tasks can wait for.
///
/// ```
/// use std::sync::Arc;
/// use concurrent_futures::sync::Event;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ready = Arc::new(Event::new());
/// let waiter = tokio::spawn({
///     let ready = ready.clone();
///     async move { ready.wait().await }
/// });
/// ready.set();
/// waiter.await?;
/// # Ok(()) }
/// ```
pub struct Event {
    is_set: AtomicBool,
    happened: Notify,
}

impl Event {
    /// Creates an event that is not set.
    ///
    /// ```
    /// use concurrent_futures::sync::Event;
    ///
    /// static STOPPED: Event = Event::new();
    /// assert!(!STOPPED.is_set());
    /// ```
    pub const fn new() -> Self {
        Self {
            is_set: AtomicBool::new(false),
            happened: Notify::const_new(),
        }
    }

    /// Sets the event: wakes all waiting tasks. Later waits return at once until [`clear`](Self::clear).
    ///
    /// ```
    /// # #[tokio::main] async fn main() {
    /// let event = concurrent_futures::sync::Event::new();
    /// event.set();
    /// event.wait().await;
    /// # }
    /// ```
    pub fn set(&self) {
        self.is_set.store(true, Ordering::Release);
        self.happened.notify_waiters();
    }

    /// Clears the event. Later waits wait for the next [`set`](Self::set). Tasks that an earlier `set` has
    /// woken still return.
    ///
    /// ```
    /// let event = concurrent_futures::sync::Event::new();
    /// event.set();
    /// event.clear();
    /// assert!(!event.is_set());
    /// ```
    pub fn clear(&self) {
        self.is_set.store(false, Ordering::Release);
    }

    /// Whether the event is set.
    ///
    /// ```
    /// let event = concurrent_futures::sync::Event::new();
    /// event.set();
    /// assert!(event.is_set());
    /// ```
    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    /// Waits until the event is set. Returns at once if it is. Wrap it in [`tokio::time::timeout`] to bound the
    /// wait.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tokio::time::timeout;
    ///
    /// # #[tokio::main] async fn main() {
    /// let event = concurrent_futures::sync::Event::new();
    /// assert!(timeout(Duration::from_millis(1), event.wait()).await.is_err());
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Dropping the future has no effect on the event; call it again to continue the wait. It observes nothing between
    /// the two calls: if the event is set and cleared meanwhile, the second call waits.
    pub async fn wait(&self) {
        // From here on it receives each `set`. A `set` before that has already stored the flag.
        let happened = self.happened.notified();
        let wait = async {
            if !self.is_set() {
                happened.await;
            }
        };
        cooperative(wait).await; // Waiting on a `Notify` alone would let no other task run.
    }

    /// Like [`wait`](Self::wait), for a thread that may block.
    ///
    /// ```
    /// use concurrent_futures::sync::Event;
    ///
    /// let event = Event::new();
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| event.blocking_wait());
    ///     event.set();
    /// });
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[track_caller]
    pub fn blocking_wait(&self) {
        block_on(self.wait());
    }

    /// Like [`blocking_wait`](Self::blocking_wait), for at most `timeout`. Returns whether the event was set in that
    /// time.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let event = concurrent_futures::sync::Event::new();
    /// assert!(!event.blocking_wait_timeout(Duration::from_millis(1)));
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[track_caller]
    pub fn blocking_wait_timeout(&self, timeout: Duration) -> bool {
        block_on_timeout(self.wait(), timeout).is_some()
    }
}

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("is_set", &self.is_set())
            .finish_non_exhaustive()
    }
}
