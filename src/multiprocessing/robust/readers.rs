//! The readers of a read-write lock: for each process a place of two atomic words in shared memory, its identity and
//! the number of its readers. Any process may be killed between any two steps.
//!
//! ```text
//!   reader:  readers + 1 ──► is the gate open? ──► reads ──► readers - 1 ──► was it the last? a mark? ring, clear it
//!                                │ no
//!                                └──► readers - 1, and waits for the gate
//!   writer:  closes the gate ──► mark ──► are there readers? ──► waits for a ring or the end of one
//! ```
//!
//! The gate is a [lock](super::word). A writer closes it before it waits for the readers, and opens it after it has
//! written, so no reader enters meanwhile and writers do not starve. A reader that finds the gate closed takes it in
//! turn, enters while it holds the gate, and opens it again. So readers do not starve either.
//!
//! The reader writes its number and reads the gate; the writer writes the gate and reads the numbers. The reader also
//! writes its number before it reads the mark; the writer writes the mark before it reads the numbers. All these
//! accesses are sequentially consistent, so at least one side sees the other.
//!
//! The readers of a killed process stay in its place. A writer that has seen them watches the process, and clears its
//! place. Only the holder of the gate does so: a slower one could clear the place of the next process that claims it.

use super::atomic::{AtomicU64, Ordering};
use super::mark::Mark;

/// The place of one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReaderPlace<'a> {
    pub(crate) process: &'a AtomicU64,
    pub(crate) readers: &'a AtomicU64,
}

/// New memory has this value.
const NONE: u64 = 0;

impl ReaderPlace<'_> {
    /// Whether no process has claimed it.
    pub(crate) fn is_free(&self) -> bool {
        self.process.load(Ordering::SeqCst) == NONE
    }

    pub(crate) fn is_of(&self, process: u64) -> bool {
        self.process.load(Ordering::SeqCst) == process
    }

    /// Claims a free place for the process `own`, for good.
    pub(crate) fn claim(&self, own: u64) -> bool {
        let change = self
            .process
            .compare_exchange(NONE, own, Ordering::SeqCst, Ordering::SeqCst);
        change.is_ok()
    }

    /// Enters as a reader of the process that has claimed the place. The caller then checks the gate, unless it holds
    /// the gate; if that is closed, it [leaves](Self::leave) again.
    pub(crate) fn enter(&self) {
        self.readers.fetch_add(1, Ordering::SeqCst);
    }

    /// Leaves, and wakes the writer if it may wait for this.
    pub(crate) fn leave(&self, writer: Mark<'_>, ring: impl FnOnce()) {
        if self.readers.fetch_sub(1, Ordering::SeqCst) == 1 {
            writer.answer(ring);
        }
    }

    /// The process, if it has readers. For the holder of the gate.
    pub(crate) fn reading(&self) -> Option<u64> {
        // A process that misuses the memory may have made it negative, or that of no process.
        let readers = self.readers.load(Ordering::SeqCst).cast_signed();
        let process = (readers > 0).then(|| self.process.load(Ordering::SeqCst));
        process.filter(|process| *process != NONE)
    }

    /// Frees the place of `ended`, a dead process. For the holder of the gate.
    pub(crate) fn clear(&self, ended: u64) {
        self.readers.store(0, Ordering::SeqCst);
        let _ = self
            .process
            .compare_exchange(ended, NONE, Ordering::SeqCst, Ordering::SeqCst);
    }
}
