//! [`ArrayGuard`]: the values in place, while the lock is held.

use std::fmt;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;

use crate::multiprocessing::robust::lock::RobustGuard;
use crate::sys::Lent;

/// Holds the lock of an [`Array`](super::Array), and gives access to its values in place.
///
/// The slice is sound while all processes that have the array use it through this crate. If you do not trust one of
/// them, use [`Array::get`](super::Array::get) and [`set`](super::Array::set), which copy: see [other
/// processes](super::Array#other-processes).
///
/// A process that is forked by other means than this crate has a copy of the guard, and not the lock. Dropping that
/// copy does nothing. Its values must not be used there: that is an access of [another
/// process](super::Array#other-processes).
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
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct ArrayGuard<'a, T> {
    values: Lent<'a, T, RobustGuard<'a>>,
    abandoned_by: Option<u32>,
}

impl<'a, T> ArrayGuard<'a, T> {
    pub(super) fn new(values: Lent<'a, T, RobustGuard<'a>>, abandoned_by: Option<u32>) -> Self {
        Self {
            values,
            abandoned_by,
        }
    }

    /// The id of the process that ended, most likely by a kill, while it held the lock, if that happened since the last
    /// guard. The values are in the state in which that process left them, perhaps half changed.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Array;
    /// let array = Array::<u8>::zeroed(10)?;
    /// let mut guard = array.blocking_lock();
    /// if guard.abandoned_by().is_some() {
    ///     guard.fill(0); // The right reaction depends on what the values mean.
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
