//! Small programs of tasks and locks. Tries all schedules to find whether one ends in a deadlock.

use std::collections::HashSet;

pub(crate) const LOCKS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Lock(usize),
    Unlock(usize),
    /// Moves the guard to another task, which drops it later.
    Give(usize),
    Pause,
}

/// What one branch of a task does.
pub(crate) type Branch = Vec<Step>;

/// The branches of each task.
#[derive(Clone, Debug)]
pub(crate) struct Program(pub(crate) Vec<Vec<Branch>>);

/// A deterministic sequence of pseudo-random numbers.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % sides
    }
}

impl Program {
    /// A program of 2 or 3 tasks, some of which have two branches.
    pub(crate) fn random(dice: &mut Dice) -> Self {
        let gives = dice.roll(3) == 0;
        let tasks = 2 + dice.roll(2);
        let task = |_| {
            let branches = 1 + dice.roll(4) / 3;
            (0..branches).map(|_| branch(dice, gives)).collect()
        };
        Self((0..tasks).map(task).collect())
    }

    /// Two tasks without branches that keep their guards.
    pub(crate) fn simple(dice: &mut Dice) -> Self {
        Self((0..2).map(|_| vec![branch(dice, false)]).collect())
    }

    pub(crate) fn gives(&self) -> bool {
        let mut steps = self.0.iter().flatten().flatten();
        steps.any(|step| matches!(step, Step::Give(_)))
    }

    /// Whether some schedule ends in a deadlock.
    pub(crate) fn may_deadlock(&self) -> bool {
        let branches: Vec<&Branch> = self.0.iter().flatten().collect();
        let start = Moment {
            at: vec![0; branches.len()],
            locks: [Holder::None; LOCKS],
        };
        let (mut seen, mut ahead) = (HashSet::from([start.clone()]), vec![start]);
        while let Some(moment) = ahead.pop() {
            let next = moment.next(&branches);
            let has_ended = moment
                .at
                .iter()
                .zip(&branches)
                .all(|(at, branch)| *at == branch.len());
            if next.is_empty() && !has_ended {
                return true;
            }
            ahead.extend(
                next.into_iter()
                    .filter(|moment| seen.insert(moment.clone())),
            );
        }
        false
    }
}

fn branch(dice: &mut Dice, gives: bool) -> Branch {
    let (mut steps, mut held) = (Vec::new(), Vec::new());
    for _ in 0..2 + dice.roll(6) {
        let lock = dice.roll(LOCKS);
        match dice.roll(8) {
            0..=4 if !held.contains(&lock) => {
                held.push(lock);
                steps.push(Step::Lock(lock));
            }
            5 if gives && !held.is_empty() => {
                steps.push(Step::Give(held.swap_remove(dice.roll(held.len()))));
            }
            5 | 6 if !held.is_empty() => {
                steps.push(Step::Unlock(held.swap_remove(dice.roll(held.len()))));
            }
            _ => steps.push(Step::Pause),
        }
    }
    while !held.is_empty() {
        steps.push(Step::Unlock(held.swap_remove(dice.roll(held.len()))));
    }
    steps
}

/// The state between two steps of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Moment {
    /// The next step of each branch.
    at: Vec<usize>,
    locks: [Holder; LOCKS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Holder {
    None,
    Branch,
    /// The task to which guards move.
    Other,
}

impl Moment {
    fn next(&self, branches: &[&Branch]) -> Vec<Self> {
        let mut next = Vec::new();
        for (number, branch) in branches.iter().enumerate() {
            let Some(step) = branch.get(self.at[number]) else {
                continue;
            };
            let mut after = self.clone();
            after.at[number] += 1;
            match *step {
                Step::Lock(lock) if self.locks[lock] != Holder::None => continue,
                Step::Lock(lock) => after.locks[lock] = Holder::Branch,
                Step::Unlock(lock) => after.locks[lock] = Holder::None,
                Step::Give(lock) => after.locks[lock] = Holder::Other,
                Step::Pause => {}
            }
            next.push(after);
        }
        for lock in (0..LOCKS).filter(|lock| self.locks[*lock] == Holder::Other) {
            let mut after = self.clone();
            after.locks[lock] = Holder::None;
            next.push(after);
        }
        next
    }
}

#[test]
fn the_model_knows_a_deadlock() {
    use Step::{Give, Lock, Unlock};
    let forth = vec![Lock(0), Lock(1), Unlock(1), Unlock(0)];
    let back = vec![Lock(1), Lock(0), Unlock(0), Unlock(1)];
    let under = |branch: &Branch| [&[Lock(2)], &branch[..], &[Unlock(2)]].concat();
    assert!(Program(vec![vec![forth.clone()], vec![back.clone()]]).may_deadlock());
    assert!(!Program(vec![vec![forth.clone()], vec![forth.clone()]]).may_deadlock());
    assert!(!Program(vec![vec![under(&forth)], vec![under(&back)]]).may_deadlock());
    let gives = vec![Lock(1), Give(1), Lock(0), Unlock(0)];
    assert!(!Program(vec![vec![forth], vec![gives]]).may_deadlock());
}
