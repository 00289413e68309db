//! [`Semaphore`]: so many at a time, in whatever processes.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::permits::{MOST, Permits, Taking};
use super::wait::end_of;
use crate::sys::ProcessIdentity;

/// Has so many permits, for tasks and threads of all processes that have it.
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
/// It may also count what happens: one process adds a permit each time, another takes it and forgets it.
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
/// # When a process ends that has permits
/// They come back, however it ended, and whoever gets one of them is
/// [told](SemaphorePermit::abandoned_by). Permits that it was about to add have either all been added, or
/// only the first of them.
///
/// # What it costs
/// Two descriptors and a page of memory in each process that has it (one more for each 500 permits). To
/// acquire and to give back is one atomic instruction each, without a system call, as long as nobody has
/// to wait; looking for a permit that is free takes longer the more there are that are not. To wait takes
/// a descriptor, and another for each process that has permits then. There is no queue: whoever comes at
/// the right moment gets the permit, and all who wait are woken when one comes back.
#[derive(Clone)]
pub struct Semaphore(Arc<Permits>);

impl Semaphore {
    /// So many permits can there be at one time.
    pub const MAX_PERMITS: usize = MOST;

    /// A semaphore with so many permits, which may be none.
    ///
    /// # Errors
    /// There is no descriptor or no memory left, or `permits` are more than
    /// [`MAX_PERMITS`](Self::MAX_PERMITS).
    pub fn new(permits: usize) -> io::Result<Self> {
        Self::bounded(permits, MOST)
    }

    /// As [`new`](Self::new), and never more than `most`.
    pub(super) fn bounded(permits: usize, most: usize) -> io::Result<Self> {
        Ok(Self(Arc::new(Permits::new(permits, most)?)))
    }

    /// Waits for a permit, and takes it.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Cancel safe: a future that is dropped has not taken one.
    pub async fn acquire(&self) -> SemaphorePermit {
        self.permit(self.0.wait().await)
    }

    /// Takes a permit, if there is one at this moment.
    ///
    /// If there is none, it costs a few system calls to see whether all processes that have one are still
    /// there.
    pub fn try_acquire(&self) -> Option<SemaphorePermit> {
        self.0.try_take().map(|taking| self.permit(taking))
    }

    /// As [`acquire`](Self::acquire), for a thread.
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
    /// If it has to wait in an asynchronous task.
    pub fn blocking_acquire(&self) -> SemaphorePermit {
        let taking = self.0.blocking_wait(None);
        self.permit(taking.expect("without a time-out it does not give up"))
    }

    /// As [`blocking_acquire`](Self::blocking_acquire); gives up, and gives nothing, after `timeout`.
    ///
    /// # Panics
    /// If it has to wait in an asynchronous task.
    pub fn blocking_acquire_timeout(&self, timeout: Duration) -> Option<SemaphorePermit> {
        let taking = self.0.blocking_wait(end_of(Some(timeout)));
        taking.map(|taking| self.permit(taking))
    }

    fn permit(&self, taking: Taking) -> SemaphorePermit {
        SemaphorePermit {
            permits: self.0.clone(),
            taking: Some(taking),
        }
    }

    /// Adds so many permits. It waits for nothing.
    ///
    /// # Errors
    /// There would be more than [`MAX_PERMITS`](Self::MAX_PERMITS), or there is no memory left. Then none is
    /// added.
    pub fn add_permits(&self, permits: usize) -> io::Result<()> {
        self.0.add(permits)
    }

    /// How many permits nobody has, at this moment.
    pub fn available_permits(&self) -> usize {
        self.0.free()
    }
}

/// A permit of a [`Semaphore`] or of a [`BoundedSemaphore`](super::BoundedSemaphore). Dropping it gives it
/// back.
///
/// It may be sent to another task or thread of the process, and be dropped there.
#[must_use = "the permit is given back when this is dropped"]
pub struct SemaphorePermit {
    permits: Arc<Permits>,
    /// Nothing if it was forgotten.
    taking: Option<Taking>,
}

impl SemaphorePermit {
    /// The id that the process had which had this permit before and ended with it, if that is how it came
    /// here.
    pub fn abandoned_by(&self) -> Option<u32> {
        self.taking.as_ref()?.ended.map(ProcessIdentity::pid)
    }

    /// Does not give the permit back: the semaphore has one less from now on.
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

/// To a process only: anywhere else it is an error that says so.
impl Serialize for Semaphore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Permits::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Semaphore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Arc::new(Permits::deserialize(deserializer)?)))
    }
}
