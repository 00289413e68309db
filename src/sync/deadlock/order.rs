//! The orders in which locks were taken, by any task at any time. An order that leads back to its start is a
//! possible deadlock.

use std::collections::{HashMap, HashSet};

use super::report::{CodePlace, Pair};
use super::takes::{LockNumber, Take};

/// The maximal number of recorded orders, a few MiB. A program that nests more locks than this gets only some
/// of the reports of opposite orders.
const MOST: usize = 1 << 16;

#[derive(Debug, Default)]
pub(super) struct LockOrder {
    /// For each lock, those that were taken while it was held, and where both were taken the first time.
    after: HashMap<LockNumber, HashMap<LockNumber, Pair>>,
    /// The inverse of `after`: for each lock, those that were held while it was taken.
    before: HashMap<LockNumber, HashSet<LockNumber>>,
    number: usize,
}

impl LockOrder {
    /// Records that the holder of `held` takes `lock`. If that is new and the opposite order is known, returns
    /// the places of that, step by step.
    pub(super) fn note(
        &mut self,
        held: &Take,
        lock: LockNumber,
        place: CodePlace,
    ) -> Option<Vec<Pair>> {
        let known = self.after.get(&held.lock);
        if held.lock == lock || known.is_some_and(|after| after.contains_key(&lock)) {
            return None;
        }
        let opposite = self.path(lock, held.lock);
        if self.number < MOST {
            let places = Pair {
                held: held.place,
                wanted: place,
            };
            self.after
                .entry(held.lock)
                .or_default()
                .insert(lock, places);
            self.before.entry(lock).or_default().insert(held.lock);
            self.number += 1;
        }
        opposite
    }

    /// Removes a dropped lock.
    pub(super) fn forget(&mut self, lock: LockNumber) {
        for (after, _) in self.after.remove(&lock).into_iter().flatten() {
            self.number -= 1;
            if let Some(before) = self.before.get_mut(&after) {
                before.remove(&lock);
                if before.is_empty() {
                    self.before.remove(&after);
                }
            }
        }
        for before in self.before.remove(&lock).into_iter().flatten() {
            self.number -= 1;
            if let Some(after) = self.after.get_mut(&before) {
                after.remove(&lock);
                if after.is_empty() {
                    self.after.remove(&before);
                }
            }
        }
    }

    #[cfg(all(test, not(properties)))]
    pub(super) fn after(&self, lock: LockNumber) -> usize {
        self.after.get(&lock).map_or(0, HashMap::len)
    }

    /// The shortest path along known orders.
    fn path(&self, from: LockNumber, to: LockNumber) -> Option<Vec<Pair>> {
        // For each lock, the step that reached it first.
        let mut reached: HashMap<LockNumber, (LockNumber, Pair)> = HashMap::new();
        let mut ahead = vec![from];
        let mut next = 0;
        while let Some(lock) = ahead.get(next).copied() {
            next += 1;
            for (after, places) in self.after.get(&lock).into_iter().flatten() {
                if *after == from || reached.contains_key(after) {
                    continue;
                }
                reached.insert(*after, (lock, *places));
                ahead.push(*after);
                if *after == to {
                    return Some(back(&reached, from, to));
                }
            }
        }
        None
    }
}

fn back(
    reached: &HashMap<LockNumber, (LockNumber, Pair)>,
    from: LockNumber,
    to: LockNumber,
) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut at = to;
    while at != from {
        let (before, places) = reached[&at];
        pairs.push(places);
        at = before;
    }
    pairs.reverse();
    pairs
}

#[cfg(all(test, properties))]
#[path = "../../../tests/properties/sync/deadlock/order.rs"]
mod tests;
