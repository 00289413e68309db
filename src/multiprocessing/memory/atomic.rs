//! [`Atomic`]: a number that processes share without a lock.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic;

use self::sealed::AtomicMemory;
use crate::multiprocessing::handle::shared_handle;
use crate::multiprocessing::known::{Part, recognised};
use crate::sys::SharedMapping;
use crate::wire::descriptors::Descriptor;

/// A number that processes share without a lock, for example a counter of finished files.
///
/// It dereferences to the atomic type of the standard library, so it has all of its methods, with the same
/// [`Ordering`](atomic::Ordering): `load`, `store`, `swap`, `compare_exchange`, `fetch_add`, `fetch_max` and more. None
/// of them waits or makes a system call.
///
/// There is an alias for each kind of number: [`AtomicU64`], [`AtomicI32`] and so on. For a flag there is
/// [`AtomicBool`](super::AtomicBool). For a flag to wait for, use an [`Event`](crate::multiprocessing::Event); for
/// numbers that change together, a [`Value`](super::Value) of a structure.
///
/// It is a handle. All clones refer to the same number, in this process and in every process that receives one.
/// The number is freed with the last of them.
///
/// ```
/// use std::sync::atomic::Ordering::Relaxed;
/// use concurrent_futures::multiprocessing::AtomicU64;
///
/// # fn main() -> std::io::Result<()> {
/// let done = AtomicU64::new(0)?;
/// let other = done.clone(); // The same as one sent to another process.
/// other.fetch_add(2, Relaxed);
/// assert_eq!(done.load(Relaxed), 2);
/// # Ok(()) }
/// ```
///
/// It can be an argument of a task:
///
/// ```no_run
/// use std::sync::atomic::Ordering::Relaxed;
/// use concurrent_futures::multiprocessing::AtomicU64;
/// use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
///
/// fn convert(files: Vec<String>, done: AtomicU64) {
///     for _file in files {
///         done.fetch_add(1, Relaxed); // The parent shows it while the task runs.
///     }
/// }
///
/// # async fn service(pool: ProcessPoolExecutor) -> Result<(), Box<dyn std::error::Error>> {
/// let done = AtomicU64::new(0)?;
/// let task = pool.submit(convert, (vec!["a".to_owned(), "b".to_owned()], done.clone()));
/// println!("{} files", done.load(Relaxed));
/// task.await?;
/// assert_eq!(done.load(Relaxed), 2);
/// # Ok(()) }
/// ```
///
/// # When a process is killed
/// Each operation is one instruction: it happens or it does not. Earlier operations of the process stay. So a count of
/// what is *running* stays too high if a process is killed between its `fetch_add` and its `fetch_sub`. Use a
/// [`Semaphore`](crate::multiprocessing::Semaphore) for that: the permits of a killed process are released.
///
/// # Other processes
/// A process that has it can set any number at any time, and nothing else.
///
/// # Cost
/// One descriptor and one page of memory. For many numbers, an [`Array`](super::Array) takes less.
///
/// # Platform
/// Linux.
pub struct Atomic<T> {
    memory: Arc<AtomicMemory>,
    number: PhantomData<fn(T) -> T>,
}

/// A number that an [`Atomic`] can be: `u8` to `u64`, `i8` to `i64`, `usize` and `isize`. Sealed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a number with atomic instructions",
    note = "use an integer of up to 64 bits, `AtomicBool`, or a `Value`, which has a lock"
)]
pub trait AtomicNumber: sealed::Cell {}

mod sealed {
    use std::fmt::Debug;

    use super::{Descriptor, SharedMapping};

    #[expect(unnameable_types, reason = "sealed: only this crate implements it")]
    pub trait Cell: Copy {
        /// The standard library's atomic type of this number.
        type Atomic: Debug;

        fn cell(memory: &AtomicMemory) -> &Self::Atomic;
        fn set(cell: &Self::Atomic, number: Self);
    }

