//! [`SemaphorePermit`]: one or several permits of a semaphore.

use std::fmt;
use std::sync::Arc;

use crate::multiprocessing::robust::collect::TakenPermits;
use crate::multiprocessing::robust::permits::Permits;
use crate::sys::ProcessIdentity;

/// Holds one or several permits of a [`Semaphore`](super::Semaphore) or [`BoundedSemaphore`](super::BoundedSemaphore).
/// Dropping it releases them. Returned by [`Semaphore::acquire`](super::Semaphore::acquire) and its twins.
///
/// It may move to another task or thread of this process and be dropped there. A process that is forked by other means
/// than this crate has a copy of it, and no permit: dropping the copy does nothing.
#[must_use = "the permit is released as soon as this is dropped"]
pub struct SemaphorePermit {
    permits: Arc<Permits>,
    taken: TakenPermits,
}

impl SemaphorePermit {
    pub(super) fn new(permits: &Arc<Permits>, taken: TakenPermits) -> Self {
        Self {
            permits: permits.clone(),
            taken,
        }
    }

    /// The number of permits that this holds.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Semaphore;
    /// assert_eq!(Semaphore::new(3)?.blocking_acquire_many(2).num_permits(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn num_permits(&self) -> usize {
        self.taken.len()
    }

    /// The id of the process that ended while it held one of these permits. `None` if all were released normally. For
    /// an example see [`LockGuard::abandoned_by`](super::LockGuard::abandoned_by).
    pub fn abandoned_by(&self) -> Option<u32> {
        let ended = self.taken.iter().find_map(|permit| permit.ended);
        ended.map(ProcessIdentity::pid)
    }

    /// Drops the permits without releasing them. The semaphore has that many permits fewer from now on.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Semaphore;
    /// let semaphore = Semaphore::new(2)?;
    /// semaphore.blocking_acquire().forget();
    /// assert_eq!(semaphore.available_permits(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn forget(mut self) {
        let permits = &self.permits;
        self.taken.take_each(|permit| permits.forget(permit));
    }

    /// Takes over the permits of `other`.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Semaphore;
    /// let semaphore = Semaphore::new(2)?;
    /// let mut permit = semaphore.try_acquire().expect("it is free");
    /// permit.merge(semaphore.try_acquire().expect("it is free"));
    /// assert_eq!(permit.num_permits(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// If `other` is of another semaphore.
    #[track_caller]
    pub fn merge(&mut self, mut other: Self) {
        assert!(
            self.permits.is_same(&other.permits),
            "permits of different semaphores cannot be merged"
        );
        let taken = &mut self.taken;
        other.taken.take_each(|permit| taken.push(permit));
    }

    /// Splits `permits` permits off. `None` if this holds fewer.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Semaphore;
    /// let semaphore = Semaphore::new(3)?;
    /// let mut permit = semaphore.try_acquire_many(3).expect("they are free");
    /// drop(permit.split(1));
    /// assert_eq!((permit.num_permits(), semaphore.available_permits()), (2, 1));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn split(&mut self, permits: usize) -> Option<Self> {
        let enough = permits <= self.num_permits();
        enough.then(|| Self::new(&self.permits, self.taken.split(permits)))
    }
}

impl Drop for SemaphorePermit {
    fn drop(&mut self) {
        let permits = &self.permits;
        self.taken.take_each(|permit| permits.give_back(permit));
    }
}

impl fmt::Debug for SemaphorePermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SemaphorePermit")
            .field("num_permits", &self.num_permits())
            .field("abandoned_by", &self.abandoned_by())
            .finish_non_exhaustive()
    }
}
