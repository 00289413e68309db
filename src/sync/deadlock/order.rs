//! In which order locks are taken, by anyone at any time. An order that leads back to where it began
//! can be a deadlock, if not this time.

use std::collections::{HashMap, HashSet};

use super::report::{CodePlace, Pair};
use super::takes::{LockNumber, Take};

/// So many orders are remembered, in some MiB. A program that has more locks in use at a time, each
/// taken beside each other, is told of some opposite orders only.
const MOST: usize = 1 << 16;

#[derive(Debug, Default)]
pub(super) struct LockOrder {
    /// What was taken while a lock was had, and where both were taken the first time.
    after: HashMap<LockNumber, HashMap<LockNumber, Pair>>,
    /// What was had while a lock was taken: the same the other way round.
    before: HashMap<LockNumber, HashSet<LockNumber>>,
    number: usize,
}

impl LockOrder {
    /// Someone has a lock and takes another. If that is new, and the opposite order is known, gives the
    /// places of that, step by step.
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

    /// The lock is no more.
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

    #[cfg(test)]
    pub(super) fn after(&self, lock: LockNumber) -> usize {
        self.after.get(&lock).map_or(0, HashMap::len)
    }

    /// The shortest way by known orders.
    fn path(&self, from: LockNumber, to: LockNumber) -> Option<Vec<Pair>> {
        // How each lock was reached first.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::panic::Location;

    use proptest::prelude::*;

    use crate::sync::owner::LockOwner;

    use super::*;

    const LOCKS: LockNumber = 7;

    fn note(order: &mut LockOrder, held: LockNumber, lock: LockNumber) -> Option<usize> {
        let place = Location::caller();
        let held = Take {
            number: 0,
            owner: LockOwner::current(),
            lock: held,
            place,
        };
        order.note(&held, lock, place).map(|before| before.len())
    }

    /// The steps of the shortest way.
    fn distance(
        orders: &BTreeSet<(LockNumber, LockNumber)>,
        from: LockNumber,
        to: LockNumber,
    ) -> Option<usize> {
        let mut reached = BTreeSet::from([from]);
        for steps in 1..=LOCKS as usize {
            let next = orders.iter().filter(|(first, _)| reached.contains(first));
            let next: Vec<LockNumber> = next.map(|(_, second)| *second).collect();
            if next.contains(&to) {
                return Some(steps);
            }
            reached.extend(next);
        }
        None
    }

    proptest! {
        #[test]
        fn an_order_is_told_once_if_the_known_ones_lead_back(
            steps in prop::collection::vec((0..LOCKS, 0..LOCKS, 0..8), 0..100)
        ) {
            let mut order = LockOrder::default();
            let mut known = BTreeSet::new();
            for (held, lock, kind) in steps {
                if kind == 0 {
                    order.forget(lock);
                    known.retain(|(first, second)| *first != lock && *second != lock);
                } else {
                    let is_new = held != lock && !known.contains(&(held, lock));
                    let expected = is_new.then(|| distance(&known, lock, held)).flatten();
                    prop_assert_eq!(note(&mut order, held, lock), expected);
                    if held != lock {
                        known.insert((held, lock));
                    }
                }
                prop_assert_eq!(order.number, known.len());
            }
            (0..LOCKS).for_each(|lock| order.forget(lock));
            prop_assert!(order.after.is_empty() && order.before.is_empty());
            prop_assert_eq!(order.number, 0);
        }
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let mut order = LockOrder::default();
        for lock in 1..=MOST as LockNumber + 10 {
            assert_eq!(note(&mut order, 0, lock), None);
        }
        assert_eq!(order.number, MOST);
        assert_eq!(
            note(&mut order, 1, 0),
            Some(1),
            "what is known is still told"
        );
        order.forget(0);
        assert_eq!(order.number, 0);
    }
}
