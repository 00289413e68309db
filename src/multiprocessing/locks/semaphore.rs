//! [`Semaphore`]: a limited number of permits, among all processes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::permit::SemaphorePermit;
use crate::multiprocessing::handle::shared_handle;
use crate::multiprocessing::robust::permits::{MOST, Permits};
use crate::multiprocessing::waiting::driver::{Driver as _, InTask, InThread, forever};

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
/// Its permits are released, however it ended. [`abandoned_by`](SemaphorePermit::abandoned_by) reports this to the next
/// holder of such a permit. If it was adding permits, either all are added or only the first of them.
///
/// A process that misuses the memory can keep, release or spoil any permit, and no more: see
/// [hostile processes](crate::multiprocessing#hostile-processes).
///
/// # Cost
/// Two descriptors and one page of memory in each process that has it, plus one page for each 500 permits.
/// Acquiring and releasing is one atomic instruction each, without a system call, while no one has to wait.
/// Finding a free permit takes longer the more permits are taken. The waiting tasks of one runtime use one descriptor
/// together, and one for each process that holds permits. So do the waiting threads of a process.
///
/// # Fairness
/// Like [`Lock`](super::Lock#fairness).
///
/// # In a fork
/// Like [`Lock`](super::Lock#in-a-fork).
///
/// # Platform
/// Linux.
#[derive(Clone)]
pub struct Semaphore(Arc<Permits>);

impl Semaphore {
    /// The maximal number of permits: 65536.
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
    /// ```
    /// # use concurrent_futures::multiprocessing::Semaphore;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let semaphore = Semaphore::new(1)?;
    /// let permit = semaphore.acquire().await;
    /// assert_eq!(semaphore.available_permits(), 0);
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
        self.acquire_many(1).await
    }

    /// Takes `permits` permits at once. Waits until it has all of them.
    ///
    /// Only one caller at a time, among all processes, collects several permits, and keeps those that it finds until it
    /// has all. So two callers that each want many never wait for each other's part, and callers that want one permit
    /// each do not keep it waiting forever. The permits that it has collected count as taken. If the caller gives up,
    /// or its process ends, they become free again.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// # use concurrent_futures::multiprocessing::Semaphore;
    /// let memory = Semaphore::new(8)?; // Gibibytes.
    /// let large = memory.acquire_many(6).await;
    /// assert_eq!(large.num_permits(), 6);
    /// assert!(memory.try_acquire_many(3).is_none());
    /// assert_eq!(memory.available_permits(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// Like [`acquire`](Self::acquire), and if `permits` exceeds [`MAX_PERMITS`](Self::MAX_PERMITS).
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has not taken a permit, and releases those that it has collected.
    pub async fn acquire_many(&self, permits: usize) -> SemaphorePermit {
        self.check(permits);
        InTask.begin().await;
        let takings = match self.0.take_at_once(permits) {
            Some(takings) => takings,
            None => forever(self.0.wait_many(&InTask, permits).await),
        };
        SemaphorePermit::new(&self.0, takings)
    }

    /// Takes a permit if one is free.
    ///
    /// If none is free, a few system calls check whether the processes that hold permits are still alive.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Semaphore;
    /// assert!(Semaphore::new(1)?.try_acquire().is_some());
    /// assert!(Semaphore::new(0)?.try_acquire().is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_acquire(&self) -> Option<SemaphorePermit> {
        self.try_acquire_many(1)
    }

    /// Takes `permits` permits if all of them are free. While another caller collects several, none is free for this.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Semaphore;
    /// let semaphore = Semaphore::new(2)?;
    /// assert!(semaphore.try_acquire_many(3).is_none());
    /// assert!(semaphore.try_acquire_many(2).is_some());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// If `permits` exceeds [`MAX_PERMITS`](Self::MAX_PERMITS).
    pub fn try_acquire_many(&self, permits: usize) -> Option<SemaphorePermit> {
        self.check(permits);
        let takings = self.0.try_take_many(permits)?;
        Some(SemaphorePermit::new(&self.0, takings))
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
    /// On a thread that drives async code.
    pub fn blocking_acquire(&self) -> SemaphorePermit {
        self.blocking_acquire_many(1)
    }

    /// Like [`blocking_acquire`](Self::blocking_acquire), but returns `None` if no permit is free within
    /// `timeout`.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Semaphore;
    /// # use std::time::Duration;
    /// let semaphore = Semaphore::new(0)?;
    /// assert!(semaphore.blocking_acquire_timeout(Duration::from_millis(1)).is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_acquire_timeout(&self, timeout: Duration) -> Option<SemaphorePermit> {
        self.blocking_acquire_many_timeout(1, timeout)
    }

    /// Like [`acquire_many`](Self::acquire_many), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Semaphore;
    /// let semaphore = Semaphore::new(3)?;
    /// assert_eq!(semaphore.blocking_acquire_many(2).num_permits(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code, or if `permits` exceeds [`MAX_PERMITS`](Self::MAX_PERMITS).
    pub fn blocking_acquire_many(&self, permits: usize) -> SemaphorePermit {
        forever(self.blocking_acquire_by(permits, None))
    }

    /// Like [`blocking_acquire_many`](Self::blocking_acquire_many), but returns `None` if it does not have all permits
    /// within `timeout`. Then it has taken none.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Semaphore;
    /// # use std::time::Duration;
    /// let semaphore = Semaphore::new(2)?;
    /// let one = semaphore.blocking_acquire();
    /// assert!(semaphore.blocking_acquire_many_timeout(2, Duration::from_millis(1)).is_none());
    /// assert_eq!(semaphore.available_permits(), 1);
    /// # drop(one);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// Like [`blocking_acquire_many`](Self::blocking_acquire_many).
    pub fn blocking_acquire_many_timeout(
        &self,
        permits: usize,
        timeout: Duration,
    ) -> Option<SemaphorePermit> {
        self.blocking_acquire_by(permits, Some(timeout))
    }

    fn blocking_acquire_by(
        &self,
        permits: usize,
        timeout: Option<Duration>,
    ) -> Option<SemaphorePermit> {
        self.check(permits);
        let at_once = || self.0.take_at_once(permits);
        let wait = async |driver: &InThread| self.0.wait_many(driver, permits).await;
        let takings = InThread::wait(timeout, at_once, wait)?;
        Some(SemaphorePermit::new(&self.0, takings))
    }

    /// A request for more permits than there can be would wait forever.
    #[track_caller]
    fn check(&self, permits: usize) {
        let bound = self.0.bound().max(1); // A caller may always wait for one permit.
        assert!(
            permits <= bound,
            "{permits} permits can never be free at once: this semaphore has at most {bound}"
        );
    }

    /// Adds `permits` permits. Never waits.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Semaphore;
    /// let semaphore = Semaphore::new(0)?;
    /// semaphore.add_permits(2)?;
    /// assert_eq!(semaphore.available_permits(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
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

shared_handle! {
    Semaphore as semaphore;
    sends *semaphore.0;
    receives deserializer => Permits::receive(deserializer).map(Self);
    shows { available_permits: semaphore.available_permits() }
}
