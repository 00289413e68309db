//! Waiting for a change of the value that a lock protects.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::panic::Location;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::coop::consume_budget;
use tokio::time;

use super::block::{block_on, block_on_until, end_of};
use super::deadlock::CodePlace;
use super::lock::{Lock, LockGuard};
use crate::block::may_block;

/// Lets tasks wait for a change of the value that a [`Lock`](super::Lock) protects.
///
/// ```
/// use std::sync::Arc;
/// use concurrent_futures::sync::{Condition, Lock};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let shared = Arc::new((Lock::new(0), Condition::new()));
/// let waiter = tokio::spawn({
///     let shared = shared.clone();
///     async move {
///         let (count, changed) = &*shared;
///         *changed.wait_for(count.lock().await, |count| *count > 1).await
///     }
/// });
/// let (count, changed) = &*shared;
/// for _ in 0..2 {
///     *count.lock().await += 1;
///     changed.notify_all();
/// }
/// assert_eq!(waiter.await?, 2);
/// # Ok(()) }
/// ```
pub struct Condition {
    waiters: Mutex<Waiters>,
}

#[derive(Debug)]
struct Waiters {
    last_number: u64,
    /// The waiters by number: the lowest number has waited longest.
    waiting: BTreeMap<u64, oneshot::Sender<Notification>>,
}

/// How a waiter was notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notification {
    /// By `notify` or `notify_one`. A waiter that cannot use the notification passes it on to the next one.
    One,
    All,
}

