use std::panic::Location;
use std::sync::LazyLock;
use std::thread;

use proptest::prelude::*;

use crate::sync::deadlock::flow::Flow;
use crate::sync::deadlock::takes::Taker;
use crate::sync::owner::LockOwner;

use super::*;

const TASKS: usize = 3;
const LOCKS: LockNumber = 4;

fn owner(number: usize) -> LockOwner {
    static OWNED: LazyLock<[LockOwner; TASKS]> = LazyLock::new(|| {
        std::array::from_fn(|_| thread::spawn(LockOwner::current).join().expect("no panic"))
    });
    OWNED[number]
}

fn hold(number: u64, task: usize, lock: LockNumber) -> Take {
    let by = Taker {
        owner: owner(task),
        flow: Flow::Thread,
        place: Location::caller(),
    };
    Take { number, lock, by }
}

/// A step, as in the definition.
#[derive(Clone, Debug)]
struct ModelStep {
    task: usize,
    held: Vec<LockNumber>,
    from: LockNumber,
    to: LockNumber,
    hold: u64,
    counts: bool,
}

impl ModelStep {
    fn excludes(&self, other: &Self) -> bool {
        self.task == other.task || self.held.iter().any(|lock| other.held.contains(lock))
    }
}

/// Tasks that hold locks, and the orders in which they take them, as recorded and by the definition.
#[derive(Debug, Default)]
struct OrderWorld {
    order: LockOrder,
    model: Vec<ModelStep>,
    holds: Vec<(usize, Take)>,
    last_hold: u64,
}

impl OrderWorld {
    fn held(&self, task: usize) -> Vec<LockNumber> {
        let own = self.holds.iter().filter(|(holder, _)| *holder == task);
        own.map(|(_, hold)| hold.lock).collect()
    }

    fn take(&mut self, task: usize, to: LockNumber) {
        if self.holds.iter().any(|(_, hold)| hold.lock == to) {
            return;
        }
        let held = self.held(task);
        for (_, hold) in self.holds.iter().filter(|(holder, _)| *holder == task) {
            self.order.note(hold, &held, to, Location::caller());
            let is_known = self.model.iter().any(|step| {
                (step.task, step.from, step.to) == (task, hold.lock, to)
                    && step.held.iter().all(|lock| held.contains(lock))
            });
            if !is_known {
                self.model.push(ModelStep {
                    task,
                    held: held.clone(),
                    from: hold.lock,
                    to,
                    hold: hold.number,
                    counts: false,
                });
            }
        }
        self.last_hold += 1;
        self.holds.push((task, hold(self.last_hold, task, to)));
    }

    fn release(&mut self, at: usize, is_released: bool) {
        let (_, hold) = self.holds.remove(at);
        let reported = self.order.reported.clone();
        let report = self.order.close(&hold, is_released);
        let mut own = Vec::new();
        self.model.retain_mut(|step| {
            let is_own = step.hold == hold.number;
            step.counts |= is_own;
            own.extend((is_own && is_released).then(|| step.clone()));
            is_released || !is_own
        });
        let new = own
            .iter()
            .filter(|step| !reported.contains(&(step.from, step.to)));
        let cycles = new.filter_map(|step| self.shortest(&mut vec![step.clone()]));
        assert_eq!(report.map(|report| report.places().len()), cycles.min());
    }

    /// The length of the shortest cycle with these steps.
    fn shortest(&self, way: &mut Vec<ModelStep>) -> Option<usize> {
        let (first, last) = (way[0].from, way[way.len() - 1].to);
        if first == last {
            return Some(way.len());
        }
        let mut shortest = None;
        for step in &self.model {
            let fits = step.counts && step.from == last;
            if fits && !way.iter().any(|other| other.excludes(step)) {
                way.push(step.clone());
                let found = self.shortest(way);
                shortest = shortest.into_iter().chain(found).min();
                way.pop();
            }
        }
        shortest
    }

    fn forget(&mut self, lock: LockNumber) {
        if self.holds.iter().all(|(_, hold)| hold.lock != lock) {
            self.order.forget(lock);
            self.model
                .retain(|step| step.from != lock && step.to != lock);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum OrderAction {
    Take(usize, LockNumber),
    /// Releases one of the locks that are held; false if the guard has moved to another task.
    Release(usize, bool),
    Forget(LockNumber),
}

fn action() -> impl Strategy<Value = OrderAction> {
    prop_oneof![
        8 => (0..TASKS, 0..LOCKS).prop_map(|(task, lock)| OrderAction::Take(task, lock)),
        6 => (any::<usize>(), prop::bool::weighted(0.9))
            .prop_map(|(at, is_released)| OrderAction::Release(at, is_released)),
        1 => (0..LOCKS).prop_map(OrderAction::Forget),
    ]
}

proptest! {
    #[test]
    fn a_cycle_is_reported_if_other_tasks_can_be_at_its_steps_without_a_common_lock(
        actions in prop::collection::vec(action(), 0..60)
    ) {
        let mut world = OrderWorld::default();
        for action in actions {
            match action {
                OrderAction::Take(task, lock) => world.take(task, lock),
                OrderAction::Release(at, is_released) if !world.holds.is_empty() => {
                    world.release(at % world.holds.len(), is_released);
                }
                OrderAction::Release(..) => {}
                OrderAction::Forget(lock) => world.forget(lock),
            }
            prop_assert_eq!(world.order.number, world.model.len());
        }
        while !world.holds.is_empty() {
            world.release(0, true);
        }
        prop_assert!(world.order.open.is_empty());
        (0..LOCKS).for_each(|lock| world.forget(lock));
        prop_assert!(world.order.after.is_empty() && world.order.before.is_empty());
        prop_assert!(world.order.reported.is_empty());
        prop_assert_eq!(world.order.number, 0);
    }
}

#[test]
fn the_memory_of_orders_is_bounded() {
    let mut order = LockOrder::default();
    let held = hold(1, 0, 0);
    for lock in 1..=MOST as LockNumber + 10 {
        order.note(&held, &[0], lock, Location::caller());
    }
    assert_eq!(order.number, MOST);
    assert!(order.close(&held, true).is_none());
    order.forget(0);
    assert_eq!(order.number, 0);
}

#[test]
fn any_number_of_tasks_and_of_locks_around_leave_a_bounded_number_of_records() {
    let mut order = LockOrder::default();
    for number in 0..100 {
        let held = hold(number, number as usize % TASKS, 1);
        order.note(&held, &[1, 100 + number], 2, Location::caller());
        assert!(order.close(&held, true).is_none());
    }
    assert_eq!(order.number, MOST_OF_ONE);
}
