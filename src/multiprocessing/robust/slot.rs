//! One permit of a semaphore: an atomic word in shared memory. Any process may be killed between any two steps.
//!
//! ```text
//!           begin to add            add                take
//!  ABSENT ────────────────► adder ────────► FREE ◄──────────────► holder ──► ABSENT
//!     ▲                       │                       give back     │ forget
//!     └───────────────────────┘                                     │ holder has ended: seize
//!            undo                                                   └───────► another holder
//! ```
//!
//! Waiting for a permit is like waiting for a [lock](super::word), with several words: a waiter has read the
//! holder of each, and each holder rings when it releases its permit, or ends. A process that adds a permit
//! held none that a waiter could have read. So it first marks the slot as being added, and rings. Then the
//! waiters check, see it, and watch it too. A slot whose adder was killed in between counts as not added.

use super::atomic::{AtomicU64, Ordering};

/// The word of one permit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PermitSlot<'a>(pub(crate) &'a AtomicU64);

/// Why a permit is not free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It does not exist.
    Absent,
    /// A process is adding it.
    Adder(u64),
    /// A process holds it.
    Holder(u64),
}

/// New memory has this value.
const ABSENT: u64 = 0;
const FREE: u64 = u64::MAX;
/// Set in the word beside the id of the adding process. No process id has this bit.
const ADDING: u64 = 1 << 63;

impl PermitSlot<'_> {
    /// The state of the permit, or `None` if it is free.
    pub(crate) fn read(&self) -> Option<Taken> {
        Self::decode(self.0.load(Ordering::SeqCst))
    }

    fn decode(word: u64) -> Option<Taken> {
        match word {
            FREE => None,
            ABSENT => Some(Taken::Absent),
            adder if adder & ADDING != 0 => Some(Taken::Adder(adder & !ADDING)),
            holder => Some(Taken::Holder(holder)),
        }
    }

    /// Takes it for the process `own`.
    pub(crate) fn take(&self, own: u64) -> bool {
        self.change(FREE, own)
    }

    /// Takes it over from `ended`, a dead process. False if another process has done so.
    pub(crate) fn seize(&self, ended: u64, own: u64) -> bool {
        self.change(ended, own)
    }

    /// Releases it; true if the caller has to wake the waiters. False if `own` does not hold it, as in a fork
    /// of the holder.
    pub(crate) fn give_back(&self, own: u64) -> bool {
        self.change(own, FREE)
    }

    /// Removes it instead of releasing it.
    pub(crate) fn forget(&self, own: u64) {
        self.change(own, ABSENT);
    }

    /// Reserves an absent permit for adding. The caller has to wake the waiters before it adds it.
    pub(crate) fn begin_to_add(&self, own: u64) -> bool {
        self.change(ABSENT, ADDING | own)
    }

    /// Like [`begin_to_add`](Self::begin_to_add), from a dead adder.
    pub(crate) fn take_over(&self, ended: u64, own: u64) -> bool {
        self.change(ADDING | ended, ADDING | own)
    }

    /// Adds it. The caller has to wake the waiters.
    pub(crate) fn add(&self, own: u64) {
        self.change(ADDING | own, FREE);
    }

    /// Makes it absent again instead of adding it.
    pub(crate) fn undo(&self, own: u64) {
        self.change(ADDING | own, ABSENT);
    }

    fn change(&self, from: u64, to: u64) -> bool {
        let change = self
            .0
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
        change.is_ok()
    }
}
