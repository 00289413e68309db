//! Queues with many producers and many consumers: one implementation for every order of items. Reading order:
//!
//! - [`store`]: holds the items; [`heap`]: a store with the smallest item first; [`order`]: which item is next;
//! - [`ordered`]: the queue;
//! - [`blocking`]: its methods for threads; [`error`]: its errors.

mod blocking;
mod error;
mod heap;
mod order;
mod ordered;
mod store;

pub use error::{GetError, PutError};
pub use order::{Fifo, Lifo, Order, SmallestFirst};
pub use ordered::OrderedQueue;

/// A first-in, first-out queue that any number of tasks put items into and get items from.
///
/// Share it in an [`Arc`](std::sync::Arc). On a bounded queue, [`put`](OrderedQueue::put) waits while it is full.
/// [`join`](OrderedQueue::join) waits until every item is marked done. The methods are those of [`OrderedQueue`].
///
/// ```
/// use std::sync::Arc;
/// use concurrent_futures::sync::Queue;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let queue = Arc::new(Queue::bounded(2));
/// let workers = [1, 2].map(|_| {
///     let queue = queue.clone();
///     tokio::spawn(async move {
///         let mut sum = 0;
///         while let Some(number) = queue.get().await {
///             sum += number;
///             queue.task_done();
///         }
///         sum
///     })
/// });
/// for number in 0..10 {
///     queue.put(number).await?;
/// }
/// queue.join().await;
/// queue.close();
/// let sums = futures::future::try_join_all(workers).await?;
/// assert_eq!(sums.iter().sum::<i32>(), 45);
/// # Ok(()) }
/// ```
pub type Queue<T> = OrderedQueue<T, Fifo>;

/// A queue whose newest item is next.
///
/// Otherwise it is like [`Queue`]. Tasks that wait are still served in the order of arrival.
///
/// ```
/// use concurrent_futures::sync::LifoQueue;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let queue = LifoQueue::new();
/// queue.put("old").await?;
/// queue.put("new").await?;
/// assert_eq!(queue.get().await, Some("new"));
/// # Ok(()) }
/// ```
pub type LifoQueue<T> = OrderedQueue<T, Lifo>;

/// A queue whose smallest item is next. Of equal items, the oldest is next.
///
/// Otherwise it is like [`Queue`]. Put pairs `(priority, item)`, or items with an [`Ord`] of their own. For the
/// greatest first, wrap them in [`std::cmp::Reverse`].
///
/// The items are compared under a lock: their [`Ord`] must not use the queue. If it panics, so does the method that
/// compares, and the queue is as before: a put drops its item, and a get leaves it in the queue.
///
/// ```
/// use concurrent_futures::sync::PriorityQueue;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let queue = PriorityQueue::new();
/// queue.put((2, "later")).await?;
/// queue.put((1, "first")).await?;
/// assert_eq!(queue.get().await, Some((1, "first")));
/// # Ok(()) }
/// ```
pub type PriorityQueue<T> = OrderedQueue<T, SmallestFirst>;
