//! Something that happens, or not yet, and those who wait for it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use super::block::block_on;

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
    /// One that is not set.
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

    /// Wakes all who wait, and lets all who come go on at once until it is cleared.
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

    /// Makes all who come from now on wait for the next [`set`](Self::set). Who waited for the one before
    /// goes on.
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

    /// Whether it is set.
    ///
    /// ```
    /// let event = concurrent_futures::sync::Event::new();
    /// event.set();
    /// assert!(event.is_set());
    /// ```
    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    /// Waits until it is set, if it is not. Wrap it in [`tokio::time::timeout`] to wait for so long only.
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
    /// It takes nothing from others, so it can be dropped and called again. Between the two it waits for
    /// nothing: an event that is set and cleared then is missed.
    pub async fn wait(&self) {
        // It sees each `set` from here on. One that came before has stored the flag first.
        let happened = self.happened.notified();
        if !self.is_set() {
            happened.await;
        }
    }

    /// As [`wait`](Self::wait), for threads that may block.
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
    pub fn blocking_wait(&self) {
        block_on(self.wait());
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
