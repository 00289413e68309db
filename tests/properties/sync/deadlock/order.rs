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
        "what is known is still reported"
    );
    order.forget(0);
    assert_eq!(order.number, 0);
}
