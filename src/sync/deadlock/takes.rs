//! Which task holds which lock, and which waits for which. A cycle of waits that lasts is a deadlock.

use std::collections::{HashMap, HashSet};

use crate::sync::owner::LockOwner;

use super::flow::Flow;
use super::report::{CodePlace, Finding, Pair, Report, WaitStep};

/// The number of a lock; never used twice.
pub(super) type LockNumber = u64;

/// A lock that is held or waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Take {
    /// Later takes have higher numbers.
    pub(super) number: u64,
    pub(super) lock: LockNumber,
    pub(super) by: Taker,
}

/// What takes a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taker {
    pub(super) owner: LockOwner,
    pub(super) flow: Flow,
    pub(super) place: CodePlace,
}

/// All current holds and waits.
#[derive(Debug, Default)]
pub(super) struct Takes {
    last_number: u64,
    /// One holder for each lock.
    holds: HashMap<LockNumber, Take>,
    /// The holds by owner, in the order of taking.
    held: HashMap<LockOwner, Vec<Take>>,
    /// The waits by owner. A task that runs branches can have several.
    waits: HashMap<LockOwner, Vec<Take>>,
}

/// Each wait is paired with the hold of its lock, whose flow has the next wait. The flow of the last hold is that of
/// the first wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Circle(Vec<(Take, Take)>);

impl Takes {
    /// The locks that `owner` holds, in the order of taking.
    pub(super) fn held_by(&self, owner: LockOwner) -> &[Take] {
        self.held.get(&owner).map_or(&[], Vec::as_slice)
    }

    pub(super) fn hold(&mut self, by: Taker, lock: LockNumber) -> Take {
        let hold = self.next(by, lock);
        self.holds.insert(lock, hold);
        self.held.entry(by.owner).or_default().push(hold);
        hold
    }

    pub(super) fn release(&mut self, hold: &Take) {
        if self.holds.get(&hold.lock) == Some(hold) {
            self.holds.remove(&hold.lock);
        }
        remove(&mut self.held, hold);
    }

    pub(super) fn wait(&mut self, by: Taker, lock: LockNumber) -> Take {
        let wait = self.next(by, lock);
        self.waits.entry(by.owner).or_default().push(wait);
        wait
    }

    pub(super) fn end_wait(&mut self, wait: &Take) {
        remove(&mut self.waits, wait);
    }

    /// Removes a dropped lock, also if its guard was leaked.
    pub(super) fn forget(&mut self, lock: LockNumber) {
        if let Some(hold) = self.holds.remove(&lock) {
            remove(&mut self.held, &hold);
        }
    }

    fn next(&mut self, by: Taker, lock: LockNumber) -> Take {
        self.last_number += 1;
        Take {
            number: self.last_number,
            lock,
            by,
        }
    }

    /// The cycle that leads from `wait` back to its own flow. Later waits are not followed, so only the wait
    /// that closed a cycle finds it.
    pub(super) fn circle(&self, wait: &Take) -> Option<Circle> {
        // The pairs that were reached, each with the index of its predecessor.
        let mut reached: Vec<(Take, Take, Option<usize>)> = Vec::new();
        let mut seen = HashSet::new();
        let mut ahead = vec![(*wait, None)];
        let mut next = 0;
        while let Some((wait_here, from)) = ahead.get(next).copied() {
            next += 1;
            let Some(hold) = self.holds.get(&wait_here.lock) else {
                continue;
            };
            reached.push((wait_here, *hold, from));
            let here = reached.len() - 1;
            if wait.follows(hold) {
                return Some(Circle::back_from(here, &reached));
            }
            if seen.insert(hold.number) {
                let waits = self.waits.get(&hold.by.owner).into_iter().flatten();
                let older = waits.filter(|other| other.number < wait.number && other.follows(hold));
                ahead.extend(older.map(|other| (*other, Some(here))));
            }
        }
        None
    }

    #[cfg(all(test, not(properties)))]
    pub(super) fn waits_of(&self, owner: LockOwner) -> usize {
        self.waits.get(&owner).map_or(0, Vec::len)
    }

    #[cfg(all(test, properties))]
    fn is_empty(&self) -> bool {
        self.holds.is_empty() && self.held.is_empty() && self.waits.is_empty()
    }
}

/// Removes `take`, and the entry of an owner that has no more.
fn remove(takes: &mut HashMap<LockOwner, Vec<Take>>, take: &Take) {
    if let Some(own) = takes.get_mut(&take.by.owner) {
        own.retain(|other| other.number != take.number);
        if own.is_empty() {
            takes.remove(&take.by.owner);
        }
    }
}

impl Take {
    /// Whether this wait surely keeps the lock of `hold` held.
    pub(super) fn follows(&self, hold: &Self) -> bool {
        self.by.owner == hold.by.owner && self.by.flow.follows(hold.by.flow)
    }
}

impl Circle {
    fn back_from(last: usize, reached: &[(Take, Take, Option<usize>)]) -> Self {
        let mut steps = Vec::new();
        let mut at = Some(last);
        while let Some((wait, hold, from)) = at.map(|at| reached[at]) {
            steps.push((wait, hold));
            at = from;
        }
        steps.reverse();
        Self(steps)
    }

    pub(super) fn report(&self) -> Report {
        let before = self.0.iter().cycle().skip(self.0.len() - 1);
        let steps = self.0.iter().zip(before);
        let steps = steps.map(|((wait, _), (_, held))| WaitStep {
            owner: wait.by.owner,
            places: Pair {
                held: held.by.place,
                wanted: wait.by.place,
            },
        });
        Report(Finding::Deadlock(steps.collect()))
    }
}

#[cfg(all(test, properties))]
#[path = "../../../tests/properties/sync/deadlock/takes.rs"]
mod tests;
