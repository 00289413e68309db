//! [`Value`]: one value that several processes have, and its lock.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use bytemuck::Pod;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::locked::Locked;
use super::robust::RobustGuard;
use crate::sys::SharedMapping;

/// A value that several processes have, with a lock.
///
/// It is of plain data ([`bytemuck::Pod`]): numbers, arrays of such, and [structures](#structures) of
/// them. For much of it take an [`Array`](super::Array), which is not copied.
///
/// It is a handle. Its clones stand for the same value, in this process and in every other that it is
/// sent to; the value is gone with the last one.
///
/// ```
/// use concurrent_futures::multiprocessing::Value;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let count = Value::new(0_u64)?;
/// let other = count.clone(); // As if it had been sent to another process.
/// *count.lock().await += 1;
/// other.with(|count| *count += 1).await;
/// assert_eq!(count.get().await, 2);
/// # Ok(()) }
/// ```
///
/// It is an argument like any other:
///
/// ```no_run
/// use concurrent_futures::multiprocessing::Value;
/// use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
///
/// fn work(done: Value<u64>) {
///     *done.blocking_lock() += 1;
/// }
///
/// # async fn service(pool: ProcessPoolExecutor) -> Result<(), Box<dyn std::error::Error>> {
/// let done = Value::new(0)?;
/// for _ in 0..10 {
///     pool.submit(work, done.clone()).await?;
/// }
/// assert_eq!(done.get().await, 10);
/// # Ok(()) }
/// ```
///
/// # Structures
/// The derive of the crate `bytemuck` (its feature `derive`) checks that a structure is plain data: all
/// of its fields are, and nothing lies between them.
///
/// ```
/// use bytemuck::{Pod, Zeroable};
/// use concurrent_futures::multiprocessing::Value;
///
/// #[derive(Clone, Copy, Pod, Zeroable)]
/// #[repr(C)]
/// struct Progress {
///     done: u64,
///     failed: u64,
/// }
///
/// let progress = Value::new(Progress { done: 0, failed: 0 })?;
/// progress.blocking_lock().failed += 1;
/// assert_eq!(progress.blocking_get().failed, 1);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # A process that is killed
/// gives the lock back, and leaves the old value or the new one, never a part of each: a
/// [`ValueGuard`] has a copy, which takes the place of the value in one step as the guard is dropped. The
/// next owner of the lock learns of it by [`abandoned_by`](ValueGuard::abandoned_by).
///
/// # Other processes
/// All that have the value use it through this type. One that wrote to its memory by other means, say
/// through a stray pointer, could make it any value; it could not make an access undefined.
///
/// # Platform
/// Linux.
#[derive(Clone)]
pub struct Value<T> {
    locked: Locked,
    values: PhantomData<T>,
}

/// Which of two places has the value, and where they begin. The other one is written, and then chosen.
const CHOICE: usize = Locked::DATA;
const PLACES: usize = CHOICE + 8;

/// So far the second place lies behind the first.
fn stride<T>() -> usize {
    size_of::<T>().next_multiple_of(8)
}

/// How much memory it takes.
fn memory_for<T>() -> Option<usize> {
    stride::<T>().checked_mul(2)?.checked_add(PLACES)
}

impl<T: Pod> Value<T> {
    /// Makes a value that can be sent to other processes.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Value;
    /// let position = Value::new([0.5_f64, 1.5])?;
    /// assert_eq!(position.blocking_get(), [0.5, 1.5]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`OutOfMemory`](io::ErrorKind::OutOfMemory) if there is no room for it, and what the system says
    /// otherwise, as if there are not two descriptors left.
    pub fn new(value: T) -> io::Result<Self> {
        let fill = |memory: &SharedMapping| memory.store(PLACES, bytemuck::bytes_of(&value));
        Ok(Self {
            locked: Locked::create(memory_for::<T>(), fill)?,
            values: PhantomData,
        })
    }

