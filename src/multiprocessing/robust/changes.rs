//! Changes of what a lock guards: two atomic words in shared memory, one for the version and one for the
//! waiters. Any process may be killed between any two steps.
//!
//! ```text
//!   changer:  version + 1 ──► a mark? ring, clear it ──► the change
//!   waiter:   listens to the bell ──► mark ──► version ──► looks ──► waits for a ring
//!                                          ▲        ▲                         │
//!                                          └────────┴── the same version? ────┘
//! ```
//!
//! Both do so under the lock. So a woken waiter looks after the change is made, or after the changer has died.
//!
//! A change that is one atomic instruction may be made without the lock and announced afterwards. Then its
//! changer may have increased the version already when a waiter sets its mark and looks. The changer clears
//! that mark for a change that the waiter has seen, but it rings first. So a woken waiter sets its mark again
//! before it compares the versions and waits on; otherwise the next change would wake no one.
//!
//! The changer writes the version and reads the mark; the waiter writes the mark and reads the version. All
//! four accesses are sequentially consistent, so at least one side sees the other.

use super::atomic::{AtomicU64, Ordering};
use super::mark::Mark;

/// The version of the guarded data, and the mark of those that wait for another version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changes<'a> {
    pub(crate) version: &'a AtomicU64,
    pub(crate) listening: Mark<'a>,
}

impl Changes<'_> {
    /// Sets the mark. The caller listens to the bell already. Returns the version that the caller will look at,
    /// or an earlier one.
    pub(crate) fn listen(&self) -> u64 {
        self.listening.raise();
        self.version.load(Ordering::SeqCst)
    }

    /// Whether a woken waiter that has seen this version has to look again. If not, this sets its mark again.
    pub(crate) fn are_after(&self, seen: u64) -> bool {
        self.listen() != seen
    }

    /// Wakes the waiters.
    pub(crate) fn announce(&self, ring: impl FnOnce()) {
        self.version.fetch_add(1, Ordering::SeqCst);
        self.listening.answer(ring);
    }
}
