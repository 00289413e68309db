//! The state of a barrier in shared memory: the round, and the parties that wait in it. All changes are made under a
//! [robust lock](crate::multiprocessing::robust::lock) and follow its rule: each change is one atomic store,
//! announced before. So a process that is killed in between leaves either the old or the new state.
//!
//! A place holds a ticket (its round, and whether that broke) and its owner; the ticket is written last. One
//! store to the word of the round ends a round:
//!
//! ```text
//!  round n ── the last party arrives ──► round n + 1     waiters of n: passed
//!     │ abort, a death
//!     ▼
//!  round n, broken ── reset ──► round n + 1              waiters of n: `BrokenBarrier`
//! ```
//!
//! A waiter that finds a later round has passed, unless its ticket says that its round broke: a reset marks the
//! tickets before it starts the next round. A marked place is kept until its owner has seen the mark, or has
//! ended.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::multiprocessing::robust::lock::RobustLock;
use crate::sys::{ProcessIdentity, SharedMapping};

/// The layout: the number of parties, the round, the arrivals, the places.
const PARTIES: usize = RobustLock::BYTES;
const ROUND: usize = PARTIES + 8;
const ARRIVALS: usize = ROUND + 8;
const PLACES: usize = ARRIVALS + 8;
const PLACE: usize = 16;

/// The word of the arrivals: the round above these bits, and the number of arrivals below. The number is never less
/// than the number of taken places in this round. Only if it says that all the others are there, the places are
/// counted.
const COUNT_BITS: u32 = 20;

/// How often a step is tried while others change the same word. More attempts are needed only if a process keeps
/// writing to the word.
const ATTEMPTS: usize = 1000;

/// The maximal number of parties.
pub(crate) const MOST: usize = 1 << 16;

/// The memory needed for `parties` parties.
pub(crate) const fn bytes(parties: usize) -> usize {
    PLACES + parties * PLACE
}

/// The state of a barrier in its memory. Read and change it under the lock, except where a method says
/// otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meeting<'a>(pub(crate) &'a SharedMapping);

/// The round, and whether it is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    number: u64,
    pub(crate) broken: bool,
}

/// A place that is taken in a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BarrierPlace {
    place: usize,
    round: u64,
    owner: ProcessIdentity,
}

impl BarrierPlace {
    /// Whether this process has taken it. A fork of that process has not.
    pub(crate) fn is_own(&self) -> bool {
        self.owner == ProcessIdentity::own()
    }
}

/// The result of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoundOutcome {
    Passed,
    Broken,
}

/// No ticket.
const NONE: u64 = 0;

fn ticket(round: u64, broken: bool) -> u64 {
    round << 2 | u64::from(broken) << 1 | 1
}

impl<'a> Meeting<'a> {
    /// Sets the number of parties, once.
    pub(crate) fn begin(&self, parties: usize) {
        let word = self.0.word(PARTIES);
        word.store(parties as u64, Ordering::Release);
    }

    /// The number of parties. Needs no lock.
    pub(crate) fn parties(&self) -> usize {
        (self.0.word(PARTIES).load(Ordering::Acquire) as usize).min(MOST)
    }

    /// Needs no lock.
    pub(crate) fn round(&self) -> Round {
        let word = self.0.word(ROUND).load(Ordering::SeqCst);
        Round {
            number: word >> 1,
            broken: word & 1 == 1,
        }
    }

    fn set_round(&self, number: u64, broken: bool) {
        let word = number << 1 | u64::from(broken);
        self.0.word(ROUND).store(word, Ordering::SeqCst);
    }