    /// Waits until nobody else has the lock, and takes it.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Value;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let count = Value::new(1_u32)?;
    /// let mut guard = count.lock().await;
    /// *guard += 1;
    /// drop(guard);
    /// assert_eq!(count.get().await, 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without its I/O driver.
    ///
    /// # Cancel safety
    /// Cancel safe: who does not wait any more has nothing.
    pub async fn lock(&self) -> ValueGuard<'_, T> {
        ValueGuard::new(self, self.locked.lock().await)
    }

    /// Takes the lock if nobody else has it.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Value;
    /// let count = Value::new(1_u32)?;
    /// let guard = count.try_lock().expect("nobody has it");
    /// assert!(count.try_lock().is_none());
    /// # drop(guard);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_lock(&self) -> Option<ValueGuard<'_, T>> {
        let held = self.locked.try_lock()?;
        Some(ValueGuard::new(self, held))
    }

    /// As [`lock`](Self::lock), for a thread that may be blocked: in a task of a pool, not in async code.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Value;
    /// let count = Value::new(1_u32)?;
    /// *count.blocking_lock() += 1;
    /// assert_eq!(count.blocking_get(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn blocking_lock(&self) -> ValueGuard<'_, T> {
        ValueGuard::new(self, self.locked.blocking_lock())
    }

    /// As [`blocking_lock`](Self::blocking_lock), and gives up after `timeout`.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Value;
    /// # use std::time::Duration;
    /// let count = Value::new(1_u32)?;
    /// let guard = count.blocking_lock();
    /// assert!(count.blocking_lock_timeout(Duration::from_millis(10)).is_none());
    /// # drop(guard);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn blocking_lock_timeout(&self, timeout: Duration) -> Option<ValueGuard<'_, T>> {
        let held = self.locked.blocking_lock_timeout(timeout)?;
        Some(ValueGuard::new(self, held))
    }

    /// The value as it is.
    ///
    /// This, [`set`](Self::set), [`with`](Self::with) and their `blocking_` twins take the lock for as
    /// long as they need it. They do not tell of a process that ended while it had it: that is left to the
    /// next who takes a guard.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Value;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// assert_eq!(Value::new(7_i8)?.get().await, 7);
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// As [`lock`](Self::lock).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn get(&self) -> T {
        self.read(&self.locked.lock().await)
    }

    /// As [`get`](Self::get), for a thread that may be blocked.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Value;
    /// assert_eq!(Value::new(7_i8)?.blocking_get(), 7);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn blocking_get(&self) -> T {
        self.read(&self.locked.blocking_lock())
    }

    /// Puts another value in its place.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Value;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let value = Value::new(7_i8)?;
    /// value.set(8).await;
    /// assert_eq!(value.get().await, 8);
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// As [`lock`](Self::lock).
    ///
    /// # Cancel safety
    /// Cancel safe: it is done in one step, or not at all.
    pub async fn set(&self, value: T) {
        self.commit(&self.locked.lock().await, &value);
    }

    /// As [`set`](Self::set), for a thread that may be blocked.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Value;
    /// let value = Value::new(7_i8)?;
    /// value.blocking_set(8);
    /// assert_eq!(value.blocking_get(), 8);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn blocking_set(&self, value: T) {
        self.commit(&self.locked.blocking_lock(), &value);
    }

    /// Changes the value by a function, which nobody gets in between of. Returns what the function does.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Value;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let ids = Value::new(100_u64)?;
    /// let next = |ids: &mut u64| { *ids += 1; *ids };
    /// assert_eq!(ids.with(next).await, 101);
    /// assert_eq!(ids.with(next).await, 102);
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// As [`lock`](Self::lock), and if the function does: then the value stays as it was.
    ///
    /// # Cancel safety
    /// Cancel safe: the function runs in one step with what it needs, or not at all.
    pub async fn with<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        self.change(&self.locked.lock().await, change)
    }

    /// As [`with`](Self::with), for a thread that may be blocked.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Value;
    /// let count = Value::new(0_u64)?;
    /// count.blocking_with(|count| *count += 1);
    /// assert_eq!(count.blocking_get(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn blocking_with<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        self.change(&self.locked.blocking_lock(), change)
    }

    fn change<R>(&self, held: &RobustGuard<'_>, change: impl FnOnce(&mut T) -> R) -> R {
        let mut value = self.read(held);
        let result = change(&mut value);
        self.commit(held, &value);
        result
    }

    /// The place that has the value.
    fn place(&self) -> usize {
        (self.locked.memory().word(CHOICE).load(Ordering::Acquire) & 1) as usize
    }

    fn read(&self, _held: &RobustGuard<'_>) -> T {
        let mut value = T::zeroed();
        let bytes = bytemuck::bytes_of_mut(&mut value);
        let offset = PLACES + self.place() * stride::<T>();
        self.locked.memory().load(offset, bytes);
        value
    }

    /// A process that is killed in here has written to a place that nobody reads, or is done.
    fn commit(&self, _held: &RobustGuard<'_>, value: &T) {
        let other = 1 - self.place();
        let bytes = bytemuck::bytes_of(value);
        let memory = self.locked.memory();
        memory.store(PLACES + other * stride::<T>(), bytes);
        memory.word(CHOICE).store(other as u64, Ordering::Release);
    }
}

