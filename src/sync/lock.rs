//! A lock for what tasks share: tokio's mutex, and what [`deadlock`](super::deadlock) needs to know of it.

use std::error::Error;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard, OwnedMutexGuard};

use super::block::block_on;
use super::deadlock::{Attempt, CodePlace, Hold, Tag};

/// A lock around a value, for one task at a time; its guard may be kept while awaiting.
///
/// This is [`tokio::sync::Mutex`], with its order (first come, first served), and with deadlocks told: see
/// [`deadlock`](super::deadlock). Share it by an [`Arc`].
///
/// ```
/// use std::sync::Arc;
/// use concurrent_futures::sync::Lock;
///
/// # #[tokio::main] async fn main() {
/// let counter = Arc::new(Lock::new(0));
/// let tasks = [1, 2].map(|amount| {
///     let counter = counter.clone();
///     tokio::spawn(async move {
///         let mut counter = counter.lock().await;
///         let read = *counter;
///         tokio::task::yield_now().await;
///         *counter = read + amount;
///     })
/// });
/// futures::future::join_all(tasks).await;
/// assert_eq!(*counter.lock().await, 3);
/// # }
/// ```
pub struct Lock<T> {
    tag: Tag,
    /// In an `Arc` for the owned guards.
    value: Arc<Mutex<T>>,
}

/// The lock is had, and its value is here, until this is dropped.
///
/// It is taken to stay with the task that took it; an [`OwnedLockGuard`] may go to another.
#[must_use = "the lock is free again at once if nobody keeps the guard"]
pub struct LockGuard<'a, T> {
    _hold: Hold,
    value: MutexGuard<'a, T>,
    lock: &'a Lock<T>,
}

/// As [`LockGuard`], and borrows nothing: it may go to another task, and outlive the lock.
#[must_use = "the lock is free again at once if nobody keeps the guard"]
pub struct OwnedLockGuard<T>(OwnedMutexGuard<T>);

/// Somebody has the lock; why [`Lock::try_lock`] and [`RLock::try_lock`](super::RLock::try_lock) gave no
/// guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TryLockError(());

impl<T> Lock<T> {
    /// A lock that nobody has.
    ///
    /// ```
    /// use std::sync::LazyLock;
    /// use concurrent_futures::sync::Lock;
    ///
    /// static NAMES: LazyLock<Lock<Vec<String>>> = LazyLock::new(Lock::default);
    /// assert!(NAMES.try_lock().unwrap().is_empty());
    /// ```
    pub fn new(value: T) -> Self {
        Self {
            tag: Tag::new(),
            value: Arc::new(Mutex::new(value)),
        }
    }

