//! The serving side of a queue. Reading order:
//!
//! - [`Worker`]; [`builder`]: its settings; [`report`]: what it did; [`signal`]: when a program ends;
//! - [`drive`]: the loop that pulls tasks; [`demand`]: how many, from which lane, and [`lane_wait`]: when a lane
//!   counts as empty; [`assign`]: reads the message of one; [`phase`]: how far the worker is; [`requests`]: requests of
//!   clients and other workers;
//! - [`serve`]: a task from its claim to its end; [`claim`]: the claim; [`claim_rules`]: whether to claim;
//!   [`attempts`]: its runs, and [`attempt`]: one of them; [`gathered`]: the outcomes of its items; [`store`]: its
//!   outcome; [`records`]: how its record is read and written;
//! - [`core`]: what the loop and all tasks share; [`table`]: the tasks of this worker; [`slots`]: the right to run, and
//!   [`ahead`]: how many tasks wait for one; [`average_time`]: how long they take.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::oneshot;

mod ahead;
mod assign;
mod attempt;
mod attempts;
mod average_time;
mod builder;
mod claim;
mod claim_rules;
mod core;
mod demand;
mod drive;
mod gathered;
mod lane_wait;
mod phase;
mod records;
mod report;
mod requests;
mod serve;
mod signal;
mod slots;
mod store;
mod table;

pub use builder::WorkerBuilder;
pub use report::WorkerReport;
pub use signal::sigterm;

use self::core::WorkerCore;
use drive::{StopOrder, WorkerSubscriptions, drive};

/// Serves a queue: claims its tasks and runs them with a local executor.
///
/// A program on this or another machine submits them. Both have the same [`Functions`](super::Functions). A queue may
/// have any number of workers.
///
/// ```no_run
/// use std::sync::Arc;
/// use concurrent_futures::cluster::{self, Functions};
/// use concurrent_futures::{ProcessPoolExecutor, functions};
///
/// fn tasks() -> Functions {
///     functions![u64::pow]
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     concurrent_futures::init();
///     serve()
/// }
///
/// #[tokio::main]
/// async fn serve() -> Result<(), Box<dyn std::error::Error>> {
///     let pool = Arc::new(ProcessPoolExecutor::new()?);
///     let worker = cluster::Worker::connect("nats://localhost").queue("numbers").functions(tasks());
///     let report = worker.build(pool).await?.run_until(cluster::sigterm()).await;
///     println!("{} tasks", report.done);
///     Ok(())
/// }
/// ```
///
/// # Promises
///
/// - A task without [`retries`](crate::TaskOptions::retries) starts at most once, even if workers and servers are
///   killed. A task with `retries(n)` starts at most `n + 1` times. A worker claims a task at the server before it runs
///   it, and a result is accepted only over its claim. With retries this holds while no outage of all servers or of all
///   workers is longer than the [`result_ttl`](super::QueueSettings::result_ttl).
/// - The task of a worker that was lost runs again, or fails with
///   [`is_worker_lost`](crate::TaskError::is_worker_lost), once the server delivers it to another worker.
/// - A queue has three lanes: priorities above 0, 0, and below 0. A worker takes a task of a lower lane only while it
///   finds none in the higher ones, as the local pools do. So lower lanes wait as long as higher ones are never empty.
/// - Results, panics, exit codes and the end of stderr come back as from a local pool.
pub struct Worker(Arc<WorkerCore>);

impl Worker {
    /// Returns the unique id of the worker. Errors of its tasks contain it.
    pub fn id(&self) -> &str {
        &self.0.me.id
    }

    /// Returns the queue that the worker serves.
    pub fn queue(&self) -> &str {
        self.0.names.queue()
    }

    /// Returns how many tasks the worker runs at the same time.
    pub fn slots(&self) -> usize {
        self.0.slots.count() as usize
    }

    /// Serves until `stop` is ready. Then it takes no more tasks, finishes those that run, and returns how the tasks of
    /// this worker ended. Tasks that have not started go back to the queue.
    ///
    /// While no server is there, it waits and reconnects.
    ///
    /// # Cancel safety
    /// Dropping it ends the running tasks, as the [`drain_deadline`](WorkerBuilder::drain_deadline) does. A background
    /// task then stores their outcomes.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> WorkerReport {
        let core = self.0;
        let (order, ordered) = oneshot::channel();
        let serving = core.nats.spawn({
            let core = core.clone();
            async move {
                match subscribe(&core).await {
                    Some(subscriptions) => drive(core, subscriptions, ordered).await,
                    None => WorkerReport::default(),
                }
            }
        });
        tokio::pin!(serving);
        tokio::select! {
            report = &mut serving => return report.unwrap_or_default(),
            () = stop => {}
        }
        let _ = order.send(StopOrder::Drain);
        serving.await.unwrap_or_default()
    }
}

/// Makes the subscriptions of a worker. `None` if the connection is closed.
async fn subscribe(core: &WorkerCore) -> Option<WorkerSubscriptions> {
    let client = core.nats.client();
    let inbox_name = client.new_inbox();
    let subscriptions = WorkerSubscriptions {
        inbox: client.subscribe(format!("{inbox_name}.*")).await.ok()?,
        inbox_name,
        own: client
            .subscribe(core.names.all_of_worker(&core.me.id))
            .await
            .ok()?,
        all: client.subscribe(core.names.who()).await.ok()?,
    };
    client.flush().await.ok()?; // Before the first claim: other workers ask this one about it.
    Some(subscriptions)
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("id", &self.0.me.id)
            .field("queue", &self.0.names.queue())
            .finish_non_exhaustive()
    }
}
