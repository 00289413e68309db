//! Who has which lock, and who waits for which. A circle of waits is a deadlock, if it stands.

use std::collections::{HashMap, HashSet};

use crate::sync::owner::LockOwner;

use super::report::{CodePlace, Finding, Pair, Report, WaitStep};

/// The number of a lock; no other ever has the same.
pub(super) type LockNumber = u64;

/// A lock that someone has, or waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Take {
    /// Later ones have higher numbers.
    pub(super) number: u64,
    pub(super) owner: LockOwner,
    pub(super) lock: LockNumber,
    pub(super) place: CodePlace,
}

/// All that are had and waited for at the moment.
#[derive(Debug, Default)]
pub(super) struct Takes {
    last_number: u64,
    /// Each lock has one holder.
    holds: HashMap<LockNumber, Take>,
    /// The same by their owners, in the order they were taken.
    held: HashMap<LockOwner, Vec<Take>>,
    /// A task that runs branches can have several.
    waits: HashMap<LockOwner, Vec<Take>>,
}

/// Each wait is for the lock beside it, whose owner has the next wait. The owner of the last lock
/// is that of the first wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Circle(Vec<(Take, Take)>);

impl Takes {
    /// The locks that `owner` has, in the order it took them.
    pub(super) fn held_by(&self, owner: LockOwner) -> &[Take] {
        self.held.get(&owner).map_or(&[], Vec::as_slice)
    }

    pub(super) fn hold(&mut self, owner: LockOwner, lock: LockNumber, place: CodePlace) -> Take {
        let hold = self.next(owner, lock, place);
        self.holds.insert(lock, hold);
        self.held.entry(owner).or_default().push(hold);
        hold
    }

    pub(super) fn release(&mut self, hold: &Take) {
        if self.holds.get(&hold.lock) == Some(hold) {
            self.holds.remove(&hold.lock);
        }
        remove(&mut self.held, hold);
    }

    pub(super) fn wait(&mut self, owner: LockOwner, lock: LockNumber, place: CodePlace) -> Take {
        let wait = self.next(owner, lock, place);
        self.waits.entry(owner).or_default().push(wait);
        wait
    }

    pub(super) fn end_wait(&mut self, wait: &Take) {
        remove(&mut self.waits, wait);
    }

    /// The lock is no more. If its guard was leaked, it is still had.
    pub(super) fn forget(&mut self, lock: LockNumber) {
        if let Some(hold) = self.holds.remove(&lock) {
            remove(&mut self.held, &hold);
        }
    }

    fn next(&mut self, owner: LockOwner, lock: LockNumber, place: CodePlace) -> Take {
        self.last_number += 1;
        Take {
            number: self.last_number,
            owner,
            lock,
            place,
        }
    }

    /// Where `wait` leads back to its own owner. Waits that began later are not followed, so of a
    /// circle only the wait that closed it finds it.
    pub(super) fn circle(&self, wait: &Take) -> Option<Circle> {
        // What was reached, and from which of these.
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
            if hold.owner == wait.owner {
                return Some(Circle::back_from(here, &reached));
            }
            if seen.insert(hold.owner) {
                let waits = self.waits.get(&hold.owner).into_iter().flatten();
                let older = waits.filter(|other| other.number < wait.number);
                ahead.extend(older.map(|other| (*other, Some(here))));
            }
        }
        None
    }

    #[cfg(test)]
    pub(super) fn waits_of(&self, owner: LockOwner) -> usize {
        self.waits.get(&owner).map_or(0, Vec::len)
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.holds.is_empty() && self.held.is_empty() && self.waits.is_empty()
    }
}

