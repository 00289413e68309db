//! A binary heap that compares first and moves items afterwards, so a comparison that panics changes nothing. (The
//! standard library's heap loses the item that it removes.)

use super::store::ItemStore;

/// A heap with the smallest item at its top, and of equal items the oldest. The children of the item at index `at` are
/// at `2 * at + 1` and `2 * at + 2`.
#[derive(Debug)]
pub struct SmallestHeap<T> {
    items: Vec<Numbered<T>>,
    /// The number of items that were ever put.
    put: u64,
}

#[derive(Debug)]
struct Numbered<T> {
    item: T,
    number: u64,
}

impl<T: Ord> SmallestHeap<T> {
    /// Whether the item at `one` comes before the item at `other`.
    fn is_before(&self, one: usize, other: usize) -> bool {
        let [one, other] = [one, other].map(|at| &self.items[at]);
        let by_item = one.item.cmp(&other.item);
        by_item.then(one.number.cmp(&other.number)).is_lt()
    }

    /// Where the last item belongs once the first one is removed.
    fn place_of_last(&self) -> usize {
        let last = self.items.len() - 1;
        let mut at = 0;
        loop {
            let left = 2 * at + 1;
            if left >= last {
                return at;
            }
            let right = left + 1;
            let right_is_next = right < last && self.is_before(right, left);
            let child = if right_is_next { right } else { left };
            if self.is_before(last, child) {
                return at;
            }
            at = child;
        }
    }
}

impl<T: Ord> ItemStore<T> for SmallestHeap<T> {
    const EMPTY: Self = Self {
        items: Vec::new(),
        put: 0,
    };

    fn place(&self, item: &T) -> usize {
        let mut at = self.items.len();
        while at > 0 && *item < self.items[(at - 1) / 2].item {
            at = (at - 1) / 2;
        }
        at
    }

    fn push(&mut self, item: T, place: usize) {
        self.put += 1;
        let number = self.put;
        let mut at = self.items.len();
        self.items.push(Numbered { item, number });
        while at > place {
            let parent = (at - 1) / 2;
            self.items.swap(at, parent);
            at = parent;
        }
    }

    fn pop(&mut self) -> Option<T> {
        if self.items.is_empty() {
            return None;
        }
        let place = self.place_of_last();
        let first = self.items.swap_remove(0);
        // The bits of `place + 1` describe the way down from the top.
        let way = place + 1;
        let mut at = 0;
        for level in (0..way.ilog2()).rev() {
            let child = (way >> level) - 1;
            self.items.swap(at, child);
            at = child;
        }
        Some(first.item)
    }

    fn len(&self) -> usize {
        self.items.len()
    }
}
