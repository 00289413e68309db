//! What a caller holds, whatever runs the work. Reading order:
//!
//! - [`task`]: what can be submitted;
//! - [`options`]: how it is to be run;
//! - [`handle`]: what comes back; [`error`]: or why nothing did (as data: `error_record`);
//! - [`job`]: a call on its way; [`promise`]: what is owed for it; [`room`]: its place in a queue;
//!   [`run`]: how it runs on a thread;
//! - [`map`]: many calls as one stream, its input a [`feed`], its output [`chunk`] by chunk;
//! - [`wait`]: many handles at once; [`deadline`]: for how long;
//! - [`context`]: what a task knows of itself; [`progress`]: what it tells; [`settings`]: what all executors check.

pub(crate) mod chunk;
pub(crate) mod context;
pub(crate) mod deadline;
pub(crate) mod error;
#[cfg(feature = "serde")]
mod error_record;
pub(crate) mod feed;
pub(crate) mod handle;
pub(crate) mod job;
pub(crate) mod map;
pub(crate) mod options;
pub(crate) mod progress;
pub(crate) mod promise;
pub(crate) mod room;
pub(crate) mod run;
pub(crate) mod settings;
pub(crate) mod task;
pub(crate) mod wait;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use futures::Stream;

use self::error::{TaskError, TrySubmitError};
use self::handle::{JoinHandle, OutcomeCell};
use self::job::{Batch, Job};
use self::map::Map;
use self::options::{Shutdown, ShutdownReport, TaskOptions};
use self::promise::Ticket;
use self::room::Room;
use self::task::{Arguments, Data, Task};
use crate::function::assert_stateless;
#[cfg(feature = "serde")]
use crate::record::record;

/// Something that runs work off the async threads. Object safe: hold an `Arc<dyn Executor>` to
/// choose threads or processes by configuration.
///
/// Callers use the methods of [`ExecutorExt`], which every executor has.
///
/// ```
/// use std::sync::Arc;
/// use concurrent_futures::{Executor, ExecutorExt as _, ThreadPoolExecutor};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let executor: Arc<dyn Executor> = Arc::new(ThreadPoolExecutor::with_workers(2)?);
/// assert_eq!(executor.submit(u64::pow, (2, 8)).await?, 256);
/// # Ok(()) }
/// ```
///
/// The trait is sealed: [`ThreadPoolExecutor`](crate::ThreadPoolExecutor) and
/// [`ProcessPoolExecutor`](crate::ProcessPoolExecutor) implement it, and no other crate can. A test
/// that needs a stand-in for a process pool uses a `ThreadPoolExecutor` with one worker.
#[async_trait]
pub trait Executor: Intake + Send + Sync + Debug {
    /// Accepts no more work, ends the tasks as `how` says, and waits until all workers have ended.
    async fn shutdown_with(&self, how: Shutdown) -> ShutdownReport;

    /// How many tasks can run at the same time.
    fn max_workers(&self) -> usize;

    /// What the executor is doing.
    fn stats(&self) -> Stats;
}

/// How an executor takes a job. It seals [`Executor`]: the name is private, so no other crate can
/// implement it. Submits, maps, permits and services are its callers.
#[async_trait]
pub trait Intake {
    /// Runs a job. The executor answers the job's handle in every case; a job that it drops fails.
    fn spawn_job(&self, job: Job);

    /// Takes room in the queue, if there is any.
    ///
    /// # Errors
    /// `is_rejected()` if the queue is full; `is_shutdown()` after a shutdown.
    fn try_room(&self) -> Result<Room, TaskError>;

    /// Waits for room in the queue.
    ///
    /// # Errors
    /// `is_shutdown()` after a shutdown.
    async fn room(&self) -> Result<Room, TaskError>;

    /// Another handle on the same executor. It does not keep the executor open: once the
    /// executor is dropped, it refuses what is submitted through the handle.
    fn handle(&self) -> Arc<dyn Executor>;
}

/// The state of an executor at one moment, and what it has done since it was built.
///
/// With the feature `serde` it can be written and read, as data with the names of its fields. A field that
/// is missing is 0 when it is read, and one that is not known is ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Tasks that wait for a worker.
    pub queued: usize,
    /// Tasks that run right now.
    pub running: usize,
    /// Workers that are there: processes, or threads that are running tasks. While a process retires,
    /// its successor may be there too.
    pub workers: usize,
    /// Tasks that ran to an end of their own, be it a result or a panic.
    pub finished: u64,
    /// Tasks that were started and gave no result: panicked, lost their worker, were killed.
    pub failed: u64,
    /// Workers that ended, by cause.
    pub restarts: Restarts,
}

