//! Something to be done after a while, unless it is cancelled before it begins.

use std::fmt;
use std::future::pending;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until};

/// A future that runs after a delay, as a task of its own, unless it is cancelled before.
///
/// Dropping the timer leaves it running. What blocks or computes belongs on a pool or
/// [`spawn_blocking`](tokio::task::spawn_blocking), from within the future.
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
    /// Is gone once it is used.
    cancel: Mutex<Option<oneshot::Sender<()>>>,
    task: JoinHandle<Option<T>>,
}

impl<T: Send + 'static> Timer<T> {
    /// Runs `future` after `delay`, counted from now. For a function, write `async { function() }`.
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
    /// Outside of a tokio runtime, and in one without timers.
    #[track_caller]
    pub fn start(delay: Duration, future: impl Future<Output = T> + Send + 'static) -> Self {
        let end = Instant::now().checked_add(delay);
        let (cancel, mut cancelled) = oneshot::channel();
        let task = tokio::spawn(async move {
            let end = async {
                match end {
                    Some(end) => sleep_until(end).await,
                    None => pending().await, // Further off than the clock can tell.
                }
            };
            tokio::select! {
                biased;
                Ok(()) = &mut cancelled => return None, // Err: the timer was dropped.
                () = end => {}
            }
            // From here on `cancel` fails. Its message is here, or it will never be.
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

    /// Makes it never run. False if it has begun already, or was cancelled already.
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

    /// Whether it has run, or was cancelled.
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

    /// Waits for its end, and gives what the future gave; nothing if it was cancelled.
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
    /// Dropping this drops the timer, which goes on.
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
