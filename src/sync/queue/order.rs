//! Which item of a queue is next. Each order is a store that the queue fills and empties under its lock.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

/// The order in which a queue returns its items: [`Fifo`], [`Lifo`] or [`SmallestFirst`]. Sealed.
pub trait Order<T>: sealed::SealedOrder {
    /// Holds the items.
    #[doc(hidden)]
    type Store: ItemStore<T>;

    /// The name of the queue.
    #[doc(hidden)]
    const NAME: &'static str;
}

/// First in, first out: the order of [`Queue`](super::Queue).
#[derive(Debug)]
pub enum Fifo {}

/// Last in, first out: the order of [`LifoQueue`](super::LifoQueue).
#[derive(Debug)]
pub enum Lifo {}

/// The smallest first, and of equal items the oldest: the order of [`PriorityQueue`](super::PriorityQueue).
#[derive(Debug)]
pub enum SmallestFirst {}

impl<T> Order<T> for Fifo {
    type Store = VecDeque<T>;
    const NAME: &'static str = "Queue";
}

impl<T> Order<T> for Lifo {
    type Store = Vec<T>;
    const NAME: &'static str = "LifoQueue";
}

impl<T: Ord> Order<T> for SmallestFirst {
    type Store = SmallestHeap<T>;
    const NAME: &'static str = "PriorityQueue";
}

mod sealed {
    pub trait SealedOrder {}

    impl SealedOrder for super::Fifo {}
    impl SealedOrder for super::Lifo {}
    impl SealedOrder for super::SmallestFirst {}
}

/// Holds the items of a queue.
pub trait ItemStore<T> {
    /// A store without items.
    const EMPTY: Self;

    /// Adds an item.
    fn push(&mut self, item: T);

    /// Removes the item that is next.
    fn pop(&mut self) -> Option<T>;

    /// The number of items.
    fn len(&self) -> usize;
}

impl<T> ItemStore<T> for VecDeque<T> {
    const EMPTY: Self = Self::new();

    fn push(&mut self, item: T) {
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

    fn push(&mut self, item: T) {
        self.push(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.pop()
    }

    fn len(&self) -> usize {
        self.len()
    }
}

/// A heap with the smallest item at its top, and of equal items the oldest.
#[derive(Debug)]
pub struct SmallestHeap<T> {
    items: BinaryHeap<Numbered<T>>,
    /// The number of items that were ever put.
    put: u64,
}

#[derive(Debug)]
struct Numbered<T> {
    item: T,
    number: u64,
}

impl<T: Ord> ItemStore<T> for SmallestHeap<T> {
    const EMPTY: Self = Self {
        items: BinaryHeap::new(),
        put: 0,
    };

    fn push(&mut self, item: T) {
        self.put += 1;
        let number = self.put;
        self.items.push(Numbered { item, number });
    }

    fn pop(&mut self) -> Option<T> {
        self.items.pop().map(|numbered| numbered.item)
    }

    fn len(&self) -> usize {
        self.items.len()
    }
}

/// Reversed: a `BinaryHeap` has the greatest at its top.
impl<T: Ord> Ord for Numbered<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_item = other.item.cmp(&self.item);
        by_item.then_with(|| other.number.cmp(&self.number))
    }
}

impl<T: Ord> PartialOrd for Numbered<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> PartialEq for Numbered<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T: Ord> Eq for Numbered<T> {}

#[cfg(all(test, properties))]
#[path = "../../../tests/properties/sync/queue/order.rs"]
mod tests;
