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

/// A branch of a task. Each has a different place in memory.
fn taker(task: usize, branch: usize) -> Taker {
    let (start, end) = (100 * branch, 100 * branch + 50);
    Taker {
        owner: owner(task),
        flow: Flow::Future { start, end },
        place: Location::caller(),
    }
}

/// Tasks that take and release locks. Each waits for one lock at a time, and a lock is passed to the task that has
/// waited longest.
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

    /// The chain of waiting tasks, from the holder of `lock` on.
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
        if self.holder(lock).is_none() {
            let hold = self.takes.hold(taker(task, 0), lock);
            return self.held[task].push(hold);
        }
        let chain = self.chain(lock);
        let wait = self.takes.wait(taker(task, 0), lock);
        self.waits[task] = Some(wait);
        self.queues[lock as usize].push_back(task);
        let steps = chain.iter().position(|other| *other == task);
        let circle = self.takes.circle(&wait);
        assert_eq!(circle.as_ref().map(|circle| circle.0.len() - 1), steps);
        if let Some(Circle(steps)) = circle {
            let owners = steps.iter().map(|(_, hold)| hold.by.owner);
            assert!(owners.eq(chain[..steps.len()].iter().map(|task| owner(*task))));
            self.end(task); // Its panic would do the same.
        }
    }

    fn release(&mut self, task: usize, hold: &Take) {
        self.takes.release(hold);
        self.held[task].retain(|other| other != hold);
        if let Some(next) = self.queues[hold.lock as usize].pop_front() {
            let wait = self.waits[next].take().expect("it waits");
            self.takes.end_wait(&wait);
            let hold = self.takes.hold(wait.by, wait.lock);
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
    /// The lock that was taken last.
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
fn a_dropped_lock_has_no_owner_though_its_guard_was_leaked() {
    let mut takes = Takes::default();
    let leaked = takes.hold(taker(0, 0), 1);
    takes.forget(1);
    assert!(takes.is_empty());
    takes.release(&leaked);
    assert!(takes.is_empty());
}

#[test]
fn a_wait_closes_a_circle_only_with_what_its_own_branch_holds() {
    let mut takes = Takes::default();
    takes.hold(taker(0, 1), 1);
    let wait = takes.wait(taker(0, 2), 1);
    assert_eq!(
        takes.circle(&wait),
        None,
        "the other branch will release it"
    );
    takes.hold(taker(1, 0), 2);
    takes.hold(taker(0, 2), 3);
    takes.wait(taker(0, 1), 2);
    let wait = takes.wait(taker(1, 0), 3);
    let circle = takes.circle(&wait);
    assert_eq!(
        circle.map(|circle| circle.0.len()),
        Some(3),
        "both branches are stuck"
    );
}
