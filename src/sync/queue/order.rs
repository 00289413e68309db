//! Which item of a queue is next. Each order is a store that the queue fills and empties under its lock.

use std::collections::VecDeque;

use super::heap::SmallestHeap;
use super::store::ItemStore;

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

#[cfg(all(test, properties))]
#[path = "../../../tests/properties/sync/queue/order.rs"]
mod tests;
