//! Which process has which unfinished items of a `JoinableQueue`. Only the holder of the queue's lock uses this.
//!
//! A place is two words: the identity of a process, and what the process has. That is either the number of items that
//! it has taken and not marked as done, or one item for which it has the receipt.
//!
//! The totals are in the state of the queue, and only the state changes by one store. So a process records an item here
//! before it takes it, and removes the record before it marks the item as done. If it is killed in between, its places
//! no longer count, as those of any dead process. The difference between the total and what the living processes have
//! was lost.

use std::sync::atomic::Ordering;

use super::ring::BASE;
use super::state::RingState;
use super::store::Store;
use crate::sys::{ProcessIdentity, SharedMapping};

/// The offset of the places; they end at the first ring. The word before them is the number of places ever used.
pub(super) const START: usize = 4096;
const USED: usize = START - 8;
const PLACE: usize = 16;
const PLACES: usize = (BASE as usize - START) / PLACE;

/// A bit in the second word of a place. The rest of the word is then the number of one item.
const RECEIPT: u64 = 1 << 63;

/// Where an item with a receipt is, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ItemPlace {
    pub(super) place: u64,
    pub(super) number: u64,
}

/// How a taken item is recorded.
#[derive(Debug)]
pub(super) enum Entry<'a> {
    /// In the count of this process.
    Counted,
    /// In a place of its own, which is returned.
    WithReceipt(&'a mut Option<ItemPlace>),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Holders<'a>(pub(super) &'a SharedMapping);

impl<'a> Holders<'a> {
    fn identity(self, place: usize) -> Store<'a> {
        Store(self.0.word(START + PLACE * place))
    }

    fn hand(self, place: usize) -> Store<'a> {
        Store(self.0.word(START + PLACE * place + 8))
    }

    /// The number of places that may be in use.
    fn used(self) -> usize {
        let used = self.0.word(USED).load(Ordering::Relaxed);
        usize::try_from(used).map_or(PLACES, |used| used.min(PLACES))
    }

    fn who(self, place: usize) -> Option<ProcessIdentity> {
        ProcessIdentity::from_word(self.identity(place).load(Ordering::Relaxed))
    }

    /// The number of items in a place.
    fn count(self, place: usize) -> u64 {
        match self.hand(place).load(Ordering::Relaxed) {
            word if word & RECEIPT != 0 => 1,
            count => count,
        }
    }

    /// The place that counts the items of a process. The search starts at `hint`.
    fn find(self, who: ProcessIdentity, hint: usize) -> Option<usize> {
        let used = self.used();
        let is_its = |place: &usize| {
            let is_count = self.hand(*place).load(Ordering::Relaxed) & RECEIPT == 0;
            is_count && self.who(*place) == Some(who)
        };
        let at_hint = Some(hint).filter(|hint| *hint < used).filter(is_its);
        at_hint.or_else(|| (0..used).find(is_its))
    }

    /// Writes to a free place. `None` if none is free.
    fn enter(self, who: ProcessIdentity, hand: u64) -> Option<usize> {
        let used = self.used();
        let is_free = |place: &usize| self.who(*place).is_none() || self.count(*place) == 0;
        let free = (0..used).find(is_free);
        let place = free.or((used < PLACES).then_some(used)).or_else(|| {
            (0..PLACES).find(|place| self.who(*place).is_some_and(|who| who.has_ended()))
        })?;
        if place == used {
            Store(self.0.word(USED)).store(used as u64 + 1, Ordering::Relaxed);
        }
        self.identity(place).store(0, Ordering::Relaxed);
        self.hand(place).store(hand, Ordering::Relaxed);
        self.identity(place).store(who.to_word(), Ordering::Relaxed);
        Some(place)
    }

    /// Whether `who` has a place to count items in. If not, it gets one. `None` if no place is free.
    pub(super) fn place_of(self, who: ProcessIdentity, hint: usize) -> Option<(usize, bool)> {
        match self.find(who, hint) {
            Some(place) => Some((place, false)),
            None => self.enter(who, 0).map(|place| (place, true)),
        }
    }

    /// Counts an item that the process at this place is about to take.
    pub(super) fn add(self, place: usize) {
        let count = self.count(place).saturating_add(1) & !RECEIPT;
        self.hand(place).store(count, Ordering::Relaxed);
    }

    /// Records an item that a process is about to take with a receipt. `None` if no place is free.
    pub(super) fn add_with_receipt(self, who: ProcessIdentity, number: u64) -> Option<ItemPlace> {
        let place = self.enter(who, RECEIPT | number)? as u64;
        Some(ItemPlace { place, number })
    }

    /// Removes an item that a process marks as done: one of its own, or otherwise one of the only process that has any.
    /// If several processes have items, the owner is unknown, and none is removed.
    pub(super) fn take_off(self, who: ProcessIdentity, hint: usize) {
        let has_some = |place: &usize| self.count(*place) > 0;
        let own = self.find(who, hint).filter(has_some);
        if let Some(place) = own.or_else(|| self.only_count()) {
            let count = self.count(place).saturating_sub(1);
            self.hand(place).store(count, Ordering::Relaxed);
        }
    }

    /// The only place that counts the items of a process and has some.
    fn only_count(self) -> Option<usize> {
        let has_some = |place: &usize| {
            let hand = self.hand(*place).load(Ordering::Relaxed);
            self.who(*place).is_some() && hand > 0 && hand & RECEIPT == 0
        };
        let mut found = (0..self.used()).filter(has_some);
        found.next().filter(|_| found.next().is_none())
    }

    /// The place of an item with a receipt, if the item is unfinished.
    fn of_item(self, item: ItemPlace) -> Option<usize> {
        let place = usize::try_from(item.place).ok()?;
        let is_there = place < self.used()
            && self.who(place).is_some()
            && self.hand(place).load(Ordering::Relaxed) == RECEIPT | item.number;
        is_there.then_some(place)
    }

    /// Removes an item with a receipt. False if it is not unfinished.
    pub(super) fn take_off_item(self, item: ItemPlace) -> bool {
        let Some(place) = self.of_item(item) else {
            return false;
        };
        self.clear(place);
        true
    }

    /// Assigns an item with a receipt to a process. False if it is not unfinished.
    pub(super) fn pass_to(self, who: ProcessIdentity, item: ItemPlace) -> bool {
        let Some(place) = self.of_item(item) else {
            return false;
        };
        self.identity(place).store(who.to_word(), Ordering::Relaxed);
        true
    }

    /// Clears all records. Called when all items that were taken are done: the remaining records are of processes whose
    /// items others have marked.
    pub(super) fn forget(self) {
        let has_some = |place: &usize| self.count(*place) > 0;
        (0..self.used())
            .filter(has_some)
            .for_each(|place| self.clear(place));
    }

    fn clear(self, place: usize) {
        self.identity(place).store(0, Ordering::Relaxed);
        self.hand(place).store(0, Ordering::Relaxed);
    }

    /// The number of taken items that are lost: no process has them. Frees the places of a process that has `ended`,
    /// and calls `watch` for each other process that has a place.
    pub(super) fn lost(
        self,
        state: &RingState,
        ended: Option<ProcessIdentity>,
        mut watch: impl FnMut(ProcessIdentity),
    ) -> u64 {
        let mut with_the_living = 0_u64;
        for place in 0..self.used() {
            match self.who(place) {
                Some(who) if Some(who) == ended => self.clear(place),
                // Includes a process that has no items now: it may take another item without waking the waiter.
                Some(who) => {
                    with_the_living = with_the_living.saturating_add(self.count(place));
                    watch(who);
                }
                None => {}
            }
        }
        let taken = state.taken.saturating_sub(state.done);
        taken.saturating_sub(with_the_living)
    }

    /// Assigns the places of one process to another.
    #[cfg(all(test, not(properties)))]
    pub(super) fn rename(self, from: ProcessIdentity, to: ProcessIdentity) {
        for place in (0..self.used()).filter(|place| self.who(*place) == Some(from)) {
            self.identity(place).store(to.to_word(), Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, target_os = "linux", properties))]
#[path = "../../../tests/properties/multiprocessing/queue/holders.rs"]
mod properties;
