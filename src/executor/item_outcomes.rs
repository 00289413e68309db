//! Outcomes with the places of their items in the source of a map. Outcomes arrive in runs, so runs are kept.

use std::iter::Flatten;
use std::ops::Range;
use std::vec;

use super::error::TaskError;

/// The outcome of an item, with the place of the item in the source.
pub(super) struct ItemOutcome<R> {
    pub(super) index: usize,
    pub(super) outcome: Result<R, TaskError>,
}

/// The outcomes that a map yields next: those of one chunk.
pub(super) struct ItemOutcomes<R> {
    outcomes: vec::IntoIter<Result<R, TaskError>>,
    /// The place of the chunk's first item.
    first: usize,
    numbers: NumbersIter,
}

impl<R> ItemOutcomes<R> {
    pub(super) fn none() -> Self {
        Self::new(Vec::new(), 0, ItemNumbers::default())
    }

    /// `numbers` count from the first item of the chunk, whose place is `first`.
    pub(super) fn new(
        outcomes: Vec<Result<R, TaskError>>,
        first: usize,
        numbers: ItemNumbers,
    ) -> Self {
        Self {
            outcomes: outcomes.into_iter(),
            first,
            numbers: numbers.into_iter(),
        }
    }

    /// The next outcome, which stays.
    pub(super) fn peek(&self) -> Option<&Result<R, TaskError>> {
        self.outcomes.as_slice().first()
    }

    /// The outcomes that are left, without their places.
    pub(super) fn drain(&mut self) -> &mut vec::IntoIter<Result<R, TaskError>> {
        &mut self.outcomes
    }
}

impl<R> Iterator for ItemOutcomes<R> {
    type Item = ItemOutcome<R>;

    fn next(&mut self) -> Option<ItemOutcome<R>> {
        let outcome = self.outcomes.next()?;
        let number = self.numbers.next()?; // There is one for each outcome.
        Some(ItemOutcome {
            index: self.first + number as usize,
            outcome,
        })
    }
}

/// Numbers of items. One run, the usual case, needs no memory of its own.
#[derive(Debug, Default)]
pub(crate) struct ItemNumbers {
    first: Range<u32>,
    later: Vec<Range<u32>>,
}

impl ItemNumbers {
    pub(crate) fn push(&mut self, run: Range<u32>) {
        let last = self.later.last_mut().unwrap_or(&mut self.first);
        if last.start == last.end {
            *last = run;
        } else if last.end == run.start {
            last.end = run.end;
        } else {
            self.later.push(run);
        }
    }

    fn into_iter(self) -> NumbersIter {
        NumbersIter {
            first: self.first,
            later: self.later.into_iter().flatten(),
        }
    }
}

/// Yields the numbers in their order.
struct NumbersIter {
    first: Range<u32>,
    later: Flatten<vec::IntoIter<Range<u32>>>,
}

impl Iterator for NumbersIter {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.first.next().or_else(|| self.later.next())
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_in_their_order() {
        let mut numbers = ItemNumbers::default();
        [3..4, 4..6, 0..2, 2..3, 9..9, 7..8]
            .into_iter()
            .for_each(|run| numbers.push(run));
        let numbers: Vec<u32> = numbers.into_iter().collect();
        assert_eq!(numbers, [3, 4, 5, 0, 1, 2, 7]);
    }
}
