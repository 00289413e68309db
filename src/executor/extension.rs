//! The methods that callers use on any executor, and how they reach it.

#[cfg(feature = "process")]
use std::{fmt, sync::Arc};

#[cfg(feature = "process")]
use futures::{Stream, future::BoxFuture};

#[cfg(feature = "process")]
use super::async_task::Async;
use super::contract::Executor;
#[cfg(feature = "process")]
use super::data::{Arguments, Data};
#[cfg(feature = "process")]
use super::encoded::{ByCopy, Job, Portable};
#[cfg(feature = "process")]
use super::erased::submit_one;
#[cfg(feature = "process")]
use super::error::{TaskError, TrySubmitError};
#[cfg(feature = "process")]
use super::feed::{Calls, Destination};
#[cfg(feature = "process")]
use super::handle::JoinHandle;
#[cfg(feature = "process")]
use super::keyed_map::{KeyedMap, tap};
#[cfg(feature = "process")]
use super::map::Map;
#[cfg(feature = "process")]
use super::options::TaskOptions;
use super::options::{Shutdown, ShutdownReport};
#[cfg(feature = "process")]
use super::promise::Terms;
#[cfg(feature = "process")]
use super::room::Room;
#[cfg(feature = "process")]
use super::task::Task;
use crate::block::block_on;
#[cfg(feature = "process")]
use crate::function::assert_stateless;

/// Methods of every [`Executor`].
///
/// `submit`, `map`, `reserve` and their variants need the feature `process`, since any executor may
/// run in other processes. Without it, a [`ThreadPoolExecutor`](crate::ThreadPoolExecutor) has
/// methods of the same names of its own.
pub trait ExecutorExt: Executor {
    /// Submits a call and returns at once. It never blocks and never panics: the handle reports every failure,
    /// including a full queue.
    ///
    /// `args` is the argument itself for a function of one, a tuple for a function of several, and `()` for a function
    /// of none.
    ///
    /// The function is a named function, or a closure that captures nothing. A closure that captures and a function
    /// pointer are compile errors, but only a build reports them: `cargo check` does not.
    ///
    /// ```
    /// use concurrent_futures::{ExecutorExt, ThreadPoolExecutor};
    /// fn power(base: u32, exponent: u32) -> u64 {
    ///     u64::from(base).pow(exponent)
    /// }
    ///
    /// # async fn on(pool: impl concurrent_futures::Executor) -> Result<(), Box<dyn std::error::Error>> {
    /// assert_eq!(pool.submit(power, (2, 8)).await?, 256);
    /// assert_eq!(pool.submit(|x: i32| x.abs(), -3).await?, 3);
    /// # Ok(()) }
    /// # #[tokio::main] async fn main() { on(ThreadPoolExecutor::new().unwrap()).await.unwrap() }
    /// ```
    ///
    /// # Errors
    /// See [`TaskError`].
    #[cfg(feature = "process")]
    #[doc(alias("apply_async", "run_in_executor", "spawn_blocking"))]
    fn submit<F, A, M>(&self, function: F, args: A) -> JoinHandle<F::Output>
    where
        F: Task<A, M> + Copy + Send + Sync + 'static,
        F::Output: Data,
        A: Arguments<M>,
        M: 'static,
    {
        const { assert_stateless::<F>() };
        submit_to(self, self.try_room(), None, function, args)
    }

    /// Like [`submit`](Self::submit), with options for this task.
    #[cfg(feature = "process")]
    fn submit_with<F, A, M>(
        &self,
        options: &TaskOptions,
        function: F,
        args: A,
    ) -> JoinHandle<F::Output>
    where
        F: Task<A, M> + Copy + Send + Sync + 'static,
        F::Output: Data,
        A: Arguments<M>,
        M: 'static,
    {
        const { assert_stateless::<F>() };
        let options = Some(Arc::new(options.clone()));
        submit_to(self, self.try_room(), options, function, args)
    }

