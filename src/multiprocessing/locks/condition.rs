//! [`Condition`]: waiting for a change of what a lock guards.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::lock::{Lock, LockGuard};
use crate::multiprocessing::waiting::driver::{Driver as _, InTask, InThread};

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
/// A waiter leaves nothing behind. A holder's lock becomes free, as for [`Lock`]. So notify before the change,
/// not after: waiters do not look before the lock is released, so the order makes no difference to them. But if
/// the process is killed in the middle of its change, they are already woken and see what it left.
///
/// A process that misuses the memory can keep, release or spoil the lock, and no more: see
/// [hostile processes](crate::multiprocessing#hostile-processes).
///
/// # Cost
/// That of one [`Lock`]. Several conditions can [share one lock](Self::with_lock); a notification wakes the
/// waiters of all of them. Notifying is at most one system call, and none if no one waits. A waiter uses one
/// descriptor.
///
/// # Platform
/// Linux.
#[derive(Clone, Debug)]
pub struct Condition {
    lock: Lock,
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
    pub fn with_lock(lock: &Lock) -> Self {
        Self { lock: lock.clone() }
    }

    /// Takes the lock: see [`Lock::lock`].
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
    /// `guard` must be of the lock of this condition.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Dropping the future leaves the lock released, also if it was taken again already.
    pub async fn wait(&self, guard: LockGuard) -> LockGuard {
        let changed = self.lock.robust().next_change(&InTask);
        let lock = guard.lock().clone();
        drop(guard);
        changed.await;
        lock.lock().await
    }

    /// Waits until `predicate` returns true. It is called under the lock: now, and after each notification.
    ///
    /// # Panics
    /// Like [`wait`](Self::wait), if it has to wait.
    ///
    /// # Cancel safety
    /// Like [`wait`](Self::wait).
    pub async fn wait_for(
        &self,
        mut guard: LockGuard,
        mut predicate: impl FnMut() -> bool,
    ) -> LockGuard {
        while !predicate() {
            guard = self.wait(guard).await;
        }
        guard
    }

    /// Like [`wait`](Self::wait), for a thread that may block.
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_wait(&self, guard: LockGuard) -> LockGuard {
        self.blocking_wait_by(guard, InThread::within(None))
    }

    /// Like [`blocking_wait`](Self::blocking_wait), for at most `timeout`. It then takes the lock again in any
    /// case, however long that takes.
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_wait_timeout(&self, guard: LockGuard, timeout: Duration) -> LockGuard {
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
    /// If it has to wait on a thread that drives async code.
    pub fn blocking_wait_for(
        &self,
        mut guard: LockGuard,
        mut predicate: impl FnMut() -> bool,
    ) -> LockGuard {
        while !predicate() {
            guard = self.blocking_wait(guard);
        }
        guard
    }

    /// Like [`blocking_wait_for`](Self::blocking_wait_for), for at most `timeout`. Returns the guard, and
    /// whether the predicate holds. It takes the lock again in any case.
    ///
    /// # Panics
    /// If it has to wait on a thread that drives async code.
    pub fn blocking_wait_for_timeout(
        &self,
        mut guard: LockGuard,
        timeout: Duration,
        mut predicate: impl FnMut() -> bool,
    ) -> (LockGuard, bool) {
        let driver = InThread::within(Some(timeout));
        loop {
            let holds = predicate();
            if holds || driver.is_over() {
                return (guard, holds);
            }
            guard = self.blocking_wait_by(guard, driver);
        }
    }

    fn blocking_wait_by(&self, guard: LockGuard, driver: InThread) -> LockGuard {
        let changed = self.lock.robust().next_change(&driver);
        let lock = guard.lock().clone();
        drop(guard);
        InThread::run(changed);
        lock.blocking_lock()
    }

    /// Wakes at least one waiter, if there is any, and perhaps more.
    ///
    /// The guard, of the lock of this condition, ensures that no task starts to wait while the change is made.
    pub fn notify_one(&self, guard: &LockGuard) {
        self.notify_all(guard);
    }

    /// Wakes all waiters.
    ///
    /// The guard, of the lock of this condition, ensures that no task starts to wait while the change is made.
    pub fn notify_all(&self, _guard: &LockGuard) {
        self.lock.robust().announce();
    }
}

/// Serializes only when it is sent to a process; anywhere else this is an error.
impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.lock.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let lock = Lock::deserialize(deserializer)?;
        Ok(Self { lock })
    }
}
