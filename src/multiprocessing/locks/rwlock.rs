//! [`RwLock`]: many readers or one writer, among all processes.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::multiprocessing::handle::shared_handle;
use crate::multiprocessing::robust::rw::{ReadHold, RobustRw, RwHeld};
use crate::multiprocessing::waiting::driver::{Driver as _, InTask, InThread, forever};
use crate::sys::ProcessIdentity;

/// A lock for any number of readers or one writer at a time, among the tasks and threads of all processes that have it.
///
/// Like a [`Lock`](super::Lock) it contains no value. It guards what processes share: memory, a file, a service. A
/// clone is the same lock, and so is the lock that another process receives.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use concurrent_futures::multiprocessing::RwLock;
///
/// let lock = RwLock::new()?;
/// let (one, other) = (lock.read().await, lock.read().await);
/// assert!(lock.try_write().is_none());
/// drop((one, other));
/// let writing = lock.write().await;
/// assert!(lock.try_read().is_none());
/// # drop(writing);
/// # Ok(())
/// # }
/// ```
///
/// A task in a worker process uses the `blocking_` methods:
///
/// ```no_run
/// use concurrent_futures::multiprocessing::{RwLock, SharedMemory};
/// use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
///
/// fn sum(lock: RwLock, table: SharedMemory) -> u64 {
///     let _guard = lock.blocking_read(); // Other workers read at the same time.
///     table.to_vec().into_iter().map(u64::from).sum()
/// }
///
/// # async fn service(pool: ProcessPoolExecutor) -> Result<(), Box<dyn std::error::Error>> {
/// let (lock, table) = (RwLock::new()?, SharedMemory::create(1000)?);
/// let sum = pool.submit(sum, (lock.clone(), table.clone()));
/// let guard = lock.write().await;
/// table.write(0, &[1; 1000]);
/// drop(guard);
/// let sum = sum.await?;
/// assert!(sum == 0 || sum == 1000);
/// # Ok(())
/// # }
/// ```
///
/// # Fairness
/// A writer that waits for readers lets no new reader in. Readers and writers that have to wait take turns, as those of
/// a [`Lock`](super::Lock#fairness) do, so neither side starves the other. A task that holds a read guard and takes
/// another one may wait forever, if a writer has started to wait in between.
///
/// # In a fork
/// Like [`Lock`](super::Lock#in-a-fork).
///
/// # When a process ends
/// The guards of its tasks and threads are released, however it ended. If it was writing, the guarded data may be half
/// changed: [`abandoned_by`](RwLockWriteGuard::abandoned_by) of every later guard returns its process id, until a
/// writer that saw this id releases the lock. A killed reader has no effect.
///
/// A process that misuses the memory can keep, release or spoil the lock, and no more: see
/// [hostile processes](crate::multiprocessing#hostile-processes).
///
/// # Cost
/// Two descriptors and one page of memory in each process that has it. Reading takes four atomic instructions and
/// writing takes a few more, without a system call, while no one has to wait. About 250 processes read at the same
/// time; if there are more, the rest read one at a time. Waiters use as many descriptors as those of a
/// [`Lock`](super::Lock#cost), and a writer one more for each process that it waits for.
///
/// # Platform
/// Linux.
#[derive(Clone)]
pub struct RwLock(Arc<RobustRw>);

impl RwLock {
    /// Creates a lock that is free.
    ///
    /// # Errors
    /// No descriptor or no memory is left.
    pub fn new() -> io::Result<Self> {
        RobustRw::new().map(Self)
    }

    /// Takes the lock for reading. Waits while a writer holds the lock, or waits for the readers before this one.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::RwLock;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let lock = RwLock::new()?;
    /// let (one, other) = (lock.read().await, lock.read().await);
    /// # drop((one, other));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has not taken the lock.
    pub async fn read(&self) -> RwLockReadGuard {
        InTask.begin().await;
        let taken = match self.0.enter() {
            Some(taken) => taken,
            None => forever(self.0.read_in_turn(&InTask).await),
        };
        self.reading(taken)
    }

