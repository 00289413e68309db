//! [`ClusterExecutor`]: submits tasks to workers on other machines. Reading order:
//!
//! - this file: the executor; [`builder`]: its configuration;
//! - [`in_flight`]: a task without an outcome; [`table`]: all of them, and what each event means; [`timers`]: their
//!   timers; [`questions`]: the questions of this client;
//! - [`core`]: what the executor and its background tasks share; [`submit`]: how work reaches it;
//! - [`publisher`], [`listener`], [`clock`]: the background tasks; [`scan`]: a search in the stream;
//!   [`retire`]: the end of records;
//! - [`settle`]: outcomes on their way to callers; [`counts`]: how many ended, and how; [`end`]: how a client ends;
//! - [`key`], [`attach`]: handles of tasks that another process submitted;
//! - [`presence`], [`present`]: which workers there are, and how many; [`depth`]: the length of the queue.

mod attach;
mod builder;
mod clock;
mod core;
mod counts;
mod depth;
mod end;
mod in_flight;
mod key;
mod listener;
mod presence;
mod present;
mod publisher;
mod questions;
mod retire;
mod scan;
mod settle;
mod submit;
mod table;
mod timers;

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

pub use self::builder::ClusterBuilder;
use self::core::ClientCore;
pub use self::depth::{LaneDepth, QueueDepth};
pub use self::key::{InvalidTaskKey, TaskKey};
pub use self::presence::ClusterWorkerInfo;
use super::error::ClusterError;
use crate::executor::forward::forward;
use crate::executor::handle::JoinHandle;
use crate::executor::open::OpenExecutor;

/// Runs tasks on other machines: the workers of a queue, on the servers of NATS JetStream.
///
/// It is an [`Executor`](crate::Executor) like the local pools. Only functions that are listed by
/// [`functions!`](crate::functions!) can be submitted: another program finds them by name.
///
/// A clone is the same client. Its background tasks have a thread of their own, so it works in any runtime, or in none.
/// Dropping the last clone refuses new tasks, and waits in the background for those that are submitted. If the program
/// ends, its tasks still run; another program gets their outcomes by [`key`](Self::key) and
/// [`reattach`](Self::reattach).
///
/// ```no_run
/// use concurrent_futures::cluster::ClusterExecutor;
/// use concurrent_futures::{ExecutorExt as _, functions};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = ClusterExecutor::connect("nats://localhost")
///     .queue("roots")
///     .functions(functions![u64::isqrt])
///     .build()
///     .await?;
/// assert_eq!(cluster.submit(u64::isqrt, 49).await?, 7);
/// # Ok(()) }
/// ```
///
/// # While a server is away
/// The client reconnects, however long that takes. Tasks wait meanwhile; none is lost, and none runs twice. A cancel
/// returns after at most a second. If the server has not decided by then whether the task started, it counts as
/// started. To wait less, await the handle within a timeout of your own.
///
/// # When a worker is lost
/// A task without [`retries`](crate::TaskOptions::retries) never runs twice: it fails with
/// [`is_worker_lost`](crate::TaskError::is_worker_lost). With them, another worker runs it.
#[derive(Clone)]
#[doc(alias("Celery", "Dask", "distributed"))]
pub struct ClusterExecutor {
    core: Arc<OpenExecutor<ClientCore>>,
}

impl ClusterExecutor {
    fn from_core(core: Arc<ClientCore>) -> Self {
        let core = OpenExecutor::new(core);
        Self { core }
    }

    /// Returns the key of a task, for [`reattach`](Self::reattach) in another process or later. `handle` must be a
    /// handle of this client.
    ///
    /// The servers have the task once [`stored`](Self::stored) returns.
    pub fn key<T: 'static>(&self, handle: &JoinHandle<T>) -> TaskKey {
        self.core.key_of(handle)
    }

    /// Waits until the servers have stored a task, or it has its outcome. From then on it runs even if this program
    /// ends. Returns its key.
    ///
    /// ```no_run
    /// # use concurrent_futures::{ExecutorExt as _, cluster::ClusterExecutor};
    /// # async fn submit(cluster: ClusterExecutor) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = cluster.submit(u64::isqrt, 49);
    /// let key = cluster.stored(&handle).await;
    /// println!("job {key}"); // For another process: `cluster.reattach::<u64>(&key.parse()?)`.
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn stored<T: 'static>(&self, handle: &JoinHandle<T>) -> TaskKey {
        self.core.home.awaited(self.core.until_stored(handle)).await
    }

    /// Returns a handle of a task that another process, or this one, submitted before. It gets the outcome as if the
    /// task was submitted here. Several handles of one task get the same outcome, but the first to read a large one
    /// deletes it.
    ///
    /// `T` is the type of the result.
    ///
    /// # Errors
    /// Through the handle: `is_rejected()` if the queue has neither the task nor its outcome any more, or for a key of
    /// another queue; `is_codec()` if `T` is not the type of the result.
    pub fn reattach<T>(&self, key: &TaskKey) -> JoinHandle<T>
    where
        T: DeserializeOwned + Send + 'static,
    {
        self.core.reattach(key)
    }

    /// Returns how many tasks of all clients wait in the queue, and how many are with a worker: a signal to start or
    /// end workers.
    ///
    /// # Errors
    /// `is_unreachable()` while the servers do not answer, `is_permission_denied()` if they do not permit the question.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn depth(&self) -> Result<QueueDepth, ClusterError> {
        let core = Arc::<ClientCore>::clone(&self.core);
        let read = self.core.nats.run(async move { core.read_depth().await });
        read.await.unwrap_or_else(|| Err(ClusterError::closed()))
    }

    /// Asks which workers serve the queue. Takes about a tenth of a second, and half a second if none answers. A worker
    /// that is stopped is not in the list.
    ///
    /// ```no_run
    /// # use concurrent_futures::cluster::{ClusterError, ClusterExecutor};
    /// # async fn show(cluster: ClusterExecutor) -> Result<(), ClusterError> {
    /// for worker in cluster.workers().await? {
    ///     println!("{}: {} of {} slots taken", worker.name(), worker.running(), worker.slots());
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `is_unreachable()` if the servers do not answer within 5 s, `is_permission_denied()` if they do not permit the
    /// question.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn workers(&self) -> Result<Vec<ClusterWorkerInfo>, ClusterError> {
        let core = Arc::<ClientCore>::clone(&self.core);
        let asked = self
            .core
            .nats
            .run(async move { core.gather_workers().await });
        asked.await.unwrap_or_else(|| Err(ClusterError::closed()))
    }
}

// A `map` stream holds only the client, so it notices when the executor is dropped.
forward!(
    /// A shutdown ends the tasks of this client, and no worker. `max_workers` and `stats` use a count of the workers
    /// that is some seconds old.
    ClusterExecutor; core
);

impl fmt::Debug for ClusterExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}
