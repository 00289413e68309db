//! What a queue is at a moment: a few numbers that change together or not at all, also if whoever
//! changes them is killed in the middle of it.
//!
//! They are kept twice, and a counter says which of the two counts. Whoever holds the lock writes the
//! one that does not, and then counts one up: that store is the whole of the change.
//!
//! ```text
//!    counter ── even ──► numbers         odd ──► numbers
//!                        ▲ written while the counter is odd
//! ```

use std::sync::atomic::{Ordering, fence};

use super::store::Store;
use crate::sys::SharedMapping;

/// How many numbers there are.
const NUMBERS: usize = 9;

/// What each of the two takes, so that no two lie in one line of the cache.
const STRIDE: usize = 128;

/// The numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RingState {
    /// How many bytes the ring has: none at first, else a power of two.
    pub(super) ring: u64,
    /// So many of them, from the first on, have memory behind them.
    pub(super) secured: u64,
    /// Where the first item begins and the last one ends, counted in bytes. The ring is used in turn.
    pub(super) head: u64,
    pub(super) tail: u64,
    /// How many items have been put in and taken out, ever.
    pub(super) put: u64,
    pub(super) taken: u64,
    /// How many parcels have been numbered, ever.
    pub(super) parcels: u64,
    /// How many of those taken are done, ever, and how many of these were lost with a process.
    pub(super) done: u64,
    pub(super) lost: u64,
}

impl RingState {
    /// How many items there are.
    pub(super) fn len(&self) -> u64 {
        self.put.saturating_sub(self.taken)
    }

    /// How many bytes they take in the ring.
    pub(super) fn held(&self) -> u64 {
        self.tail.saturating_sub(self.head).min(self.ring)
    }

    /// Whether all items that were put in are done.
    pub(super) fn is_done(&self) -> bool {
        self.done >= self.put
    }

    fn numbers(&self) -> [u64; NUMBERS] {
        [
            self.ring,
            self.secured,
            self.head,
            self.tail,
            self.put,
            self.taken,
            self.parcels,
            self.done,
            self.lost,
        ]
    }

    fn of([ring, secured, head, tail, put, taken, parcels, done, lost]: [u64; NUMBERS]) -> Self {
        Self {
            ring,
            secured,
            head,
            tail,
            put,
            taken,
            parcels,
            done,
            lost,
        }
    }
}

/// The place in memory where they are kept. All zeros is a state, too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept<'a> {
    memory: &'a SharedMapping,
    at: usize,
}

impl<'a> Kept<'a> {
    /// What all of it takes.
    pub(super) const BYTES: usize = 3 * STRIDE;

    pub(super) fn new(memory: &'a SharedMapping, at: usize) -> Self {
        Self { memory, at }
    }

    fn number(&self, count: u64, index: usize) -> Store<'a> {
        let which = self.at + STRIDE * (1 + (count & 1) as usize);
        Store(self.memory.word(which + 8 * index))
    }

    fn counter(&self) -> Store<'a> {
        Store(self.memory.word(self.at))
    }

    fn read(&self, count: u64) -> RingState {
        let number = |index| self.number(count, index).load(Ordering::Relaxed);
        RingState::of(std::array::from_fn(number))
    }

    /// What counts. For the holder of the lock.
    pub(super) fn load(&self) -> RingState {
        self.read(self.counter().load(Ordering::Acquire))
    }

    /// Makes another state the one that counts. For the holder of the lock.
    pub(super) fn commit(&self, state: &RingState) {
        let count = self.counter().load(Ordering::Relaxed);
        // A glance that sees one of these numbers sees that the counter has come to here, too.
        fence(Ordering::Release);
        for (index, number) in state.numbers().into_iter().enumerate() {
            let place = self.number(count + 1, index);
            place.store(number, Ordering::Relaxed);
        }
        self.counter().store(count + 1, Ordering::Release);
    }

    /// What counted a moment ago. For anybody.
    pub(super) fn glance(&self) -> RingState {
        loop {
            let before = self.counter().load(Ordering::Acquire);
            let state = self.read(before);
            fence(Ordering::Acquire);
            // These numbers are written again only after the counter has gone on.
            if self.counter().load(Ordering::Relaxed) == before {
                return state;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::super::store::{cut_after, stores};
    use super::*;

    fn memory() -> SharedMapping {
        SharedMapping::create(4096).expect("memory").0
    }

    fn state(number: u64) -> RingState {
        RingState::of(std::array::from_fn(|index| number * 10 + index as u64))
    }

    #[test]
    fn a_change_that_is_cut_off_anywhere_has_not_been() {
        let memory = memory();
        let kept = Kept::new(&memory, 64);
        assert_eq!(kept.load(), RingState::default());
        kept.commit(&state(1));
        let all = stores(|| kept.commit(&state(2)));
        assert_eq!((kept.load(), kept.glance()), (state(2), state(2)));
        for steps in 0..all {
            cut_after(steps, || kept.commit(&state(3))).expect_err("it was cut off");
            assert_eq!((kept.load(), kept.glance()), (state(2), state(2)));
        }
        cut_after(all, || kept.commit(&state(3))).expect("all of it");
        assert_eq!(kept.load(), state(3));
    }

    #[test]
    fn a_glance_never_sees_half_a_change() {
        let memory = memory();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let kept = Kept::new(&memory, 0);
                (0..200_000).for_each(|number| kept.commit(&state(number)));
                over.store(true, Ordering::Release);
            });
            let mut last = 0;
            while !over.load(Ordering::Acquire) {
                let seen = Kept::new(&memory, 0).glance();
                let number = seen.ring / 10;
                assert!(seen == state(number) || seen == RingState::default());
                assert!(number >= last);
                last = number;
            }
        });
    }
}
