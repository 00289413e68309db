//! [`Lock`]: one holder at a time, among all processes.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::multiprocessing::handle::shared_handle;
use crate::multiprocessing::robust::lock::{RobustGuard, RobustLock};
use crate::multiprocessing::robust::shared::SharedObject;
use crate::sys::ProcessIdentity;

/// A lock for one task or thread at a time, among all processes that have it.
///
/// A clone is the same lock. So is the lock that another process receives, as an argument of a task or through
/// a queue.
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
/// A task in a worker process uses the `blocking_` methods:
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
/// # When the holder's process ends
/// The lock becomes free, however the process ended. [`abandoned_by`](LockGuard::abandoned_by) reports this to the next
/// holder, since the guarded data may be half changed. A process that executes another program while it holds the lock
/// keeps it until that program exits. A stopped process keeps it until it continues.
///
/// A process that misuses the memory can keep, release or spoil the lock, and no more: see
/// [hostile processes](crate::multiprocessing#hostile-processes).
///
/// # Cost
/// Two descriptors and one page of memory in each process that has it. Taking a free lock, and releasing it while no
/// task waits, is one atomic instruction each, without a system call. The waiting tasks of one runtime use one
/// descriptor together, and one to watch the process that holds the lock. So do the waiting threads of a process.
///
/// # Fairness
/// Tasks of one runtime take turns, first come first served, and so do the threads of one process. A release wakes the
/// first of each runtime, and the first thread of each process. The quickest of these takes the lock.
///
/// # In a fork
/// A process that is forked by other means than this crate has a copy of each guard, and not the lock: dropping the
/// copy does nothing. It can wait for the lock by the `blocking_` methods.
///
/// # Platform
/// Linux.
#[derive(Clone)]
pub struct Lock(Arc<LockInner>);

struct LockInner {
    shared: SharedObject,
    robust: RobustLock,
}

impl Lock {
    /// Creates a lock that is free.
    ///
    /// # Errors
    /// No descriptor or no memory is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self::of(SharedObject::new(
            RobustLock::BYTES,
            RobustLock::BYTES,
        )?))
    }

    fn of(shared: SharedObject) -> Self {
        let make = |shared: SharedObject| LockInner {
            robust: shared.robust(),
            shared,
        };
        Self(shared.recognised(make, |inner| &inner.shared))
    }

    /// Takes the lock. Waits until it is free.
    ///
    /// A task that already holds the lock waits forever: use an [`RLock`](super::RLock) there.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Lock;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let lock = Lock::new()?;
    /// let guard = lock.lock().await;
    /// assert!(lock.try_lock().is_none());
    /// # drop(guard);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has not taken the lock.
    pub async fn lock(&self) -> LockGuard {
        LockGuard::new(self, self.0.robust.lock().await)
    }

    /// Takes the lock if it is free.
    ///
    /// If another process holds it, a few system calls check whether that process is still alive.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Lock;
    /// let lock = Lock::new()?;
    /// assert!(lock.try_lock().is_some());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_lock(&self) -> Option<LockGuard> {
        let held = self.0.robust.try_lock()?;
        Some(LockGuard::new(self, held))
    }

    /// Like [`lock`](Self::lock), for a thread that may block.
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
    /// On a thread that drives async code.
    pub fn blocking_lock(&self) -> LockGuard {
        let held = self.0.robust.blocking_lock(None);
        LockGuard::new(
            self,
            held.expect("a wait without a timeout always has a result"),
        )
    }

    /// Like [`blocking_lock`](Self::blocking_lock), but returns `None` if the lock is not free within
    /// `timeout`.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Lock;
    /// # use std::time::Duration;
    /// let lock = Lock::new()?;
    /// let guard = lock.blocking_lock();
    /// assert!(lock.blocking_lock_timeout(Duration::from_millis(1)).is_none());
    /// # drop(guard);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_lock_timeout(&self, timeout: Duration) -> Option<LockGuard> {
        let held = self.0.robust.blocking_lock(Some(timeout))?;
        Some(LockGuard::new(self, held))
    }

    /// Whether both are the same lock.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.shared.is_same(&other.0.shared)
    }

    pub(crate) fn robust(&self) -> &RobustLock {
        &self.0.robust
    }
}

/// Holds a [`Lock`] until it is dropped. Returned by [`Lock::lock`] and its twins.
///
/// It may move to another task or thread of this process and be dropped there.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct LockGuard {
    lock: Lock,
    /// A fork of this process does not hold the lock.
    owner: ProcessIdentity,
    abandoned_by: Option<u32>,
}

impl LockGuard {
    fn new(lock: &Lock, held: RobustGuard<'_>) -> Self {
        let abandoned_by = held.abandoned_by();
        Self {
            lock: lock.clone(),
            owner: held.keep(),
            abandoned_by,
        }
    }

    /// The id of the process that ended while it held the lock, if this guard took the lock over from it. The
    /// guarded data may then be half changed.
    ///
    /// ```
    /// # let lock = concurrent_futures::multiprocessing::Lock::new()?;
    /// let guard = lock.try_lock().expect("it is free");
    /// if let Some(pid) = guard.abandoned_by() {
    ///     println!("process {pid} ended in the middle of a change");
    /// }
    /// # assert_eq!(guard.abandoned_by(), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn abandoned_by(&self) -> Option<u32> {
        self.abandoned_by
    }

    /// Returns the lock that this guard holds.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Lock;
    /// let lock = Lock::new()?;
    /// let guard = lock.blocking_lock();
    /// assert!(guard.lock().try_lock().is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn lock(&self) -> &Lock {
        &self.lock
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.lock.0.robust.give_back(self.owner);
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard")
            .field("abandoned_by", &self.abandoned_by)
            .finish_non_exhaustive()
    }
}

shared_handle! {
    Lock as lock;
    sends lock.0.shared;
    receives deserializer => SharedObject::receive(deserializer, RobustLock::BYTES).map(Self::of);
    shows { held_by: lock.0.robust.holder() }
}
