//! [`Condition`]: waiting for what others change under a lock.

use std::io;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::lock::{Lock, LockGuard};
use super::wait::{end_of, is_over};

/// A [`Lock`] at which tasks and threads wait for a change of what it guards, in all processes that have
/// it.
///
/// Who waits may wake without a reason, so it looks each time: [`wait_for`](Self::wait_for) does so.
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
///     condition.notify_all(&guard); // First this, then the change: see below.
///     COUNTER.fetch_add(1, Ordering::Relaxed);
/// }
/// waiting.await?;
/// # Ok(())
/// # }
/// ```
///
/// # When a process ends
/// One that waits takes nothing along. One that has the lock leaves it, as [`Lock`] tells; it should
/// notify before it makes its change, not after. Nobody who was woken looks before the lock is given back,
/// so for them it is the same; but a process that is killed in the middle of its change has then woken
/// those who wait for it, and they find what it has left.
///
/// # What it costs
/// It is one lock, and costs what [`Lock`] tells. Several conditions can be made
/// [of one lock](Self::with_lock); a notification wakes those who wait for any of them. It is no system
/// call if nobody waits, else one; who waits takes one descriptor meanwhile.
#[derive(Clone, Debug)]
pub struct Condition {
    lock: Lock,
}

impl Condition {
    /// A condition with a lock of its own.
    ///
    /// # Errors
    /// There is no descriptor or no memory left.
    pub fn new() -> io::Result<Self> {
        Ok(Self::with_lock(&Lock::new()?))
    }

    /// A condition of what `lock` guards.
    pub fn with_lock(lock: &Lock) -> Self {
        Self { lock: lock.clone() }
    }

    /// Takes its lock: see [`Lock::lock`].
    ///
    /// # Panics
    /// As [`Lock::lock`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn lock(&self) -> LockGuard {
        self.lock.lock().await
    }

    /// As [`lock`](Self::lock), for a thread.
    ///
    /// # Panics
    /// As [`Lock::blocking_lock`].
    pub fn blocking_lock(&self) -> LockGuard {
        self.lock.blocking_lock()
    }

    /// Gives the lock back, waits for a notification, and takes the lock again. It may also return without
    /// one.
    ///
    /// `guard` is to be of the lock of this condition.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// A future that is dropped leaves the lock to others, also if it had been taken again.
    pub async fn wait(&self, guard: LockGuard) -> LockGuard {
        let changed = self.lock.robust().next_change();
        let lock = guard.lock().clone();
        drop(guard);
        changed.await;
        lock.lock().await
    }

    /// Waits until `predicate` holds, which is asked under the lock: now, and after each notification.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    ///
    /// # Cancel safety
    /// As [`wait`](Self::wait).
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

    /// As [`wait`](Self::wait), for a thread.
    ///
    /// # Panics
    /// In an asynchronous task.
    pub fn blocking_wait(&self, guard: LockGuard) -> LockGuard {
        self.blocking_wait_by(guard, None)
    }

    /// As [`blocking_wait`](Self::blocking_wait), until `timeout` has passed. The lock is had again in any
    /// case, however long that takes.
    ///
    /// # Panics
    /// In an asynchronous task.
    pub fn blocking_wait_timeout(&self, guard: LockGuard, timeout: Duration) -> LockGuard {
        self.blocking_wait_by(guard, end_of(Some(timeout)))
    }

    /// As [`wait_for`](Self::wait_for), for a thread.
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
    /// In an asynchronous task.
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

    /// As [`blocking_wait_for`](Self::blocking_wait_for), until `timeout` has passed. Says whether the
    /// predicate holds; the lock is had again in any case.
    ///
    /// # Panics
    /// In an asynchronous task.
    pub fn blocking_wait_for_timeout(
        &self,
        mut guard: LockGuard,
        timeout: Duration,
        mut predicate: impl FnMut() -> bool,
    ) -> (LockGuard, bool) {
        let end = end_of(Some(timeout));
        loop {
            let holds = predicate();
            if holds || is_over(end) {
                return (guard, holds);
            }
            guard = self.blocking_wait_by(guard, end);
        }
    }

    fn blocking_wait_by(&self, guard: LockGuard, end: Option<Instant>) -> LockGuard {
        let changed = self.lock.robust().next_change_by(end);
        let lock = guard.lock().clone();
        drop(guard);
        changed();
        lock.blocking_lock()
    }

    /// Wakes who waits: at least one, if there is any, and perhaps more.
    ///
    /// The guard, of the lock of this condition, is asked for lest somebody look and go to sleep while
    /// the change is made.
    pub fn notify_one(&self, guard: &LockGuard) {
        self.notify_all(guard);
    }

    /// Wakes everybody who waits.
    ///
    /// The guard, of the lock of this condition, is asked for lest somebody look and go to sleep while
    /// the change is made.
    pub fn notify_all(&self, _guard: &LockGuard) {
        self.lock.robust().announce();
    }
}

/// To a process only: anywhere else it is an error that says so.
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
