//! [`AtomicBool`]: a flag that processes share without a lock.

use std::fmt;
use std::io;
use std::sync::atomic::Ordering;

use super::atomic::Atomic;
use crate::multiprocessing::handle::shared_handle;

/// A flag that processes share without a lock.
///
/// It has the methods of the standard library's type. Like an [`Atomic`](super::Atomic), it is a handle, can be an
/// argument of a task, and costs one descriptor and one page. To wait for a flag, use an
/// [`Event`](crate::multiprocessing::Event).
///
/// ```
/// use std::sync::atomic::Ordering::Relaxed;
/// use concurrent_futures::multiprocessing::AtomicBool;
///
/// # fn main() -> std::io::Result<()> {
/// let found = AtomicBool::new(false)?;
/// let other = found.clone(); // The same as one sent to another process.
/// other.store(true, Relaxed);
/// assert!(found.load(Relaxed));
/// # Ok(()) }
/// ```
///
/// # When a process is killed
/// Each operation is one instruction: it happens or it does not. The flag stays as it is.
///
/// # Platform
/// Linux.
// Not the standard library's `AtomicBool` in place: another process could write a byte that is not a valid `bool`.
#[derive(Clone)]
pub struct AtomicBool(Atomic<u8>);

impl AtomicBool {
    /// Creates a flag that can be sent to other processes.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::AtomicBool;
    /// # use std::sync::atomic::Ordering::Relaxed;
    /// let found = AtomicBool::new(false)?;
    /// found.store(true, Relaxed);
    /// assert!(found.load(Relaxed));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Like [`Atomic::new`](super::Atomic::new).
    pub fn new(flag: bool) -> io::Result<Self> {
        Atomic::new(flag.into()).map(Self)
    }

    /// Returns the flag.
    ///
    /// # Panics
    /// If `order` is `Release` or `AcqRel`.
    pub fn load(&self, order: Ordering) -> bool {
        self.0.load(order) != 0
    }

    /// Sets the flag.
    ///
    /// # Panics
    /// If `order` is `Acquire` or `AcqRel`.
    pub fn store(&self, flag: bool, order: Ordering) {
        self.0.store(flag.into(), order);
    }

    /// Sets the flag. Returns the previous one.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::AtomicBool;
    /// use std::sync::atomic::Ordering::SeqCst;
    ///
    /// let is_first = AtomicBool::new(true)?;
    /// assert!(is_first.swap(false, SeqCst));
    /// assert!(!is_first.swap(false, SeqCst));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn swap(&self, flag: bool, order: Ordering) -> bool {
        self.0.swap(flag.into(), order) != 0
    }

    /// Sets the flag to `new` if it is `current`. Returns the previous flag, as an error if it is not `current`.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::AtomicBool;
    /// use std::sync::atomic::Ordering::SeqCst;
    ///
    /// let taken = AtomicBool::new(false)?;
    /// assert_eq!(taken.compare_exchange(false, true, SeqCst, SeqCst), Ok(false));
    /// assert_eq!(taken.compare_exchange(false, true, SeqCst, SeqCst), Err(true));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// The flag, if it is not `current`.
    ///
    /// # Panics
    /// If `failure` is `Release` or `AcqRel`.
    pub fn compare_exchange(
        &self,
        current: bool,
        new: bool,
        success: Ordering,
        failure: Ordering,
    ) -> Result<bool, bool> {
        let (current, new) = (current.into(), new.into());
        let outcome = self.0.compare_exchange(current, new, success, failure);
        outcome.map(|flag| flag != 0).map_err(|flag| flag != 0)
    }

    /// Sets the flag to the logical and of itself and `flag`. Returns the previous one.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::AtomicBool;
    /// # use std::sync::atomic::Ordering::Relaxed;
    /// let all_are_valid = AtomicBool::new(true)?;
    /// assert!(all_are_valid.fetch_and(false, Relaxed));
    /// assert!(!all_are_valid.load(Relaxed));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn fetch_and(&self, flag: bool, order: Ordering) -> bool {
        self.0.fetch_and(flag.into(), order) != 0
    }

    /// Sets the flag to the logical or of itself and `flag`. Returns the previous one.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::AtomicBool;
    /// # use std::sync::atomic::Ordering::Relaxed;
    /// let failed = AtomicBool::new(false)?;
    /// assert!(!failed.fetch_or(true, Relaxed));
    /// assert!(failed.load(Relaxed));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn fetch_or(&self, flag: bool, order: Ordering) -> bool {
        self.0.fetch_or(flag.into(), order) != 0
    }

    /// Inverts the flag if `flag` is set. Returns the previous one.
    pub fn fetch_xor(&self, flag: bool, order: Ordering) -> bool {
        self.0.fetch_xor(flag.into(), order) != 0
    }
}

impl fmt::Debug for AtomicBool {
    /// Shows the flag, as the standard library does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.load(Ordering::Relaxed).fmt(f)
    }
}

shared_handle! {
    AtomicBool as flag;
    sends flag.0;
    receives deserializer => Atomic::deserialize(deserializer).map(Self);
}
