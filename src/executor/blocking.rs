//! The results on a thread that may block, for code that is not async.

use std::time::{Duration, Instant};

use futures::{Stream, StreamExt as _};

use super::as_completed::AsCompleted;
use super::error::TaskError;
use super::group::{GroupMember, TaskGroup};
use super::handle::JoinHandle;
use super::keyed::Keyed;
use super::keyed_map::KeyedMap;
use super::map::Map;
use super::waitable::Waitable;
use crate::block::{block_on, block_on_until};

impl<T> JoinHandle<T> {
    /// Blocks this thread until the task has its outcome. Needs no runtime. In async code, await the handle instead.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let pool = ThreadPoolExecutor::new()?;
    ///     assert_eq!(pool.submit(|| 6 * 7, ()).blocking_join()?, 42);
    ///     pool.blocking_shutdown();
    ///     Ok(())
    /// }
    /// # use concurrent_futures::ExecutorExt as _;
    /// ```
    ///
    /// A task may wait for a task of another pool. A task that waits for its own pool occupies a worker meanwhile: if
    /// all workers wait like this, no worker can run the tasks that they wait for.
    ///
    /// # Errors
    /// Like awaiting the handle.
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[doc(alias = "result")]
    #[track_caller]
    pub fn blocking_join(self) -> Result<T, TaskError> {
        block_on(self)
    }

    /// Like [`blocking_join`](Self::blocking_join), but returns `None` if there is no outcome within `limit`. The task
    /// runs on, and the handle can still be awaited or aborted.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let (release, gate) = std::sync::mpsc::channel::<()>();
    /// let mut handle = pool.submit(move || gate.recv().is_err(), ());
    /// assert!(handle.blocking_join_timeout(Duration::from_millis(1)).is_none());
    /// drop(release);
    /// assert!(handle.blocking_join()?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Like awaiting the handle.
    ///
    /// # Panics
    /// On a thread that drives async code; if the handle has returned its outcome already.
    #[track_caller]
    pub fn blocking_join_timeout(&mut self, limit: Duration) -> Option<Result<T, TaskError>> {
        block_on_until(self, Instant::now().checked_add(limit))
    }
}

/// The results of a [`Map`], a [`KeyedMap`] or an [`AsCompleted`] as an iterator that blocks its thread. Made by
/// [`Map::blocking_iter`], [`KeyedMap::blocking_iter`] and [`AsCompleted::blocking_iter`].
///
/// # Panics
/// `next` panics on a thread that drives async code.
#[derive(Debug)]
#[must_use = "an iterator does nothing until `next` is called"]
pub struct BlockingIter<S>(S);

impl<R> Map<R> {
    /// The results as an iterator that blocks its thread, for code that is not async. Needs no runtime.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let squares: Result<Vec<u64>, _> = pool.map(|x: u64| x * x, 1..=3).blocking_iter().collect();
    /// assert_eq!(squares?, [1, 4, 9]);
    /// # Ok(()) }
    /// ```
    ///
    /// It pulls items only inside of `next`, like the stream. Set options on the map first.
    pub fn blocking_iter(self) -> BlockingIter<Self> {
        BlockingIter(self)
    }
}

impl<K, R> KeyedMap<K, R> {
    /// Like [`Map::blocking_iter`]: the results with their keys.
    pub fn blocking_iter(self) -> BlockingIter<Self> {
        BlockingIter(self)
    }
}

impl<K, T> Keyed<K, JoinHandle<T>> {
    /// Like [`JoinHandle::blocking_join`]: the key and the outcome.
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[track_caller]
    pub fn blocking_join(self) -> (K, Result<T, TaskError>) {
        let (key, handle) = self.into_parts();
        (key, handle.blocking_join())
    }
}

impl<F: Waitable> AsCompleted<F> {
    /// The outcomes as an iterator that blocks its thread, for code that is not async. Needs no runtime.
    ///
    /// ```
    /// use concurrent_futures::{ThreadPoolExecutor, as_completed};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let handles = [1, 2, 3].map(|x| pool.submit(|x: u32| x * x, x));
    /// let mut squares = as_completed(handles).blocking_iter().collect::<Result<Vec<_>, _>>()?;
    /// squares.sort();
    /// assert_eq!(squares, [1, 4, 9]);
    /// # Ok(()) }
    /// ```
    pub fn blocking_iter(self) -> BlockingIter<Self> {
        BlockingIter(self)
    }
}

impl<H: GroupMember> TaskGroup<H> {
    /// Like [`join_next`](Self::join_next), but blocks this thread. Needs no runtime.
    ///
    /// ```
    /// use concurrent_futures::{TaskGroup, ThreadPoolExecutor};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let mut group = TaskGroup::new();
    /// for word in ["apple", "fig"] {
    ///     group.add(pool.submit(str::len, word).with(word));
    /// }
    /// while let Some((word, length)) = group.blocking_join_next() {
    ///     assert_eq!(length?, word.len()); // On an error, the drop of the group aborts the rest.
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[track_caller]
    pub fn blocking_join_next(&mut self) -> Option<H::Output> {
        block_on(self.join_next())
    }

    /// Like [`join_all`](Self::join_all), but blocks this thread. Needs no runtime.
    ///
    /// ```
    /// use concurrent_futures::{TaskError, TaskGroup, ThreadPoolExecutor};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let mut group = TaskGroup::new();
    /// for n in 1..=3_u64 {
    ///     group.add(pool.submit(move || n * n, ()));
    /// }
    /// let squares: Result<Vec<u64>, TaskError> = group.blocking_join_all().into_iter().collect();
    /// assert_eq!(squares?.iter().sum::<u64>(), 14);
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[track_caller]
    pub fn blocking_join_all(self) -> Vec<H::Output> {
        block_on(self.join_all())
    }

    /// Like [`ready`](Self::ready), but blocks this thread: call it before you submit the next task. Needs no runtime.
    ///
    /// ```
    /// use concurrent_futures::{TaskGroup, ThreadPoolExecutor};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let mut group = TaskGroup::new().max_in_flight(2);
    /// for n in 0..10_u64 {
    ///     group.blocking_ready();
    ///     group.add(pool.submit(move || n * n, ()));
    ///     assert!(group.in_flight() <= 2);
    /// }
    /// assert_eq!(group.blocking_join_all().len(), 10);
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[track_caller]
    pub fn blocking_ready(&mut self) {
        block_on(self.ready());
    }
}

impl<S: Stream + Unpin> Iterator for BlockingIter<S> {
    type Item = S::Item;

    #[track_caller]
    fn next(&mut self) -> Option<S::Item> {
        block_on(self.0.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}
