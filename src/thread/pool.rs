//! The executor that callers hold.

use std::fmt;
use std::sync::Arc;

use futures::Stream;

use super::config::ThreadPoolConfig;
use super::core::Core;
use super::permit::ThreadPermit;
use super::scope::{self, Scope};
use super::seat::TakenSeat;
use super::submit::submit_to;
use crate::disposal;
use crate::executor::async_task::Async;
use crate::executor::error::{TaskError, TrySubmitError};
use crate::executor::feed::Calls;
use crate::executor::forward::forward;
use crate::executor::handle::JoinHandle;
use crate::executor::keyed_map::{KeyedMap, tap};
use crate::executor::map::Map;
use crate::executor::mapper::ByArc;
use crate::executor::open::OpenExecutor;
use crate::executor::options::TaskOptions;
#[cfg(feature = "tower")]
use crate::executor::room::Room;
use crate::executor::task::{MapTask, Task};
use crate::executor::{Executor, Intake};

/// Runs work on threads, at most [`max_workers`](crate::ThreadPoolBuilder::max_workers) tasks at a time.
///
/// While one tokio runtime uses it, a worker is a place on a blocking thread of that runtime, as of
/// [`spawn_blocking`](tokio::task::spawn_blocking). So the runtime's own settings hold: stack size, keep-alive,
/// the most threads. An idle worker keeps its thread for a few milliseconds, since the next task usually follows
/// soon.
///
/// Once a second runtime uses it, or code outside of any, or that runtime ends, new tasks run on threads of the
/// executor's own. A task lives as long as its submitter wants it, whatever becomes of any other runtime; and a
/// runtime that ends waits for no other task than those that run on its threads then. A task finds the runtime
/// that it was submitted from as [`Handle::current`](tokio::runtime::Handle::current); without one, the first
/// that used the executor, or that it was built in.
///
/// It works without a runtime, too: any executor can await its handles, streams and shutdown.
///
/// Its methods take closures that capture and need nothing of serde: `submit` one that is called
/// once ([`FnOnce`]), `map` one that is called once an item ([`Fn`]).
///
/// A thread cannot be killed. A task that was cancelled or exceeded its timeout runs on until its
/// function returns, and its place stays taken. The function can ask
/// [`worker::current`](crate::worker::current) whether it should end. An async task
/// ([`submit_async`](Self::submit_async)) ends at its next `.await`.
///
/// A clone is the same pool. Dropping the last one refuses new work and finishes, in the background, what was
/// submitted.
///
/// ```
/// use concurrent_futures::ThreadPoolExecutor;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ThreadPoolExecutor::with_workers(2)?;
/// let greeting = String::from("hello");
/// let shout = pool.submit(move |name: &str| format!("{greeting}, {name}!").to_uppercase(), "world");
/// assert_eq!(shout.await?, "HELLO, WORLD!");
/// # Ok(()) }
/// ```
#[doc(alias = "ThreadPool")]
#[derive(Clone)]
pub struct ThreadPoolExecutor {
    core: Arc<OpenExecutor<Core>>,
}

impl ThreadPoolExecutor {
    pub(super) fn from_config(config: ThreadPoolConfig) -> Self {
        Self {
            core: OpenExecutor::new(Core::new(config, TakenSeat::hire)),
        }
    }

    /// Submits a call and returns at once. The closure may capture, and is called once; unlike
    /// [`ExecutorExt::submit`](crate::ExecutorExt), it needs nothing of serde.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let table: Arc<[u64]> = Arc::new([1, 2, 3]);
    /// let sum = pool.submit(move || table.iter().sum::<u64>(), ());
    /// assert_eq!(sum.await?, 6);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The handle reports them; see [`TaskError`].
    #[doc(alias("run_in_executor", "spawn_blocking"))]
    pub fn submit<F, A, M>(&self, function: F, args: A) -> JoinHandle<F::Output>
    where
        F: Task<A, M> + Send + 'static,
        F::Output: Send + 'static,
        A: Send + 'static,
        M: 'static,
    {
        submit_to(&self.core, self.core.try_room(), None, function, args)
    }

    /// Like [`submit`](Self::submit), with options for this task.
    pub fn submit_with<F, A, M>(
        &self,
        options: &TaskOptions,
        function: F,
        args: A,
    ) -> JoinHandle<F::Output>
    where
        F: Task<A, M> + Send + 'static,
        F::Output: Send + 'static,
        A: Send + 'static,
        M: 'static,
    {
        let options = Some(Arc::new(options.clone()));
        submit_to(&self.core, self.core.try_room(), options, function, args)
    }

