//! The mark of waiters: an atomic word in shared memory that tells a changer whether it must ring the bell.

use super::atomic::{AtomicU64, Ordering};

/// The mark of waiters: odd while there are waiters. Each change increases it, so if two reads return the same value,
/// it has not changed in between. (It wraps around only after more changes than a process can make.)
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark<'a>(pub(crate) &'a AtomicU64);

impl Mark<'_> {
    /// Sets the mark. The caller already listens to the bell.
    ///
    /// Two steps, because a process that keeps writing to the word could make a loop endless. Between the steps the
    /// mark is unchanged: a ringer may find and clear it, but then the second step sets it again.
    pub(crate) fn raise(&self) {
        self.0.fetch_add(2, Ordering::SeqCst);
        self.0.fetch_or(1, Ordering::SeqCst);
    }

    /// Rings if there are waiters.
    pub(crate) fn answer(&self, ring: impl FnOnce()) {
        let seen = self.0.load(Ordering::SeqCst);
        if seen & 1 == 1 {
            ring();
            // If a new waiter, which may have missed the ring, has set the mark meanwhile, the mark stays.
            let _ = self.0.compare_exchange(
                seen,
                seen.wrapping_add(1),
                Ordering::Release,
                Ordering::Relaxed,
            );
        }
    }
}
