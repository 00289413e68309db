//! [`Array`]: values shared by processes, with their lock.

use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use bytemuck::Pod;

use super::array_guard::ArrayGuard;
use super::locked::Locked;
use super::plain::PlainData;
use crate::multiprocessing::handle::shared_handle;
use crate::multiprocessing::robust::lock::RobustGuard;
use crate::sys::{Lent, SharedMapping};

/// A fixed number of values that processes share, with one lock.
///
/// Their type is plain data ([`bytemuck::Pod`]): numbers, arrays of numbers, and
/// [structures](super::Value#structures) of those. Nothing is copied: the holder of the lock sees them in
/// place, as a slice.
///
/// It is a handle. All clones refer to the same values, in this process and in every process that receives one.
/// The values are freed with the last of them.
///
/// ```
/// use concurrent_futures::multiprocessing::Array;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let squares = Array::new(&[1_u32, 2, 3])?;
/// let other = squares.clone(); // The same as one sent to another process.
/// for square in squares.lock().await.iter_mut() {
///     *square *= *square;
/// }
/// assert_eq!(other.lock().await[..], [1, 4, 9]);
/// # Ok(()) }
/// ```
///
/// It can be an argument of a task:
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
/// # When a process is killed
/// The lock becomes free, and the values stay as they are at that moment: some may be changed, others not, and
/// one that is larger than a word may be half changed. The next guard reports it by
/// [`abandoned_by`](ArrayGuard::abandoned_by). (A [`Value`](super::Value) is changed completely or not at all.)
///
/// # Other processes
/// Every process uses the values through this type, and so only under the lock. The compiler relies on that. If a
/// process writes to the memory by other means, for example a stray pointer, while another holds the lock, the holder
/// may read any values, even different ones in two reads. That is undefined behaviour, although any bytes are valid
/// values. [`get`](Self::get) and [`set`](Self::set) copy, so they are always sound. If you do not trust a process, use
/// these, a [`Value`](super::Value), or a [`SharedMemory`](super::SharedMemory) with a
/// [`Lock`](crate::multiprocessing::Lock). No process can shorten the memory.
///
/// # Platform
/// Linux.
pub struct Array<T> {
    locked: Locked,
    len: usize,
    values: PhantomData<T>,
}

/// Where the values start: in a cache line of their own, since waiters poll the lock.
fn offset<T>() -> usize {
    Locked::DATA.next_multiple_of(align_of::<T>().max(64))
}

/// The memory needed, in bytes.
fn memory_for<T>(len: usize) -> Option<usize> {
    const {
        assert!(
            align_of::<T>() <= 4096,
            "the alignment of the values exceeds a page of 4096 bytes"
        )
    };
    size_of::<T>().checked_mul(len)?.checked_add(offset::<T>())
}

// Here the functions have the bound: an error of the compiler then says what to do.
impl<T> Array<T> {
    /// Creates an array of these values, which can be sent to other processes.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// let array = Array::new(&[1.5, 2.5])?;
    /// assert_eq!(array.blocking_lock()[..], [1.5, 2.5]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`OutOfMemory`](io::ErrorKind::OutOfMemory) if there is no memory for them: in the system, in the
    /// control group, or within the limits of this process. Otherwise the error of the system, for example if no
    /// descriptors are left.
    pub fn new(values: &[T]) -> io::Result<Self>
    where
        T: PlainData,
    {
        Self::create(values.len(), |memory| {
            memory.store(offset::<T>(), bytemuck::cast_slice(values));
        })
    }

    /// Creates an array of `len` values whose bytes are all zero.
    ///
    /// It takes about a quarter of a second for each GiB. For a large one, use `spawn_blocking` in async code.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// let array = Array::<u64>::zeroed(1000)?;
    /// assert!(array.blocking_lock().iter().all(|value| *value == 0));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Like [`new`](Self::new).
    pub fn zeroed(len: usize) -> io::Result<Self>
    where
        T: PlainData,
    {
        Self::create(len, |_| {})
    }
}

impl<T: Pod> Array<T> {
    fn create(len: usize, fill: impl FnOnce(&SharedMapping)) -> io::Result<Self> {
        Ok(Self {
            locked: Locked::create(memory_for::<T>(len), fill)?,
            len,
            values: PhantomData,
        })
    }

