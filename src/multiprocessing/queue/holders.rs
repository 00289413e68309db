//! Who has taken how many items that are not done yet: a place for each process, with its identity and
//! that number. Only the holder of the queue's lock comes here.
//!
//! The state of the queue says how many these are in all, and it alone changes by one store. So a process
//! puts its own number up before it takes an item out, and down before it says that one is done: if it is
//! killed in between, then it is no more, and the number of a process that is no more counts for nothing.
//! What is missing from the sum of the others was lost with such.

use std::sync::atomic::Ordering;

use super::ring::BASE;
use super::store::Store;
use crate::sys::{ProcessIdentity, SharedMapping};

/// Where the places begin; they go on to the first ring.
pub(super) const START: usize = 4096;
const PLACE: usize = 16;
const PLACES: usize = (BASE as usize - START) / PLACE;

#[derive(Clone, Copy, Debug)]
pub(super) struct Holders<'a>(pub(super) &'a SharedMapping);

impl<'a> Holders<'a> {
    fn identity(self, place: usize) -> Store<'a> {
        Store(self.0.word(START + PLACE * place))
    }

    fn count(self, place: usize) -> Store<'a> {
        Store(self.0.word(START + PLACE * place + 8))
    }

    fn holder(self, place: usize) -> Option<(ProcessIdentity, u64)> {
        let identity = ProcessIdentity::from_word(self.identity(place).load(Ordering::Relaxed))?;
        Some((identity, self.count(place).load(Ordering::Relaxed)))
    }

    /// The place of a process, which had it the last time at `hint`.
    pub(super) fn find(self, who: ProcessIdentity, hint: usize) -> Option<usize> {
        let is_its = |place: &usize| self.identity(*place).load(Ordering::Relaxed) == who.to_word();
        Some(hint)
            .filter(|hint| *hint < PLACES)
            .filter(is_its)
            .or_else(|| (0..PLACES).find(is_its))
    }

    /// Gives a process that has none a place. Nothing if there is none left.
    pub(super) fn enter(self, who: ProcessIdentity) -> Option<usize> {
        let is_empty = |place: &usize| self.holder(*place).is_none_or(|(_, count)| count == 0);
        let is_left = |place: &usize| self.holder(*place).is_some_and(|(who, _)| who.has_ended());
        let free = (0..PLACES).find(is_empty);
        let place = free.or_else(|| (0..PLACES).find(is_left))?;
        self.count(place).store(0, Ordering::Relaxed);
        self.identity(place).store(who.to_word(), Ordering::Relaxed);
        Some(place)
    }

    /// The process at this place is about to take an item.
    pub(super) fn add(self, place: usize) {
        let count = self.count(place).load(Ordering::Relaxed);
        self.count(place).store(count + 1, Ordering::Relaxed);
    }

    /// One item fewer: of `place`, or of another process if that has none. An item may have been handed on
    /// to a process which then says that it is done.
    pub(super) fn take_off(self, place: Option<usize>) {
        let has_some = |place: &usize| self.count(*place).load(Ordering::Relaxed) > 0;
        if let Some(place) = place
            .filter(has_some)
            .or_else(|| (0..PLACES).find(has_some))
        {
            let count = self.count(place).load(Ordering::Relaxed);
            self.count(place).store(count - 1, Ordering::Relaxed);
        }
    }

    /// Those that have a place, but for one that has ended, and how many items they have. The place of that
    /// one is free from now on.
    pub(super) fn without(
        self,
        ended: Option<ProcessIdentity>,
    ) -> impl Iterator<Item = (ProcessIdentity, u64)> {
        (0..PLACES).filter_map(move |place| {
            let (who, count) = self.holder(place)?;
            if Some(who) != ended {
                return Some((who, count));
            }
            self.count(place).store(0, Ordering::Relaxed);
            self.identity(place).store(0, Ordering::Relaxed);
            None
        })
    }

    /// What was the place of one process is another's.
    #[cfg(test)]
    pub(super) fn rename(self, from: ProcessIdentity, to: ProcessIdentity) {
        if let Some(place) = self.find(from, 0) {
            self.identity(place).store(to.to_word(), Ordering::Relaxed);
        }
    }
}
