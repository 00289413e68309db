//! Changes of what a lock guards: two atomic words in shared memory, one for the version and one for the
//! waiters. Any process may be killed between any two steps.
//!
//! ```text
//!   changer:  version + 1 ──► a mark? ring, clear it ──► the change
//!   waiter:   version ──► checks ──► listens to the bell ──► mark ──► another version? ──► waits for a ring
//!                ▲                                            ▲               │                   │
//!                └────────────────────────────────────────────┼───── yes ─────┘                   │
//!                                                             └───────────────────────────────────┘
//! ```
//!
//! The changer makes its change under the lock, and the waiter checks under it. So a waiter that finds another version
//! checks after the change is made, or after the changer has died.
//!
//! The changer writes the version and reads the mark; the waiter writes the mark and reads the version. All four
//! accesses are sequentially consistent, so at least one side sees the other. The waiter sets the mark again before
//! each comparison: a changer clears it when it rings, whatever version the waiter has seen.
//!
//! A change that is one atomic instruction may be made without the lock and announced afterwards. The waiter reads the
//! version before it checks. So it sees the change, or finds another version.

use super::atomic::{AtomicU64, Ordering};
use super::mark::Mark;

/// The version of the guarded data, and the mark of the waiters for another version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changes<'a> {
    pub(crate) version: &'a AtomicU64,
    pub(crate) listening: Mark<'a>,
}

impl Changes<'_> {
    /// The version of the data that the caller is about to check, or an earlier one.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// Sets the mark and returns the version. The caller already listens to the bell. It checks again if it has seen
    /// another version, and otherwise waits for a ring.
    pub(crate) fn listen(&self) -> u64 {
        self.listening.raise();
        self.version()
    }

    /// Wakes the waiters.
    pub(crate) fn announce(&self, ring: impl FnOnce()) {
        self.version.fetch_add(1, Ordering::SeqCst);
        self.listening.answer(ring);
    }
}