    /// Takes the lock for reading if no writer holds it or waits for readers.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::RwLock;
    /// let lock = RwLock::new()?;
    /// let one = lock.try_read().expect("it is free");
    /// assert!(lock.try_read().is_some());
    /// # drop(one);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_read(&self) -> Option<RwLockReadGuard> {
        self.0.try_read().map(|taken| self.reading(taken))
    }

    /// Like [`read`](Self::read), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::RwLock;
    /// let lock = RwLock::new()?;
    /// let (one, other) = (lock.blocking_read(), lock.blocking_read());
    /// # drop((one, other));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_read(&self) -> RwLockReadGuard {
        forever(self.blocking_read_by(None))
    }

    /// Like [`blocking_read`](Self::blocking_read), but returns `None` if it has not taken the lock within `timeout`.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::RwLock;
    /// # use std::time::Duration;
    /// let lock = RwLock::new()?;
    /// let writing = lock.blocking_write();
    /// assert!(lock.blocking_read_timeout(Duration::from_millis(1)).is_none());
    /// # drop(writing);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_read_timeout(&self, timeout: Duration) -> Option<RwLockReadGuard> {
        self.blocking_read_by(Some(timeout))
    }

    fn blocking_read_by(&self, timeout: Option<Duration>) -> Option<RwLockReadGuard> {
        let wait = async |driver: &InThread| self.0.read_in_turn(driver).await;
        let taken = InThread::wait(timeout, || self.0.enter(), wait)?;
        Some(self.reading(taken))
    }

    /// Takes the lock for writing. Waits until no other task or thread holds it.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::RwLock;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let lock = RwLock::new()?;
    /// let guard = lock.write().await;
    /// assert!(lock.try_read().is_none());
    /// # drop(guard);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has not taken the lock, and lets readers in again.
    pub async fn write(&self) -> RwLockWriteGuard {
        self.writing(forever(self.0.write(&InTask).await))
    }

    /// Takes the lock for writing if it is free.
    ///
    /// A few system calls check whether processes that read or write are still alive.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::RwLock;
    /// let lock = RwLock::new()?;
    /// let reading = lock.blocking_read();
    /// assert!(lock.try_write().is_none());
    /// # drop(reading);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_write(&self) -> Option<RwLockWriteGuard> {
        self.0.try_write().map(|taken| self.writing(taken))
    }

    /// Like [`write`](Self::write), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::RwLock;
    /// let lock = RwLock::new()?;
    /// drop(lock.blocking_write());
    /// assert!(lock.try_read().is_some());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_write(&self) -> RwLockWriteGuard {
        forever(self.blocking_write_by(InThread::within(None)))
    }

    /// Like [`blocking_write`](Self::blocking_write), but returns `None` if the lock is not free within `timeout`.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::RwLock;
    /// # use std::time::Duration;
    /// let lock = RwLock::new()?;
    /// let reading = lock.blocking_read();
    /// assert!(lock.blocking_write_timeout(Duration::from_millis(1)).is_none());
    /// assert!(lock.try_read().is_some(), "the writer has given up");
    /// # drop(reading);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_write_timeout(&self, timeout: Duration) -> Option<RwLockWriteGuard> {
        self.blocking_write_by(InThread::within(Some(timeout)))
    }

    fn blocking_write_by(&self, driver: InThread) -> Option<RwLockWriteGuard> {
        let taken = InThread::run(self.0.write(&driver))?;
        Some(self.writing(taken))
    }

    fn reading(&self, taken: RwHeld<ReadHold>) -> RwLockReadGuard {
        let lock = self.clone();
        RwLockReadGuard { lock, taken }
    }

    fn writing(&self, taken: RwHeld<()>) -> RwLockWriteGuard {
        RwLockWriteGuard {
            lock: self.clone(),
            taken: Some(taken),
        }
    }
}

/// Holds an [`RwLock`] for reading until it is dropped. Returned by [`RwLock::read`] and its twins.
///
/// It may move to another task or thread of this process and be dropped there. A process that is forked by other means
/// than this crate has a copy of it, and not the lock: dropping the copy does nothing.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct RwLockReadGuard {
    lock: RwLock,
    taken: RwHeld<ReadHold>,
}

impl RwLockReadGuard {
    /// The id of the process that ended while it held the lock for writing, if no writer has held the lock since. The
    /// guarded data may then be half changed. For an example see
    /// [`RwLockWriteGuard::abandoned_by`].
    pub fn abandoned_by(&self) -> Option<u32> {
        self.taken.abandoned_by
    }
}

impl Drop for RwLockReadGuard {
    fn drop(&mut self) {
        self.lock.0.end_reading(&self.taken);
    }
}

/// Holds an [`RwLock`] for writing until it is dropped. Returned by [`RwLock::write`] and its twins.
///
/// It may move to another task or thread of this process and be dropped there. A process that is forked by other means
/// than this crate has a copy of it, and not the lock: dropping the copy does nothing.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct RwLockWriteGuard {
    lock: RwLock,
    /// `None` once it is downgraded.
    taken: Option<RwHeld<()>>,
}

impl RwLockWriteGuard {
    /// The id of the process that ended while it held the lock for writing, if no writer has held the lock since. The
    /// guarded data may then be half changed. Once this guard is dropped, later guards return `None`.
    ///
    /// ```
    /// # let lock = concurrent_futures::multiprocessing::RwLock::new()?;
    /// let guard = lock.try_write().expect("it is free");
    /// if let Some(pid) = guard.abandoned_by() {
    ///     println!("process {pid} ended in the middle of a change");
    /// }
    /// # assert_eq!(guard.abandoned_by(), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn abandoned_by(&self) -> Option<u32> {
        self.taken.as_ref()?.abandoned_by
    }

    /// Turns this guard into one for reading. No other writer takes the lock in between.
    ///
    /// ```
    /// # let lock = concurrent_futures::multiprocessing::RwLock::new()?;
    /// let writing = lock.try_write().expect("it is free");
    /// let reading = writing.downgrade();
    /// assert!(lock.try_read().is_some() && lock.try_write().is_none());
    /// # drop(reading);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn downgrade(mut self) -> RwLockReadGuard {
        let taken = self.taken.take().expect("a guard is downgraded once");
        self.lock.reading(self.lock.0.downgrade(&taken))
    }
}

impl Drop for RwLockWriteGuard {
    fn drop(&mut self) {
        if let Some(taken) = &self.taken {
            self.lock.0.end_writing(taken);
        }
    }
}

impl fmt::Debug for RwLockReadGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLockReadGuard")
            .field("abandoned_by", &self.abandoned_by())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RwLockWriteGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLockWriteGuard")
            .field("abandoned_by", &self.abandoned_by())
            .finish_non_exhaustive()
    }
}

shared_handle! {
    RwLock as lock;
    sends *lock.0;
    receives deserializer => RobustRw::receive(deserializer).map(Self);
    shows {
        written_by: lock.0.writer().map(ProcessIdentity::pid),
        reading_processes: lock.0.reading(),
    }
}
