//! The orders in which locks were taken, by any task at any time. Orders that lead back to their start are a possible
//! deadlock if tasks can be at all of these steps at the same time: each step by a different task, and no two of them
//! under one lock.
//!
//! A step counts once the task that took the first of its locks releases that lock. Until then, the guard may have
//! moved to another task.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use crate::sync::owner::LockOwner;

use super::report::{CodePlace, Finding, Pair, Report, WaitStep};
use super::takes::{LockNumber, Take};

/// The maximal number of recorded steps, a few MiB. A program that nests more locks than this gets only some of the
/// reports of opposite orders.
const MOST: usize = 1 << 16;

/// The maximal number of records of one step, under different locks.
const MOST_OF_ONE: usize = 16;

/// The number of tasks that are recorded for one step under the same locks. A cycle needs a task for each step.
const MOST_OWNERS: usize = 4;

/// The longest cycle that a search finds, and the number of records that one search examines.
const MOST_STEPS: usize = 8;
const MOST_EXAMINED: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct LockOrder {
    /// For each lock, those that were taken while it was held.
    after: HashMap<LockNumber, HashMap<LockNumber, Vec<OrderStep>>>,
    /// The inverse of `after`: for each lock, those that were held while it was taken.
    before: HashMap<LockNumber, HashSet<LockNumber>>,
    /// By the number of a hold that has not ended: the locks of its steps, which do not count until it ends.
    open: HashMap<u64, HashSet<LockNumber>>,
    /// The pairs of locks whose order was part of a report. Their next steps are not reported again.
    reported: HashSet<(LockNumber, LockNumber)>,
    number: usize,
}

/// A record that a task that held one lock has taken another.
#[derive(Debug)]
struct OrderStep {
    locks: (LockNumber, LockNumber),
    owner: LockOwner,
    /// All the locks that it held.
    held: Vec<LockNumber>,
    places: Pair,
    /// The number of the hold, until the step counts.
    open: Option<u64>,
}

impl LockOrder {
    /// Records that the task with `hold` takes `lock` at `place`. `held` are all the locks that it holds.
    pub(super) fn note(
        &mut self,
        hold: &Take,
        held: &[LockNumber],
        lock: LockNumber,
        place: CodePlace,
    ) {
        if hold.lock == lock || self.number >= MOST {
            return;
        }
        let after = self.after.entry(hold.lock).or_default();
        let steps = after.entry(lock).or_default();
        if steps.len() >= MOST_OF_ONE || is_known(steps, hold.by.owner, held) {
            return;
        }
        steps.push(OrderStep {
            locks: (hold.lock, lock),
            owner: hold.by.owner,
            held: held.to_vec(),
            places: Pair {
                held: hold.by.place,
                wanted: place,
            },
            open: Some(hold.number),
        });
        self.number += 1;
        self.before.entry(lock).or_default().insert(hold.lock);
        self.open.entry(hold.number).or_default().insert(lock);
    }

    /// Call this when `hold` ends. `is_released`: whether the task that took it releases it. If so, its steps count
    /// from now on. Returns the shortest cycle with one of them, once for each pair of locks.
    pub(super) fn close(&mut self, hold: &Take, is_released: bool) -> Option<Report> {
        let mut locks: Vec<LockNumber> = self.open.remove(&hold.number)?.into_iter().collect();
        locks.sort_unstable(); // So the report is the same each time.
        for lock in &locks {
            self.close_step(hold, *lock, is_released);
        }
        let new = locks
            .iter()
            .filter(|lock| !self.reported.contains(&(hold.lock, **lock)));
        let cycles = new.flat_map(|lock| self.cycles(hold, *lock));
        let cycle = cycles.min_by_key(Vec::len)?;
        let now = WaitStep {
            owner: cycle[0].owner,
            places: cycle[0].places,
        };
        let before = cycle[1..].iter().map(|step| step.places).collect();
        let locks: Vec<_> = cycle.iter().map(|step| step.locks).collect();
        self.reported.extend(locks);
        Some(Report(Finding::Orders { now, before }))
    }

    fn close_step(&mut self, hold: &Take, lock: LockNumber, is_released: bool) {
        let Some(after) = self.after.get_mut(&hold.lock) else {
            return;
        };
        let Entry::Occupied(mut entry) = after.entry(lock) else {
            return;
        };
        let steps = entry.get_mut();
        if is_released {
            let own = steps
                .iter_mut()
                .filter(|step| step.open == Some(hold.number));
            own.for_each(|step| step.open = None);
            return;
        }
        let all = steps.len();
        steps.retain(|step| step.open != Some(hold.number));
        self.number -= all - steps.len();
        if steps.is_empty() {
            entry.remove();
            if after.is_empty() {
                self.after.remove(&hold.lock);
            }
            remove(&mut self.before, lock, hold.lock);
        }
    }

