//! One permit of a semaphore: an atomic word in memory that processes share, any of which may be killed
//! between any two steps.
//!
//! ```text
//!           begin to add            add                take
//!  ABSENT ────────────────► adder ────────► FREE ◄──────────────► holder ──► ABSENT
//!     ▲                       │                       give back     │ forget
//!     └───────────────────────┘                                     │ holder has ended: seize
//!            undo                                                   └───────► another holder
//! ```
//!
//! Waiting for a permit is as waiting for a [lock](super::word), at several words: who waits has seen
//! the holder of each, and each of them rings when it gives back, or ends. Who adds a permit held none that
//! anybody could have seen. So it first says that it is about to, and rings: then those who wait look, see
//! it, and watch it too. What an adder leaves that was killed in between has not been added.

use super::atomic::{AtomicU64, Ordering};

/// The word of one permit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PermitSlot<'a>(pub(crate) &'a AtomicU64);

/// Why a permit cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// There is none.
    Absent,
    /// A process is about to add it.
    Adder(u64),
    /// A process has it.
    Holder(u64),
}

/// As new memory is.
const ABSENT: u64 = 0;
const FREE: u64 = u64::MAX;
/// Set beside the process that adds it. No process has this bit.
const ADDING: u64 = 1 << 63;

impl PermitSlot<'_> {
    /// What is known of it, if it is not free.
    pub(crate) fn look(&self) -> Option<Taken> {
        Self::read(self.0.load(Ordering::SeqCst))
    }

    fn read(word: u64) -> Option<Taken> {
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

    /// Takes it from `ended`, a process that is no more. False if another has done so.
    pub(crate) fn seize(&self, ended: u64, own: u64) -> bool {
        self.change(ended, own)
    }

    /// Gives it back. False if `own` does not have it, as in a fork of the holder. Else who waits is to be
    /// woken.
    pub(crate) fn give_back(&self, own: u64) -> bool {
        self.change(own, FREE)
    }

    /// Makes it absent instead of giving it back.
    pub(crate) fn forget(&self, own: u64) {
        self.change(own, ABSENT);
    }

    /// Takes an absent one to add it. Who waits is to be woken before it is added.
    pub(crate) fn begin_to_add(&self, own: u64) -> bool {
        self.change(ABSENT, ADDING | own)
    }

    /// As [`begin_to_add`](Self::begin_to_add), from an adder that is no more.
    pub(crate) fn take_over(&self, ended: u64, own: u64) -> bool {
        self.change(ADDING | ended, ADDING | own)
    }

    /// It is there. Who waits is to be woken.
    pub(crate) fn add(&self, own: u64) {
        self.change(ADDING | own, FREE);
    }

    /// It is not added after all.
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
