//! A lock that its owner can take again.

use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::coop::consume_budget;

use super::block::{block_on, block_on_timeout};
use super::deadlock::{Attempt, Hold, Tag};
use super::lock::TryLockError;
use super::owner::LockOwner;

/// A lock around a value, for one task at a time. The task that holds it may take it again. The lock is free
/// once all guards are dropped.
///
/// So a function that holds the lock can call another one that takes it too. The guards give shared access only: for a
/// value that changes, use a type with interior mutability, for example an atomic.
///
/// The owner is the tokio task that took the lock, or the thread outside of tasks. Thus branches of one task
/// (`join!`, `select!`) do not exclude each other. Neither do tasks that an executor other than tokio runs on
/// one thread.
///
/// ```
/// use concurrent_futures::sync::RLock;
///
/// static TERMINAL: RLock<()> = RLock::new(());
///
/// async fn print_line(line: &str) {
///     let _guard = TERMINAL.lock().await;
///     println!("{line}");
/// }
///
/// # #[tokio::main] async fn main() {
/// let _guard = TERMINAL.lock().await; // No other task prints in between.
/// print_line("first").await;
/// print_line("second").await;
/// # }
/// ```
pub struct RLock<T> {
    tag: Tag,
    /// Has one permit while the lock is free.
    turn: Semaphore,
    holder: Mutex<Option<Holder>>,
    value: T,
}

/// The owner of the lock.
#[derive(Debug)]
struct Holder {
    owner: LockOwner,
    /// The number of guards.
    guards: usize,
    _hold: Hold,
}

/// Holds the lock until this and all other guards of the same owner are dropped. Returned by [`RLock::lock`].
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct RLockGuard<'a, T>(&'a RLock<T>);

impl<T> RLock<T> {
    /// Creates a lock that is free.
    ///
    /// ```
    /// use concurrent_futures::sync::RLock;
    ///
    /// static SETTINGS: RLock<&str> = RLock::new("none");
    /// assert_eq!(*SETTINGS.try_lock().unwrap(), "none");
    /// ```
    pub const fn new(value: T) -> Self {
        Self {
            tag: Tag::new(),
            turn: Semaphore::const_new(1),
            holder: Mutex::new(None),
            value,
        }
    }

    /// Takes the lock: at once if this task holds it, else after all earlier callers have released it.
    ///
    /// ```
    /// # #[tokio::main] async fn main() {
    /// let lock = concurrent_futures::sync::RLock::new(1);
    /// let first = lock.lock().await;
    /// let again = lock.lock().await;
    /// assert_eq!(*first + *again, 2);
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
    pub fn lock(&self) -> impl Future<Output = RLockGuard<'_, T>> {
        let mut attempt = Attempt::new(&self.tag, Location::caller());
        async move {
            // The owner is determined when the future is polled, because one task may create it for another.
            if let Some(guard) = self.lock_again() {
                consume_budget().await; // Lets other tasks run if a loop takes the lock again.
                return guard;
            }
            let turn = attempt.watch(self.turn.acquire()).await;
            turn.expect("the semaphore is never closed").forget();
            self.begin(&attempt)
        }
    }

    /// Takes the lock if it is free or this task holds it.
    ///
    /// ```
    /// use concurrent_futures::sync::RLock;
    ///
    /// let lock = RLock::new(1);
    /// let guard = lock.try_lock().unwrap();
    /// assert!(lock.try_lock().is_ok());
    /// std::thread::scope(|scope| scope.spawn(|| assert!(lock.try_lock().is_err())).join()).unwrap();
    /// # drop(guard);
    /// ```
    ///
    /// # Errors
    /// Another task holds the lock.
    #[track_caller]
    pub fn try_lock(&self) -> Result<RLockGuard<'_, T>, TryLockError> {
        if let Some(guard) = self.lock_again() {
            return Ok(guard);
        }
        self.turn
            .try_acquire()
            .map_err(|_| TryLockError::new())?
            .forget();
        Ok(self.begin(&Attempt::new(&self.tag, Location::caller())))
    }

    /// Like [`lock`](Self::lock), for a thread that may block.
    ///
    /// ```
    /// let lock = concurrent_futures::sync::RLock::new(1);
    /// let first = lock.blocking_lock();
    /// let again = lock.blocking_lock();
    /// assert_eq!(*first + *again, 2);
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code, and where [`lock`](Self::lock) does.
    #[track_caller]
    pub fn blocking_lock(&self) -> RLockGuard<'_, T> {
        block_on(self.lock())
    }

    /// Like [`blocking_lock`](Self::blocking_lock), but returns `None` if the lock is not free within `timeout`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let lock = concurrent_futures::sync::RLock::new(1);
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
    pub fn blocking_lock_timeout(&self, timeout: Duration) -> Option<RLockGuard<'_, T>> {
        block_on_timeout(self.lock(), timeout)
    }

    /// Returns the value.
    ///
    /// ```
    /// assert_eq!(concurrent_futures::sync::RLock::new(1).into_inner(), 1);
    /// ```
    pub fn into_inner(self) -> T {
        self.value
    }

    /// Another guard, if the caller holds the lock. No other task can change whether it does.
    fn lock_again(&self) -> Option<RLockGuard<'_, T>> {
        let mut holder = self.holder();
        let holder = holder.as_mut()?;
        (holder.owner == LockOwner::current()).then(|| {
            holder.guards += 1;
            RLockGuard(self)
        })
    }

    /// Creates the first guard of a caller that has taken the permit of `turn`.
    fn begin(&self, attempt: &Attempt<'_>) -> RLockGuard<'_, T> {
        *self.holder() = Some(Holder {
            owner: LockOwner::current(),
            guards: 1,
            _hold: attempt.hold(),
        });
        RLockGuard(self)
    }

    fn holder(&self) -> MutexGuard<'_, Option<Holder>> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for RLockGuard<'_, T> {
    fn drop(&mut self) {
        let mut place = self.0.holder();
        if let Some(holder) = place.as_mut() {
            holder.guards -= 1;
            if holder.guards == 0 {
                drop(place.take());
                drop(place); // The next owner sets it.
                self.0.turn.add_permits(1);
            }
        }
    }
}

impl<T> Deref for RLockGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: Default> Default for RLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for RLock<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: fmt::Debug> fmt::Debug for RLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLock")
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for RLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}
