use std::cmp::Ordering;

use proptest::prelude::*;

use super::*;

/// An item that is compared only by its first part.
#[derive(Clone, Copy, Debug)]
struct Ranked(u8, usize);

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Ranked {}

/// Puts (`Some`) and gets (`None`) in turn, and compares the results with `next`, which removes the expected item from
/// a list in the order of arrival.
fn follows<O: Order<Ranked>>(steps: &[Option<u8>], next: impl Fn(&mut Vec<Ranked>) -> Ranked) {
    let (mut store, mut model) = (O::Store::EMPTY, Vec::new());
    let gets = [None].iter().cycle().take(steps.len());
    for (number, step) in steps.iter().chain(gets).enumerate() {
        match step {
            Some(rank) => {
                let item = Ranked(*rank, number);
                store.push(item, store.place(&item));
                model.push(Ranked(*rank, number));
            }
            None => {
                let expected = (!model.is_empty()).then(|| next(&mut model));
                let found = store.pop();
                assert_eq!(found.map(|item| item.1), expected.map(|item| item.1));
            }
        }
        assert_eq!(store.len(), model.len());
    }
}

proptest! {
    #[test]
    fn each_order_returns_the_item_that_is_next(
        steps in prop::collection::vec(prop::option::weighted(0.6, 0_u8..4), 0..60)
    ) {
        follows::<Fifo>(&steps, |model| model.remove(0));
        follows::<Lifo>(&steps, |model| model.pop().expect("there is one"));
        follows::<SmallestFirst>(&steps, |model| {
            let smallest = (0..model.len()).min_by_key(|at| (model[*at].0, *at));
            model.remove(smallest.expect("there is one"))
        });
    }
}