    #[expect(unnameable_types, reason = "sealed: only this crate uses it")]
    pub struct AtomicMemory {
        pub(super) map: SharedMapping,
        pub(super) descriptor: Descriptor,
    }
}

macro_rules! numbers {
    ($($name:ident: $number:ident),*) => {$(
        #[doc = concat!("An [`Atomic`] of a `", stringify!($number), "`.")]
        ///
        /// ```
        /// use std::sync::atomic::Ordering::SeqCst;
        #[doc = concat!("use concurrent_futures::multiprocessing::", stringify!($name), ";")]
        ///
        #[doc = concat!("let number = ", stringify!($name), "::new(7)?;")]
        /// assert_eq!(number.fetch_sub(2, SeqCst), 7);
        /// assert_eq!(number.load(SeqCst), 5);
        /// # Ok::<(), std::io::Error>(())
        /// ```
        pub type $name = Atomic<$number>;

        impl AtomicNumber for $number {}

        impl sealed::Cell for $number {
            type Atomic = atomic::$name;

            fn cell(memory: &AtomicMemory) -> &Self::Atomic {
                memory.map.cell(0)
            }

            fn set(cell: &Self::Atomic, number: Self) {
                cell.store(number, atomic::Ordering::SeqCst);
            }
        }
    )*};
}

numbers!(
    AtomicI8: i8, AtomicI16: i16, AtomicI32: i32, AtomicI64: i64, AtomicIsize: isize,
    AtomicU8: u8, AtomicU16: u16, AtomicU32: u32, AtomicU64: u64, AtomicUsize: usize
);

// Here the functions have the bound: an error of the compiler then says what to do.
impl<T> Atomic<T> {
    /// Creates a number that can be sent to other processes.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::AtomicI32;
    /// use std::sync::atomic::Ordering;
    ///
    /// let coldest = AtomicI32::new(20)?;
    /// coldest.fetch_min(-3, Ordering::Relaxed);
    /// assert_eq!(coldest.load(Ordering::Relaxed), -3);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`OutOfMemory`](io::ErrorKind::OutOfMemory) if there is no memory for it. Otherwise the error of the system, for
    /// example if no descriptor is left.
    pub fn new(number: T) -> io::Result<Self>
    where
        T: AtomicNumber,
    {
        let (map, fd) = SharedMapping::create_reserved(size_of::<T>())?;
        let descriptor = Descriptor::from(fd);
        let memory = AtomicMemory { map, descriptor };
        T::set(T::cell(&memory), number);
        Ok(Self::of(memory))
    }
}

impl<T: AtomicNumber> Atomic<T> {
    fn of(memory: AtomicMemory) -> Self {
        // A mapping is only used with numbers of one size.
        let size = |_: &AtomicMemory| Some(vec![Part::Size(size_of::<T>())]);
        let file = Part::file(&memory.descriptor);
        Self {
            memory: recognised(memory, file, size),
            number: PhantomData,
        }
    }
}

impl<T: AtomicNumber> Deref for Atomic<T> {
    type Target = T::Atomic;

    fn deref(&self) -> &T::Atomic {
        T::cell(&self.memory)
    }
}

impl<T: AtomicNumber> fmt::Debug for Atomic<T> {
    /// Shows the number, as the standard library does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

shared_handle! {
    Atomic<T: AtomicNumber> as atomic;
    sends (&atomic.memory.descriptor, size_of::<T>());
    receives deserializer => {
        let (descriptor, size) = <(Descriptor, usize)>::deserialize(deserializer)?;
        if size != size_of::<T>() {
            return Err(serde::de::Error::custom(format_args!(
                "expected an atomic number of {} bytes, received one of {size}",
                size_of::<T>()
            )));
        }
        let map = SharedMapping::open_reserved(&descriptor, size);
        let map = map.map_err(serde::de::Error::custom)?;
        Ok(Self::of(AtomicMemory { map, descriptor }))
    };
    clones { memory, number }
}
