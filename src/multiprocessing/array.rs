//! [`Array`]: many values that several processes have, and their lock.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use bytemuck::Pod;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::locked::Locked;
use super::robust::RobustGuard;
use crate::sys::{Lent, SharedMapping};

/// A fixed number of values that several processes have, with one lock.
///
/// They are of plain data ([`bytemuck::Pod`]): numbers, arrays of such, and
/// [structures](super::Value#structures) of them. Nothing is copied: who has the lock has them as a slice,
/// where they lie.
///
/// It is a handle. Its clones stand for the same values, in this process and in every other that it is
/// sent to; they are gone with the last one.
///
/// ```
/// use concurrent_futures::multiprocessing::Array;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let squares = Array::new(&[1_u32, 2, 3])?;
/// let other = squares.clone(); // As if it had been sent to another process.
/// for square in squares.lock().await.iter_mut() {
///     *square *= *square;
/// }
/// assert_eq!(other.lock().await[..], [1, 4, 9]);
/// # Ok(()) }
/// ```
///
/// It is an argument like any other:
///
/// ```no_run
/// use concurrent_futures::multiprocessing::Array;
/// use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
///
/// fn count(histogram: Array<u64>, text: String) {
///     let mut counts = histogram.blocking_lock();
///     for byte in text.bytes() {
///         counts[byte as usize] += 1;
///     }
/// }
///
/// # async fn service(pool: ProcessPoolExecutor) -> Result<(), Box<dyn std::error::Error>> {
/// let histogram = Array::zeroed(256)?;
/// pool.submit(count, (histogram.clone(), "hello".to_owned())).await?;
/// assert_eq!(histogram.get(b'l' as usize).await, Some(2));
/// # Ok(()) }
/// ```
///
/// # A process that is killed
/// gives the lock back, and leaves the values as they are at that moment: some may be changed, others
/// not, and one that is larger than a word may be changed in part. The next who takes a guard learns of it
/// by [`abandoned_by`](ArrayGuard::abandoned_by), and knows what to do, if anybody does. (A
/// [`Value`](super::Value) is changed as a whole or not at all.)
///
/// # Other processes
/// All that have the values use them through this type, and so only under the lock. The compiler
/// relies on that: should a process write to the memory by other means, say through a stray pointer, while
/// another has the lock, that one may find any values, and even different ones where it looks twice.
/// That is undefined behaviour, though any bytes are values. A process that may do such things is better
/// given a [`SharedMemory`](super::SharedMemory). No process can shorten the memory.
///
/// # Platform
/// Linux.
#[derive(Clone)]
pub struct Array<T> {
    locked: Locked,
    len: usize,
    values: PhantomData<T>,
}

/// Where the values begin: in a line of the cache of their own, for who waits looks at the lock.
fn offset<T>() -> usize {
    Locked::DATA.next_multiple_of(align_of::<T>().max(64))
}

/// How much memory it takes.
fn memory_for<T>(len: usize) -> Option<usize> {
    const { assert!(align_of::<T>() <= 4096, "memory begins on a page") };
    size_of::<T>().checked_mul(len)?.checked_add(offset::<T>())
}

impl<T: Pod> Array<T> {
    /// Makes an array of these values, which can be sent to other processes.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// let array = Array::new(&[1.5, 2.5])?;
    /// assert_eq!(array.blocking_lock()[..], [1.5, 2.5]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`OutOfMemory`](io::ErrorKind::OutOfMemory) if there is no room for so many: in the system, in the
    /// control group, or within the limits of this process. Other errors are the system's, as if there
    /// are not two descriptors left.
    pub fn new(values: &[T]) -> io::Result<Self> {
        let (len, nobody) = (values.len(), ()); // Nobody else has it yet.
        Self::create(len, |memory| {
            memory
                .lend(offset::<T>(), len, nobody)
                .copy_from_slice(values);
        })
    }

