//! [`ProcessPoolExecutor`]: runs tasks in worker processes, each of which is this executable, started again. Reading
//! order:
//!
//! - this file: the executor; [`builder`]: its configuration; [`first_init`]: whether workers can start;
//! - [`pool`]: which call goes to which worker;
//! - [`place`]: the place of one worker, from its start to its end; [`start`]: how a process starts;
//!   [`supervisor`]: the life of a worker that is ready; [`arrival`]: a large result in transit; [`watch`]: when there
//!   is something to read; [`turn`]: how much to read at once;
//! - [`link`]: the parent's end of a worker, with the items that it still has to answer;
//! - [`verdict`]: the errors for the end of a worker;
//! - [`runner`]: a process that runs one function, outside of any pool;
//! - [`limits`]: the resource limits of a worker; `isolation`: its sandbox; [`output`]: what it writes to stdout and
//!   stderr.

mod arrival;
mod builder;
mod first_init;
#[cfg(feature = "isolation")]
mod isolation;
mod limits;
mod link;
mod output;
mod place;
mod pool;
#[cfg(feature = "multiprocessing")]
pub(crate) mod runner;
mod start;
mod supervisor;
mod turn;
mod verdict;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

pub use self::builder::{ProcessPoolBuilder, StartMethod};
pub(crate) use self::first_init::allow_workers;
#[cfg(feature = "isolation")]
pub use self::isolation::Isolation;
pub use self::limits::Limits;
pub use self::output::{Output, OutputLine, OutputStream};
use self::pool::{EndWorkers, Pool};
#[cfg(feature = "multiprocessing")]
pub(crate) use self::start::Surroundings;
use crate::executor::error::{BuildError, TaskError};
use crate::executor::forward::forward;
use crate::executor::open::OpenExecutor;
use crate::function;
#[cfg(feature = "serde")]
use crate::record::{record, words};

/// Fails if a new process could not find the functions that it runs.
pub(crate) fn check_functions() -> Result<(), BuildError> {
    match function::why_unreachable() {
        None => Ok(()),
        Some(reason) => Err(BuildError::unsupported(reason)),
    }
}

/// Runs tasks in worker processes. Each worker runs one task at a time.
///
/// A worker is this executable, started again: [`init`](crate::init), the first line of `main`, makes it serve. A task
/// may crash, hang or leak there without harm to others: if a worker dies, only the task that it ran fails, and a new
/// worker replaces it.
///
/// A clone is a handle to the same pool. Workers start when there is work for them, and stay. Dropping the last clone
/// refuses new tasks, finishes the submitted ones in the background, and then ends the workers. That needs no runtime:
/// the pool may be used from any number of them, or from none, see [the guide](crate::guide::calls#runtimes).
///
/// A task cannot reach the pool of its parent, so it must not wait for another task there. It may build a pool and a
/// runtime of its own.
///
/// ```no_run
/// use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     concurrent_futures::init(); // A worker starts here too, and never continues past this line.
///     service()
/// }
///
/// #[tokio::main]
/// async fn service() -> Result<(), Box<dyn std::error::Error>> {
///     let pool = ProcessPoolExecutor::new()?;
///     assert_eq!(pool.submit(u64::pow, (2, 8)).await?, 256);
///     pool.shutdown().await;
///     Ok(())
/// }
/// ```
///
/// # Platform
/// Linux.
#[doc(alias("Pool", "ProcessPool"))]
#[derive(Clone)]
pub struct ProcessPoolExecutor {
    pool: Arc<OpenExecutor<Pool>>,
}

impl ProcessPoolExecutor {
    fn from_pool(pool: Arc<Pool>) -> Self {
        let pool = OpenExecutor::new(pool);
        Self { pool }
    }
}

/// A snapshot of one worker process.
///
/// With the feature `serde` it can be serialized and deserialized, as a map whose keys are the names of its
/// methods. Its state is the word `idle`, `busy` or `ending`.
#[derive(Clone, Debug)]
pub struct WorkerInfo {
    id: u64,
    pid: u32,
    state: WorkerState,
    tasks_done: u64,
    started_at: SystemTime,
}

/// The state of a worker process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerState {
    /// It waits for a task.
    Idle,
    /// It has a task.
    Busy,
    /// It is about to exit.
    Ending,
}

#[cfg(feature = "serde")]
record!(WorkerInfo as "WorkerInfo" { id, pid, state, tasks_done, started_at });

#[cfg(feature = "serde")]
words!(WorkerState as "WorkerState" { Idle = "idle", Busy = "busy", Ending = "ending" });

impl WorkerInfo {
    /// The number of the worker, counted from 1 in each pool. It is never used again.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The process id. The system may reuse it once the worker has ended.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The state of the worker.
    pub fn state(&self) -> WorkerState {
        self.state
    }

    /// The number of tasks that the worker has answered.
    pub fn tasks_done(&self) -> u64 {
        self.tasks_done
    }

    /// The time when the worker became ready.
    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }
}

impl ProcessPoolExecutor {
    /// Creates a pool with one worker for each CPU that this process may use.
    ///
    /// # Errors
    /// `is_not_initialized()` if [`init`](crate::init) was not called.
    pub fn new() -> Result<Self, BuildError> {
        Self::builder().build()
    }

    /// Creates a pool with at most `max_workers` workers.
    ///
    /// # Errors
    /// `is_not_initialized()` if [`init`](crate::init) was not called; `is_invalid_setting()` if
    /// `max_workers` is 0.
    pub fn with_workers(max_workers: usize) -> Result<Self, BuildError> {
        Self::builder().max_workers(max_workers).build()
    }

    /// Starts all workers and waits until each of the [`max_workers`](crate::Executor::max_workers) was made ready. A
    /// pool that gave up on its initializer tries again.
    ///
    /// # Errors
    /// `is_init_failed()` if a worker does not become ready: the error says how many are ready, and why another is not.
    /// The ready ones run tasks. `is_shutdown()` after a shutdown.
    ///
    /// # Cancel safety
    /// Cancel safe; the workers continue to start.
    pub async fn warm_up(&self) -> Result<(), TaskError> {
        self.pool.home.awaited(self.pool.warm_up()).await
    }

    /// Closes the pool, cancels the tasks that have not started, and sends SIGTERM to every worker and its
    /// process group. A running task fails with `is_shutdown()`. A task that handles or ignores the signal may
    /// still finish and return its result.
    ///
    /// It does not wait; [`shutdown`](crate::ExecutorExt::shutdown) does, or
    /// [`shutdown_with`](crate::Executor::shutdown_with) with a [`deadline`](crate::Shutdown::deadline).
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use concurrent_futures::{Executor as _, ProcessPoolExecutor, Shutdown};
    /// # async fn end(pool: ProcessPoolExecutor) {
    /// pool.terminate_workers();
    /// pool.shutdown_with(Shutdown::new().deadline(Duration::from_secs(2))).await;
    /// # }
    /// ```
    pub fn terminate_workers(&self) {
        self.pool.end_workers(EndWorkers::Terminate);
    }

    /// Like [`terminate_workers`](Self::terminate_workers), with SIGKILL: no task can finish.
    pub fn kill_workers(&self) {
        self.pool.end_workers(EndWorkers::Kill);
    }

    /// Lists the ready workers, in the order of their start.
    pub fn workers(&self) -> Vec<WorkerInfo> {
        self.pool.workers()
    }
}

// A `map` stream holds only the pool, so it notices when the executor is dropped.
forward!(ProcessPoolExecutor; pool);

impl fmt::Debug for ProcessPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pool.fmt(f)
    }
}
