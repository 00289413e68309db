//! [`ProcessPoolExecutor`]: work in worker processes, each this executable started again. Reading
//! order:
//!
//! - this file: what a user holds; [`builder`]: how it is configured;
//! - [`pool`]: which call goes to which worker;
//! - [`supervisor`]: the life of one worker; [`start`]: how it begins; [`arrival`]: a large result on
//!   its way in; [`watch`]: when there is something to read;
//! - [`link`]: the parent's end of a worker, who is owed what;
//! - [`verdict`]: what the end of one is told as;
//! - [`runner`]: a process that runs one function, and is nobody's worker;
//! - [`limits`]: what a worker may use; [`output`]: what it writes to stdout and stderr.

mod arrival;
mod builder;
mod limits;
mod link;
mod output;
mod pool;
#[cfg(feature = "multiprocessing")]
pub(crate) mod runner;
mod start;
mod supervisor;
mod verdict;
mod watch;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use async_trait::async_trait;

pub use self::builder::{ProcessPoolBuilder, StartMethod};
pub use self::limits::Limits;
pub use self::output::{Output, OutputLine, OutputStream};
use self::pool::{EndWorkers, Pool};
#[cfg(feature = "multiprocessing")]
pub(crate) use self::start::Surroundings;
use crate::executor::encoded::Job;
use crate::executor::error::{BuildError, TaskError};
use crate::executor::options::{Shutdown, ShutdownReport};
use crate::executor::room::Room;
use crate::executor::{Executor, Stats};
use crate::wire::message::Role;

/// What a process does that was forked: as what, with its socket, and with what stands for its parent.
/// (Workers' code is not imported here.)
pub(crate) type ServeForked = fn(Role, io::Result<UnixStream>, Option<OwnedFd>) -> !;

/// Set when this process has said, by `init`, that its executable can be a worker.
static INITIALIZED: OnceLock<ServeForked> = OnceLock::new();

pub(crate) fn allow_workers(serve: ServeForked) {
    let _ = INITIALIZED.set(serve);
}

fn workers_allowed() -> Option<ServeForked> {
    INITIALIZED.get().copied()
}

/// Runs work in worker processes, each of which runs one task at a time.
///
/// A worker is this executable, started again: [`init`](crate::init), the first line of `main`,
/// makes it serve. A task may crash, hang or leak there without harm to others: its death is the
/// error of that one task, and a new worker takes the place.
///
/// Workers start when there is work for them, and stay. Dropping the executor refuses new work,
/// finishes in the background what was submitted, and ends the workers; if the runtime ends first,
/// they are killed and the tasks fail with `is_shutdown()`.
///
/// A task must not wait for another task of a pool of its own parent, which it cannot reach. It may
/// build a pool of its own, in a runtime of its own.
///
/// ```no_run
/// use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     concurrent_futures::init(); // A worker starts here, too, and never gets further.
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
pub struct ProcessPoolExecutor {
    pool: Arc<Pool>,
}

/// One worker process, as it was when it was asked for.
#[derive(Clone, Debug)]
pub struct WorkerInfo {
    id: u64,
    pid: u32,
    state: WorkerState,
    tasks_done: u64,
    started_at: SystemTime,
}

/// What a worker process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerState {
    /// It waits for work.
    Idle,
    /// It has work.
    Busy,
    /// It is about to be gone.
    Ending,
}

impl WorkerInfo {
    /// The number of the worker, counted from 1 in each pool; it is never given again.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The process id. It may be another process's as soon as the worker has ended.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it is doing.
    pub fn state(&self) -> WorkerState {
        self.state
    }

    /// How many tasks it has answered.
    pub fn tasks_done(&self) -> u64 {
        self.tasks_done
    }

    /// When it became ready.
    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }
}

impl ProcessPoolExecutor {
    /// A pool with as many workers as the process may use CPUs.
    ///
    /// # Errors
    /// `is_not_initialized()` if [`init`](crate::init) was not called.
    pub fn new() -> Result<Self, BuildError> {
        Self::builder().build()
    }

    /// A pool with at most so many workers.
    ///
    /// # Errors
    /// `is_not_initialized()` if [`init`](crate::init) was not called; `is_invalid_setting()` if
    /// `max_workers` is 0.
    pub fn with_workers(max_workers: usize) -> Result<Self, BuildError> {
        Self::builder().max_workers(max_workers).build()
    }

    /// Starts to configure a pool.
    pub fn builder() -> ProcessPoolBuilder {
        ProcessPoolBuilder::default()
    }

    /// Starts all workers and waits until they are ready. It also makes a pool try again that
    /// has given up on its initializer.
    ///
    /// # Errors
    /// `is_init_failed()` if a worker cannot be made ready; `is_shutdown()` after a shutdown;
    /// `is_rejected()` outside a runtime.
    ///
    /// # Cancel safety
    /// Cancel safe; the workers go on starting.
    pub async fn warm_up(&self) -> Result<(), TaskError> {
        self.pool.warm_up().await
    }

    /// Closes the pool, cancels what has not started, and sends SIGTERM to every worker and all of
    /// its process group. A running task ends with `is_shutdown()`; one that handles the signal, or
    /// ignores it, may still finish and give its result.
    ///
    /// It waits for nothing; [`shutdown`](crate::ExecutorExt::shutdown) does, with a
    /// [`deadline`](Shutdown::deadline) if need be.
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

    /// As [`terminate_workers`](Self::terminate_workers), with SIGKILL: no task can finish.
    pub fn kill_workers(&self) {
        self.pool.end_workers(EndWorkers::Kill);
    }

    /// The workers that are ready, in the order of their start.
    pub fn workers(&self) -> Vec<WorkerInfo> {
        self.pool.workers()
    }
}

/// The executor is its pool; the pool alone is what a stream of `map` holds, so that the drop of
/// the executor is seen.
#[async_trait]
impl Executor for ProcessPoolExecutor {
    fn spawn_job(&self, job: Job) {
        self.pool.spawn_job(job);
    }

    fn try_room(&self) -> Result<Room, TaskError> {
        self.pool.try_room()
    }

    async fn room(&self) -> Result<Room, TaskError> {
        self.pool.room().await
    }

    fn handle(&self) -> Arc<dyn Executor> {
        self.pool.clone()
    }

    async fn shutdown_with(&self, how: Shutdown) -> ShutdownReport {
        self.pool.shutdown_with(how).await
    }

    fn max_workers(&self) -> usize {
        self.pool.max_workers()
    }

    fn stats(&self) -> Stats {
        self.pool.stats()
    }
}

impl fmt::Debug for ProcessPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pool.fmt(f)
    }
}

impl Drop for ProcessPoolExecutor {
    fn drop(&mut self) {
        self.pool.close();
    }
}