    fn ticket(&self, place: usize) -> &'a AtomicU64 {
        self.0.word(PLACES + place * PLACE)
    }

    fn owner(&self, place: usize) -> &'a AtomicU64 {
        self.0.word(PLACES + place * PLACE + 8)
    }

    /// The places with this ticket, and their owners.
    fn owners(self, ticket: u64) -> impl Iterator<Item = (usize, ProcessIdentity)> {
        let have = move |place: &usize| self.ticket(*place).load(Ordering::SeqCst) == ticket;
        let owned = move |place: usize| {
            let owner = self.owner(place).load(Ordering::Acquire);
            Some((place, ProcessIdentity::from_word(owner)?))
        };
        (0..self.parties()).filter(have).filter_map(owned)
    }

    /// The owners of all places in this round, one entry for each place. Counting them needs no lock.
    pub(crate) fn waiting(self) -> impl Iterator<Item = ProcessIdentity> {
        let ticket = ticket(self.round().number, false);
        self.owners(ticket).map(|(_, owner)| owner)
    }

    /// Whether all parties but one have arrived.
    pub(crate) fn is_next_the_last(self) -> bool {
        let is_last = |arrived: usize| arrived + 1 >= self.parties();
        is_last(self.most_arrived()) && is_last(self.waiting().count())
    }

    /// Whether a process waits in this round; `place` is one that it may have.
    pub(crate) fn has_arrived(self, process: ProcessIdentity, place: usize) -> bool {
        let ticket = ticket(self.round().number, false);
        let is_its = self.ticket(place).load(Ordering::SeqCst) == ticket
            && self.owner(place).load(Ordering::Acquire) == process.to_word();
        is_its || self.waiting().any(|other| other == process)
    }

    fn most_arrived(&self) -> usize {
        let word = self.0.word(ARRIVALS).load(Ordering::SeqCst);
        let is_of_this_round = word >> COUNT_BITS == self.round().number;
        let count = word & ((1 << COUNT_BITS) - 1);
        if is_of_this_round { count as usize } else { 0 }
    }

    /// Adds one to the arrivals of this round. The caller has the lock, and takes a place afterwards.
    fn count_on(&self, round: u64) {
        let (word, most) = (self.0.word(ARRIVALS), (1 << COUNT_BITS) - 1);
        for _ in 0..ATTEMPTS {
            let seen = word.load(Ordering::SeqCst);
            let is_of_this_round = seen >> COUNT_BITS == round;
            let count = if is_of_this_round { seen & most } else { 0 };
            let next = round << COUNT_BITS | (count + 1).min(most);
            let counted = word.compare_exchange(seen, next, Ordering::SeqCst, Ordering::SeqCst);
            if counted.is_ok() {
                return;
            }
        }
        word.store(round << COUNT_BITS | most, Ordering::SeqCst);
    }

    /// Subtracts one from the arrivals, if the round is still the same. If this process is killed before, or others
    /// write to the word all the time, the number stays too large.
    fn count_off(&self, round: u64) {
        let word = self.0.word(ARRIVALS);
        for _ in 0..ATTEMPTS {
            let seen = word.load(Ordering::SeqCst);
            let is_counted = seen >> COUNT_BITS == round && seen & ((1 << COUNT_BITS) - 1) > 0;
            let off = || word.compare_exchange(seen, seen - 1, Ordering::SeqCst, Ordering::SeqCst);
            if !is_counted || off().is_ok() {
                return;
            }
        }
    }

    /// A place that is neither taken nor kept, from `start` on if there is one.
    pub(crate) fn free_place(&self, start: usize) -> Option<usize> {
        let next = ticket(self.round().number, false);
        let is_free = |place: &usize| match self.ticket(*place).load(Ordering::SeqCst) {
            NONE => true,
            // The places of a round that has passed are free; marked ones are kept.
            found => found < next && found == ticket(found >> 2, false),
        };
        let start = start.min(self.parties());
        (start..self.parties()).chain(0..start).find(is_free)
    }

    /// Takes a free place in this round.
    pub(crate) fn take_place(&self, place: usize) -> BarrierPlace {
        let round = self.round().number;
        let owner = ProcessIdentity::own();
        self.count_on(round);
        self.owner(place).store(owner.to_word(), Ordering::Release);
        let ticket = ticket(round, false);
        self.ticket(place).store(ticket, Ordering::SeqCst);
        BarrierPlace {
            place,
            round,
            owner,
        }
    }

    /// The owners of places that are kept after their round has ended.
    pub(crate) fn kept(self) -> impl Iterator<Item = ProcessIdentity> {
        let kept = self.kept_places();
        kept.filter_map(move |place| {
            ProcessIdentity::from_word(self.owner(place).load(Ordering::Acquire))
        })
    }

    fn kept_places(self) -> impl Iterator<Item = usize> {
        let is_kept = move |place: &usize| {
            let found = self.ticket(*place).load(Ordering::SeqCst);
            found != NONE && found == ticket(found >> 2, true)
        };
        (0..self.parties()).filter(is_kept)
    }

    /// Clears the kept places of a process that has ended.
    pub(crate) fn release_dead(self, ended: ProcessIdentity) {
        for place in self.kept_places() {
            if self.owner(place).load(Ordering::Acquire) == ended.to_word() {
                self.ticket(place).store(NONE, Ordering::SeqCst);
            }
        }
    }

    /// The result for a place, if its round has ended.
    pub(crate) fn outcome(&self, place: BarrierPlace) -> Option<RoundOutcome> {
        let round = self.round();
        let marked = self.ticket(place.place).load(Ordering::SeqCst) == ticket(place.round, true);
        if marked || (round.number == place.round && round.broken) {
            Some(RoundOutcome::Broken)
        } else {
            (round.number > place.round).then_some(RoundOutcome::Passed)
        }
    }

    /// Ends the round: its waiters have passed.
    pub(crate) fn pass(&self) {
        self.set_round(self.round().number + 1, false);
    }

    /// Breaks the round until a reset.
    pub(crate) fn break_round(&self) {
        self.set_round(self.round().number, true);
    }

    /// Breaks the round for its waiters, and starts the next one.
    pub(crate) fn reset(&self) {
        self.break_round(); // If this process is killed before all are marked, the barrier stays broken.
        let round = self.round().number;
        for place in 0..self.parties() {
            let (from, to) = (ticket(round, false), ticket(round, true));
            let ticket = self.ticket(place);
            let _ = ticket.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
        }
        self.set_round(round + 1, false);
    }

    /// Leaves a place, also after its round has ended. Needs no lock. Returns whether the place was kept: then
    /// a party may wait for it.
    pub(crate) fn leave(&self, place: BarrierPlace) -> bool {
        let clear = |broken| {
            let ticket = ticket(place.round, broken);
            let word = self.ticket(place.place);
            word.compare_exchange(ticket, NONE, Ordering::SeqCst, Ordering::SeqCst)
        };
        // In this order: the place may be marked right now, but a mark is never removed by others.
        match clear(false) {
            Ok(_) => {
                self.count_off(place.round);
                false
            }
            Err(_) => clear(true).is_ok(),
        }
    }
}