impl<T> fmt::Debug for Value<T> {
    /// It does not look, for it might have to wait.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").finish_non_exhaustive()
    }
}

impl<T> Serialize for Value<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.locked.serialize(serializer, size_of::<T>())
    }
}

impl<'de, T: Pod> Deserialize<'de> for Value<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fits = |size| memory_for::<T>().filter(|_| size == size_of::<T>());
        let (locked, _) = Locked::deserialize(deserializer, fits)?;
        Ok(Self {
            locked,
            values: PhantomData,
        })
    }
}

/// The lock of a [`Value`], and a copy of the value, which takes its place as this is dropped.
///
/// If this is dropped by a panic, the value stays as it was.
///
/// ```
/// # use concurrent_futures::multiprocessing::Value;
/// let count = Value::new(0_u64)?;
/// let mut guard = count.blocking_lock();
/// *guard += 1; // Nobody else sees that yet.
/// drop(guard);
/// assert_eq!(count.blocking_get(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "the lock is given back as this is dropped"]
pub struct ValueGuard<'a, T: Pod> {
    value: &'a Value<T>,
    held: RobustGuard<'a>,
    copy: T,
    is_changed: bool,
    /// Whether the thread was panicking already when it took the lock.
    panicking: bool,
    abandoned_by: Option<u32>,
}

impl<'a, T: Pod> ValueGuard<'a, T> {
    fn new(value: &'a Value<T>, held: RobustGuard<'a>) -> Self {
        Self {
            copy: value.read(&held),
            abandoned_by: value.locked.abandoned_by(&held),
            value,
            held,
            is_changed: false,
            panicking: thread::panicking(),
        }
    }

    /// The process that ended while it had the lock, most likely killed, if there was one since the last
    /// guard. What it was about to change is as it was before; what else it had begun, it may not have
    /// ended.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Value;
    /// let count = Value::new(0_u64)?;
    /// assert_eq!(count.blocking_lock().abandoned_by(), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn abandoned_by(&self) -> Option<u32> {
        self.abandoned_by
    }
}

impl<T: Pod> Deref for ValueGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.copy
    }
}

impl<T: Pod> DerefMut for ValueGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.is_changed = true;
        &mut self.copy
    }
}

impl<T: Pod> Drop for ValueGuard<'_, T> {
    fn drop(&mut self) {
        if self.is_changed && (self.panicking || !thread::panicking()) {
            self.value.commit(&self.held, &self.copy);
        }
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for ValueGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.copy.fmt(f)
    }
}