    /// Submits a call of an async function. The worker calls the function and drives its future on a runtime of its
    /// own. See [`Async`] for that runtime and for the effect of a cancel. Only the function and its arguments go to
    /// the worker, so the future need not be `Send`.
    ///
    /// A worker drives one task at a time. To wait for many futures at the same time, drive them all in one task, or on
    /// the caller's runtime.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::{ExecutorExt, ThreadPoolExecutor};
    ///
    /// async fn fetch(host: String, port: u16) -> Result<String, String> {
    ///     tokio::time::sleep(Duration::from_millis(1)).await; // Or a connection.
    ///     Ok(format!("{host}:{port} says hello"))
    /// }
    ///
    /// # async fn on(pool: impl concurrent_futures::Executor) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.submit_async(fetch, ("localhost".to_owned(), 80));
    /// assert_eq!(handle.await??, "localhost:80 says hello");
    /// # Ok(()) }
    /// # #[tokio::main] async fn main() { on(ThreadPoolExecutor::new().unwrap()).await.unwrap() }
    /// ```
    ///
    /// # Errors
    /// As for [`submit`](Self::submit), and `is_init_failed()` if the system refuses a runtime.
    #[cfg(feature = "process")]
    fn submit_async<F, A, M>(
        &self,
        function: F,
        args: A,
    ) -> JoinHandle<<F::Output as Future>::Output>
    where
        F: Task<A, M> + Copy + Send + Sync + 'static,
        F::Output: Future<Output: Data>,
        A: Arguments<M>,
        M: 'static,
    {
        const { assert_stateless::<F>() };
        submit_to(self, self.try_room(), None, Async(function), args)
    }

    /// Like [`submit_async`](Self::submit_async), with options for this task.
    #[cfg(feature = "process")]
    fn submit_async_with<F, A, M>(
        &self,
        options: &TaskOptions,
        function: F,
        args: A,
    ) -> JoinHandle<<F::Output as Future>::Output>
    where
        F: Task<A, M> + Copy + Send + Sync + 'static,
        F::Output: Future<Output: Data>,
        A: Arguments<M>,
        M: 'static,
    {
        const { assert_stateless::<F>() };
        let options = Some(Arc::new(options.clone()));
        submit_to(self, self.try_room(), options, Async(function), args)
    }

    /// Submits if the queue has room, and returns the arguments if not.
    ///
    /// # Errors
    /// The reason is `is_rejected()` if the queue is full, `is_shutdown()` after a shutdown.
    #[cfg(feature = "process")]
    fn try_submit<F, A, M>(
        &self,
        function: F,
        args: A,
    ) -> Result<JoinHandle<F::Output>, TrySubmitError<A>>
    where
        F: Task<A, M> + Copy + Send + Sync + 'static,
        F::Output: Data,
        A: Arguments<M>,
        M: 'static,
    {
        const { assert_stateless::<F>() };
        match self.try_room() {
            Ok(room) => Ok(submit_to(self, Ok(room), None, function, args)),
            Err(error) => Err(TrySubmitError::new(error, args)),
        }
    }

