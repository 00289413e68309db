//! The state of a lock: two atomic words in shared memory, one for its holder and one for its waiters. Any
//! process may be killed between any two steps.
//!
//! ```text
//!             take               release
//!     0 ─────────────► holder ─────────────► 0, and rings if there are waiters
//!                        │
//!                        │ the holder has ended: seize
//!                        └─────────────────────► another holder
//! ```
//!
//! A waiter acts in this order: it listens to the bell, sets its mark ([`Mark::raise`]), reads the word, and
//! waits until the bell rings or the process that it read there ends. That is enough:
//!
//! - The holder that it read releases the lock after that read. So the holder finds the mark and rings, or is
//!   killed before it has rung, and then it ends.
//! - The ringer clears the mark afterwards, and only if no waiter has set it again meanwhile. So a mark is
//!   cleared only when all waiters that set it have been woken. A ringer that is killed in between leaves the mark to
//!   the next one. A killed waiter's mark costs one needless ring.
//!
//! The holder writes the word and reads the mark; the waiter writes the mark and reads the word. All four
//! accesses are sequentially consistent, so at least one side sees the other.

use super::atomic::{AtomicU64, Ordering};
use super::mark::Mark;

/// The word of a lock, and the mark of its waiters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word<'a> {
    pub(crate) holder: &'a AtomicU64,
    pub(crate) waiting: Mark<'a>,
}

const FREE: u64 = 0;

impl Word<'_> {
    /// Takes the lock for the process `own`, or returns its holder.
    pub(crate) fn take(&self, own: u64) -> Result<(), u64> {
        self.change(FREE, own)
    }

    /// Like [`take`](Self::take), but also takes the lock over from `ended`, a dead process. Returns whether it
    /// did.
    pub(crate) fn take_or_seize(&self, own: u64, ended: Option<u64>) -> Result<bool, u64> {
        match (self.take(own), ended) {
            (Ok(()), _) => Ok(false),
            (Err(holder), Some(ended)) if holder == ended => match self.change(ended, own) {
                Ok(()) => Ok(true),
                // Another process was quicker, and may be killed too. The waiter has to see that process, since only
                // its ring or its end wakes the waiter. No process takes the lock for `ended`: if `ended` is there
                // again, a process writes arbitrary values, and the waiter checks again.
                Err(_) => self.take(own).map(|()| false),
            },
            (Err(holder), _) => Err(holder),
        }
    }

    /// Releases the lock and wakes its waiters. Does nothing if `own` does not hold it: a forked process finds
    /// its parent's locks in its memory.
    pub(crate) fn give_back(&self, own: u64, ring: impl FnOnce()) {
        if self.change(own, FREE).is_ok() {
            self.waiting.answer(ring);
        }
    }

    fn change(&self, from: u64, to: u64) -> Result<(), u64> {
        let change = self
            .holder
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
        change.map(drop)
    }
}