    /// Takes the lock, when all who came before are done with it.
    ///
    /// ```
    /// # #[tokio::main] async fn main() {
    /// let lock = concurrent_futures::sync::Lock::new(1);
    /// *lock.lock().await += 1;
    /// assert_eq!(*lock.lock().await, 2);
    /// # }
    /// ```
    ///
    /// # Panics
    /// While deadlocks are detected, one panics with the places in the source.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue.
    #[track_caller]
    pub fn lock(&self) -> impl Future<Output = LockGuard<'_, T>> {
        self.lock_at(Location::caller())
    }

    /// Takes the lock if it is free.
    ///
    /// ```
    /// let lock = concurrent_futures::sync::Lock::new(1);
    /// let guard = lock.try_lock().unwrap();
    /// assert!(lock.try_lock().is_err());
    /// # drop(guard);
    /// ```
    ///
    /// # Errors
    /// Somebody has it.
    #[track_caller]
    pub fn try_lock(&self) -> Result<LockGuard<'_, T>, TryLockError> {
        let value = self.value.try_lock().map_err(|_| TryLockError::new())?;
        let hold = Attempt::new(&self.tag, Location::caller()).hold();
        Ok(self.guard(value, hold))
    }

    /// As [`lock`](Self::lock), for threads that may block, such as those of a
    /// [`ThreadPoolExecutor`](crate::ThreadPoolExecutor).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use concurrent_futures::{ThreadPoolExecutor, sync::Lock};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let lock = Arc::new(Lock::new(1));
    /// let shared = lock.clone();
    /// pool.submit(move || *shared.blocking_lock() += 1, ()).await?;
    /// assert_eq!(*lock.lock().await, 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code, and as [`lock`](Self::lock).
    #[track_caller]
    pub fn blocking_lock(&self) -> LockGuard<'_, T> {
        block_on(self.lock())
    }

    /// As [`lock`](Self::lock), with a guard that may go to another task.
    ///
    /// ```
    /// # #[tokio::main] async fn main() {
    /// let lock = concurrent_futures::sync::Lock::new(1);
    /// let mut guard = lock.lock_owned().await;
    /// tokio::spawn(async move { *guard += 1 }); // Keeps others out until it is done.
    /// assert_eq!(*lock.lock().await, 2);
    /// # }
    /// ```
    ///
    /// # Panics
    /// As [`lock`](Self::lock). Waits for a lock that was taken by this are not known to be
    /// deadlocks.
    ///
    /// # Cancel safety
    /// As [`lock`](Self::lock).
    #[track_caller]
    pub fn lock_owned(&self) -> impl Future<Output = OwnedLockGuard<T>> + use<'_, T> {
        let attempt = Attempt::new(&self.tag, Location::caller());
        async move {
            let value = attempt.watch(self.value.clone().lock_owned()).await;
            OwnedLockGuard(value) // Nobody's: there is no `Hold`.
        }
    }

    /// Takes the lock if it is free, with a guard that may go to another task.
    ///
    /// ```
    /// let lock = concurrent_futures::sync::Lock::new(1);
    /// let guard = lock.try_lock_owned().unwrap();
    /// drop(lock);
    /// assert_eq!(*guard, 1);
    /// ```
    ///
    /// # Errors
    /// Somebody has it.
    pub fn try_lock_owned(&self) -> Result<OwnedLockGuard<T>, TryLockError> {
        let value = self.value.clone().try_lock_owned();
        value.map(OwnedLockGuard).map_err(|_| TryLockError::new())
    }

    /// The value, if no owned guard has it.
    ///
    /// ```
    /// assert_eq!(concurrent_futures::sync::Lock::new(1).into_inner().unwrap(), 1);
    /// ```
    ///
    /// # Errors
    /// The lock itself, if an [`OwnedLockGuard`] is left.
    pub fn into_inner(self) -> Result<T, Self> {
        let Self { tag, value } = self;
        let value = Arc::try_unwrap(value).map_err(|value| Self { tag, value })?;
        Ok(value.into_inner())
    }

    /// As if called at that place.
    pub(super) async fn lock_at(&self, place: CodePlace) -> LockGuard<'_, T> {
        let attempt = Attempt::new(&self.tag, place);
        let value = attempt.watch(self.value.lock()).await;
        self.guard(value, attempt.hold())
    }

    fn guard<'a>(&'a self, value: MutexGuard<'a, T>, hold: Hold) -> LockGuard<'a, T> {
        LockGuard {
            _hold: hold,
            value,
            lock: self,
        }
    }
}

impl<'a, T> LockGuard<'a, T> {
    /// The lock that this is the guard of.
    ///
    /// ```
    /// use concurrent_futures::sync::{Lock, LockGuard};
    ///
    /// let lock = Lock::new(1);
    /// let guard = lock.try_lock().unwrap();
    /// assert!(LockGuard::lock(&guard).try_lock().is_err());
    /// ```
    pub fn lock(this: &Self) -> &'a Lock<T> {
        this.lock
    }
}

impl<T> Deref for LockGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for LockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Deref for OwnedLockGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for OwnedLockGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Default> Default for Lock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Lock<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: fmt::Debug> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lock = f.debug_struct("Lock");
        match self.value.try_lock() {
            Ok(value) => lock.field("value", &*value).finish(),
            Err(_) => lock.finish_non_exhaustive(), // Somebody has it.
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for LockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<T: fmt::Debug> fmt::Debug for OwnedLockGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl TryLockError {
    pub(super) fn new() -> Self {
        Self(())
    }
}

impl fmt::Display for TryLockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("somebody has the lock")
    }
}

impl Error for TryLockError {}
