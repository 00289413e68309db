//! Changes of what a lock guards: which version it is, and whether somebody waits for another one. Two
//! atomic words in memory that processes share, any of which may be killed between any two steps.
//!
//! ```text
//!   who changes:  version + 1 ──► a mark? ring, take it down ──► the change
//!   who waits:    listens to the bell ──► mark ──► version ──► looks ──► waits until it rings
//!                                          ▲        ▲                         │
//!                                          └────────┴── the same version? ────┘
//! ```
//!
//! Both do so under the lock, so whoever is woken looks when the change has been made, or its maker is dead.
//!
//! A change that is one atomic instruction may be made without the lock, and is announced after it. Its
//! maker may have counted the version when somebody sets a mark and looks: then it takes that mark down for
//! a change that has been seen. It rings before it does so. Therefore who is woken sets its mark again before it
//! compares the versions and waits further on: else the next change would wake nobody.
//!
//! Counting and looking for a mark, and setting the mark and reading the version, are each a write and a
//! read of another word. All four are sequentially consistent: at least one side sees the other.

use super::atomic::{AtomicU64, Ordering};
use super::word::Mark;

/// The version of something, and the mark of those who wait for another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changes<'a> {
    pub(crate) version: &'a AtomicU64,
    pub(crate) listening: Mark<'a>,
}

impl Changes<'_> {
    /// Says that somebody waits, who listens to the bell already. Gives the version that it is going to
    /// look at, or an earlier one.
    pub(crate) fn listen(&self) -> u64 {
        self.listening.raise();
        self.version.load(Ordering::SeqCst)
    }

    /// Whether somebody is to look who was woken and has seen this version. If not, it listens again.
    pub(crate) fn are_after(&self, seen: u64) -> bool {
        self.listen() != seen
    }

    /// Wakes who waits.
    pub(crate) fn announce(&self, ring: impl FnOnce()) {
        self.version.fetch_add(1, Ordering::SeqCst);
        self.listening.answer(ring);
    }
}
