//! [`BoundedSemaphore`]: a semaphore that never has more permits than it began with.

use std::fmt;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::semaphore::{Semaphore, SemaphorePermit};

/// As [`Semaphore`], but it never has more permits than it began with: to add one too many
/// is an error.
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
/// What a process leaves that ends, and what it costs, is as with [`Semaphore`].
#[derive(Clone)]
pub struct BoundedSemaphore(Semaphore);

impl BoundedSemaphore {
    /// A semaphore with so many permits, and never more.
    ///
    /// # Errors
    /// There is no descriptor or no memory left, or `permits` are more than
    /// [`MAX_PERMITS`](Semaphore::MAX_PERMITS).
    pub fn new(permits: usize) -> io::Result<Self> {
        Semaphore::bounded(permits, permits).map(Self)
    }

    /// Waits for a permit, and takes it: see [`Semaphore::acquire`].
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Cancel safe: a future that is dropped has not taken one.
    pub async fn acquire(&self) -> SemaphorePermit {
        self.0.acquire().await
    }

    /// Takes a permit, if there is one at this moment.
    pub fn try_acquire(&self) -> Option<SemaphorePermit> {
        self.0.try_acquire()
    }

    /// As [`acquire`](Self::acquire), for a thread.
    ///
    /// # Panics
    /// If it has to wait in an asynchronous task.
    pub fn blocking_acquire(&self) -> SemaphorePermit {
        self.0.blocking_acquire()
    }

    /// As [`blocking_acquire`](Self::blocking_acquire); gives up, and gives nothing, after `timeout`.
    ///
    /// # Panics
    /// If it has to wait in an asynchronous task.
    pub fn blocking_acquire_timeout(&self, timeout: Duration) -> Option<SemaphorePermit> {
        self.0.blocking_acquire_timeout(timeout)
    }

    /// Adds so many permits, in place of [forgotten](SemaphorePermit::forget) ones. It waits for nothing.
    ///
    /// # Errors
    /// There would be more permits than it began with. Then none is added.
    pub fn add_permits(&self, permits: usize) -> io::Result<()> {
        self.0.add_permits(permits)
    }

    /// How many permits nobody has, at this moment.
    pub fn available_permits(&self) -> usize {
        self.0.available_permits()
    }
}

impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedSemaphore")
            .field("available_permits", &self.available_permits())
            .finish()
    }
}

/// To a process only: anywhere else it is an error that says so.
impl Serialize for BoundedSemaphore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for BoundedSemaphore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Semaphore::deserialize(deserializer).map(Self)
    }
}
