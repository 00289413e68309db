//! [`Lock`]: one holder at a time, in whatever process.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::robust::{RobustGuard, RobustLock};
use super::shared::SharedObject;

/// Lets one task or thread at a time pass, in all processes that have it.
///
/// A copy is the same lock, and so is what another process gets to which it is sent: as an argument of
/// a task, or through a queue.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use concurrent_futures::multiprocessing::Lock;
///
/// let lock = Lock::new()?;
/// let guard = lock.lock().await;
/// assert!(lock.try_lock().is_none());
/// drop(guard);
/// assert!(lock.try_lock().is_some());
/// # Ok(())
/// # }
/// ```
///
/// A task in a worker process waits by the `blocking_` methods:
///
/// ```no_run
/// use concurrent_futures::multiprocessing::Lock;
/// use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
///
/// fn report(number: u32, lock: Lock) {
///     let _guard = lock.blocking_lock();
///     println!("Process # {number}"); // One process at a time.
/// }
///
/// # async fn service() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ProcessPoolExecutor::new()?;
/// let lock = Lock::new()?;
/// for number in 0..5 {
///     pool.submit(report, (number, lock.clone())).await?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// # When a process ends that has it
/// The lock is free again, however the process ended. The next one who gets it is
/// [told](LockGuard::abandoned_by), since what the lock guards may be half changed. (A process that
/// executes another program without giving the lock back has it until that one ends; one that is stopped
/// has it until it goes on.)
///
/// # What it costs
/// Two descriptors and a page of memory in each process that has it. To take a lock that nobody has and to
/// give it back while nobody waits is one atomic instruction each, without a system call. To wait for
/// it takes a descriptor, and another to watch the process that has it. There is no queue:
/// whoever comes at the right moment gets it, and all who wait are woken when it is given back.
pub struct Lock(Arc<LockInner>);

struct LockInner {
    shared: SharedObject,
    robust: RobustLock,
}

impl Lock {
    /// A lock that nobody has.
    ///
    /// # Errors
    /// There is no descriptor or no memory left.
    pub fn new() -> io::Result<Self> {
        Ok(Self::of(SharedObject::new(
            RobustLock::BYTES,
            RobustLock::BYTES,
        )?))
    }

    fn of(shared: SharedObject) -> Self {
        let robust = shared.robust();
        Self(Arc::new(LockInner { shared, robust }))
    }

    /// Waits until nobody has it, and takes it.
    ///
    /// A task that has it already waits for ever: [`RLock`](super::RLock) is for such.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Cancel safe: a future that is dropped has not taken it.
    pub async fn lock(&self) -> LockGuard {
        LockGuard::new(self, self.0.robust.lock().await)
    }

    /// Takes it, if nobody has it at this moment.
    ///
    /// If a process has it, it costs a few system calls to see whether that process is still there.
    pub fn try_lock(&self) -> Option<LockGuard> {
        let held = self.0.robust.try_lock()?;
        Some(LockGuard::new(self, held))
    }

    /// As [`lock`](Self::lock), for a thread.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let lock = concurrent_futures::multiprocessing::Lock::new()?;
    /// let mut total = 0;
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| drop(lock.blocking_lock()));
    ///     let _guard = lock.blocking_lock();
    ///     total += 1;
    /// });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// If it has to wait in an asynchronous task.
    pub fn blocking_lock(&self) -> LockGuard {
        let held = self.0.robust.blocking_lock(None);
        LockGuard::new(self, held.expect("without a time-out it does not give up"))
    }

    /// As [`blocking_lock`](Self::blocking_lock); gives up, and gives nothing, after `timeout`.
    ///
    /// # Panics
    /// If it has to wait in an asynchronous task.
    pub fn blocking_lock_timeout(&self, timeout: Duration) -> Option<LockGuard> {
        let held = self.0.robust.blocking_lock(Some(timeout))?;
        Some(LockGuard::new(self, held))
    }

    pub(super) fn robust(&self) -> &RobustLock {
        &self.0.robust
    }
}

/// The lock, held by whoever has this. Dropping it gives the lock back.
///
/// It may be sent to another task or thread of the process, and be dropped there.
#[must_use = "the lock is given back when this is dropped"]
pub struct LockGuard {
    lock: Lock,
    abandoned_by: Option<u32>,
}

impl LockGuard {
    fn new(lock: &Lock, held: RobustGuard<'_>) -> Self {
        let abandoned_by = held.abandoned_by();
        held.keep();
        Self {
            lock: lock.clone(),
            abandoned_by,
        }
    }

    /// The id that the process had which had the lock before and ended with it, if that is how it came
    /// here. What the lock guards may be in the middle of a change.
    ///
    /// ```
    /// # let lock = concurrent_futures::multiprocessing::Lock::new()?;
    /// let guard = lock.try_lock().expect("nobody has it");
    /// if let Some(pid) = guard.abandoned_by() {
    ///     println!("{pid} has left something half done");
    /// }
    /// # assert_eq!(guard.abandoned_by(), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn abandoned_by(&self) -> Option<u32> {
        self.abandoned_by
    }

    /// The lock that it is of.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.lock.0.robust.give_back();
    }
}

impl Clone for Lock {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock")
            .field("held_by", &self.0.robust.holder())
            .finish()
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard")
            .field("abandoned_by", &self.abandoned_by)
            .finish_non_exhaustive()
    }
}

/// To a process only: anywhere else it is an error that says so.
impl Serialize for Lock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.shared.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Lock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SharedObject::receive(deserializer, RobustLock::BYTES).map(Self::of)
    }
}
