use proptest::prelude::*;

use super::*;
use crate::executor::error::Cause;
use crate::executor::options::TaskName;
use crate::wire::{Chain, codec};

/// How one item, or several, ended.
#[derive(Clone, Debug)]
enum Ending {
    Value(u32, usize),
    Values(Range<u32>),
    Failure(u32, usize),
    Rest,
}

const ITEMS: u32 = 200;

fn endings() -> impl Strategy<Value = Vec<Ending>> {
    let ending = prop_oneof![
        4 => (0..ITEMS, 0_usize..30).prop_map(|(item, len)| Ending::Value(item, len)),
        1 => (0..ITEMS, Just(20_000)).prop_map(|(item, len)| Ending::Value(item, len)),
        4 => (0..ITEMS, 1_u32..50).prop_map(|(first, count)| Ending::Values(first..ITEMS.min(first + count))),
        4 => (0..ITEMS, 0_usize..3).prop_map(|(item, which)| Ending::Failure(item, which)),
        1 => Just(Ending::Rest),
    ];
    prop::collection::vec(ending, 0..100)
}

/// The result of an item: its number, and text that makes it longer.
fn encoded(item: u32, len: usize) -> Chain {
    let mut value = Chain::new();
    codec::put((item, "x".repeat(len)), &mut value).expect("it can be encoded");
    value
}

fn values(items: Range<u32>) -> Values {
    let mut entries = Vec::from(encoded(items.start, 0).into_bytes());
    for item in items.start + 1..items.end {
        Values::join(&mut entries, &encoded(item, 0).into_bytes());
    }
    Values::of(items.start, items.len() as u32, Reader::from(entries))
}

fn error(which: usize) -> TaskError {
    TaskError::new(TaskName::Function("f"), which > 0, Cause::Cancelled)
}

proptest! {
    #![proptest_config(crate::common::cases(300))]

    #[test]
    fn each_item_is_in_one_run_with_its_first_outcome(endings in endings()) {
        let errors = [error(0), error(1), error(2)];
        let mut gathered = GatheredRuns::new(ITEMS);
        // The length of the text, or the number of the error.
        let mut expected: Vec<Option<Result<usize, usize>>> = vec![None; ITEMS as usize];
        let mut expect = |item: u32, outcome| {
            expected[item as usize].get_or_insert(outcome);
        };
        for ending in endings.into_iter().chain([Ending::Rest]) {
            match ending {
                Ending::Value(item, len) => {
                    gathered.put_value(item, encoded(item, len).finish());
                    expect(item, Ok(len));
                }
                Ending::Values(items) => {
                    gathered.put_values(values(items.clone()));
                    items.for_each(|item| expect(item, Ok(0)));
                }
                Ending::Failure(item, which) => {
                    gathered.put_failure(item, errors[which].clone());
                    expect(item, Err(which));
                }
                Ending::Rest => {
                    gathered.fail_rest(&errors[2]);
                    (0..ITEMS).for_each(|item| expect(item, Err(2)));
                    prop_assert!(gathered.is_complete());
                }
            }
        }
        gathered.put_failure(ITEMS + 7, errors[0].clone()); // There is no such item.
        let mut found = Vec::new();
        for run in gathered.take() {
            match run {
                RelayedRun::Values(values) => {
                    prop_assert_eq!(values.first as usize, found.len());
                    values.read(|value| {
                        let (item, text): (u32, String) = codec::get(value).expect("a value");
                        assert_eq!(item as usize, found.len());
                        found.push(Some(Ok(text.len())));
                    });
                }
                RelayedRun::Failed { first, count, error } => {
                    prop_assert_eq!(first as usize, found.len());
                    let which = errors.iter().position(|other| other.is_same(&error)).expect("one of them");
                    found.extend((0..count).map(|_| Some(Err(which))));
                }
            }
        }
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_failure_of_all_items_is_one_run_however_many_there_are() {
    let mut gathered = GatheredRuns::new(u32::MAX);
    gathered.fail_rest(&error(0));
    assert!(gathered.is_complete());
    let runs = gathered.take();
    assert!(matches!(
        runs[..],
        [RelayedRun::Failed {
            first: 0,
            count: u32::MAX,
            ..
        }]
    ));
}

#[test]
fn neighbours_that_end_alike_are_one_run() {
    let mut gathered = GatheredRuns::new(300);
    let error = error(0);
    for item in (0..100).rev() {
        gathered.put_value(item, encoded(item, 1).finish());
        gathered.put_failure(100 + item, error.clone());
        gathered.put_values(values(200 + item..201 + item));
    }
    let runs = gathered.take();
    let [
        RelayedRun::Values(first),
        RelayedRun::Failed { count: 100, .. },
        RelayedRun::Values(last),
    ] = &runs[..]
    else {
        panic!("{runs:?}");
    };
    assert_eq!((first.count, last.count), (100, 100));
}
