//! A lock that its owner can take again.

use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::block::block_on;
use super::deadlock::{Attempt, Hold, Tag};
use super::lock::TryLockError;
use super::owner::LockOwner;

/// A lock around a value, for one task at a time, which may take it again while it has it. It is free
/// when all its guards are dropped.
///
/// A function that takes the lock can so call another that takes it too. Its guards give the value to be
/// read; what is to be changed needs a cell of its own, such as an atomic.
///
/// The owner is the tokio task that took the lock, or the thread outside of tasks. So branches of one task
/// (`join!`, `select!`) do not keep each other out, and neither do the tasks that another executor runs on
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
/// let _guard = TERMINAL.lock().await; // Nobody prints in between.
/// print_line("first").await;
/// print_line("second").await;
/// # }
/// ```
pub struct RLock<T> {
    tag: Tag,
    /// Has a permit while nobody has the lock.
    turn: Semaphore,
    holder: Mutex<Option<Holder>>,
    value: T,
}

/// Who has the lock.
#[derive(Debug)]
struct Holder {
    owner: LockOwner,
    /// How many guards there are.
    guards: usize,
    _hold: Hold,
}

/// The lock is had until this and all other guards of its owner are dropped.
#[must_use = "the lock is free again at once if nobody keeps the guard"]
pub struct RLockGuard<'a, T>(&'a RLock<T>);

impl<T> RLock<T> {
    /// A lock that nobody has.
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

    /// Takes the lock: at once if this task has it, else when all who came before are done with it.
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
    /// While deadlocks are detected, one panics with the places in the source.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue.
    #[track_caller]
    pub fn lock(&self) -> impl Future<Output = RLockGuard<'_, T>> {
        let attempt = Attempt::new(&self.tag, Location::caller());
        async move {
            // Who this is, is known when it is polled: a future can be made by one task for another.
            if let Some(guard) = self.lock_again() {
                return guard;
            }
            let turn = attempt.watch(self.turn.acquire()).await;
            turn.expect("it is never closed").forget();
            self.begin(&attempt)
        }
    }

    /// Takes the lock if it is free, or this task has it.
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
    /// Somebody else has it.
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

    /// As [`lock`](Self::lock), for threads that may block.
    ///
    /// ```
    /// let lock = concurrent_futures::sync::RLock::new(1);
    /// let first = lock.blocking_lock();
    /// let again = lock.blocking_lock();
    /// assert_eq!(*first + *again, 2);
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code, and as [`lock`](Self::lock).
    #[track_caller]
    pub fn blocking_lock(&self) -> RLockGuard<'_, T> {
        block_on(self.lock())
    }

    /// The value.
    ///
    /// ```
    /// assert_eq!(concurrent_futures::sync::RLock::new(1).into_inner(), 1);
    /// ```
    pub fn into_inner(self) -> T {
        self.value
    }

    /// One guard more, if the caller has the lock. Nobody else can make it so, or end it.
    fn lock_again(&self) -> Option<RLockGuard<'_, T>> {
        let mut holder = self.holder();
        let holder = holder.as_mut()?;
        (holder.owner == LockOwner::current()).then(|| {
            holder.guards += 1;
            RLockGuard(self)
        })
    }

    /// The caller has the turn.
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
                drop(place); // The next one writes itself there.
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