/// Leaves nothing behind for an owner who has no more.
fn remove(takes: &mut HashMap<LockOwner, Vec<Take>>, take: &Take) {
    if let Some(own) = takes.get_mut(&take.owner) {
        own.retain(|other| other.number != take.number);
        if own.is_empty() {
            takes.remove(&take.owner);
        }
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
            owner: wait.owner,
            places: Pair {
                held: held.place,
                wanted: wait.place,
            },
        });
        Report(Finding::Deadlock(steps.collect()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::panic::Location;
    use std::sync::LazyLock;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    const OWNERS: usize = 5;
    const LOCKS: usize = 6;

    fn owner(number: usize) -> LockOwner {
        static OWNED: LazyLock<[LockOwner; OWNERS]> = LazyLock::new(|| {
            std::array::from_fn(|_| thread::spawn(LockOwner::current).join().expect("no panic"))
        });
        OWNED[number]
    }

    /// Tasks that take and release locks, as they would: each waits for one lock at a time, and a lock goes to
    /// who has waited longest.
    #[derive(Debug, Default)]
    struct World {
        takes: Takes,
        held: [Vec<Take>; OWNERS],
        waits: [Option<Take>; OWNERS],
        queues: [VecDeque<usize>; LOCKS],
    }

    impl World {
        fn holder(&self, lock: LockNumber) -> Option<usize> {
            (0..OWNERS).find(|owner| self.held[*owner].iter().any(|hold| hold.lock == lock))
        }

        /// Who waits for whom, from the one who wants `lock`.
        fn chain(&self, mut lock: LockNumber) -> Vec<usize> {
            let mut chain = Vec::new();
            while let Some(holder) = self.holder(lock) {
                chain.push(holder);
                match &self.waits[holder] {
                    Some(wait) if chain.len() <= OWNERS => lock = wait.lock,
                    _ => break,
                }
            }
            chain
        }

        fn take(&mut self, task: usize, lock: LockNumber) {
            let place = Location::caller();
            if self.holder(lock).is_none() {
                let hold = self.takes.hold(owner(task), lock, place);
                return self.held[task].push(hold);
            }
            let chain = self.chain(lock);
            let wait = self.takes.wait(owner(task), lock, place);
            self.waits[task] = Some(wait);
            self.queues[lock as usize].push_back(task);
            let steps = chain.iter().position(|other| *other == task);
            let circle = self.takes.circle(&wait);
            assert_eq!(circle.as_ref().map(|circle| circle.0.len() - 1), steps);
            if let Some(Circle(steps)) = circle {
                let owners = steps.iter().map(|(_, hold)| hold.owner);
                assert!(owners.eq(chain[..steps.len()].iter().map(|task| owner(*task))));
                self.end(task); // As its panic would.
            }
        }

        fn release(&mut self, task: usize, hold: &Take) {
            self.takes.release(hold);
            self.held[task].retain(|other| other != hold);
            if let Some(next) = self.queues[hold.lock as usize].pop_front() {
                let wait = self.waits[next].take().expect("it waits");
                self.takes.end_wait(&wait);
                let hold = self.takes.hold(wait.owner, wait.lock, wait.place);
                self.held[next].push(hold);
            }
        }

        fn end(&mut self, task: usize) {
            if let Some(wait) = self.waits[task].take() {
                self.takes.end_wait(&wait);
                self.queues[wait.lock as usize].retain(|other| *other != task);
            }
            for hold in std::mem::take(&mut self.held[task]) {
                self.held[task].push(hold);
                self.release(task, &hold);
            }
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum TakeStep {
        Take(LockNumber),
        /// The one that was taken last.
        Release,
        /// Drops its guards, or its future.
        End,
    }

    fn step() -> impl Strategy<Value = TakeStep> {
        prop_oneof![
            6 => (0..LOCKS as LockNumber).prop_map(TakeStep::Take),
            2 => Just(TakeStep::Release),
            1 => Just(TakeStep::End),
        ]
    }

    proptest! {
        #[test]
        fn a_circle_is_found_by_the_wait_that_closes_it_and_by_no_other(
            steps in prop::collection::vec((0..OWNERS, step()), 0..200)
        ) {
            let mut world = World::default();
            for (task, step) in steps {
                let is_waiting = world.waits[task].is_some();
                match step {
                    TakeStep::End => world.end(task),
                    TakeStep::Take(lock) if !is_waiting => world.take(task, lock),
                    TakeStep::Release if !is_waiting => {
                        if let Some(hold) = world.held[task].last().copied() {
                            world.release(task, &hold);
                        }
                    }
                    _ => {}
                }
                for task in 0..OWNERS {
                    assert_eq!(world.takes.held_by(owner(task)), world.held[task]);
                }
            }
            (0..OWNERS).for_each(|task| world.end(task));
            prop_assert!(world.takes.is_empty(), "{:?}", world.takes);
        }
    }

    #[test]
    fn a_lock_that_is_no_more_is_had_by_nobody_though_its_guard_was_leaked() {
        let mut takes = Takes::default();
        let leaked = takes.hold(owner(0), 1, Location::caller());
        takes.forget(1);
        assert!(takes.is_empty());
        takes.release(&leaked);
        assert!(takes.is_empty());
    }
}
