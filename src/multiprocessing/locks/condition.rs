//! [`Condition`]: waiting for a change of what a lock guards.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::lock::{Lock, LockGuard};
use crate::multiprocessing::handle::shared_handle;
use crate::multiprocessing::waiting::driver::{Driver, InTask, InThread, may_block};

/// A [`Lock`] with waiters for a change of what it guards, among all processes that have it.
///
/// A wait may return without a notification, so check the state after each: [`wait_for`](Self::wait_for) does.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use concurrent_futures::multiprocessing::Condition;
///
/// static COUNTER: AtomicU32 = AtomicU32::new(0); // Or in memory that processes share.
///
/// let condition = Condition::new()?;
/// let waiting = tokio::spawn({
///     let condition = condition.clone();
///     async move {
///         let guard = condition.lock().await;
///         condition.wait_for(guard, || COUNTER.load(Ordering::Relaxed) == 3).await;
///     }
/// });
/// for _ in 0..3 {
///     let guard = condition.lock().await;
///     condition.notify_all(&guard); // Notify first, then change: see below.
///     COUNTER.fetch_add(1, Ordering::Relaxed);
/// }
/// waiting.await?;
/// # Ok(())
/// # }
/// ```
///
/// # When a process ends
/// A killed waiter has no effect on the others. The lock of a killed holder becomes free, as for [`Lock`]. So notify
/// before the change: waiters check the state only after the lock is released, so the order makes no difference to
/// them. But if the process is killed in the middle of its change, the waiters are already awake and see the state that
/// it left.
///
/// A process that misuses the memory can keep, release or spoil the lock, and no more: see
/// [hostile processes](crate::multiprocessing#hostile-processes).
///
/// # Cost
/// That of one [`Lock`]. Several conditions can [share one lock](Self::with_lock); a notification wakes the waiters of
/// all of them. Notifying is at most one system call, and none if no one waits. The waiting tasks of one runtime use
/// one descriptor together. Each waiting thread uses one.
///
/// # Fairness, forks
/// Like [`Lock`](super::Lock#fairness): woken waiters take the lock in turn.
///
/// # Platform
/// Linux.
#[derive(Clone)]
pub struct Condition {
    lock: Lock,
}

