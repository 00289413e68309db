//! [`ThreadPoolExecutor`]: work on tokio's blocking threads, a bounded number at a time. Reading
//! order: this file, [`builder`]; [`core`]: what waits, and who comes for it; [`seats`]: what each
//! worker does; [`seat`]: one of them, from inside.

mod builder;
mod core;
mod seat;
mod seats;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

pub use self::builder::ThreadPoolBuilder;
use self::builder::ThreadPoolConfig;
use self::core::Core;
use self::seat::TakenSeat;
use crate::executor::error::{BuildError, TaskError, TrySubmitError};
use crate::executor::handle::{JoinHandle, OutcomeCell};
use crate::executor::job::{Job, LocalCall};
use crate::executor::options::{Shutdown, ShutdownReport, TaskOptions};
use crate::executor::promise::Ticket;
use crate::executor::room::Room;
use crate::executor::task::Task;
use crate::executor::{Executor, Intake, Stats};

/// Runs work on tokio's blocking threads, at most [`max_workers`](ThreadPoolBuilder::max_workers)
/// tasks at a time.
///
/// It starts no threads of its own: a worker is a place that a task takes on a thread of
/// [`spawn_blocking`](tokio::task::spawn_blocking), so the runtime's own settings (stack size,
/// keep-alive, the most threads) hold. One that has nothing to do keeps its thread for a few
/// milliseconds, as the next task is most often not far.
///
/// A thread cannot be killed: a task that was cancelled or ran out of its time goes on until its
/// function returns, and its place stays taken. [`worker::current`](crate::worker::current) lets
/// the function ask.
///
/// Dropping the executor refuses new work and finishes, in the background, what was submitted.
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
pub struct ThreadPoolExecutor {
    core: Arc<Core>,
}

impl ThreadPoolExecutor {
    /// An executor with as many workers as the process may use CPUs.
    ///
    /// # Errors
    /// None with these settings; the builder's are checked.
    pub fn new() -> Result<Self, BuildError> {
        Self::builder().build()
    }

    /// An executor with so many workers.
    ///
    /// # Errors
    /// `is_invalid_setting()` if `max_workers` is 0.
    pub fn with_workers(max_workers: usize) -> Result<Self, BuildError> {
        Self::builder().max_workers(max_workers).build()
    }

    /// Starts to configure an executor.
    pub fn builder() -> ThreadPoolBuilder {
        ThreadPoolBuilder::new()
    }

    fn from_config(config: ThreadPoolConfig) -> Self {
        Self {
            core: Core::new(config, TakenSeat::hire),
        }
    }

    /// Submits a call and returns at once. Unlike
    /// [`ExecutorExt::submit`](crate::ExecutorExt::submit), it takes closures that capture and
    /// functions that can be called only once, and asks nothing of serde.
    ///
    /// # Errors
    /// The handle tells; see [`TaskError`].
    #[doc(alias("run_in_executor", "spawn_blocking"))]
    pub fn submit<F, A, M>(&self, function: F, args: A) -> JoinHandle<F::Output>
    where
        F: Task<A, M> + Send + 'static,
        F::Output: Send + 'static,
        A: Send + 'static,
        M: 'static,
    {
        self.submit_local(self.core.try_room(), None, function, args)
    }

    /// Like [`submit`](Self::submit), with options of its own.
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
        self.submit_local(
            self.core.try_room(),
            Some(Arc::new(options.clone())),
            function,
            args,
        )
    }

    /// Submits if there is room in the queue, and hands the arguments back if not.
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
            Ok(room) => Ok(self.submit_local(Ok(room), None, function, args)),
            Err(error) => Err(TrySubmitError::new(error, args)),
        }
    }

    /// Submits a call in a place of the queue, if there was one.
    pub(crate) fn submit_local<F, A, M>(
        &self,
        room: Result<Room, TaskError>,
        options: Option<Arc<TaskOptions>>,
        function: F,
        args: A,
    ) -> JoinHandle<F::Output>
    where
        F: Task<A, M> + Send + 'static,
        F::Output: Send + 'static,
        A: Send + 'static,
        M: 'static,
    {
        let cell = Arc::new(OutcomeCell::new(Ticket::new(
            std::any::type_name::<F>(),
            options,
        )));
        match room {
            Ok(room) => {
                let work = LocalCall::new(function, args, cell.clone());
                self.core.spawn_job(Job::new(Box::new(work), room));
            }
            Err(refusal) => cell.refuse(&refusal),
        }
        JoinHandle::new(cell)
    }
}

/// The executor is its core; the core alone is what a stream of `map` holds, so that the drop of
/// the executor is seen.
#[async_trait]
impl Intake for ThreadPoolExecutor {
    fn spawn_job(&self, job: Job) {
        self.core.spawn_job(job);
    }

    fn try_room(&self) -> Result<Room, TaskError> {
        self.core.try_room()
    }

    async fn room(&self) -> Result<Room, TaskError> {
        self.core.room().await
    }

    fn handle(&self) -> Arc<dyn Executor> {
        self.core.clone()
    }
}

#[async_trait]
impl Executor for ThreadPoolExecutor {
    async fn shutdown_with(&self, how: Shutdown) -> ShutdownReport {
        self.core.shutdown_with(how).await
    }

    fn max_workers(&self) -> usize {
        self.core.max_workers()
    }

    fn stats(&self) -> Stats {
        self.core.stats()
    }
}

impl fmt::Debug for ThreadPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}

impl Drop for ThreadPoolExecutor {
    fn drop(&mut self) {
        self.core.close();
    }
}
