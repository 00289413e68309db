//! What a `JoinableQueue` counts: taken items, items that are done, and items that were lost with a process.

use std::io;
use std::sync::atomic::Ordering;

use super::error::QueueError;
use super::holders::{Entry, ItemPlace};
use super::ring::check;
use super::shared::SharedQueue;
use super::state::RingState;
use crate::multiprocessing::item::IncomingItem;
use crate::multiprocessing::robust::lock::RobustGuard;
use crate::multiprocessing::waiting::wait::WatchedProcesses;
use crate::sys::ProcessIdentity;

impl SharedQueue {
    /// Takes the first item with a receipt. `None` while there is none.
    pub(super) fn take_with_receipt(
        &self,
        held: &mut RobustGuard<'_>,
        item: &mut IncomingItem,
    ) -> Option<Result<ItemPlace, QueueError>> {
        let mut place = None;
        let taken = self.take_as(held, item, Entry::WithReceipt(&mut place))?;
        Some(match (taken, place) {
            (Ok(()), Some(place)) => Ok(place),
            (Ok(()), None) => Err(QueueError::NOTHING_TAKEN),
            (Err(error), None) => Err(error),
            (Err(error), Some(place)) => {
                // The item is taken, and the caller gets no receipt for it.
                let _ = self.item_done(held, place);
                Err(error)
            }
        })
    }

    /// Records an item that this process is about to take. Wakes the waiters if they must watch this process from now
    /// on.
    pub(super) fn enter(
        &self,
        held: &mut RobustGuard<'_>,
        state: &RingState,
        entry: Entry<'_>,
    ) -> Result<(), QueueError> {
        let (holders, own) = (self.holders(), ProcessIdentity::own());
        if state.taken == state.done {
            holders.forget();
        }
        match entry {
            Entry::Counted => {
                let place = holders.place_of(own, self.hint.load(Ordering::Relaxed));
                let (place, is_new) = place.ok_or_else(too_many)?;
                self.hint.store(place, Ordering::Relaxed);
                if is_new {
                    held.announce();
                }
                holders.add(place);
            }
            Entry::WithReceipt(item) => {
                held.announce();
                let entered = holders.add_with_receipt(own, state.taken);
                *item = Some(entered.ok_or_else(too_many)?);
            }
        }
        Ok(())
    }

    /// Marks a taken item as done.
    pub(super) fn task_done(&self, held: &mut RobustGuard<'_>) -> Result<(), QueueError> {
        self.mark(held, |own| {
            self.holders()
                .take_off(own, self.hint.load(Ordering::Relaxed));
            true
        })
    }

    /// Marks an item with a receipt as done.
    pub(super) fn item_done(
        &self,
        held: &mut RobustGuard<'_>,
        item: ItemPlace,
    ) -> Result<(), QueueError> {
        self.mark(held, |_| self.holders().take_off_item(item))
    }

    fn mark(
        &self,
        held: &mut RobustGuard<'_>,
        take_off: impl FnOnce(ProcessIdentity) -> bool,
    ) -> Result<(), QueueError> {
        let mut state = self.stored_state().load();
        check(&state)?;
        if state.done >= state.taken || !take_off(ProcessIdentity::own()) {
            return Err(QueueError::NOTHING_TAKEN);
        }
        state.done += 1;
        if state.is_done() {
            held.announce();
        }
        self.stored_state().commit(&state);
        Ok(())
    }

    /// Assigns an item with a receipt to this process.
    pub(super) fn accept(
        &self,
        held: &mut RobustGuard<'_>,
        item: ItemPlace,
    ) -> Result<(), QueueError> {
        held.announce(); // The callers of `join` must watch this process, too.
        if self.holders().pass_to(ProcessIdentity::own(), item) {
            Ok(())
        } else {
            Err(QueueError::NOTHING_TAKEN)
        }
    }

    /// The number of items ever lost with their owners, if no other item is unfinished. A waiter watches all processes
    /// that have items, and checks again when one of them has ended.
    pub(super) fn all_done(
        &self,
        held: &mut RobustGuard<'_>,
        watched: &mut WatchedProcesses,
    ) -> Option<u64> {
        let mut state = self.stored_state().load();
        if !state.is_done() {
            let ended = watched.ended;
            let lost = self.holders().lost(&state, ended, |who| watched.watch(who));
            if lost > 0 {
                state.done = state.done.saturating_add(lost);
                state.lost = state.lost.saturating_add(lost);
                if state.is_done() {
                    held.announce();
                }
                self.stored_state().commit(&state);
            }
        }
        state.is_done().then_some(state.lost)
    }
}

fn too_many() -> QueueError {
    io::Error::other("too many processes and receipts hold unfinished items of the queue").into()
}