    /// Waits for room in the queue, as tokio's channels do. The permit is good for one task.
    ///
    /// ```
    /// use concurrent_futures::{ExecutorExt, ThreadPoolExecutor};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::builder().queue_capacity(16).build()?;
    /// let permit = ExecutorExt::reserve(&pool).await?;
    /// assert_eq!(permit.submit(|| 2 + 2, ()).await?, 4);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `is_shutdown()` if the executor is shut down, also during the wait.
    ///
    /// # Cancel safety
    /// Cancel safe; dropping the future loses its place among those that wait.
    #[cfg(feature = "process")]
    fn reserve(&self) -> impl Future<Output = Result<Permit<'_, Self>, TaskError>> + Send {
        async move { Ok(Permit::new(self, self.room().await?)) }
    }

    /// Calls `function` on each item, and returns the results as an ordered stream.
    ///
    /// Lazy: nothing runs until the stream is polled, and at most
    /// [`buffer_size`](Map::buffer_size) items are ahead of the consumer.
    ///
    /// ```
    /// use concurrent_futures::{ExecutorExt, ThreadPoolExecutor};
    /// use futures::TryStreamExt as _;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let powers: Vec<u32> = pool.map(u32::pow, (1..=3).zip([2, 2, 2])).try_collect().await?;
    /// assert_eq!(powers, [1, 4, 9]);
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "process")]
    #[doc(alias("Executor.map", "imap", "starmap"))]
    fn map<F, I, M>(&self, function: F, items: I) -> Map<F::Output>
    where
        I: IntoIterator + Send + 'static,
        I::IntoIter: Send + 'static,
        I::Item: Arguments<M>,
        F: Task<I::Item, M> + Copy + Send + Sync + 'static,
        F::Output: Data,
        M: 'static,
    {
        const { assert_stateless::<F>() };
        map_on(self.handle(), function, futures::stream::iter(items))
    }

    /// Like [`map`](Self::map), over the items of a stream.
    #[cfg(feature = "process")]
    fn map_stream<F, S, M>(&self, function: F, items: S) -> Map<F::Output>
    where
        S: Stream + Send + 'static,
        S::Item: Arguments<M>,
        F: Task<S::Item, M> + Copy + Send + Sync + 'static,
        F::Output: Data,
        M: 'static,
    {
        const { assert_stateless::<F>() };
        map_on(self.handle(), function, items)
    }

    /// Like [`map`](Self::map), for items with keys: each result comes with the key of its item. The keys stay in this
    /// process, so they may have any type. For pairs of an index and an item, as [`enumerate`](Iterator::enumerate)
    /// makes them, each result has its index.
    ///
    /// ```
    /// use concurrent_futures::{ExecutorExt, ThreadPoolExecutor};
    /// use futures::TryStreamExt as _;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let words = ["apple", "fig", "pear"];
    /// let owned = words.map(str::to_owned);
    /// let mut lengths = ExecutorExt::map_keyed(&pool, |word: String| word.len(), owned.into_iter().enumerate())
    ///     .unordered();
    /// while let Some((index, length)) = lengths.try_next().await? {
    ///     assert_eq!(length?, words[index].len());
    /// }
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "process")]
    fn map_keyed<K, F, I, A, M>(&self, function: F, pairs: I) -> KeyedMap<K, F::Output>
    where
        K: Send + 'static,
        I: IntoIterator<Item = (K, A)> + Send + 'static,
        I::IntoIter: Send + 'static,
        A: Arguments<M>,
        F: Task<A, M> + Copy + Send + Sync + 'static,
        F::Output: Data,
        M: 'static,
    {
        const { assert_stateless::<F>() };
        let (keys, items) = tap(futures::stream::iter(pairs));
        KeyedMap::new(keys, map_on(self.handle(), function, items))
    }

    /// Like [`map_keyed`](Self::map_keyed), over the pairs of a stream.
    #[cfg(feature = "process")]
    fn map_stream_keyed<K, F, S, A, M>(&self, function: F, pairs: S) -> KeyedMap<K, F::Output>
    where
        K: Send + 'static,
        S: Stream<Item = (K, A)> + Send + 'static,
        A: Arguments<M>,
        F: Task<A, M> + Copy + Send + Sync + 'static,
        F::Output: Data,
        M: 'static,
    {
        const { assert_stateless::<F>() };
        let (keys, items) = tap(pairs);
        KeyedMap::new(keys, map_on(self.handle(), function, items))
    }

    /// Finishes all submitted tasks, however long they take, and ends the workers.
    #[doc(alias = "close")]
    fn shutdown(&self) -> impl Future<Output = ShutdownReport> + Send {
        self.shutdown_with(Shutdown::new())
    }

    /// Like [`shutdown`](Self::shutdown), on a thread that may block. Needs no runtime.
    ///
    /// ```
    /// use concurrent_futures::{ExecutorExt as _, ThreadPoolExecutor};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let handle = pool.submit(|| 6 * 7, ());
    /// pool.blocking_shutdown(); // Waits for the task.
    /// assert_eq!(handle.blocking_join()?, 42);
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[track_caller]
    fn blocking_shutdown(&self) -> ShutdownReport {
        self.blocking_shutdown_with(Shutdown::new())
    }

    /// Like [`shutdown_with`](Executor::shutdown_with), on a thread that may block. Needs no runtime.
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[track_caller]
    fn blocking_shutdown_with(&self, how: Shutdown) -> ShutdownReport {
        block_on(self.shutdown_with(how))
    }
}

