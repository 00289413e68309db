//! [`RLock`]: a lock that its owner can take again.

use std::cell::Cell;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::task;

use crate::multiprocessing::handle::shared_handle;
use crate::multiprocessing::robust::lock::{RobustGuard, RobustLock};
use crate::multiprocessing::robust::shared::SharedObject;
use crate::multiprocessing::waiting::driver::{Driver as _, InTask, InThread, forever};
use crate::sys::ProcessIdentity;

/// Like [`Lock`](super::Lock), but its owner may take it again.
///
/// The owner is the task that took it, or the thread outside of tasks. The lock is free for others once all
/// guards are dropped. Futures that one task awaits concurrently are one owner.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use concurrent_futures::multiprocessing::RLock;
///
/// let lock = RLock::new()?;
/// let outer = lock.lock().await;
/// let inner = lock.lock().await;
/// drop(outer);
/// let other = lock.clone();
/// let taken = tokio::spawn(async move { other.try_lock().is_some() });
/// assert!(!taken.await?, "one guard is left");
/// drop(inner);
/// # Ok(())
/// # }
/// ```
///
/// # When the owner's process ends
/// As for [`Lock`](super::Lock): it becomes free, and [`abandoned_by`](RLockGuard::abandoned_by) reports this to the
/// next owner.
///
/// A process that misuses the memory can keep, release or spoil the lock, and no more: see
/// [hostile processes](crate::multiprocessing#hostile-processes).
///
/// # Cost, fairness, forks
/// Like [`Lock`](super::Lock). Taking it again is one more atomic instruction.
///
/// # Platform
/// Linux.
#[derive(Clone)]
pub struct RLock(Arc<RLockInner>);

struct RLockInner {
    shared: SharedObject,
    robust: RobustLock,
}

/// The words beside the robust lock: the task or thread that owns the lock, and the number of its guards. They
/// are valid only while this process holds the lock. A process that dies leaves them as they are; the next
/// owner sets them again.
const OWNER: usize = RobustLock::BYTES;
const DEPTH: usize = OWNER + 8;
const BYTES: usize = DEPTH + 8;

/// How often an owner tries to take the lock again while its other threads do so too. More attempts are needed only if
/// a process keeps writing to the word.
const ATTEMPTS: usize = 1000;

/// No owner.
const NOBODY: u64 = 0;

/// A number for the current task, or for the thread outside tasks. With 64 bits it is practically unique among all
/// processes, so a number that a dead process left behind is not ours.
fn own_number() -> u64 {
    thread_local! {
        /// The process and the task that used this thread last, and that task's number.
        static LAST: Cell<(u64, Option<task::Id>, u64)> = const { Cell::new((0, None, 0)) };
    }
    let (process, task) = (ProcessIdentity::own().to_word(), task::try_id());
    let last = LAST.try_with(Cell::get).unwrap_or_default();
    if (last.0, last.1) == (process, task) {
        return last.2;
    }
    let number = number_of(process, task);
    let _ = LAST.try_with(|last| last.set((process, task, number)));
    number
}

fn number_of(process: u64, task: Option<task::Id>) -> u64 {
    let mut number = DefaultHasher::new();
    process.hash(&mut number);
    match task {
        Some(task) => (0, task).hash(&mut number),
        None => (1, thread::current().id()).hash(&mut number),
    }
    number.finish().max(1)
}