    /// Makes an array of `len` values, all of whose bytes are zeros.
    ///
    /// It takes about a quarter of a second for each GiB, so a service makes large ones by
    /// `spawn_blocking`.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// let array = Array::<u64>::zeroed(1000)?;
    /// assert!(array.blocking_lock().iter().all(|value| *value == 0));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn zeroed(len: usize) -> io::Result<Self> {
        Self::create(len, |_| {})
    }

    fn create(len: usize, fill: impl FnOnce(&SharedMapping)) -> io::Result<Self> {
        Ok(Self {
            locked: Locked::create(memory_for::<T>(len), fill)?,
            len,
            values: PhantomData,
        })
    }

    /// Waits until nobody else has the lock, and takes it.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let array = Array::new(&[3, 1, 2])?;
    /// array.lock().await.sort();
    /// assert_eq!(array.lock().await[..], [1, 2, 3]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without its I/O driver.
    ///
    /// # Cancel safety
    /// Cancel safe: who does not wait any more has nothing.
    pub async fn lock(&self) -> ArrayGuard<'_, T> {
        self.guard(self.locked.lock().await)
    }

    /// Takes the lock if nobody else has it.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// let array = Array::<u8>::zeroed(10)?;
    /// let guard = array.try_lock().expect("nobody has it");
    /// assert!(array.try_lock().is_none());
    /// # drop(guard);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_lock(&self) -> Option<ArrayGuard<'_, T>> {
        let held = self.locked.try_lock()?;
        Some(self.guard(held))
    }

    /// As [`lock`](Self::lock), for a thread that may be blocked: in a task of a pool, not in async code.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// let array = Array::<u8>::zeroed(10)?;
    /// array.blocking_lock().fill(7);
    /// assert_eq!(array.blocking_get(9), Some(7));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn blocking_lock(&self) -> ArrayGuard<'_, T> {
        self.guard(self.locked.blocking_lock())
    }

    /// As [`blocking_lock`](Self::blocking_lock), and gives up after `timeout`.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// # use std::time::Duration;
    /// let array = Array::<u8>::zeroed(10)?;
    /// let guard = array.blocking_lock();
    /// assert!(array.blocking_lock_timeout(Duration::from_millis(10)).is_none());
    /// # drop(guard);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn blocking_lock_timeout(&self, timeout: Duration) -> Option<ArrayGuard<'_, T>> {
        let held = self.locked.blocking_lock_timeout(timeout)?;
        Some(self.guard(held))
    }

    /// The value at `index`, if there are so many.
    ///
    /// This, [`set`](Self::set), [`with`](Self::with) and their `blocking_` twins take the lock for as
    /// long as they need it. They do not tell of a process that ended while it had it: that is left to the
    /// next who takes a guard.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let array = Array::new(&[1, 2])?;
    /// assert_eq!(array.get(1).await, Some(2));
    /// assert_eq!(array.get(2).await, None);
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// As [`lock`](Self::lock).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn get(&self, index: usize) -> Option<T> {
        self.with(|values| values.get(index).copied()).await
    }

    /// As [`get`](Self::get), for a thread that may be blocked.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// assert_eq!(Array::new(&[1, 2])?.blocking_get(1), Some(2));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn blocking_get(&self, index: usize) -> Option<T> {
        self.blocking_with(|values| values.get(index).copied())
    }

    /// Puts another value at `index`.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let array = Array::new(&[1, 2])?;
    /// array.set(0, 7).await;
    /// assert_eq!(array.lock().await[..], [7, 2]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// If there are not so many values, and as [`lock`](Self::lock).
    ///
    /// # Cancel safety
    /// Cancel safe: it is done in one step, or not at all.
    pub async fn set(&self, index: usize, value: T) {
        self.with(|values| values[index] = value).await;
    }

    /// As [`set`](Self::set), for a thread that may be blocked.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// let array = Array::new(&[1, 2])?;
    /// array.blocking_set(0, 7);
    /// assert_eq!(array.blocking_get(0), Some(7));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// If there are not so many values.
    pub fn blocking_set(&self, index: usize, value: T) {
        self.blocking_with(|values| values[index] = value);
    }

    /// Reads or changes the values by a function, which nobody gets in between of. Returns what the
    /// function does.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let array = Array::new(&[1, 2])?;
    /// array.with(|values| values.swap(0, 1)).await;
    /// assert_eq!(array.with(|values| values.to_vec()).await, [2, 1]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// As [`lock`](Self::lock), and if the function does: then the values are as it has left them.
    ///
    /// # Cancel safety
    /// Cancel safe: the function runs in one step with what it needs, or not at all.
    pub async fn with<R>(&self, function: impl FnOnce(&mut [T]) -> R) -> R {
        function(&mut self.lend(self.locked.lock().await))
    }

    /// As [`with`](Self::with), for a thread that may be blocked.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// let array = Array::new(&[1, 2, 3])?;
    /// assert_eq!(array.blocking_with(|values| values.iter().sum::<i32>()), 6);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn blocking_with<R>(&self, function: impl FnOnce(&mut [T]) -> R) -> R {
        function(&mut self.lend(self.locked.blocking_lock()))
    }

    fn guard<'a>(&'a self, held: RobustGuard<'a>) -> ArrayGuard<'a, T> {
        ArrayGuard {
            abandoned_by: self.locked.abandoned_by(&held),
            values: self.lend(held),
        }
    }

    /// The lock keeps everybody else from the values: it is in the same memory, and all that have that go
    /// through here.
    fn lend<'a>(&'a self, held: RobustGuard<'a>) -> Lent<'a, T, RobustGuard<'a>> {
        self.locked.memory().lend(offset::<T>(), self.len, held)
    }
}

impl<T> Array<T> {
    /// How many values it has. That never changes.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// assert_eq!(Array::new(&[1, 2, 3])?.len(), 3);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// assert!(Array::<u64>::zeroed(0)?.is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<T> fmt::Debug for Array<T> {
    /// It does not look at the values, for it might have to wait.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Array")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl<T> Serialize for Array<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.locked.serialize(serializer, self.len)
    }
}

impl<'de, T: Pod> Deserialize<'de> for Array<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (locked, len) = Locked::deserialize(deserializer, memory_for::<T>)?;
        Ok(Self {
            locked,
            len,
            values: PhantomData,
        })
    }
}

/// The lock of an [`Array`], and its values, where they lie.
///
/// ```
/// # use concurrent_futures::multiprocessing::Array;
/// let array = Array::new(&[1, 2, 3])?;
/// let mut guard = array.blocking_lock();
/// guard[0] = 7;
/// guard.reverse();
/// drop(guard);
/// assert_eq!(array.blocking_get(2), Some(7));
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "the lock is given back as this is dropped"]
pub struct ArrayGuard<'a, T> {
    values: Lent<'a, T, RobustGuard<'a>>,
    abandoned_by: Option<u32>,
}

impl<T> ArrayGuard<'_, T> {
    /// The process that ended while it had the lock, most likely killed, if there was one since the last
    /// guard. The values are as it has left them, maybe in the middle of a change.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// let array = Array::<u8>::zeroed(10)?;
    /// let mut guard = array.blocking_lock();
    /// if guard.abandoned_by().is_some() {
    ///     guard.fill(0); // What else could be done depends on what they mean.
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn abandoned_by(&self) -> Option<u32> {
        self.abandoned_by
    }
}

impl<T: Pod> Deref for ArrayGuard<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values
    }
}

impl<T: Pod> DerefMut for ArrayGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for ArrayGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