/// Workers that ended while their executor was open, by cause. As data it is as [`Stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restarts {
    /// Died by themselves or by another's hand.
    pub crashed: u64,
    /// Killed because a task ran out of its time.
    pub timed_out: u64,
    /// Killed because a running task was cancelled.
    pub cancelled: u64,
    /// Ended for their number of tasks, their age or their memory: `max_tasks_per_child`,
    /// `max_age_per_child`, `max_memory_per_child`.
    pub retired: u64,
    /// Never became ready.
    pub failed_to_start: u64,
    /// Dismissed after they had idled for the `idle_timeout`.
    pub idle: u64,
}

#[cfg(feature = "serde")]
record!(Stats as "Stats" {
    queued = 0,
    running = 0,
    workers = 0,
    finished = 0,
    failed = 0,
    restarts = Restarts::default(),
});

#[cfg(feature = "serde")]
record!(Restarts as "Restarts" {
    crashed = 0,
    timed_out = 0,
    cancelled = 0,
    retired = 0,
    failed_to_start = 0,
    idle = 0,
});

/// Submitting work to any [`Executor`].
pub trait ExecutorExt: Executor {
    /// Submits a call and returns at once. Never blocks, never panics: whatever goes wrong is told
    /// by the handle. If a bounded queue is full, the handle says so.
    ///
    /// `args` is the argument of a function of one, a tuple for a function of several, and `()`
    /// for a function of none.
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

    /// Like [`submit`](Self::submit), with options of its own.
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
        submit_to(
            self,
            self.try_room(),
            Some(Arc::new(options.clone())),
            function,
            args,
        )
    }

    /// Submits if there is room in the queue, and hands the arguments back if not.
    ///
    /// # Errors
    /// The reason is `is_rejected()` if the queue is full, `is_shutdown()` after a shutdown.
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
    /// `is_shutdown()` if the executor was shut down, also while waiting.
    ///
    /// # Cancel safety
    /// Cancel safe; a caller that is dropped loses its place in the line.
    fn reserve(&self) -> impl Future<Output = Result<Permit<'_, Self>, TaskError>> + Send {
        async move {
            Ok(Permit {
                room: self.room().await?,
                executor: self,
            })
        }
    }

    /// Calls `function` on each item, and gives the results as an ordered stream.
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
        Map::new(self.handle(), function, futures::stream::iter(items))
    }

    /// Like [`map`](Self::map), over the items of a stream.
    fn map_stream<F, S, M>(&self, function: F, items: S) -> Map<F::Output>
    where
        S: Stream + Send + 'static,
        S::Item: Arguments<M>,
        F: Task<S::Item, M> + Copy + Send + Sync + 'static,
        F::Output: Data,
        M: 'static,
    {
        const { assert_stateless::<F>() };
        Map::new(self.handle(), function, items)
    }

    /// Finishes all that was submitted, however long it takes, and ends the workers.
    #[doc(alias = "close")]
    fn shutdown(&self) -> impl Future<Output = ShutdownReport> + Send {
        self.shutdown_with(Shutdown::new())
    }
}

impl<E: Executor + ?Sized> ExecutorExt for E {}

/// Submits a call in a place of the queue, if there was one.
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
    let cell = Arc::new(OutcomeCell::new(Ticket::new(
        std::any::type_name::<F>(),
        options,
    )));
    match room {
        Ok(room) => {
            let work = Batch::new(function, [args], cell.clone());
            executor.spawn_job(Job::new(Box::new(work), room));
        }
        Err(refusal) => cell.refuse(&refusal),
    }
    JoinHandle::new(cell)
}

/// Room for one task in an executor's queue; see [`ExecutorExt::reserve`]. Dropping it gives the
/// room back.
#[must_use = "a permit that is dropped gives its room back"]
pub struct Permit<'a, E: Executor + ?Sized> {
    executor: &'a E,
    room: Room,
}

impl<E: Executor + ?Sized> Permit<'_, E> {
    /// Submits a call in the place that was reserved.
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

    /// Like [`submit`](Self::submit), with options of its own.
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
        submit_to(
            self.executor,
            Ok(self.room),
            Some(Arc::new(options.clone())),
            function,
            args,
        )
    }
}

impl<E: Executor + ?Sized> Debug for Permit<'_, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}
