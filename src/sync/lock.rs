//! A lock for values that tasks share: tokio's mutex plus the bookkeeping that [`deadlock`](super::deadlock)
//! needs.

use std::error::Error;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, OwnedMutexGuard};

use super::block::{block_on, block_on_timeout};
use super::deadlock::{Attempt, CodePlace, Hold, Tag};

/// A lock around a value, for one task at a time. Its guard may be held across an `await`.
///
/// This is [`tokio::sync::Mutex`], fair in the same way (first come, first served), with deadlock detection:
/// see [`deadlock`](super::deadlock). Share it in an [`Arc`].
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
    /// In an `Arc`, for the owned guards.
    value: Arc<Mutex<T>>,
}

/// Holds the lock until dropped, and dereferences to its value. Returned by [`Lock::lock`].
///
/// For [deadlock detection](super::deadlock) the task that took the lock holds it, until another task uses or drops the
/// guard. To hand a guard over, take an [`OwnedLockGuard`].
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct LockGuard<'a, T> {
    hold: Hold,
    value: MutexGuard<'a, T>,
    lock: &'a Lock<T>,
}

/// Like [`LockGuard`], but borrows nothing: it may move to another task and outlive the lock. Returned by
/// [`Lock::lock_owned`].
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct OwnedLockGuard<T>(OwnedMutexGuard<T>);

/// The lock is held. Returned by [`Lock::try_lock`], [`Lock::try_lock_owned`] and
/// [`RLock::try_lock`](super::RLock::try_lock).
///
/// ```
/// let lock = concurrent_futures::sync::Lock::new(1);
/// let guard = lock.try_lock().unwrap();
/// assert!(lock.try_lock().is_err());
/// # drop(guard);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TryLockError(());

impl<T> Lock<T> {
    /// Creates a lock that is free.
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

    /// Takes the lock. Waits until all earlier callers have released it.
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
    /// If [deadlock detection](super::deadlock) is on and this call closes a cycle of waits. The message has
    /// the places in the source.
    ///
    /// # Cancel safety
    /// Dropping the future gives up its place in the queue.
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
    /// The lock is held.
    #[track_caller]
    pub fn try_lock(&self) -> Result<LockGuard<'_, T>, TryLockError> {
        let value = self.value.try_lock().map_err(|_| TryLockError::new())?;
        let hold = Attempt::new(&self.tag, Location::caller()).hold();
        Ok(self.guard(value, hold))
    }

    /// Like [`lock`](Self::lock), for a thread that may block, for example one of a
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
    /// On a thread that drives async code, and where [`lock`](Self::lock) does.
    #[track_caller]
    pub fn blocking_lock(&self) -> LockGuard<'_, T> {
        block_on(self.lock())
    }

    /// Like [`blocking_lock`](Self::blocking_lock), but returns `None` if the lock is not free within `timeout`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let lock = concurrent_futures::sync::Lock::new(1);
    /// let guard = lock.blocking_lock();
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| assert!(lock.blocking_lock_timeout(Duration::from_millis(1)).is_none()));
    /// });
    /// # drop(guard);
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[track_caller]
    pub fn blocking_lock_timeout(&self, timeout: Duration) -> Option<LockGuard<'_, T>> {
        block_on_timeout(self.lock(), timeout)
    }

    /// Like [`lock`](Self::lock), with a guard that may move to another task.
    ///
    /// ```
    /// # #[tokio::main] async fn main() {
    /// let lock = concurrent_futures::sync::Lock::new(1);
    /// let mut guard = lock.lock_owned().await;
    /// tokio::spawn(async move { *guard += 1 }); // Holds the lock until it is done.
    /// assert_eq!(*lock.lock().await, 2);
    /// # }
    /// ```
    ///
    /// # Panics
    /// Like [`lock`](Self::lock). While the returned guard holds the lock, waits for it are never reported as
    /// deadlocks, since the holder is not known.
    ///
    /// # Cancel safety
    /// Like [`lock`](Self::lock).
    #[track_caller]
    pub fn lock_owned(&self) -> impl Future<Output = OwnedLockGuard<T>> + use<'_, T> {
        let mut attempt = Attempt::new(&self.tag, Location::caller());
        async move {
            let value = attempt.watch(self.value.clone().lock_owned()).await;
            OwnedLockGuard(value) // No `Hold`: an owned guard has no known owner.
        }
    }

    /// Takes the lock if it is free, with a guard that may move to another task.
    ///
    /// ```
    /// let lock = concurrent_futures::sync::Lock::new(1);
    /// let guard = lock.try_lock_owned().unwrap();
    /// drop(lock);
    /// assert_eq!(*guard, 1);
    /// ```
    ///
    /// # Errors
    /// The lock is held.
    pub fn try_lock_owned(&self) -> Result<OwnedLockGuard<T>, TryLockError> {
        let value = self.value.clone().try_lock_owned();
        value.map(OwnedLockGuard).map_err(|_| TryLockError::new())
    }

    /// Returns the value, unless an owned guard is left.
    ///
    /// ```
    /// assert_eq!(concurrent_futures::sync::Lock::new(1).into_inner().unwrap(), 1);
    /// ```
    ///
    /// # Errors
    /// The lock itself, if an [`OwnedLockGuard`] still holds it.
    pub fn into_inner(self) -> Result<T, Self> {
        let Self { tag, value } = self;
        let value = Arc::try_unwrap(value).map_err(|value| Self { tag, value })?;
        Ok(value.into_inner())
    }

    /// Takes the lock on behalf of the caller at `place`.
    pub(super) async fn lock_at(&self, place: CodePlace) -> LockGuard<'_, T> {
        let mut attempt = Attempt::new(&self.tag, place);
        let value = attempt.watch(self.value.lock()).await;
        self.guard(value, attempt.hold())
    }

    fn guard<'a>(&'a self, value: MutexGuard<'a, T>, hold: Hold) -> LockGuard<'a, T> {
        LockGuard {
            hold,
            value,
            lock: self,
        }
    }
}

impl<'a, T> LockGuard<'a, T> {
    /// Returns the lock that this guard holds.
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
        self.hold.note_use();
        &self.value
    }
}

impl<T> DerefMut for LockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.hold.note_use();
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
            Err(_) => lock.finish_non_exhaustive(), // The lock is held.
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
        f.write_str("the lock is held; use `lock` to wait for it")
    }
}

impl Error for TryLockError {}
