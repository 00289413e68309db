use futures::{FutureExt as _, StreamExt as _};
use proptest::prelude::*;

use super::*;
use crate::executor::error::Cause;
use crate::executor::item_outcomes::ItemOutcomes;

fn chunk(items: u32, ordered: bool) -> (Arc<Chunk<u32>>, Outcomes<u32>) {
    let chunk = Chunk::new(
        Ticket::new("test", None),
        0,
        items,
        ordered,
        &Spares::default(),
    );
    let outcomes = chunk.outcomes();
    (chunk, outcomes)
}

/// The outcomes that have arrived, with the positions of the items in a map, where the first one is at 1000.
fn with_places(outcomes: &mut Outcomes<u32>) -> impl Iterator<Item = (usize, Option<u32>)> {
    let arrived = outcomes.next().now_or_never().flatten();
    let items = arrived.map(|arrived| ItemOutcomes::new(arrived.outcomes, 1000, arrived.numbers));
    items
        .into_iter()
        .flatten()
        .map(|item| (item.index, item.outcome.ok()))
}

fn taken(outcomes: &mut Outcomes<u32>) -> Option<Vec<u32>> {
    let arrived = outcomes.next().now_or_never()??;
    Some(
        arrived
            .outcomes
            .into_iter()
            .map(|outcome| outcome.expect("none failed"))
            .collect(),
    )
}

proptest! {
    #[test]
    fn without_order_each_answer_is_taken_with_the_number_of_its_item(
        order in Just((0..24_u32).collect::<Vec<_>>()).prop_shuffle(),
        take_after in prop::collection::vec(any::<bool>(), 24),
    ) {
        let (chunk, mut outcomes) = chunk(24, false);
        let mut all = Vec::new();
        for (item, take) in order.iter().zip(take_after) {
            chunk.fulfil(*item, 100 + *item);
            if take { all.extend(with_places(&mut outcomes)) }
        }
        all.extend(with_places(&mut outcomes));
        let expected = order.iter().map(|item| (1000 + *item as usize, Some(100 + *item)));
        prop_assert_eq!(all, expected.collect::<Vec<_>>());
    }

    #[test]
    fn answers_given_in_any_order_are_taken_in_item_order(
        order in Just((0..24_u32).collect::<Vec<_>>()).prop_shuffle(),
        take_after in prop::collection::vec(any::<bool>(), 24),
    ) {
        let (chunk, mut outcomes) = chunk(24, true);
        let mut all = Vec::new();
        for (item, take) in order.into_iter().zip(take_after) {
            prop_assert!(chunk.is_wanted(item.into()));
            chunk.fulfil(item, item);
            prop_assert!(!chunk.is_wanted(item.into()));
            if take { all.extend(taken(&mut outcomes).unwrap_or_default()) }
        }
        all.extend(taken(&mut outcomes).unwrap_or_default());
        prop_assert_eq!(all, (0..24).collect::<Vec<_>>());
        prop_assert!(chunk.ticket().is_closed());
        prop_assert!(matches!(outcomes.next().now_or_never(), Some(None)));
    }
}

#[test]
fn without_order_an_answer_is_taken_as_it_comes() {
    let (chunk, mut outcomes) = chunk(3, false);
    chunk.fulfil(2, 2);
    assert_eq!(taken(&mut outcomes), Some(vec![2]));
    chunk.fulfil(0, 0);
    assert_eq!(taken(&mut outcomes), Some(vec![0]));
    assert!(!chunk.ticket().is_closed());
    chunk.fulfil(1, 1);
    assert_eq!(taken(&mut outcomes), Some(vec![1]));
    assert!(chunk.ticket().is_closed());
}

#[test]
fn the_first_answer_of_an_item_counts() {
    for ordered in [true, false] {
        let (chunk, mut outcomes) = chunk(3, ordered);
        for item in [1, 0] {
            chunk.fail(item, chunk.ticket().error(true, Cause::Cancelled));
            chunk.fulfil(item, 7);
        }
        let arrived = outcomes.next().now_or_never().flatten();
        let batch = arrived.expect("two have arrived").outcomes;
        assert_eq!(batch.len(), 2);
        assert!(
            batch
                .iter()
                .all(|outcome| outcome.as_ref().is_err_and(TaskError::is_cancelled))
        );
        assert!(outcomes.next().now_or_never().is_none());
    }
}

#[test]
fn a_forgotten_chunk_wants_nothing_more() {
    let (chunk, outcomes) = chunk(2, true);
    chunk.fulfil(0, 0);
    drop(outcomes);
    assert!(chunk.ticket().is_closed());
    assert!(!chunk.is_wanted(1));
    chunk.fulfil(1, 1);
    assert!(chunk.lock().arrived.is_empty());
}
