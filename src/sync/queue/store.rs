//! The trait of a store, which holds the items of a queue. The queue calls it under its lock.

use std::collections::VecDeque;

/// Holds the items of a queue.
pub trait ItemStore<T> {
    /// A store without items.
    const EMPTY: Self;

    /// Where to push this item. May run user code, which may panic.
    fn place(&self, _item: &T) -> usize {
        0
    }

    /// Adds an item at the place that [`place`](Self::place) returned for it.
    fn push(&mut self, item: T, place: usize);

    /// Removes the item that is next. May run user code; if that panics, the item stays.
    fn pop(&mut self) -> Option<T>;

    /// The number of items.
    fn len(&self) -> usize;
}

impl<T> ItemStore<T> for VecDeque<T> {
    const EMPTY: Self = Self::new();

    fn push(&mut self, item: T, _place: usize) {
        self.push_back(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.pop_front()
    }

    fn len(&self) -> usize {
        self.len()
    }
}

impl<T> ItemStore<T> for Vec<T> {
    const EMPTY: Self = Self::new();

    fn push(&mut self, item: T, _place: usize) {
        self.push(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.pop()
    }

    fn len(&self) -> usize {
        self.len()
    }
}