/// Whether a wait at a [`Condition`] timed out.
///
/// ```
/// use std::time::Duration;
/// use concurrent_futures::sync::{Condition, Lock};
///
/// # #[tokio::main] async fn main() {
/// let (lock, changed) = (Lock::new(0), Condition::new());
/// let (_guard, result) = changed.wait_timeout(lock.lock().await, Duration::from_millis(1)).await;
/// assert!(result.timed_out());
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the wait timed out: without a notification, or while the condition was still false.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condition {
    /// Creates a condition without waiters.
    ///
    /// ```
    /// use concurrent_futures::sync::Condition;
    ///
    /// static CHANGED: Condition = Condition::new();
    /// CHANGED.notify_all();
    /// ```
    pub const fn new() -> Self {
        Self {
            waiters: Mutex::new(Waiters {
                last_number: 0,
                waiting: BTreeMap::new(),
            }),
        }
    }

    /// Releases the lock, waits for a notification, and takes the lock again.
    ///
    /// No notification that follows the release is missed, and there are no spurious wake-ups. But other tasks
    /// may take the lock, and change the value, between the notification and the return: prefer
    /// [`wait_for`](Self::wait_for).
    ///
    /// ```
    /// use concurrent_futures::sync::{Condition, Lock};
    ///
    /// # #[tokio::main] async fn main() {
    /// let (lock, changed) = (Lock::new(0), Condition::new());
    /// let guard = lock.lock().await;
    /// let waiter = async { *changed.wait(guard).await };
    /// let other = async {
    ///     *lock.lock().await += 1; // The waiter has released it.
    ///     changed.notify_one();
    /// };
    /// assert_eq!(tokio::join!(biased; waiter, other).0, 1);
    /// # }
    /// ```
    ///
    /// # Panics
    /// Like [`Lock::lock`](super::Lock::lock), when it takes the lock again.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait and leaves the lock released. A notification by
    /// [`notify_one`](Self::notify_one) or [`notify`](Self::notify) that it has already received goes to the
    /// next waiter.
    #[track_caller]
    pub fn wait<'a, T>(&self, guard: LockGuard<'a, T>) -> impl Future<Output = LockGuard<'a, T>> {
        self.wait_at(guard, Location::caller())
    }

    /// Waits until `condition` returns true for the locked value. Checks first, and again after each
    /// notification.
    ///
    /// ```
    /// use concurrent_futures::sync::{Condition, Lock};
    ///
    /// # #[tokio::main] async fn main() {
    /// let (lock, changed) = (Lock::new(1), Condition::new());
    /// let guard = changed.wait_for(lock.lock().await, |number| *number == 1).await;
    /// assert_eq!(*guard, 1);
    /// # }
    /// ```
    ///
    /// # Panics
    /// Like [`wait`](Self::wait), and if `condition` panics.
    ///
    /// # Cancel safety
    /// Like [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_for<'a, T>(
        &self,
        guard: LockGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> impl Future<Output = LockGuard<'a, T>> {
        let place = Location::caller();
        async move {
            let mut guard = guard;
            if condition(&mut guard) {
                consume_budget().await; // Lets other tasks run if the loop never waits.
                return guard;
            }
            loop {
                guard = self.wait_at(guard, place).await;
                if condition(&mut guard) {
                    return guard;
                }
            }
        }
    }

    /// Like [`wait`](Self::wait), for at most `timeout`, and returns whether it timed out. It always takes the lock
    /// again, however long that takes.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::sync::{Condition, Lock};
    ///
    /// # #[tokio::main] async fn main() {
    /// let (lock, changed) = (Lock::new(0), Condition::new());
    /// let (guard, result) = changed.wait_timeout(lock.lock().await, Duration::from_millis(1)).await;
    /// assert!(result.timed_out(), "nothing has changed");
    /// assert_eq!(*guard, 0);
    /// # }
    /// ```
    ///
    /// # Panics
    /// Like [`wait`](Self::wait), and in a runtime without a timer (`enable_time`).
    ///
    /// # Cancel safety
    /// Like [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_timeout<'a, T>(
        &self,
        guard: LockGuard<'a, T>,
        timeout: Duration,
    ) -> impl Future<Output = (LockGuard<'a, T>, WaitTimeoutResult)> {
        self.wait_until(guard, async_end_of(timeout), Location::caller())
    }

    /// Like [`wait_for`](Self::wait_for), for at most `timeout`. It has timed out if `condition` was still false. It
    /// always takes the lock again.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::sync::{Condition, Lock};
    ///
    /// # #[tokio::main] async fn main() {
    /// let (lock, changed) = (Lock::new(1), Condition::new());
    /// let timeout = Duration::from_millis(1);
    /// let waited = changed.wait_for_timeout(lock.lock().await, timeout, |number| *number == 1).await;
    /// assert!(!waited.1.timed_out(), "it is 1");
    /// # }
    /// ```
    ///
    /// # Panics
    /// Like [`wait_timeout`](Self::wait_timeout), if it has to wait, and if `condition` panics.
    ///
    /// # Cancel safety
    /// Like [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_for_timeout<'a, T>(
        &self,
        guard: LockGuard<'a, T>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> impl Future<Output = (LockGuard<'a, T>, WaitTimeoutResult)> {
        let (end, place) = (async_end_of(timeout), Location::caller());
        async move {
            let mut guard = guard;
            if condition(&mut guard) {
                consume_budget().await;
                return (guard, WaitTimeoutResult(false));
            }
            loop {
                let waited = self.wait_until(guard, end, place).await;
                guard = waited.0;
                let holds = condition(&mut guard);
                if holds || waited.1.timed_out() {
                    return (guard, WaitTimeoutResult(!holds));
                }
            }
        }
    }

    /// Like [`wait`](Self::wait), for a thread that may block.
    ///
    /// ```
    /// use concurrent_futures::sync::{Condition, Lock};
    ///
    /// let (lock, changed) = (Lock::new(0), Condition::new());
    /// std::thread::scope(|scope| {
    ///     let guard = lock.blocking_lock();
    ///     scope.spawn(|| {
    ///         *lock.blocking_lock() += 1; // The waiter has released it.
    ///         changed.notify_one();
    ///     });
    ///     assert_eq!(*changed.blocking_wait(guard), 1);
    /// });
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code, and where [`wait`](Self::wait) does.
    #[track_caller]
    pub fn blocking_wait<'a, T>(&self, guard: LockGuard<'a, T>) -> LockGuard<'a, T> {
        block_on(self.wait(guard))
    }

    /// Like [`wait_for`](Self::wait_for), for a thread that may block.
    ///
    /// ```
    /// use concurrent_futures::sync::{Condition, Lock};
    ///
    /// let (lock, changed) = (Lock::new(0), Condition::new());
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| {
    ///         *lock.blocking_lock() += 1;
    ///         changed.notify_one();
    ///     });
    ///     let guard = lock.blocking_lock();
    ///     assert_eq!(*changed.blocking_wait_for(guard, |number| *number == 1), 1);
    /// });
    /// ```
    ///
    /// # Panics
    /// Like [`blocking_wait`](Self::blocking_wait), and if `condition` panics.
    #[track_caller]
    pub fn blocking_wait_for<'a, T>(
        &self,
        guard: LockGuard<'a, T>,
        condition: impl FnMut(&mut T) -> bool,
    ) -> LockGuard<'a, T> {
        block_on(self.wait_for(guard, condition))
    }

    /// Like [`wait_timeout`](Self::wait_timeout), for a thread that may block.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::sync::{Condition, Lock};
    ///
    /// let (lock, changed) = (Lock::new(0), Condition::new());
    /// let waited = changed.blocking_wait_timeout(lock.blocking_lock(), Duration::from_millis(1));
    /// assert!(waited.1.timed_out());
    /// ```
    ///
    /// # Panics
    /// Like [`blocking_wait`](Self::blocking_wait).
    #[track_caller]
    pub fn blocking_wait_timeout<'a, T>(
        &self,
        guard: LockGuard<'a, T>,
        timeout: Duration,
    ) -> (LockGuard<'a, T>, WaitTimeoutResult) {
        self.blocking_wait_until(guard, end_of(timeout), Location::caller())
    }

    /// Like [`wait_for_timeout`](Self::wait_for_timeout), for a thread that may block.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::sync::{Condition, Lock};
    ///
    /// let (lock, changed) = (Lock::new(0), Condition::new());
    /// let timeout = Duration::from_millis(1);
    /// let waited = changed.blocking_wait_for_timeout(lock.blocking_lock(), timeout, |number| *number == 1);
    /// assert!(waited.1.timed_out(), "it is still 0");
    /// ```
    ///
    /// # Panics
    /// Like [`blocking_wait`](Self::blocking_wait), and if `condition` panics.
    #[track_caller]
    pub fn blocking_wait_for_timeout<'a, T>(
        &self,
        mut guard: LockGuard<'a, T>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> (LockGuard<'a, T>, WaitTimeoutResult) {
        may_block();
        let (end, place) = (end_of(timeout), Location::caller());
        let mut is_over = false;
        loop {
            let holds = condition(&mut guard);
            if holds || is_over {
                return (guard, WaitTimeoutResult(!holds));
            }
            let waited = self.blocking_wait_until(guard, end, place);
            (guard, is_over) = (waited.0, waited.1.timed_out());
        }
    }

    /// Wakes the task that has waited longest. Does nothing if no task waits.
    ///
    /// Change the value before this call, or before you release the lock after it. The caller need not hold the
    /// lock.
    ///
    /// ```
    /// concurrent_futures::sync::Condition::new().notify_one();
    /// ```
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Wakes up to `number` tasks, those that have waited longest first.
    ///
    /// ```
    /// concurrent_futures::sync::Condition::new().notify(2);
    /// ```
    pub fn notify(&self, number: usize) {
        for _ in 0..number {
            loop {
                let Some((_, waiter)) = self.waiters().waiting.pop_first() else {
                    return;
                };
                // A waiter that is dropped right now does not receive it: try the next one.
                if waiter.send(Notification::One).is_ok() {
                    break;
                }
            }
        }
    }

    /// Wakes all waiting tasks.
    ///
    /// ```
    /// concurrent_futures::sync::Condition::new().notify_all();
    /// ```
    pub fn notify_all(&self) {
        let waiting = mem::take(&mut self.waiters().waiting);
        for waiter in waiting.into_values() {
            let _ = waiter.send(Notification::All);
        }
    }

    async fn wait_at<'a, T>(&self, guard: LockGuard<'a, T>, place: CodePlace) -> LockGuard<'a, T> {
        let (lock, mut waiter) = self.begin_wait(guard);
        waiter.wait_for_call().await;
        let guard = lock.lock_at(place).await;
        waiter.call = None; // The notification was used.
        guard
    }

    /// Like `wait_at`, until `end`.
    async fn wait_until<'a, T>(
        &self,
        guard: LockGuard<'a, T>,
        end: Option<time::Instant>,
        place: CodePlace,
    ) -> (LockGuard<'a, T>, WaitTimeoutResult) {
        let (lock, mut waiter) = self.begin_wait(guard);
        match end {
            // The result comes from the waiter, because a notification may arrive at the end of the time.
            Some(end) => drop(time::timeout_at(end, waiter.wait_for_call()).await),
            None => waiter.wait_for_call().await, // The deadline is beyond the range of the clock.
        }
        let result = waiter.end();
        let guard = lock.lock_at(place).await;
        waiter.call = None;
        (guard, result)
    }

    /// Like `wait_until`, on a thread that may block.
    #[track_caller]
    fn blocking_wait_until<'a, T>(
        &self,
        guard: LockGuard<'a, T>,
        end: Option<Instant>,
        place: CodePlace,
    ) -> (LockGuard<'a, T>, WaitTimeoutResult) {
        let (lock, mut waiter) = self.begin_wait(guard);
        let _ = block_on_until(waiter.wait_for_call(), end);
        let result = waiter.end();
        let guard = block_on(lock.lock_at(place));
        waiter.call = None;
        (guard, result)
    }

    /// Registers first, then releases the lock: no notification after that is missed.
    fn begin_wait<'a, T>(&self, guard: LockGuard<'a, T>) -> (&'a Lock<T>, Waiter<'_>) {
        (LockGuard::lock(&guard), self.enlist())
    }

    fn enlist(&self) -> Waiter<'_> {
        let (sender, receiver) = oneshot::channel();
        let mut waiters = self.waiters();
        waiters.last_number += 1;
        let number = waiters.last_number;
        waiters.waiting.insert(number, sender);
        Waiter {
            condition: self,
            number,
            receiver,
            call: None,
        }
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Like `end_of`, by the clock of the runtime, which may be paused.
fn async_end_of(timeout: Duration) -> Option<time::Instant> {
    time::Instant::now().checked_add(timeout)
}

/// A waiting task. If it is dropped with a notification that it cannot use, the next waiter receives that.
struct Waiter<'a> {
    condition: &'a Condition,
    number: u64,
    receiver: oneshot::Receiver<Notification>,
    /// Set until the notification is used.
    call: Option<Notification>,
}

impl Waiter<'_> {
    async fn wait_for_call(&mut self) {
        self.call = (&mut self.receiver).await.ok();
    }

    /// Ends the wait: later notifications are for others. Returns whether there was no notification.
    fn end(&mut self) -> WaitTimeoutResult {
        let enlisted = self.condition.waiters().waiting.remove(&self.number);
        drop(enlisted); // Dropped without the lock, because this may wake a task.
        // A concurrent `notify` either finds the channel closed, or its message is read here.
        self.receiver.close();
        self.call = self.call.or_else(|| self.receiver.try_recv().ok());
        WaitTimeoutResult(self.call.is_none())
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.end();
        if self.call == Some(Notification::One) {
            self.condition.notify_one();
        }
    }
}

impl Default for Condition {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.waiters().waiting.len();
        f.debug_struct("Condition")
            .field("waiting", &waiting)
            .finish_non_exhaustive()
    }
}
