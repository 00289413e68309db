//! What a barrier knows, in memory that processes share: which round it is, and who waits in it. Everything
//! is changed under a [robust lock](super::robust), whose rule is kept: each change is one atomic store,
//! announced before, so that a process that is killed in between leaves either the old or the new state.
//!
//! A place holds a ticket (the round, and whether that broke) and whose it is; the ticket is written last.
//! A round ends by one store to the word that says which it is:
//!
//! ```text
//!  round n ── the last one has come ──► round n + 1      who waits in n: has passed
//!     │ abort, a death
//!     ▼
//!  round n, broken ── reset ──► round n + 1              who waits in n: `BrokenBarrier`
//! ```
//!
//! Who waits and finds a later round has passed, unless his ticket says that his round broke: a reset
//! marks the tickets before it begins the next one. A place with such a mark is kept until its owner has
//! seen it, or has ended.

use std::sync::atomic::{AtomicU64, Ordering};

use super::robust::RobustLock;
use crate::sys::{ProcessIdentity, SharedMapping};

/// Where what lies: how many take part, which round it is, the places.
const PARTIES: usize = RobustLock::BYTES;
const ROUND: usize = PARTIES + 8;
const PLACES: usize = ROUND + 8;
const PLACE: usize = 16;

/// So many can take part.
pub(super) const MOST: usize = 1 << 16;

/// How much memory it takes if so many take part.
pub(super) const fn bytes(parties: usize) -> usize {
    PLACES + parties * PLACE
}

/// What the memory of a barrier says. All of it is to be asked, and done, under the lock, unless it says
/// otherwise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meeting<'a>(pub(super) &'a SharedMapping);

/// Which round it is, and whether it is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Round {
    number: u64,
    pub(super) broken: bool,
}

/// A place that somebody has taken in a round.
#[derive(Clone, Copy, Debug)]
pub(super) struct BarrierPlace {
    place: usize,
    round: u64,
}

/// What somebody finds who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoundOutcome {
    Passed,
    Broken,
}

/// No ticket.
const NONE: u64 = 0;

fn ticket(round: u64, broken: bool) -> u64 {
    round << 2 | u64::from(broken) << 1 | 1
}

impl<'a> Meeting<'a> {
    /// Begins, once.
    pub(super) fn begin(&self, parties: usize) {
        let word = self.0.word(PARTIES);
        word.store(parties as u64, Ordering::Release);
    }

    /// How many take part. Needs no lock.
    pub(super) fn parties(&self) -> usize {
        (self.0.word(PARTIES).load(Ordering::Acquire) as usize).min(MOST)
    }

    /// Needs no lock.
    pub(super) fn round(&self) -> Round {
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

    /// Whose the places are that have this ticket.
    fn owners(self, ticket: u64) -> impl Iterator<Item = (usize, ProcessIdentity)> {
        let have = move |place: &usize| self.ticket(*place).load(Ordering::SeqCst) == ticket;
        let owned = move |place: usize| {
            let owner = self.owner(place).load(Ordering::Acquire);
            Some((place, ProcessIdentity::from_word(owner)?))
        };
        (0..self.parties()).filter(have).filter_map(owned)
    }

    /// Who waits in this round, one entry a place. To count them needs no lock.
    pub(super) fn waiting(self) -> impl Iterator<Item = ProcessIdentity> {
        let ticket = ticket(self.round().number, false);
        self.owners(ticket).map(|(_, owner)| owner)
    }

    /// A place that is neither taken nor kept.
    pub(super) fn free_place(&self) -> Option<usize> {
        let next = ticket(self.round().number, false);
        let is_free = |place: &usize| match self.ticket(*place).load(Ordering::SeqCst) {
            NONE => true,
            // Of those who have passed it needs no more, those of a broken round are kept.
            found => found < next && found == ticket(found >> 2, false),
        };
        (0..self.parties()).find(is_free)
    }

    /// Takes a free place in this round.
    pub(super) fn take_place(&self, place: usize) -> BarrierPlace {
        let round = self.round().number;
        let owner = ProcessIdentity::own().to_word();
        self.owner(place).store(owner, Ordering::Release);
        let ticket = ticket(round, false);
        self.ticket(place).store(ticket, Ordering::SeqCst);
        BarrierPlace { place, round }
    }

    /// Whose places are kept though their rounds are over.
    pub(super) fn kept(self) -> impl Iterator<Item = ProcessIdentity> {
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

    /// Clears what a process keeps that has ended.
    pub(super) fn release_dead(self, ended: ProcessIdentity) {
        for place in self.kept_places() {
            if self.owner(place).load(Ordering::Acquire) == ended.to_word() {
                self.ticket(place).store(NONE, Ordering::SeqCst);
            }
        }
    }

    /// What has become of the round of a place, if it is over.
    pub(super) fn outcome(&self, place: BarrierPlace) -> Option<RoundOutcome> {
        let round = self.round();
        let marked = self.ticket(place.place).load(Ordering::SeqCst) == ticket(place.round, true);
        if marked || (round.number == place.round && round.broken) {
            Some(RoundOutcome::Broken)
        } else {
            (round.number > place.round).then_some(RoundOutcome::Passed)
        }
    }

    /// Everybody has come: those who wait have passed.
    pub(super) fn pass(&self) {
        self.set_round(self.round().number + 1, false);
    }

    /// The round is broken until a reset.
    pub(super) fn break_round(&self) {
        self.set_round(self.round().number, true);
    }

    /// The round is broken for those who wait in it, and another begins.
    pub(super) fn reset(&self) {
        self.break_round(); // Should this process be killed before all are marked, it stays so.
        let round = self.round().number;
        for place in 0..self.parties() {
            let (from, to) = (ticket(round, false), ticket(round, true));
            let ticket = self.ticket(place);
            let _ = ticket.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
        }
        self.set_round(round + 1, false);
    }

    /// Leaves a place, be the round over or not. Needs no lock. Says whether it had been kept: then there
    /// may be somebody who waits for it.
    pub(super) fn leave(&self, place: BarrierPlace) -> bool {
        let clear = |broken| {
            let ticket = ticket(place.round, broken);
            let word = self.ticket(place.place);
            word.compare_exchange(ticket, NONE, Ordering::SeqCst, Ordering::SeqCst)
        };
        // In this order: it may be marked just now, but a mark is never taken back.
        clear(false).is_err() && clear(true).is_ok()
    }
}
