//! The state of a queue: a few numbers that change together or not at all, even if the process that changes
//! them is killed.
//!
//! There are two copies, and a counter says which one is current. The holder of the lock writes the other one,
//! and then increments the counter: that store is the whole change.
//!
//! ```text
//!    counter ── even ──► numbers         odd ──► numbers
//!                        ▲ written while the counter is odd
//! ```

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::store::Store;
use crate::sys::SharedMapping;

/// How often a glance tries to read a consistent state. A try fails only during a change, which takes longer than a
/// glance. More failures mean that a process does nothing but change the counter.
const GLANCES: usize = 10_000;

/// How many numbers there are.
const NUMBERS: usize = 10;

/// The size of one copy, so that no two share a cache line.
const STRIDE: usize = 128;

/// The numbers of the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RingState {
    /// The size of the ring in bytes: 0 at first, then a power of two.
    pub(super) ring: u64,
    /// The number of bytes, from the start of the ring, that have memory behind them.
    pub(super) secured: u64,
    /// Where the first item starts and the last one ends, counted in bytes ever used. The ring wraps around.
    pub(super) head: u64,
    pub(super) tail: u64,
    /// The numbers of items ever put and ever taken.
    pub(super) put: u64,
    pub(super) taken: u64,
    /// The number of parcels ever sent.
    pub(super) parcels: u64,
    /// The number of taken items ever done, and how many of these were lost with a process.
    pub(super) done: u64,
    pub(super) lost: u64,
    /// 1 once the queue is closed.
    pub(super) closed: u64,
}

impl RingState {
    /// The number of items.
    pub(super) fn len(&self) -> u64 {
        self.put.saturating_sub(self.taken)
    }

    /// The number of bytes that the items take in the ring.
    pub(super) fn held(&self) -> u64 {
        self.tail.saturating_sub(self.head).min(self.ring)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed != 0
    }

    /// Whether all items that were put are done.
    pub(super) fn is_done(&self) -> bool {
        self.done >= self.put
    }

    pub(super) fn numbers(&self) -> [u64; NUMBERS] {
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
            self.closed,
        ]
    }

    fn of(numbers: [u64; NUMBERS]) -> Self {
        let [
            ring,
            secured,
            head,
            tail,
            put,
            taken,
            parcels,
            done,
            lost,
            closed,
        ] = numbers;
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
            closed,
        }
    }
}

/// The place of the copies in memory. All zeros is a valid state.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredState<'a> {
    memory: &'a SharedMapping,
    at: usize,
}

impl<'a> StoredState<'a> {
    /// The size of both copies and the counter.
    pub(super) const BYTES: usize = 3 * STRIDE;

    pub(super) fn new(memory: &'a SharedMapping, at: usize) -> Self {
        Self { memory, at }
    }

    /// The words of one copy. Their bounds are checked once, since each item reads or writes them several times.
    fn places(&self, count: u64) -> &'a [AtomicU64; NUMBERS] {
        let which = self.at + STRIDE * (1 + (count & 1) as usize);
        let words = self.memory.words(which, 8 * NUMBERS);
        words.try_into().expect("a copy is a whole number of words")
    }

    fn counter(&self) -> Store<'a> {
        Store(self.memory.word(self.at))
    }

    fn read(&self, count: u64) -> RingState {
        let places = self.places(count).each_ref();
        RingState::of(places.map(|place| Store(place).load(Ordering::Relaxed)))
    }

    /// The current state. Only for the holder of the lock.
    pub(super) fn load(&self) -> RingState {
        self.read(self.counter().load(Ordering::Acquire))
    }

    /// Makes `state` the current one. Only for the holder of the lock.
    pub(super) fn commit(&self, state: &RingState) {
        let count = self.counter().load(Ordering::Relaxed);
        // A glance that reads one of these numbers also reads this value of the counter.
        fence(Ordering::Release);
        let places = self.places(count.wrapping_add(1));
        for (place, number) in places.iter().zip(state.numbers()) {
            Store(place).store(number, Ordering::Relaxed);
        }
        self.counter()
            .store(count.wrapping_add(1), Ordering::Release);
    }

    /// A recent state. Needs no lock.
    pub(super) fn glance(&self) -> RingState {
        let mut state = RingState::default();
        for _ in 0..GLANCES {
            let before = self.counter().load(Ordering::Acquire);
            state = self.read(before);
            fence(Ordering::Acquire);
            // These numbers are overwritten only after the counter has changed.
            if self.counter().load(Ordering::Relaxed) == before {
                break;
            }
        }
        state
    }
}

#[cfg(all(test, not(properties)))]
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
        let stored = StoredState::new(&memory, 64);
        assert_eq!(stored.load(), RingState::default());
        stored.commit(&state(1));
        let all = stores(|| stored.commit(&state(2)));
        assert_eq!((stored.load(), stored.glance()), (state(2), state(2)));
        for steps in 0..all {
            cut_after(steps, || stored.commit(&state(3))).expect_err("it was cut off");
            assert_eq!((stored.load(), stored.glance()), (state(2), state(2)));
        }
        cut_after(all, || stored.commit(&state(3))).expect("all of it");
        assert_eq!(stored.load(), state(3));
    }

    #[test]
    fn a_glance_never_sees_half_a_change() {
        let memory = memory();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let stored = StoredState::new(&memory, 0);
                (0..200_000).for_each(|number| stored.commit(&state(number)));
                over.store(true, Ordering::Release);
            });
            let mut last = 0;
            while !over.load(Ordering::Acquire) {
                let seen = StoredState::new(&memory, 0).glance();
                let number = seen.ring / 10;
                assert!(seen == state(number) || seen == RingState::default());
                assert!(number >= last);
                last = number;
            }
        });
    }
}