    /// Takes the lock. Waits until it is free.
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
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has not taken the lock.
    pub async fn lock(&self) -> ArrayGuard<'_, T> {
        self.guard(self.locked.lock().await)
    }

    /// Takes the lock if it is free.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// let array = Array::<u8>::zeroed(10)?;
    /// let guard = array.try_lock().expect("it is free");
    /// assert!(array.try_lock().is_none());
    /// # drop(guard);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_lock(&self) -> Option<ArrayGuard<'_, T>> {
        let held = self.locked.try_lock()?;
        Some(self.guard(held))
    }

    /// Like [`lock`](Self::lock), for a thread that may block, for example in a task of a pool.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// let array = Array::<u8>::zeroed(10)?;
    /// array.blocking_lock().fill(7);
    /// assert_eq!(array.blocking_get(9), Some(7));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_lock(&self) -> ArrayGuard<'_, T> {
        self.guard(self.locked.blocking_lock())
    }

    /// Like [`blocking_lock`](Self::blocking_lock), but returns `None` if the lock is not free within
    /// `timeout`.
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
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_lock_timeout(&self, timeout: Duration) -> Option<ArrayGuard<'_, T>> {
        let held = self.locked.blocking_lock_timeout(timeout)?;
        Some(self.guard(held))
    }

    /// Returns a copy of the value at `index`, or `None` if there is no such value.
    ///
    /// This method, [`set`](Self::set), [`with`](Self::with) and their `blocking_` twins hold the lock only
    /// while they run. They do not report a process that died as the holder; the next guard does.
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
    /// Like [`lock`](Self::lock).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn get(&self, index: usize) -> Option<T> {
        self.read(&self.locked.lock().await, index)
    }

    /// Like [`get`](Self::get), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// assert_eq!(Array::new(&[1, 2])?.blocking_get(1), Some(2));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// Like [`blocking_lock`](Self::blocking_lock).
    pub fn blocking_get(&self, index: usize) -> Option<T> {
        self.read(&self.locked.blocking_lock(), index)
    }

    /// Replaces the value at `index`.
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
    /// If `index` is out of bounds, and like [`lock`](Self::lock).
    ///
    /// # Cancel safety
    /// Cancel safe: the value is replaced completely or not at all.
    pub async fn set(&self, index: usize, value: T) {
        self.replace(&self.locked.lock().await, index, value);
    }

    /// Like [`set`](Self::set), for a thread that may block.
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
    /// If `index` is out of bounds, and like [`blocking_lock`](Self::blocking_lock).
    pub fn blocking_set(&self, index: usize, value: T) {
        self.replace(&self.locked.blocking_lock(), index, value);
    }

    /// Reads or changes the values by a function that runs under the lock. Returns the function's result.
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
    /// Like [`lock`](Self::lock), and if the function panics: then the values stay as it left them.
    ///
    /// # Cancel safety
    /// Cancel safe: the function runs completely or not at all.
    pub async fn with<R>(&self, function: impl FnOnce(&mut [T]) -> R) -> R {
        function(&mut self.lend(self.locked.lock().await))
    }

    /// Like [`with`](Self::with), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// let array = Array::new(&[1, 2, 3])?;
    /// assert_eq!(array.blocking_with(|values| values.iter().sum::<i32>()), 6);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// Like [`blocking_lock`](Self::blocking_lock), and if the function panics: then the values stay as it left
    /// them.
    pub fn blocking_with<R>(&self, function: impl FnOnce(&mut [T]) -> R) -> R {
        function(&mut self.lend(self.locked.blocking_lock()))
    }

    fn guard<'a>(&'a self, held: RobustGuard<'a>) -> ArrayGuard<'a, T> {
        let abandoned_by = self.locked.abandoned_by(&held);
        ArrayGuard::new(self.lend(held), abandoned_by)
    }

    #[expect(
        unsafe_code,
        reason = "the values are used in place, which no type can make sound for all processes"
    )]
    fn lend<'a>(&'a self, held: RobustGuard<'a>) -> Lent<'a, T, RobustGuard<'a>> {
        let memory = self.locked.memory();
        // SAFETY: the lock excludes all other accesses. It is in the same memory, and every process that has the memory
        // uses this type, as the documentation requires.
        unsafe { memory.lend(offset::<T>(), self.len, held) }
    }

    /// Reads one value under the lock, by a copy.
    fn read(&self, _held: &RobustGuard<'_>, index: usize) -> Option<T> {
        let mut value = T::zeroed();
        let offset = (index < self.len).then(|| offset::<T>() + index * size_of::<T>())?;
        let memory = self.locked.memory();
        memory.load(offset, bytemuck::bytes_of_mut(&mut value));
        Some(value)
    }

    /// Replaces one value under the lock, by a copy.
    fn replace(&self, _held: &RobustGuard<'_>, index: usize, value: T) {
        let len = self.len;
        assert!(
            index < len,
            "the index is {index}, but the array has {len} values"
        );
        let offset = offset::<T>() + index * size_of::<T>();
        let memory = self.locked.memory();
        memory.store(offset, bytemuck::bytes_of(&value));
    }
}

impl<T> Array<T> {
    /// The number of values. It never changes.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// assert_eq!(Array::new(&[1, 2, 3])?.len(), 3);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the array has no values.
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

shared_handle! {
    Array<T: Pod> as array;
    sends array.locked.sent(array.len);
    receives deserializer => {
        let (locked, len) = Locked::receive(deserializer, memory_for::<T>)?;
        Ok(Self {
            locked,
            len,
            values: PhantomData,
        })
    };
    clones { locked, len, values }
    shows { len: array.len }
}