impl<E: Executor + ?Sized> ExecutorExt for E {}

/// Room for one task in an executor's queue; see [`ExecutorExt::reserve`](crate::ExecutorExt::reserve).
/// Dropping it gives the room back.
#[cfg(feature = "process")]
#[must_use = "a permit that is dropped gives its room back"]
pub struct Permit<'a, E: Executor + ?Sized> {
    executor: &'a E,
    room: Room,
}

#[cfg(feature = "process")]
impl<'a, E: Executor + ?Sized> Permit<'a, E> {
    fn new(executor: &'a E, room: Room) -> Self {
        Self { executor, room }
    }

    /// Submits a call in the reserved place.
    pub fn submit<F, A, M>(self, function: F, args: A) -> JoinHandle<F::Output>
    where
        F: Task<A, M> + Copy + Send + Sync + 'static,
        F::Output: Data,
        A: Arguments<M>,
        M: 'static,
    {
        const { assert_stateless::<F>() };
        submit_to(self.executor, Ok(self.room), None, function, args)
    }

    /// Like [`submit`](Self::submit), with options for this task.
    pub fn submit_with<F, A, M>(
        self,
        options: &TaskOptions,
        function: F,
        args: A,
    ) -> JoinHandle<F::Output>
    where
        F: Task<A, M> + Copy + Send + Sync + 'static,
        F::Output: Data,
        A: Arguments<M>,
        M: 'static,
    {
        const { assert_stateless::<F>() };
        let options = Some(Arc::new(options.clone()));
        submit_to(self.executor, Ok(self.room), options, function, args)
    }
}

#[cfg(feature = "process")]
impl<E: Executor + ?Sized> fmt::Debug for Permit<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

/// Submits a call into `room`, or fails its handle with the reason for the missing room.
#[cfg(feature = "process")]
pub(crate) fn submit_to<E, F, A, M>(
    executor: &E,
    room: Result<Room, TaskError>,
    options: Option<Arc<TaskOptions>>,
    function: F,
    args: A,
) -> JoinHandle<F::Output>
where
    E: Executor + ?Sized,
    F: Task<A, M> + Copy + Send + Sync + 'static,
    F::Output: Data,
    A: Arguments<M>,
    M: 'static,
{
    let name = F::path();
    let terms = executor.terms();
    submit_one(name, terms, room, options, function, args, |call, room| {
        executor.spawn_job(Job::new(call, room));
    })
}

/// Calls a function without state on each item of `source`.
#[cfg(feature = "process")]
fn map_on<F, S, M>(executor: Arc<dyn Executor>, function: F, source: S) -> Map<F::Output>
where
    S: Stream + Send + 'static,
    S::Item: Arguments<M>,
    F: Task<S::Item, M> + Copy + Send + Sync + 'static,
    F::Output: Data,
    M: 'static,
{
    let (workers, chunk_time) = (executor.max_workers(), executor.chunk_time());
    Map::new(
        workers,
        chunk_time,
        Calls::new(executor, ByCopy(function), source),
    )
}

#[cfg(feature = "process")]
impl<W: Portable + 'static> Destination<W> for Arc<dyn Executor> {
    fn terms(&self) -> &Arc<Terms> {
        self.as_ref().terms()
    }

    fn room(&self) -> BoxFuture<'static, Result<Room, TaskError>> {
        let executor = self.clone();
        Box::pin(async move { executor.as_ref().room().await })
    }

    fn send(&self, chunk: W, room: Room) {
        self.spawn_job(Job::new(Box::new(chunk), room));
    }
}
