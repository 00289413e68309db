//! The contract that every executor keeps. It is object safe.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

#[cfg(feature = "process")]
use super::encoded::Job;
use super::error::TaskError;
use super::options::{Shutdown, ShutdownReport};
use super::promise::Terms;
use super::room::Room;
use super::stats::Stats;

/// Runs work off the async threads. Object safe: an `Arc<dyn Executor>` lets configuration choose
/// threads or processes.
///
/// Callers use the methods of [`ExecutorExt`](crate::ExecutorExt), which every executor has.
///
/// ```
/// use std::sync::Arc;
/// use concurrent_futures::{Executor, ExecutorExt as _, ThreadPoolExecutor};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let executor: Arc<dyn Executor> = Arc::new(ThreadPoolExecutor::with_workers(2)?);
/// # #[cfg(feature = "process")]
/// assert_eq!(executor.submit(u64::pow, (2, 8)).await?, 256);
/// executor.shutdown().await;
/// # Ok(()) }
/// ```
///
/// The trait is sealed: only the executors of this crate implement it, such as
/// [`ThreadPoolExecutor`](crate::ThreadPoolExecutor) and `ProcessPoolExecutor`. A test that needs a stand-in for a
/// process pool uses a `ThreadPoolExecutor` with one worker.
#[async_trait]
pub trait Executor: Intake + Send + Sync + Debug {
    /// Refuses new work, ends the accepted tasks as `how` says, and waits until all workers have ended.
    async fn shutdown_with(&self, how: Shutdown) -> ShutdownReport;

    /// Returns how many tasks can run at the same time.
    fn max_workers(&self) -> usize;

    /// Returns what the executor is doing.
    fn stats(&self) -> Stats;
}

/// How an executor takes a job. It seals [`Executor`]: the name is private, so no other crate can
/// implement it. Submits, maps, permits and services are its callers.
#[async_trait]
pub trait Intake {
    /// Runs a job. The executor answers the job's handle in every case; a job that it drops fails.
    #[cfg(feature = "process")]
    fn spawn_job(&self, job: Job);

    /// What it attaches to each job that it takes.
    fn terms(&self) -> &Arc<Terms>;

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

    /// How long the items of a `map` that travel together should run: many times longer than the round trip to a
    /// worker.
    fn chunk_time(&self) -> Duration {
        Duration::from_millis(1)
    }

    /// Another handle to the same executor. It does not keep the executor open: once the executor is dropped, the
    /// handle refuses new tasks.
    fn handle(&self) -> Arc<dyn Executor>;
}
