//! [`BoundedSemaphore`]: a semaphore that never has more permits than at its creation.

use std::io;
use std::time::Duration;

use super::permit::SemaphorePermit;
use super::semaphore::Semaphore;
use crate::multiprocessing::handle::shared_handle;

/// Like [`Semaphore`], but never has more permits than at its creation: adding one too many is an error.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use concurrent_futures::multiprocessing::BoundedSemaphore;
///
/// let semaphore = BoundedSemaphore::new(2)?;
/// semaphore.acquire().await.forget();
/// semaphore.add_permits(1)?;
/// assert!(semaphore.add_permits(1).is_err());
/// assert_eq!(semaphore.available_permits(), 2);
/// # Ok(())
/// # }
/// ```
///
/// What happens when a process ends or forks, the cost and the fairness are the same as for [`Semaphore`].
///
/// A process that misuses the memory can keep, release or spoil any permit, and no more: see
/// [hostile processes](crate::multiprocessing#hostile-processes).
///
/// # Platform
/// Linux.
#[derive(Clone)]
pub struct BoundedSemaphore(Semaphore);

impl BoundedSemaphore {
    /// Creates a semaphore with `permits` permits, and never more.
    ///
    /// # Errors
    /// No descriptor or no memory is left, or `permits` exceeds [`MAX_PERMITS`](Semaphore::MAX_PERMITS).
    pub fn new(permits: usize) -> io::Result<Self> {
        Semaphore::bounded(permits, permits).map(Self)
    }

    /// Takes a permit. Waits until one is free: see [`Semaphore::acquire`].
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::BoundedSemaphore;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let semaphore = BoundedSemaphore::new(1)?;
    /// let permit = semaphore.acquire().await;
    /// assert!(semaphore.try_acquire().is_none());
    /// # drop(permit);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has not taken a permit.
    pub async fn acquire(&self) -> SemaphorePermit {
        self.0.acquire().await
    }

    /// Takes `permits` permits at once. Waits until it has all of them: see [`Semaphore::acquire_many`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// # use concurrent_futures::multiprocessing::BoundedSemaphore;
    /// let semaphore = BoundedSemaphore::new(2)?;
    /// assert_eq!(semaphore.acquire_many(2).await.num_permits(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// Like [`acquire`](Self::acquire), and if there are fewer than `permits` permits in all.
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has not taken a permit, and releases those that it has collected.
    pub async fn acquire_many(&self, permits: usize) -> SemaphorePermit {
        self.0.acquire_many(permits).await
    }

    /// Takes a permit if one is free.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::BoundedSemaphore;
    /// assert!(BoundedSemaphore::new(1)?.try_acquire().is_some());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_acquire(&self) -> Option<SemaphorePermit> {
        self.0.try_acquire()
    }

    /// Takes `permits` permits if all of them are free: see [`Semaphore::try_acquire_many`].
    ///
    /// # Panics
    /// If there are fewer than `permits` permits in all.
    pub fn try_acquire_many(&self, permits: usize) -> Option<SemaphorePermit> {
        self.0.try_acquire_many(permits)
    }

    /// Like [`acquire`](Self::acquire), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::BoundedSemaphore;
    /// let semaphore = BoundedSemaphore::new(1)?;
    /// let permit = semaphore.blocking_acquire();
    /// assert_eq!(semaphore.available_permits(), 0);
    /// # drop(permit);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_acquire(&self) -> SemaphorePermit {
        self.0.blocking_acquire()
    }

    /// Like [`blocking_acquire`](Self::blocking_acquire), but returns `None` if no permit is free within
    /// `timeout`.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::BoundedSemaphore;
    /// # use std::time::Duration;
    /// let semaphore = BoundedSemaphore::new(0)?;
    /// assert!(semaphore.blocking_acquire_timeout(Duration::from_millis(1)).is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_acquire_timeout(&self, timeout: Duration) -> Option<SemaphorePermit> {
        self.0.blocking_acquire_timeout(timeout)
    }

    /// Like [`acquire_many`](Self::acquire_many), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::BoundedSemaphore;
    /// let semaphore = BoundedSemaphore::new(3)?;
    /// assert_eq!(semaphore.blocking_acquire_many(2).num_permits(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code, or if there are fewer than `permits` permits in all.
    pub fn blocking_acquire_many(&self, permits: usize) -> SemaphorePermit {
        self.0.blocking_acquire_many(permits)
    }

    /// Like [`blocking_acquire_many`](Self::blocking_acquire_many), but returns `None` if it does not have all permits
    /// within `timeout`. Then it has taken none.
    ///
    /// # Panics
    /// Like [`blocking_acquire_many`](Self::blocking_acquire_many).
    pub fn blocking_acquire_many_timeout(
        &self,
        permits: usize,
        timeout: Duration,
    ) -> Option<SemaphorePermit> {
        self.0.blocking_acquire_many_timeout(permits, timeout)
    }

    /// Adds `permits` permits, in place of [forgotten](SemaphorePermit::forget) ones. Never waits.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::BoundedSemaphore;
    /// let semaphore = BoundedSemaphore::new(1)?;
    /// assert!(semaphore.add_permits(1).is_err());
    /// semaphore.blocking_acquire().forget();
    /// semaphore.add_permits(1)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// There would be more permits than at its creation. Then none is added.
    pub fn add_permits(&self, permits: usize) -> io::Result<()> {
        self.0.add_permits(permits)
    }

    /// The number of free permits at this moment.
    pub fn available_permits(&self) -> usize {
        self.0.available_permits()
    }
}

shared_handle! {
    BoundedSemaphore as semaphore;
    sends semaphore.0;
    receives deserializer => Semaphore::deserialize(deserializer).map(Self);
    shows { available_permits: semaphore.available_permits() }
}