/// Whether a wait at a [`Condition`] timed out.
///
/// ```
/// # use concurrent_futures::multiprocessing::Condition;
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let condition = Condition::new()?;
/// let guard = condition.lock().await;
/// let (_guard, result) = condition.wait_for_timeout(guard, Duration::from_millis(1), || false).await;
/// assert!(result.timed_out());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the wait timed out: without a notification, or while the predicate was still false.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condition {
    /// Creates a condition with a lock of its own.
    ///
    /// # Errors
    /// No descriptor or no memory is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self::with_lock(&Lock::new()?))
    }

    /// Creates a condition for what `lock` guards.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::{Condition, Lock};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let lock = Lock::new()?;
    /// let (not_empty, not_full) = (Condition::with_lock(&lock), Condition::with_lock(&lock));
    /// let guard = lock.lock().await;
    /// not_empty.notify_one(&guard);
    /// not_full.notify_one(&guard);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_lock(lock: &Lock) -> Self {
        Self { lock: lock.clone() }
    }

    /// Takes the lock: see [`Lock::lock`].
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Condition;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let condition = Condition::new()?;
    /// let guard = condition.lock().await;
    /// condition.notify_one(&guard);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// Like [`Lock::lock`].
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has not taken the lock.
    pub async fn lock(&self) -> LockGuard {
        self.lock.lock().await
    }

    /// Like [`lock`](Self::lock), for a thread that may block.
    ///
    /// # Panics
    /// Like [`Lock::blocking_lock`].
    pub fn blocking_lock(&self) -> LockGuard {
        self.lock.blocking_lock()
    }

    /// Releases the lock, waits for a notification, and takes the lock again. It may also return without a
    /// notification.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Condition;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let condition = Condition::new()?;
    /// let guard = condition.lock().await;
    /// let notify = async { condition.notify_one(&condition.lock().await) };
    /// let (guard, ()) = tokio::join!(condition.wait(guard), notify);
    /// # drop(guard);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// If `guard` holds another lock than that of this condition. Outside of a tokio runtime, or in one without an
    /// I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Dropping the future leaves the lock released, even if the future has taken it again.
    pub async fn wait(&self, guard: LockGuard) -> LockGuard {
        self.wait_by(guard, None).await.0
    }

    /// Like [`wait`](Self::wait), for at most `timeout`, and returns whether it timed out. It always takes the lock
    /// again, however long that takes.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Condition;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let condition = Condition::new()?;
    /// let guard = condition.lock().await;
    /// let (_guard, result) = condition.wait_timeout(guard, Duration::from_millis(1)).await;
    /// assert!(result.timed_out());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// Like [`wait`](Self::wait), and in a runtime without a timer (`enable_time`).
    ///
    /// # Cancel safety
    /// Like [`wait`](Self::wait).
    pub async fn wait_timeout(
        &self,
        guard: LockGuard,
        timeout: Duration,
    ) -> (LockGuard, WaitTimeoutResult) {
        self.wait_by(guard, Instant::now().checked_add(timeout))
            .await
    }

    /// Waits until `predicate` returns true. It is called under the lock: now, and after each notification.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::{AtomicU64, Condition};
    /// # use std::sync::atomic::Ordering::Relaxed;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (condition, items) = (Condition::new()?, AtomicU64::new(1)?);
    /// let guard = condition.lock().await;
    /// let _guard = condition.wait_for(guard, || items.load(Relaxed) > 0).await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// Like [`wait`](Self::wait), if it has to wait.
    ///
    /// # Cancel safety
    /// Like [`wait`](Self::wait).
    pub async fn wait_for(&self, guard: LockGuard, predicate: impl FnMut() -> bool) -> LockGuard {
        self.wait_for_by(guard, None, predicate).await.0
    }

    /// Like [`wait_for`](Self::wait_for), for at most `timeout`. It has timed out if the predicate was still false. It
    /// always takes the lock again.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Condition;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let condition = Condition::new()?;
    /// let guard = condition.lock().await;
    /// let (_guard, result) = condition.wait_for_timeout(guard, Duration::ZERO, || true).await;
    /// assert!(!result.timed_out());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// Like [`wait_timeout`](Self::wait_timeout), if it has to wait.
    ///
    /// # Cancel safety
    /// Like [`wait`](Self::wait).
    pub async fn wait_for_timeout(
        &self,
        guard: LockGuard,
        timeout: Duration,
        predicate: impl FnMut() -> bool,
    ) -> (LockGuard, WaitTimeoutResult) {
        self.wait_for_by(guard, Instant::now().checked_add(timeout), predicate)
            .await
    }

    async fn wait_for_by(
        &self,
        mut guard: LockGuard,
        end: Option<Instant>,
        mut predicate: impl FnMut() -> bool,
    ) -> (LockGuard, WaitTimeoutResult) {
        self.check(&guard);
        loop {
            let holds = predicate();
            if holds || end.is_some_and(|end| end <= Instant::now()) {
                return (guard, WaitTimeoutResult(!holds));
            }
            guard = self.wait_by(guard, end).await.0;
        }
    }

    async fn wait_by(
        &self,
        guard: LockGuard,
        end: Option<Instant>,
    ) -> (LockGuard, WaitTimeoutResult) {
        let changed = self.release_and_wait(&InTask, guard);
        let timed_out = match end {
            Some(end) => timeout_at(end, changed).await.is_err(),
            None => changed.await.is_none(),
        };
        (self.lock.lock().await, WaitTimeoutResult(timed_out))
    }

    /// Releases the lock and waits for a notification. `None` if time is up.
    async fn release_and_wait<D: Driver>(&self, driver: &D, guard: LockGuard) -> Option<()> {
        self.check(&guard);
        let changed = self.lock.robust().next_change(driver);
        drop(guard);
        changed.await
    }

    /// Like [`wait`](Self::wait), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Condition;
    /// let condition = Condition::new()?;
    /// let guard = condition.blocking_lock();
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| condition.notify_one(&condition.blocking_lock()));
    ///     drop(condition.blocking_wait(guard));
    /// });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// If `guard` holds another lock than that of this condition. On a thread that drives async code.
    pub fn blocking_wait(&self, guard: LockGuard) -> LockGuard {
        self.blocking_wait_by(guard, InThread::within(None)).0
    }

    /// Like [`wait_timeout`](Self::wait_timeout), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Condition;
    /// # use std::time::Duration;
    /// let condition = Condition::new()?;
    /// let guard = condition.blocking_lock();
    /// let (guard, result) = condition.blocking_wait_timeout(guard, Duration::from_millis(1));
    /// assert!(result.timed_out(), "no one has notified it");
    /// # drop(guard);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// Like [`blocking_wait`](Self::blocking_wait).
    pub fn blocking_wait_timeout(
        &self,
        guard: LockGuard,
        timeout: Duration,
    ) -> (LockGuard, WaitTimeoutResult) {
        self.blocking_wait_by(guard, InThread::within(Some(timeout)))
    }

    /// Like [`wait_for`](Self::wait_for), for a thread that may block.
    ///
    /// ```
    /// # use std::sync::atomic::{AtomicBool, Ordering};
    /// # fn main() -> std::io::Result<()> {
    /// let condition = concurrent_futures::multiprocessing::Condition::new()?;
    /// let ready = AtomicBool::new(false);
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| {
    ///         let guard = condition.blocking_lock();
    ///         condition.notify_one(&guard);
    ///         ready.store(true, Ordering::Relaxed);
    ///     });
    ///     let guard = condition.blocking_lock();
    ///     let _guard = condition.blocking_wait_for(guard, || ready.load(Ordering::Relaxed));
    /// });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// Like [`blocking_wait`](Self::blocking_wait).
    pub fn blocking_wait_for(
        &self,
        guard: LockGuard,
        predicate: impl FnMut() -> bool,
    ) -> LockGuard {
        self.blocking_wait_for_by(guard, InThread::within(None), predicate)
            .0
    }

    /// Like [`wait_for_timeout`](Self::wait_for_timeout), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Condition;
    /// # use std::time::Duration;
    /// let condition = Condition::new()?;
    /// let guard = condition.blocking_lock();
    /// let (_guard, result) = condition.blocking_wait_for_timeout(guard, Duration::from_millis(1), || false);
    /// assert!(result.timed_out());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// Like [`blocking_wait`](Self::blocking_wait).
    pub fn blocking_wait_for_timeout(
        &self,
        guard: LockGuard,
        timeout: Duration,
        predicate: impl FnMut() -> bool,
    ) -> (LockGuard, WaitTimeoutResult) {
        self.blocking_wait_for_by(guard, InThread::within(Some(timeout)), predicate)
    }

    fn blocking_wait_for_by(
        &self,
        mut guard: LockGuard,
        driver: InThread,
        mut predicate: impl FnMut() -> bool,
    ) -> (LockGuard, WaitTimeoutResult) {
        may_block();
        self.check(&guard);
        loop {
            let holds = predicate();
            if holds || driver.is_over() {
                return (guard, WaitTimeoutResult(!holds));
            }
            guard = self.blocking_wait_by(guard, driver).0;
        }
    }

    fn blocking_wait_by(
        &self,
        guard: LockGuard,
        driver: InThread,
    ) -> (LockGuard, WaitTimeoutResult) {
        let changed = InThread::run(self.release_and_wait(&driver, guard));
        let guard = self.lock.blocking_lock();
        (guard, WaitTimeoutResult(changed.is_none()))
    }

    /// Wakes at least one waiter, if there is any: see [`notify`](Self::notify).
    ///
    /// # Panics
    /// Like [`notify`](Self::notify).
    pub fn notify_one(&self, guard: &LockGuard) {
        self.notify(guard, 1);
    }

    /// Wakes at least `waiters` waiters, or all if there are fewer.
    ///
    /// It may wake more, so a waiter must check the state. At present it wakes all waiters of all processes, and so
    /// costs as much as [`notify_all`](Self::notify_all): a count of notifications could be lost with a killed waiter.
    ///
    /// The guard ensures that no task starts to wait while the change is made.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Condition;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let condition = Condition::new()?;
    /// let guard = condition.lock().await;
    /// condition.notify(&guard, 2); // Two items follow.
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// If `guard` holds another lock than that of this condition.
    pub fn notify(&self, guard: &LockGuard, waiters: usize) {
        self.check(guard);
        if waiters > 0 {
            self.lock.robust().announce();
        }
    }

    /// Wakes all waiters.
    ///
    /// The guard ensures that no task starts to wait while the change is made.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Condition;
    /// let condition = Condition::new()?;
    /// let guard = condition.blocking_lock();
    /// condition.notify_all(&guard);
    /// // Now make the change, then release the lock.
    /// drop(guard);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// If `guard` holds another lock than that of this condition.
    pub fn notify_all(&self, guard: &LockGuard) {
        self.notify(guard, usize::MAX);
    }

    #[track_caller]
    fn check(&self, guard: &LockGuard) {
        assert!(
            self.lock.is_same(guard.lock()),
            "the guard holds another lock than that of this condition; take the guard by `lock` of the condition, or \
             make the condition by `Condition::with_lock`"
        );
    }
}

shared_handle! {
    Condition as condition;
    sends condition.lock;
    receives deserializer => Lock::deserialize(deserializer).map(|lock| Self { lock });
    shows { lock: condition.lock }
}
