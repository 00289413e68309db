//! The number of unfinished items that each process has taken: a place for each process, with its identity and
//! that number. Only the holder of the queue's lock uses it.
//!
//! The state of the queue has the total, and only the state changes by one store. So a process increments its
//! own number before it takes an item, and decrements it before it marks one as done. If it is killed in
//! between, its number no longer counts, as that of any dead process. The difference between the total and the
//! sum of the living was lost.

use std::sync::atomic::Ordering;

use super::ring::BASE;
use super::store::Store;
use crate::sys::{ProcessIdentity, SharedMapping};

/// The offset of the places; they end at the first ring.
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

    /// The place of a process, which was last found at `hint`.
    pub(super) fn find(self, who: ProcessIdentity, hint: usize) -> Option<usize> {
        let is_its = |place: &usize| self.identity(*place).load(Ordering::Relaxed) == who.to_word();
        Some(hint)
            .filter(|hint| *hint < PLACES)
            .filter(is_its)
            .or_else(|| (0..PLACES).find(is_its))
    }

    /// Assigns a place to a process that has none. `None` if all are in use.
    pub(super) fn enter(self, who: ProcessIdentity) -> Option<usize> {
        let is_empty = |place: &usize| self.holder(*place).is_none_or(|(_, count)| count == 0);
        let is_left = |place: &usize| self.holder(*place).is_some_and(|(who, _)| who.has_ended());
        let free = (0..PLACES).find(is_empty);
        let place = free.or_else(|| (0..PLACES).find(is_left))?;
        self.count(place).store(0, Ordering::Relaxed);
        self.identity(place).store(who.to_word(), Ordering::Relaxed);
        Some(place)
    }

    /// Counts an item that the process at this place is about to take.
    pub(super) fn add(self, place: usize) {
        let count = self.count(place).load(Ordering::Relaxed);
        let count = count.saturating_add(1);
        self.count(place).store(count, Ordering::Relaxed);
    }

    /// Removes one item from the count of `place`, or of another process if that has none: an item may have
    /// been handed on to a process that marks it as done.
    pub(super) fn take_off(self, place: Option<usize>) {
        let has_some = |place: &usize| self.count(*place).load(Ordering::Relaxed) > 0;
        if let Some(place) = place
            .filter(has_some)
            .or_else(|| (0..PLACES).find(has_some))
        {
            let count = self.count(place).load(Ordering::Relaxed);
            let count = count.saturating_sub(1);
            self.count(place).store(count, Ordering::Relaxed);
        }
    }

    /// The processes with a place and their numbers of items, except for one that has ended. This frees the
    /// place of that one.
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

    /// Assigns the place of one process to another.
    #[cfg(all(test, not(properties)))]
    pub(super) fn rename(self, from: ProcessIdentity, to: ProcessIdentity) {
        if let Some(place) = self.find(from, 0) {
            self.identity(place).store(to.to_word(), Ordering::Relaxed);
        }
    }
}