    /// Submits a call of an async function, or of a closure that returns a future. A thread calls it and drives the
    /// future, on a runtime of its own. See [`Async`] for that runtime, and for what a cancel does. The future is made
    /// on the thread, so it need not be `Send`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let greeting = String::from("hello");
    /// let greet = async move |name: &str| {
    ///     tokio::time::sleep(Duration::from_millis(1)).await;
    ///     format!("{greeting}, {name}")
    /// };
    /// assert_eq!(pool.submit_async(greet, "world").await?, "hello, world");
    ///
    /// // An abort drops the future, and the thread is free.
    /// let handle = pool.submit_async(std::future::pending::<()>, ());
    /// handle.abort();
    /// assert!(handle.await.unwrap_err().is_cancelled());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The handle reports them; see [`TaskError`]. `is_init_failed()` if the system refuses a runtime.
    pub fn submit_async<F, A, M>(
        &self,
        function: F,
        args: A,
    ) -> JoinHandle<<F::Output as Future>::Output>
    where
        F: Task<A, M> + Send + 'static,
        F::Output: Future<Output: Send + 'static>,
        A: Send + 'static,
        M: 'static,
    {
        self.submit(Async(function), args)
    }

    /// Like [`submit_async`](Self::submit_async), with options for this task.
    pub fn submit_async_with<F, A, M>(
        &self,
        options: &TaskOptions,
        function: F,
        args: A,
    ) -> JoinHandle<<F::Output as Future>::Output>
    where
        F: Task<A, M> + Send + 'static,
        F::Output: Future<Output: Send + 'static>,
        A: Send + 'static,
        M: 'static,
    {
        self.submit_with(options, Async(function), args)
    }

    /// Submits if the queue has room, and hands the arguments back if not.
    ///
    /// # Errors
    /// The reason is `is_rejected()` if the queue is full, `is_shutdown()` after a shutdown.
    pub fn try_submit<F, A, M>(
        &self,
        function: F,
        args: A,
    ) -> Result<JoinHandle<F::Output>, TrySubmitError<A>>
    where
        F: Task<A, M> + Send + 'static,
        F::Output: Send + 'static,
        A: Send + 'static,
        M: 'static,
    {
        match self.core.try_room() {
            Ok(room) => Ok(submit_to(&self.core, Ok(room), None, function, args)),
            Err(error) => {
                disposal::dispose(function);
                Err(TrySubmitError::new(error, args))
            }
        }
    }

