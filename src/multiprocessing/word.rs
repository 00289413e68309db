//! Who holds a lock, and whether somebody waits: two atomic words in memory that processes share, any of
//! which may be killed between any two steps.
//!
//! ```text
//!            take                give back
//!     0 ─────────────► holder ─────────────► 0, and rings if somebody waits
//!                        │
//!                        │ holder has ended: seize
//!                        └─────────────────────► another holder
//! ```
//!
//! Who waits does so in this order: it listens to the bell, says that it waits ([`Mark::raise`]), looks at
//! the word, and waits until the bell rings or the process that it saw there ends. That is enough:
//!
//! - The holder it saw gives back after that look, so it finds the mark and rings; or it is killed
//!   before it has rung, and then it ends.
//! - A mark is taken down by who has rung, after that, and only if nobody has raised it meanwhile. So
//!   a mark goes only when everybody who raised it has been woken: whoever is killed in between leaves it to
//!   the next one. What a killed waiter leaves costs one needless ring.
//!
//! Giving back and looking for the mark, and raising the mark and looking at the word, are each a write and
//! a read of another word. All four are sequentially consistent: at least one side sees the other.

use super::atomic::{AtomicU64, Ordering};

/// The word of a lock and the mark of those who wait for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word<'a> {
    pub(crate) holder: &'a AtomicU64,
    pub(crate) waiting: Mark<'a>,
}

/// Whether somebody waits. It is odd if so, and grows with every change: what somebody has seen and finds
/// again has not been anything else in between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark<'a>(pub(crate) &'a AtomicU64);

const FREE: u64 = 0;

impl Word<'_> {
    /// Takes the lock for the process `own`, or says who has it.
    pub(crate) fn take(&self, own: u64) -> Result<(), u64> {
        self.change(FREE, own)
    }

    /// As [`take`](Self::take), also from `ended`, a process that is no more. Says whether it had the lock.
    pub(crate) fn take_or_seize(&self, own: u64, ended: Option<u64>) -> Result<bool, u64> {
        loop {
            match (self.take(own), ended) {
                (Ok(()), _) => return Ok(false),
                (Err(holder), Some(ended)) if holder == ended => {
                    if self.change(ended, own).is_ok() {
                        return Ok(true);
                    }
                    // Another was quicker, and may be killed as well. Who waits has to see that one: nobody
                    // would ring for it. As nobody takes the lock for `ended`, this is not gone round again.
                }
                (Err(holder), _) => return Err(holder),
            }
        }
    }

    /// Gives the lock back and wakes who waits for it. Does nothing if `own` does not have it: a forked
    /// process finds in its memory what its parent held.
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

impl Mark<'_> {
    /// Says that somebody waits, who listens to the bell already.
    pub(crate) fn raise(&self) {
        let mut seen = self.0.load(Ordering::Relaxed);
        while let Err(now) =
            self.0
                .compare_exchange(seen, (seen + 1) | 1, Ordering::SeqCst, Ordering::Relaxed)
        {
            seen = now;
        }
    }

    /// Rings if somebody waits.
    pub(crate) fn answer(&self, ring: impl FnOnce()) {
        let seen = self.0.load(Ordering::SeqCst);
        if seen & 1 == 1 {
            ring();
            // Should somebody have come meanwhile, who may not have heard it, the mark stays.
            let _ = self
                .0
                .compare_exchange(seen, seen + 1, Ordering::Release, Ordering::Relaxed);
        }
    }
}
