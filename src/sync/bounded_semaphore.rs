//! A semaphore with a bound: each of its permits is free, held or forgotten, and only forgotten ones can be added.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::block::{block_on, block_on_timeout};

/// A semaphore that never has more permits than at its creation: adding one too many is an error. Threads can wait
/// for a permit too.
///
/// A clone is the same semaphore. A permit borrows nothing: it may move to another task.
///
/// ```
/// use concurrent_futures::sync::BoundedSemaphore;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let semaphore = BoundedSemaphore::new(2);
/// semaphore.acquire().await.forget();
/// semaphore.add_permits(1)?;
/// assert!(semaphore.add_permits(1).is_err());
/// assert_eq!(semaphore.available_permits(), 2);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct BoundedSemaphore(Arc<Permits>);

struct Permits {
    free: Semaphore,
    bound: usize,
    forgotten: Mutex<usize>,
}

/// One or more permits of a [`BoundedSemaphore`]. Dropping it releases them.
#[must_use = "the permits are released as soon as this is dropped"]
pub struct BoundedPermit {
    permits: Arc<Permits>,
    number: usize,
}

/// The [`BoundedSemaphore`] would have more permits than at its creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyPermits {
    added: usize,
    forgotten: usize,
}

impl BoundedSemaphore {
    /// The maximal number of permits.
    pub const MAX_PERMITS: usize = Semaphore::MAX_PERMITS;

    /// Creates a semaphore with `permits` permits, and never more.
    ///
    /// ```
    /// use concurrent_futures::sync::BoundedSemaphore;
    ///
    /// assert_eq!(BoundedSemaphore::new(2).available_permits(), 2);
    /// ```
    ///
    /// # Panics
    /// If `permits` exceeds [`MAX_PERMITS`](Self::MAX_PERMITS).
    #[track_caller]
    pub fn new(permits: usize) -> Self {
        Self(Arc::new(Permits {
            free: Semaphore::new(permits),
            bound: permits,
            forgotten: Mutex::new(0),
        }))
    }

    /// Takes a permit. Waits until one is free and all earlier callers have theirs.
    ///
    /// ```
    /// # #[tokio::main] async fn main() {
    /// let semaphore = concurrent_futures::sync::BoundedSemaphore::new(1);
    /// let permit = semaphore.acquire().await;
    /// assert!(semaphore.try_acquire().is_none());
    /// # drop(permit);
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Dropping the future gives up its place in the queue. It has not taken a permit.
    pub async fn acquire(&self) -> BoundedPermit {
        self.take(1).await
    }

    /// Takes `number` permits at once. Waits until they are free and all earlier callers have theirs.
    ///
    /// ```
    /// # #[tokio::main] async fn main() {
    /// let semaphore = concurrent_futures::sync::BoundedSemaphore::new(3);
    /// let permits = semaphore.acquire_many(2).await;
    /// assert_eq!(semaphore.available_permits(), 1);
    /// # drop(permits);
    /// # }
    /// ```
    ///
    /// # Panics
    /// If `number` exceeds the number of permits at its creation: the wait would never end.
    ///
    /// # Cancel safety
    /// Like [`acquire`](Self::acquire).
    #[track_caller]
    pub fn acquire_many(&self, number: u32) -> impl Future<Output = BoundedPermit> {
        let bound = self.0.bound;
        assert!(
            number as usize <= bound,
            "{number} permits were requested from a semaphore that has at most {bound}; request fewer"
        );
        self.take(number)
    }

    /// Takes a permit if one is free and no task waits for one.
    ///
    /// ```
    /// let semaphore = concurrent_futures::sync::BoundedSemaphore::new(1);
    /// assert!(semaphore.try_acquire().is_some());
    /// ```
    pub fn try_acquire(&self) -> Option<BoundedPermit> {
        self.0.free.try_acquire().ok()?.forget();
        Some(self.permit(1))
    }