    /// Waits for room in the queue, as tokio's channels do. The permit is good for one task.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::builder().queue_capacity(16).build()?;
    /// let text = String::from("four");
    /// let permit = pool.reserve().await?;
    /// assert_eq!(permit.submit(move || text.len(), ()).await?, 4);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `is_shutdown()` if the executor was shut down, also while waiting.
    ///
    /// # Cancel safety
    /// Cancel safe; a dropped caller loses its place in the line.
    pub async fn reserve(&self) -> Result<ThreadPermit<'_>, TaskError> {
        Ok(ThreadPermit::new(&self.core, self.core.room().await?))
    }

    /// Calls `function` on each item, and gives the results as an ordered stream. All threads share
    /// the one function, so it may capture what is neither `Clone` nor `Copy`. Unlike
    /// [`ExecutorExt::map`](crate::ExecutorExt), items and results need nothing of serde.
    ///
    /// Lazy: nothing runs until the stream is polled, and at most
    /// [`buffer_size`](Map::buffer_size) items are ahead of the consumer.
    ///
    /// ```
    /// use std::sync::Mutex;
    /// use concurrent_futures::ThreadPoolExecutor;
    /// use futures::TryStreamExt as _;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let total = Mutex::new(0);
    /// let add = move |n: u32| {
    ///     *total.lock().unwrap() += n;
    ///     n.to_string()
    /// };
    /// let texts: Vec<String> = pool.map(add, 1..=3).try_collect().await?;
    /// assert_eq!(texts, ["1", "2", "3"]);
    /// # Ok(()) }
    /// ```
    #[doc(alias("Executor.map", "imap", "starmap"))]
    pub fn map<F, I, M>(&self, function: F, items: I) -> Map<F::Output>
    where
        I: IntoIterator + Send + 'static,
        I::IntoIter: Send + 'static,
        I::Item: Send + 'static,
        F: MapTask<I::Item, M> + Send + Sync + 'static,
        F::Output: Send + 'static,
        M: 'static,
    {
        self.map_stream(function, futures::stream::iter(items))
    }

    /// Like [`map`](Self::map), over the items of a stream.
    pub fn map_stream<F, S, M>(&self, function: F, items: S) -> Map<F::Output>
    where
        S: Stream + Send + 'static,
        S::Item: Send + 'static,
        F: MapTask<S::Item, M> + Send + Sync + 'static,
        F::Output: Send + 'static,
        M: 'static,
    {
        let calls = Calls::new(Arc::<Core>::clone(&self.core), ByArc::new(function), items);
        Map::new(self.core.max_workers(), self.core.chunk_time(), calls)
    }

    /// Calls `body` with a [`Scope`], whose tasks may borrow what lives longer than this call. Returns when all of them
    /// have ended, also if `body` panics.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::with_workers(2)?;
    /// let words = vec!["borrowed".to_owned(), "not cloned".to_owned()];
    /// let mut lengths = vec![0; words.len()];
    /// pool.scope(|scope| {
    ///     for (word, length) in words.iter().zip(&mut lengths) {
    ///         let _task = scope.submit(|| *length = word.len(), ());
    ///     }
    /// });
    /// assert_eq!(lengths, [8, 10]);
    /// # Ok(()) }
    /// ```
    ///
    /// It blocks its thread. In async code, call it in [`spawn_blocking`](tokio::task::spawn_blocking), or in
    /// `tokio::task::block_in_place`. An async scope cannot be sound: a future can be leaked at an `.await`, and then
    /// no code is left that waits for the tasks before the borrow ends.
    ///
    /// A task that is cancelled or exceeds its timeout runs on until its function returns, and the scope waits for it.
    /// So does `scope` for a task that never returns. A task of the same pool that calls it occupies a worker
    /// meanwhile: if all workers wait, none is left to run what they wait for.
    ///
    /// # Panics
    /// On a thread that drives async code. A panic of `body` goes on once all tasks have ended. A panic of a task is
    /// the error of its handle.
    pub fn scope<'env, R>(
        &'env self,
        body: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
    ) -> R {
        scope::run(&self.core, body)
    }

    /// Like [`map`](Self::map), for items with keys: each result comes with the key of its item. A pair of an index
    /// and an item, as [`enumerate`](Iterator::enumerate) makes them, gives the index back.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    /// use futures::TryStreamExt as _;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let words = ["apple", "fig", "pear"];
    /// let mut lengths = pool.map_keyed(str::len, words.map(|word| (word, word))).unordered();
    /// while let Some((word, length)) = lengths.try_next().await? {
    ///     assert_eq!(length?, word.len());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn map_keyed<K, F, I, A, M>(&self, function: F, pairs: I) -> KeyedMap<K, F::Output>
    where
        K: Send + 'static,
        I: IntoIterator<Item = (K, A)> + Send + 'static,
        I::IntoIter: Send + 'static,
        A: Send + 'static,
        F: MapTask<A, M> + Send + Sync + 'static,
        F::Output: Send + 'static,
        M: 'static,
    {
        self.map_stream_keyed(function, futures::stream::iter(pairs))
    }

    /// Like [`map_keyed`](Self::map_keyed), over the pairs of a stream.
    pub fn map_stream_keyed<K, F, S, A, M>(&self, function: F, pairs: S) -> KeyedMap<K, F::Output>
    where
        K: Send + 'static,
        S: Stream<Item = (K, A)> + Send + 'static,
        A: Send + 'static,
        F: MapTask<A, M> + Send + Sync + 'static,
        F::Output: Send + 'static,
        M: 'static,
    {
        let (keys, items) = tap(pairs);
        KeyedMap::new(keys, self.map_stream(function, items))
    }

    /// As `submit`, into `room`.
    #[cfg(feature = "tower")]
    pub(crate) fn submit_into<F, A, M>(
        &self,
        room: Result<Room, TaskError>,
        function: F,
        args: A,
    ) -> JoinHandle<F::Output>
    where
        F: Task<A, M> + Send + 'static,
        F::Output: Send + 'static,
        A: Send + 'static,
        M: 'static,
    {
        submit_to(&self.core, room, None, function, args)
    }
}

// Handles and maps hold only the core, so they notice when the executor is dropped.
forward!(ThreadPoolExecutor; core);

impl fmt::Debug for ThreadPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}
