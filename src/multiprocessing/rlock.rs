//! [`RLock`]: a lock that its holder may take again.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::robust::{RobustGuard, RobustLock};
use super::shared::SharedObject;
use crate::sys::ProcessIdentity;

/// As [`Lock`](super::Lock), but whoever has it may take it again.
///
/// It belongs to the task that took it, or, outside of tasks, to the thread. It is free for others when
/// each of its guards has been dropped. (Futures that one task awaits at the same time are one owner.)
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
/// # When a process ends that has it
/// As with [`Lock`](super::Lock): it is free, and the next one who gets it is
/// [told](RLockGuard::abandoned_by).
///
/// # What it costs
/// As [`Lock`](super::Lock). To take it again is one atomic instruction more.
pub struct RLock(Arc<RLockInner>);

struct RLockInner {
    shared: SharedObject,
    robust: RobustLock,
}

/// Beside the robust lock: which task or thread of the process that has it is the owner, and how often.
/// They say something only while this process has the lock. A process that may end at any time leaves
/// them as they are: whoever takes the lock sets them anew.
const OWNER: usize = RobustLock::BYTES;
const DEPTH: usize = OWNER + 8;
const BYTES: usize = DEPTH + 8;

/// What stands for nobody.
const NOBODY: u64 = 0;

/// What stands for the task that runs, or for the thread outside of one: as good as unique, of 64 bits,
/// among those of all processes. (What a process leaves that has ended must not look like ours.)
fn own_number() -> u64 {
    let mut number = DefaultHasher::new();
    ProcessIdentity::own().to_word().hash(&mut number);
    match tokio::task::try_id() {
        Some(task) => (0, task).hash(&mut number),
        None => (1, std::thread::current().id()).hash(&mut number),
    }
    number.finish().max(1)
}

impl RLock {
    /// A lock that nobody has.
    ///
    /// # Errors
    /// There is no descriptor or no memory left.
    pub fn new() -> io::Result<Self> {
        Ok(Self::of(SharedObject::new(BYTES, BYTES)?))
    }

    fn of(shared: SharedObject) -> Self {
        let robust = shared.robust();
        Self(Arc::new(RLockInner { shared, robust }))
    }

    /// Waits until nobody else has it, and takes it.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Cancel safe: a future that is dropped has not taken it.
    pub async fn lock(&self) -> RLockGuard {
        match self.again() {
            Some(guard) => guard,
            None => self.first(self.0.robust.lock().await),
        }
    }

    /// Takes it, if nobody else has it at this moment.
    pub fn try_lock(&self) -> Option<RLockGuard> {
        self.again()
            .or_else(|| Some(self.first(self.0.robust.try_lock()?)))
    }

    /// As [`lock`](Self::lock), for a thread.
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
    /// If it has to wait in an asynchronous task.
    pub fn blocking_lock(&self) -> RLockGuard {
        self.again().unwrap_or_else(|| {
            let held = self.0.robust.blocking_lock(None);
            self.first(held.expect("without a time-out it does not give up"))
        })
    }

    /// As [`blocking_lock`](Self::blocking_lock); gives up, and gives nothing, after `timeout`.
    ///
    /// # Panics
    /// If it has to wait in an asynchronous task.
    pub fn blocking_lock_timeout(&self, timeout: Duration) -> Option<RLockGuard> {
        let first = || Some(self.first(self.0.robust.blocking_lock(Some(timeout))?));
        self.again().or_else(first)
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

    /// One guard more, if the lock is ours already.
    fn again(&self) -> Option<RLockGuard> {
        // Only we write our number there, and it is gone before the lock is given back.
        let ours = self.is_own_process() && self.owner().load(Ordering::Relaxed) == own_number();
        if !ours {
            return None;
        }
        // Another thread may be dropping what was the last guard. Then the lock is about to be free.
        let deeper = |depth| (depth > 0).then_some(depth + 1);
        let taken = self
            .depth()
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, deeper);
        taken.is_ok().then(|| self.guard(None))
    }

    fn first(&self, held: RobustGuard<'_>) -> RLockGuard {
        self.depth().store(1, Ordering::Relaxed);
        self.owner().store(own_number(), Ordering::Relaxed);
        let abandoned_by = held.abandoned_by();
        held.keep();
        self.guard(abandoned_by)
    }

    fn guard(&self, abandoned_by: Option<u32>) -> RLockGuard {
        RLockGuard {
            lock: self.clone(),
            abandoned_by,
        }
    }
}

/// An [`RLock`], held by the task or thread that took it. When its last guard is dropped, it is given back.
///
/// It may be dropped by another task or thread of the process; the owner stays the same.
#[must_use = "the lock is given back when this is dropped"]
pub struct RLockGuard {
    lock: RLock,
    abandoned_by: Option<u32>,
}

impl RLockGuard {
    /// The id that the process had which had the lock before and ended with it, if that is how it came
    /// here. What the lock guards may be in the middle of a change. Only the first guard is told.
    pub fn abandoned_by(&self) -> Option<u32> {
        self.abandoned_by
    }
}

impl Drop for RLockGuard {
    fn drop(&mut self) {
        // A forked process finds the guards of its parent in its memory: they are not its own.
        if self.lock.is_own_process() && self.lock.depth().fetch_sub(1, Ordering::AcqRel) == 1 {
            self.lock.owner().store(NOBODY, Ordering::Relaxed);
            self.lock.0.robust.give_back();
        }
    }
}

impl Clone for RLock {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holder = self.0.robust.holder();
        f.debug_struct("RLock")
            .field("held_by", &holder.map(ProcessIdentity::pid))
            .finish()
    }
}

impl fmt::Debug for RLockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLockGuard")
            .field("abandoned_by", &self.abandoned_by)
            .finish_non_exhaustive()
    }
}

/// To a process only: anywhere else it is an error that says so.
impl Serialize for RLock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.shared.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RLock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SharedObject::receive(deserializer, BYTES).map(Self::of)
    }
}