    /// Like [`acquire`](Self::acquire), for a thread that may block.
    ///
    /// ```
    /// let semaphore = concurrent_futures::sync::BoundedSemaphore::new(1);
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| drop(semaphore.blocking_acquire()));
    ///     drop(semaphore.blocking_acquire());
    /// });
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[track_caller]
    pub fn blocking_acquire(&self) -> BoundedPermit {
        block_on(self.acquire())
    }

    /// Like [`blocking_acquire`](Self::blocking_acquire), but returns `None` if no permit is free within `timeout`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let semaphore = concurrent_futures::sync::BoundedSemaphore::new(0);
    /// assert!(semaphore.blocking_acquire_timeout(Duration::from_millis(1)).is_none());
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[track_caller]
    pub fn blocking_acquire_timeout(&self, timeout: Duration) -> Option<BoundedPermit> {
        block_on_timeout(self.acquire(), timeout)
    }

    /// Adds `permits` permits, in place of [forgotten](BoundedPermit::forget) ones.
    ///
    /// ```
    /// let semaphore = concurrent_futures::sync::BoundedSemaphore::new(1);
    /// let error = semaphore.add_permits(1).unwrap_err();
    /// assert!(error.to_string().starts_with("1 permit cannot be added"));
    /// ```
    ///
    /// # Errors
    /// There would be more permits than at its creation. Then none is added.
    pub fn add_permits(&self, permits: usize) -> Result<(), TooManyPermits> {
        let mut forgotten = self.0.forgotten();
        let Some(left) = forgotten.checked_sub(permits) else {
            return Err(TooManyPermits {
                added: permits,
                forgotten: *forgotten,
            });
        };
        *forgotten = left;
        drop(forgotten); // A waker is code of another crate.
        self.0.free.add_permits(permits);
        Ok(())
    }

    /// The number of free permits at this moment.
    ///
    /// ```
    /// let semaphore = concurrent_futures::sync::BoundedSemaphore::new(2);
    /// let permit = semaphore.try_acquire().unwrap();
    /// assert_eq!(semaphore.available_permits(), 1);
    /// # drop(permit);
    /// ```
    pub fn available_permits(&self) -> usize {
        self.0.free.available_permits()
    }

    async fn take(&self, number: u32) -> BoundedPermit {
        let permits = self.0.free.acquire_many(number).await;
        permits.expect("the semaphore is never closed").forget();
        self.permit(number as usize)
    }

    /// Creates the permit of a caller that has taken `number` permits.
    fn permit(&self, number: usize) -> BoundedPermit {
        let permits = self.0.clone();
        BoundedPermit { permits, number }
    }
}

impl Permits {
    fn forgotten(&self) -> MutexGuard<'_, usize> {
        self.forgotten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl BoundedPermit {
    /// Keeps the permits without an owner: they are not released. See [`add_permits`](BoundedSemaphore::add_permits).
    ///
    /// ```
    /// let semaphore = concurrent_futures::sync::BoundedSemaphore::new(1);
    /// semaphore.try_acquire().unwrap().forget();
    /// assert_eq!(semaphore.available_permits(), 0);
    /// ```
    pub fn forget(mut self) {
        *self.permits.forgotten() += self.number;
        self.number = 0;
    }
}

impl Drop for BoundedPermit {
    fn drop(&mut self) {
        self.permits.free.add_permits(self.number);
    }
}

impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedSemaphore")
            .field("available_permits", &self.available_permits())
            .finish()
    }
}

impl fmt::Debug for BoundedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedPermit")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for TooManyPermits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { added, forgotten } = self;
        let permits = if *added == 1 { "permit" } else { "permits" };
        write!(
            f,
            "{added} {permits} cannot be added: {forgotten} were forgotten, and a bounded semaphore never has more \
             permits than at first; a dropped permit is released by itself"
        )
    }
}

impl Error for TooManyPermits {}
