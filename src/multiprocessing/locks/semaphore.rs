//! [`Semaphore`]: a limited number of permits, among all processes.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::multiprocessing::robust::permits::{MOST, Permits, Taking};
use crate::sys::ProcessIdentity;

/// A number of permits for the tasks and threads of all processes that have the semaphore.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use concurrent_futures::multiprocessing::Semaphore;
///
/// let semaphore = Semaphore::new(2)?;
/// let one = semaphore.acquire().await;
/// let other = semaphore.acquire().await;
/// assert!(semaphore.try_acquire().is_none());
/// drop(one);
/// assert!(semaphore.try_acquire().is_some());
/// # Ok(())
/// # }
/// ```
///
/// It can also count events: one process adds a permit for each event, another takes it and forgets it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # use concurrent_futures::multiprocessing::Semaphore;
/// let happened = Semaphore::new(0)?;
/// happened.add_permits(1)?;
/// happened.acquire().await.forget();
/// assert_eq!(happened.available_permits(), 0);
/// # Ok(())
/// # }
/// ```
///
/// # When a process with permits ends
/// Its permits are released, however it ended. The next holder of such a permit learns of it by
/// [`abandoned_by`](SemaphorePermit::abandoned_by). Of permits that it was adding, either all are added or only
/// the first of them.
///
/// A process that misuses the memory can keep, release or spoil any permit, and no more: see
/// [hostile processes](crate::multiprocessing#hostile-processes).
///
/// # Cost
/// Two descriptors and one page of memory in each process that has it, plus one page for each 500 permits.
/// Acquiring and releasing is one atomic instruction each, without a system call, while no one has to wait.
/// Finding a free permit takes longer the more permits are taken. A waiter uses one descriptor, and another for
/// each process that holds permits. There is no queue: every release wakes all waiters, and any of them may get
/// the permit.
///
/// # Platform
/// Linux.
#[derive(Clone)]
pub struct Semaphore(Arc<Permits>);

impl Semaphore {
    /// The maximal number of permits at one time: 65536.
    pub const MAX_PERMITS: usize = MOST;

    /// Creates a semaphore with `permits` permits, which may be 0.
    ///
    /// # Errors
    /// No descriptor or no memory is left, or `permits` exceeds [`MAX_PERMITS`](Self::MAX_PERMITS).
    pub fn new(permits: usize) -> io::Result<Self> {
        Self::bounded(permits, MOST)
    }

    /// Like [`new`](Self::new), with an upper bound of `most` permits.
    pub(crate) fn bounded(permits: usize, most: usize) -> io::Result<Self> {
        Permits::new(permits, most).map(Self)
    }

    /// Takes a permit. Waits until one is free.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has not taken a permit.
    pub async fn acquire(&self) -> SemaphorePermit {
        self.permit(self.0.wait().await)
    }

    /// Takes a permit if one is free.
    ///
    /// If none is free, a few system calls check whether the processes that hold permits are still alive.
    pub fn try_acquire(&self) -> Option<SemaphorePermit> {
        self.0.try_take().map(|taking| self.permit(taking))
    }

    /// Like [`acquire`](Self::acquire), for a thread that may block.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let semaphore = concurrent_futures::multiprocessing::Semaphore::new(1)?;
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| drop(semaphore.blocking_acquire()));
    ///     let _permit = semaphore.blocking_acquire();
    /// });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// If it has to wait on a thread that drives async code.
    pub fn blocking_acquire(&self) -> SemaphorePermit {
        let taking = self.0.blocking_wait(None);
        self.permit(taking.expect("a wait without a timeout always has a result"))
    }

    /// Like [`blocking_acquire`](Self::blocking_acquire), but returns `None` if no permit is free within
    /// `timeout`.
    ///
    /// # Panics
    /// If it has to wait on a thread that drives async code.
    pub fn blocking_acquire_timeout(&self, timeout: Duration) -> Option<SemaphorePermit> {
        let taking = self.0.blocking_wait(Some(timeout));
        taking.map(|taking| self.permit(taking))
    }

    fn permit(&self, taking: Taking) -> SemaphorePermit {
        SemaphorePermit {
            permits: self.0.clone(),
            taking: Some(taking),
        }
    }

    /// Adds `permits` permits. Never waits.
    ///
    /// # Errors
    /// There would be more than [`MAX_PERMITS`](Self::MAX_PERMITS), or no memory is left. Then none is added.
    pub fn add_permits(&self, permits: usize) -> io::Result<()> {
        self.0.add(permits)
    }

    /// The number of free permits at this moment.
    pub fn available_permits(&self) -> usize {
        self.0.free()
    }
}

/// A permit of a [`Semaphore`] or [`BoundedSemaphore`](super::BoundedSemaphore). Dropping it releases the
/// permit.
///
/// It may move to another task or thread of this process and be dropped there.
#[must_use = "the permit is released as soon as this is dropped"]
pub struct SemaphorePermit {
    permits: Arc<Permits>,
    /// `None` if it was forgotten.
    taking: Option<Taking>,
}

impl SemaphorePermit {
    /// The id of the process that ended while it held this permit, if the permit was taken over from it.
    pub fn abandoned_by(&self) -> Option<u32> {
        self.taking.as_ref()?.ended.map(ProcessIdentity::pid)
    }

    /// Drops the permit without releasing it: the semaphore has one permit less from now on.
    pub fn forget(mut self) {
        if let Some(taking) = self.taking.take() {
            self.permits.forget(taking);
        }
    }
}

impl Drop for SemaphorePermit {
    fn drop(&mut self) {
        if let Some(taking) = self.taking.take() {
            self.permits.give_back(taking);
        }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available_permits", &self.available_permits())
            .finish()
    }
}

impl fmt::Debug for SemaphorePermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SemaphorePermit")
            .field("abandoned_by", &self.abandoned_by())
            .finish_non_exhaustive()
    }
}

/// Serializes only when it is sent to a process; anywhere else this is an error.
impl Serialize for Semaphore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Permits::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Semaphore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Permits::receive(deserializer).map(Self)
    }
}
