//! Runs a future after a delay, unless it is cancelled first.

use std::fmt;
use std::future::pending;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until};

/// A future that runs after a delay, as a tokio task of its own, unless it is cancelled first.
///
/// Dropping the timer does not cancel it. Code that blocks or computes belongs on a pool or in
/// [`spawn_blocking`](tokio::task::spawn_blocking), called from the future.
///
/// ```
/// use std::time::Duration;
/// use concurrent_futures::sync::Timer;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let reminder = Timer::start(Duration::from_millis(1), async { "time for tea" });
/// let late = Timer::start(Duration::from_secs(3600), async { "too late" });
/// assert!(late.cancel());
/// assert_eq!(reminder.join().await?, Some("time for tea"));
/// assert_eq!(late.join().await?, None);
/// # Ok(()) }
/// ```
pub struct Timer<T = ()> {
    /// `None` once used.
    cancel: Mutex<Option<oneshot::Sender<()>>>,
    task: JoinHandle<Option<T>>,
}

impl<T: Send + 'static> Timer<T> {
    /// Runs `future` once `delay` has passed, counted from this call. For a plain function, write `async {
    /// function() }`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::sync::Timer;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let timer = Timer::start(Duration::from_millis(1), async { println!("Hello!") });
    /// timer.join().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// Outside of a tokio runtime. In a runtime without timers the timer's task panics, and
    /// [`join`](Self::join) returns that as an error.
    #[track_caller]
    pub fn start(delay: Duration, future: impl Future<Output = T> + Send + 'static) -> Self {
        let end = Instant::now().checked_add(delay);
        let (cancel, mut cancelled) = oneshot::channel();
        let task = tokio::spawn(async move {
            let end = async {
                match end {
                    Some(end) => sleep_until(end).await,
                    None => pending().await, // The end of the delay is beyond the range of the clock.
                }
            };
            tokio::select! {
                biased;
                Ok(()) = &mut cancelled => return None, // `Err`: the timer was dropped.
                () = end => {}
            }
            // From here on `cancel` returns false. A message that was sent before is already in the channel.
            cancelled.close();
            match cancelled.try_recv() {
                Ok(()) => None,
                Err(_) => Some(future.await),
            }
        });
        Self {
            cancel: Mutex::new(Some(cancel)),
            task,
        }
    }

    /// Cancels the timer, so that its future never runs. Returns false if the future has started, or the timer is
    /// already cancelled.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::sync::Timer;
    ///
    /// # #[tokio::main] async fn main() {
    /// let timer = Timer::start(Duration::from_secs(3600), async {});
    /// assert!(timer.cancel());
    /// assert!(!timer.cancel());
    /// # }
    /// ```
    pub fn cancel(&self) -> bool {
        let mut cancel = self.cancel.lock().unwrap_or_else(PoisonError::into_inner);
        cancel.take().is_some_and(|cancel| cancel.send(()).is_ok())
    }

    /// Whether the future has ended, or the cancelled timer's task has.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::sync::Timer;
    ///
    /// # #[tokio::main] async fn main() {
    /// let timer = Timer::start(Duration::from_secs(3600), async {});
    /// assert!(!timer.is_finished());
    /// # }
    /// ```
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits for the end and returns the future's output, or `None` if the timer was cancelled.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::sync::Timer;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// assert_eq!(Timer::start(Duration::ZERO, async { 1 }).join().await?, Some(1));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The future panicked, or the runtime has ended.
    ///
    /// # Cancel safety
    /// Dropping the future drops the timer, which continues.
    pub async fn join(self) -> Result<Option<T>, JoinError> {
        self.task.await
    }
}

impl<T> fmt::Debug for Timer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer")
            .field("is_finished", &self.task.is_finished())
            .finish_non_exhaustive()
    }
}
