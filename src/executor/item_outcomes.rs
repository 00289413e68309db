//! Outcomes with the positions of their items in the source of a map. Outcomes arrive in runs and are kept in runs.

use std::collections::VecDeque;
use std::collections::vec_deque::Drain;
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
    outcomes: VecDeque<Result<R, TaskError>>,
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
            outcomes: outcomes.into(),
            first,
            numbers: numbers.into_iter(),
        }
    }

    /// The next outcome, which stays.
    #[inline]
    pub(super) fn peek(&self) -> Option<&Result<R, TaskError>> {
        self.outcomes.front()
    }

    /// The outcomes that are left, without their places.
    pub(super) fn drain(&mut self) -> Drain<'_, Result<R, TaskError>> {
        self.outcomes.drain(..)
    }

    /// The buffer of the outcomes.
    pub(super) fn into_buffer(self) -> Vec<Result<R, TaskError>> {
        self.outcomes.into()
    }
}

impl<R> Iterator for ItemOutcomes<R> {
    type Item = ItemOutcome<R>;

    #[inline]
    fn next(&mut self) -> Option<ItemOutcome<R>> {
        let outcome = self.outcomes.pop_front()?;
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
            run: self.first,
            later: self.later.into_iter(),
        }
    }
}

/// Yields the numbers in order.
struct NumbersIter {
    run: Range<u32>,
    later: vec::IntoIter<Range<u32>>,
}

impl Iterator for NumbersIter {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        while self.run.is_empty() {
            self.run = self.later.next()?;
        }
        self.run.next()
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