impl RLock {
    /// Creates a lock that is free.
    ///
    /// # Errors
    /// No descriptor or no memory is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self::of(SharedObject::new(BYTES, BYTES)?))
    }

    fn of(shared: SharedObject) -> Self {
        let make = |shared: SharedObject| RLockInner {
            robust: shared.robust(),
            shared,
        };
        Self(shared.recognised(make, |inner| &inner.shared))
    }

    /// Takes the lock. Waits until no other owner holds it.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::RLock;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let lock = RLock::new()?;
    /// let outer = lock.lock().await;
    /// let inner = lock.lock().await; // This task owns it.
    /// # drop((outer, inner));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has not taken the lock.
    pub async fn lock(&self) -> RLockGuard {
        InTask.begin().await;
        match self.at_once() {
            Some(guard) => guard,
            None => self.first(forever(self.0.robust.take_in_turn(&InTask).await)),
        }
    }

    /// Takes the lock if the caller owns it, or if it is free and no task or thread of this process waits for it.
    fn at_once(&self) -> Option<RLockGuard> {
        self.again()
            .or_else(|| Some(self.first(self.0.robust.at_once()?)))
    }

    /// Takes the lock if it is free or the caller owns it.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::RLock;
    /// let lock = RLock::new()?;
    /// let outer = lock.blocking_lock();
    /// assert!(lock.try_lock().is_some());
    /// # drop(outer);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_lock(&self) -> Option<RLockGuard> {
        self.again()
            .or_else(|| Some(self.first(self.0.robust.try_lock()?)))
    }

    /// Like [`lock`](Self::lock), for a thread that may block.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let lock = concurrent_futures::multiprocessing::RLock::new()?;
    /// let _outer = lock.blocking_lock();
    /// let _inner = lock.blocking_lock();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_lock(&self) -> RLockGuard {
        forever(self.blocking_lock_by(None))
    }

    /// Like [`blocking_lock`](Self::blocking_lock), but returns `None` if the lock is not free within
    /// `timeout`.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::RLock;
    /// # use std::time::Duration;
    /// let lock = RLock::new()?;
    /// let guard = lock.blocking_lock();
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| assert!(lock.blocking_lock_timeout(Duration::from_millis(1)).is_none()));
    /// });
    /// # drop(guard);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_lock_timeout(&self, timeout: Duration) -> Option<RLockGuard> {
        self.blocking_lock_by(Some(timeout))
    }

    fn blocking_lock_by(&self, timeout: Option<Duration>) -> Option<RLockGuard> {
        InThread::wait(
            timeout,
            || self.at_once(),
            async |driver| Some(self.first(self.0.robust.take_in_turn(driver).await?)),
        )
    }

    fn owner(&self) -> &AtomicU64 {
        self.0.shared.memory().word(OWNER)
    }

    fn depth(&self) -> &AtomicU64 {
        self.0.shared.memory().word(DEPTH)
    }

    fn is_own_process(&self) -> bool {
        self.0.robust.holder() == Some(ProcessIdentity::own())
    }

    /// Another guard, if the caller already owns the lock.
    fn again(&self) -> Option<RLockGuard> {
        // Only the owner writes its number there, and clears it before it releases the lock.
        let ours = self.is_own_process() && self.owner().load(Ordering::Relaxed) == own_number();
        if !ours {
            return None;
        }
        // Another thread may be dropping the last guard. Then the lock is about to be free.
        let mut depth = self.depth().load(Ordering::Relaxed);
        for _ in 0..ATTEMPTS {
            let deeper = depth.checked_add(1).filter(|_| depth > 0)?;
            let taken = self.depth().compare_exchange_weak(
                depth,
                deeper,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            match taken {
                Ok(_) => return Some(self.guard(ProcessIdentity::own(), None)),
                Err(now) => depth = now,
            }
        }
        None
    }

    fn first(&self, held: RobustGuard<'_>) -> RLockGuard {
        self.depth().store(1, Ordering::Relaxed);
        self.owner().store(own_number(), Ordering::Relaxed);
        let abandoned_by = held.abandoned_by();
        self.guard(held.keep(), abandoned_by)
    }

    fn guard(&self, owner: ProcessIdentity, abandoned_by: Option<u32>) -> RLockGuard {
        RLockGuard {
            lock: self.clone(),
            owner,
            abandoned_by,
        }
    }
}

/// Holds an [`RLock`] for the task or thread that took it. Dropping the last guard releases the lock. Returned by
/// [`RLock::lock`] and its twins.
///
/// It may be dropped by another task or thread of this process; the owner stays the same.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct RLockGuard {
    lock: RLock,
    /// A fork of this process does not hold the lock.
    owner: ProcessIdentity,
    abandoned_by: Option<u32>,
}

impl RLockGuard {
    /// The id of the process that ended while it held the lock, if this guard took the lock over from it. The
    /// guarded data may then be half changed. Only the owner's first guard returns the id. For an example see
    /// [`LockGuard::abandoned_by`](super::LockGuard::abandoned_by).
    pub fn abandoned_by(&self) -> Option<u32> {
        self.abandoned_by
    }
}

impl Drop for RLockGuard {
    fn drop(&mut self) {
        // A forked process has copies of its parent's guards, but does not hold their locks.
        let is_own = self.owner == ProcessIdentity::own() && self.lock.is_own_process();
        if is_own && self.lock.depth().fetch_sub(1, Ordering::AcqRel) == 1 {
            self.lock.owner().store(NOBODY, Ordering::Relaxed);
            self.lock.0.robust.give_back(self.owner);
        }
    }
}

impl fmt::Debug for RLockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLockGuard")
            .field("abandoned_by", &self.abandoned_by)
            .finish_non_exhaustive()
    }
}

shared_handle! {
    RLock as lock;
    sends lock.0.shared;
    receives deserializer => SharedObject::receive(deserializer, BYTES).map(Self::of);
    shows { held_by: lock.0.robust.holder().map(ProcessIdentity::pid) }
}
