//! [`ValueGuard`]: a copy of the value, which replaces it when the guard is dropped.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::thread;

use bytemuck::Pod;

use super::places::ValuePlaces;
use crate::multiprocessing::robust::lock::RobustGuard;

/// Holds the lock of a [`Value`](super::Value), with a copy of the value that replaces it when this is dropped.
///
/// If a panic drops it, the value does not change. A process that is forked by other means than this crate has a copy
/// of the guard, and not the lock: dropping that copy changes nothing.
///
/// ```
/// # use concurrent_futures::multiprocessing::Value;
/// let count = Value::new(0_u64)?;
/// let mut guard = count.blocking_lock();
/// *guard += 1; // Not visible to others yet.
/// drop(guard);
/// assert_eq!(count.blocking_get(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct ValueGuard<'a, T: Pod> {
    places: &'a ValuePlaces<T>,
    held: RobustGuard<'a>,
    copy: T,
    is_changed: bool,
    /// Whether the thread was already panicking when it took the lock.
    panicking: bool,
    abandoned_by: Option<u32>,
}

impl<'a, T: Pod> ValueGuard<'a, T> {
    pub(super) fn new(places: &'a ValuePlaces<T>, held: RobustGuard<'a>) -> Self {
        Self {
            copy: places.read(&held),
            abandoned_by: places.locked.abandoned_by(&held),
            places,
            held,
            is_changed: false,
            panicking: thread::panicking(),
        }
    }

    /// The id of the process that ended, most likely by a kill, while it held the lock, if that happened since the last
    /// guard. The value is as it was before that process's change. Other work that it did under the lock may be half
    /// done.
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
            self.places.commit(&self.held, &self.copy);
        }
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for ValueGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.copy.fmt(f)
    }
}