    /// The steps of the owner of `hold` from its lock to `lock`, each followed by the shortest way back.
    fn cycles(&self, hold: &Take, lock: LockNumber) -> Vec<Vec<&OrderStep>> {
        let known = self
            .after
            .get(&hold.lock)
            .and_then(|after| after.get(&lock));
        let own = known.into_iter().flatten();
        let own = own.filter(|step| step.owner == hold.by.owner && step.open.is_none());
        let Some(distance) = self.distance(lock, hold.lock) else {
            return Vec::new();
        };
        own.filter_map(|step| self.cycle(step, distance)).collect()
    }

    /// The number of steps of the shortest way, taken by any tasks.
    fn distance(&self, from: LockNumber, to: LockNumber) -> Option<usize> {
        let mut reached = HashSet::from([from]);
        let mut ahead = VecDeque::from([(from, 0)]);
        while let Some((lock, steps)) = ahead.pop_front() {
            for after in self.after.get(&lock).into_iter().flat_map(HashMap::keys) {
                if *after == to {
                    return Some(steps + 1);
                }
                if reached.insert(*after) {
                    ahead.push_back((*after, steps + 1));
                }
            }
        }
        None
    }

    /// The shortest cycle through `step` that tasks can complete: each of its steps by a different task, at the same
    /// time.
    fn cycle<'a>(&'a self, step: &'a OrderStep, distance: usize) -> Option<Vec<&'a OrderStep>> {
        let mut left = MOST_EXAMINED;
        let (to, from) = step.locks;
        (distance..MOST_STEPS).find_map(|steps| {
            let mut way = vec![step];
            let found = self.walk(&mut way, from, to, steps, &mut left);
            found.then_some(way)
        })
    }

    /// Adds exactly `steps` steps that lead to `to`.
    fn walk<'a>(
        &'a self,
        way: &mut Vec<&'a OrderStep>,
        from: LockNumber,
        to: LockNumber,
        steps: usize,
        left: &mut usize,
    ) -> bool {
        for (after, known) in self.after.get(&from).into_iter().flatten() {
            if (steps == 1) != (*after == to) {
                continue;
            }
            for step in known {
                let Some(rest) = left.checked_sub(1) else {
                    return false;
                };
                *left = rest;
                if step.open.is_some() || way.iter().any(|other| other.excludes(step)) {
                    continue;
                }
                way.push(step);
                if steps == 1 || self.walk(way, *after, to, steps - 1, left) {
                    return true;
                }
                way.pop();
            }
        }
        false
    }

    /// Removes a dropped lock.
    pub(super) fn forget(&mut self, lock: LockNumber) {
        self.reported
            .retain(|(from, to)| *from != lock && *to != lock);
        for (after, steps) in self.after.remove(&lock).into_iter().flatten() {
            self.forget_steps(&steps, after);
            remove(&mut self.before, after, lock);
        }
        for before in self.before.remove(&lock).into_iter().flatten() {
            let Some(after) = self.after.get_mut(&before) else {
                continue;
            };
            let steps = after.remove(&lock).unwrap_or_default();
            if after.is_empty() {
                self.after.remove(&before);
            }
            self.forget_steps(&steps, lock);
        }
    }

    fn forget_steps(&mut self, steps: &[OrderStep], lock: LockNumber) {
        self.number -= steps.len();
        for hold in steps.iter().filter_map(|step| step.open) {
            remove(&mut self.open, hold, lock);
        }
    }

    #[cfg(all(test, not(properties)))]
    pub(super) fn after(&self, lock: LockNumber) -> usize {
        self.after.get(&lock).map_or(0, HashMap::len)
    }
}

impl OrderStep {
    /// Whether no two tasks can be at both steps at the same time.
    fn excludes(&self, other: &Self) -> bool {
        self.owner == other.owner || self.held.iter().any(|lock| other.held.contains(lock))
    }
}

/// Whether a step of `owner` under the locks `held` adds nothing new.
fn is_known(steps: &[OrderStep], owner: LockOwner, held: &[LockNumber]) -> bool {
    let alike = steps
        .iter()
        .filter(|step| step.held.iter().all(|lock| held.contains(lock)));
    let owners: HashSet<LockOwner> = alike.map(|step| step.owner).collect();
    owners.contains(&owner) || owners.len() >= MOST_OWNERS
}

/// Removes `value` from the values of `key`, and the entry if none is left.
fn remove(sets: &mut HashMap<u64, HashSet<LockNumber>>, key: u64, value: LockNumber) {
    if let Entry::Occupied(mut entry) = sets.entry(key) {
        entry.get_mut().remove(&value);
        if entry.get().is_empty() {
            entry.remove();
        }
    }
}

#[cfg(all(test, properties))]
#[path = "../../../tests/properties/sync/deadlock/order.rs"]
mod tests;
