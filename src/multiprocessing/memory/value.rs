//! [`Value`]: one value shared by processes, with its lock.

use std::io;
use std::time::Duration;

use bytemuck::Pod;

use super::places::ValuePlaces;
use super::plain::PlainData;
use super::value_guard::ValueGuard;
use crate::multiprocessing::handle::shared_handle;
use crate::multiprocessing::robust::lock::RobustGuard;

/// A value that processes share, with a lock.
///
/// Its type is plain data ([`bytemuck::Pod`]): numbers, arrays of numbers, and [structures](#structures) of
/// those. For large data use an [`Array`](super::Array), which is not copied. For one number that needs no lock, use an
/// [`AtomicU64`](super::AtomicU64).
///
/// It is a handle. All clones refer to the same value, in this process and in every process that receives one.
/// The value is freed with the last of them.
///
/// ```
/// use concurrent_futures::multiprocessing::Value;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let count = Value::new(0_u64)?;
/// let other = count.clone(); // The same as one sent to another process.
/// *count.lock().await += 1;
/// other.with(|count| *count += 1).await;
/// assert_eq!(count.get().await, 2);
/// # Ok(()) }
/// ```
///
/// It can be an argument of a task:
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
/// Values that change together belong into one structure: it has one lock, and after the death of a process all of a
/// change is there, or none of it.
///
/// The derive macro of the crate `bytemuck` (its feature `derive`) checks that a structure is plain data: that
/// all of its fields are, and that there is no padding between them.
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
/// let mut guard = progress.blocking_lock();
/// guard.done += 1;
/// guard.failed += 1;
/// drop(guard); // Both change at once.
/// let Progress { done, failed } = progress.blocking_get();
/// assert_eq!((done, failed), (1, 1));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// The lock becomes free, and the value is the old or the new one, never a mix: a [`ValueGuard`] works on a copy, which
/// replaces the value in one step when the guard is dropped. [`abandoned_by`](ValueGuard::abandoned_by) reports the
/// death to the next holder of the lock.
///
/// # Other processes
/// Every process uses the value through this type. A process that writes to its memory by other means, for example a
/// stray pointer, can set any value, but cannot cause undefined behaviour in the others.
///
/// # Platform
/// Linux.
pub struct Value<T> {
    places: ValuePlaces<T>,
}

// Here the functions have the bound: an error of the compiler then says what to do.
impl<T> Value<T> {
    /// Creates a value that can be sent to other processes.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Value;
    /// let position = Value::new([0.5_f64, 1.5])?;
    /// assert_eq!(position.blocking_get(), [0.5, 1.5]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`OutOfMemory`](io::ErrorKind::OutOfMemory) if there is no memory for it. Otherwise the error of the system, for
    /// example if no descriptors are left.
    pub fn new(value: T) -> io::Result<Self>
    where
        T: PlainData,
    {
        let places = ValuePlaces::create(&value)?;
        Ok(Self { places })
    }
}

impl<T: Pod> Value<T> {
    /// Takes the lock. Waits until it is free.
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
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has not taken the lock.
    pub async fn lock(&self) -> ValueGuard<'_, T> {
        ValueGuard::new(&self.places, self.places.locked.lock().await)
    }

    /// Takes the lock if it is free.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Value;
    /// let count = Value::new(1_u32)?;
    /// let guard = count.try_lock().expect("it is free");
    /// assert!(count.try_lock().is_none());
    /// # drop(guard);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_lock(&self) -> Option<ValueGuard<'_, T>> {
        let held = self.places.locked.try_lock()?;
        Some(ValueGuard::new(&self.places, held))
    }

    /// Like [`lock`](Self::lock), for a thread that may block, for example in a task of a pool.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Value;
    /// let count = Value::new(1_u32)?;
    /// *count.blocking_lock() += 1;
    /// assert_eq!(count.blocking_get(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_lock(&self) -> ValueGuard<'_, T> {
        ValueGuard::new(&self.places, self.places.locked.blocking_lock())
    }

    /// Like [`blocking_lock`](Self::blocking_lock), but returns `None` if the lock is not free within
    /// `timeout`.
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
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_lock_timeout(&self, timeout: Duration) -> Option<ValueGuard<'_, T>> {
        let held = self.places.locked.blocking_lock_timeout(timeout)?;
        Some(ValueGuard::new(&self.places, held))
    }

    /// Returns a copy of the value.
    ///
    /// This method, [`set`](Self::set), [`with`](Self::with) and their `blocking_` twins hold the lock only
    /// while they run. They do not report a process that died as the holder; the next guard does.
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
    /// Like [`lock`](Self::lock).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn get(&self) -> T {
        self.places.read(&self.places.locked.lock().await)
    }

    /// Like [`get`](Self::get), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Value;
    /// assert_eq!(Value::new(7_i8)?.blocking_get(), 7);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// Like [`blocking_lock`](Self::blocking_lock).
    pub fn blocking_get(&self) -> T {
        self.places.read(&self.places.locked.blocking_lock())
    }

    /// Replaces the value.
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
    /// Like [`lock`](Self::lock).
    ///
    /// # Cancel safety
    /// Cancel safe: the value is replaced completely or not at all.
    pub async fn set(&self, value: T) {
        self.places.commit(&self.places.locked.lock().await, &value);
    }

    /// Like [`set`](Self::set), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Value;
    /// let value = Value::new(7_i8)?;
    /// value.blocking_set(8);
    /// assert_eq!(value.blocking_get(), 8);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// Like [`blocking_lock`](Self::blocking_lock).
    pub fn blocking_set(&self, value: T) {
        self.places
            .commit(&self.places.locked.blocking_lock(), &value);
    }

    /// Changes the value by a function that runs under the lock. Returns the function's result.
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
    /// Like [`lock`](Self::lock), and if the function panics: then the value does not change.
    ///
    /// # Cancel safety
    /// Cancel safe: the function runs, and its change takes effect, or neither.
    pub async fn with<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        self.change(&self.places.locked.lock().await, change)
    }

    /// Like [`with`](Self::with), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Value;
    /// let count = Value::new(0_u64)?;
    /// count.blocking_with(|count| *count += 1);
    /// assert_eq!(count.blocking_get(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// Like [`blocking_lock`](Self::blocking_lock), and if the function panics: then the value does not change.
    pub fn blocking_with<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        self.change(&self.places.locked.blocking_lock(), change)
    }

    fn change<R>(&self, held: &RobustGuard<'_>, change: impl FnOnce(&mut T) -> R) -> R {
        let mut value = self.places.read(held);
        let result = change(&mut value);
        self.places.commit(held, &value);
        result
    }
}

shared_handle! {
    Value<T: Pod> as value;
    sends value.places.locked.sent(size_of::<T>());
    receives deserializer => {
        let places = ValuePlaces::receive(deserializer)?;
        Ok(Self { places })
    };
    clones { places }
    shows {}
}
