//! The settings of a worker.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::Worker;
use super::core::{Times, WorkerCore, WorkerTally};
use super::lane_wait::LaneWait;
use super::slots::Slots;
use super::table::TaskTable;
use crate::cluster::access::{OpenQueue, QueueAccess};
use crate::cluster::credentials::Credentials;
use crate::cluster::error::{ClusterError, Problem};
use crate::cluster::functions::Functions;
use crate::cluster::names::unique_id;
use crate::cluster::permissions::QueueRole;
use crate::cluster::record::{MOST_WORKER_NAME, WorkerId};
use crate::cluster::settings::{Durability, QueueSettings};
use crate::cluster::streams::record_age;
use crate::executor::Executor;
use crate::executor::settings::positive;

/// Settings of a [`Worker`]; made by [`Worker::connect`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct WorkerBuilder {
    access: QueueAccess,
    functions: Functions,
    name: Option<String>,
    slots: Option<usize>,
    timeout: Option<Duration>,
    lost_after: Duration,
    drain_deadline: Option<Duration>,
}

impl Worker {
    /// Returns the settings of a worker that connects to `url`: one server, or several of a cluster with commas
    /// between.
    pub fn connect(url: impl Into<String>) -> WorkerBuilder {
        WorkerBuilder::new(url.into())
    }
}

impl WorkerBuilder {
    fn new(url: String) -> Self {
        Self {
            access: QueueAccess::new(url),
            functions: Functions::new(),
            name: None,
            slots: None,
            timeout: None,
            lost_after: Duration::from_secs(10),
            drain_deadline: None,
        }
    }

    /// Sets the queue that the worker serves. Default: `default`.
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.access.queue = name.into();
        self
    }

    /// Sets the functions that the worker runs. A task of another function goes back to the queue, for a worker that
    /// has it.
    pub fn functions(mut self, functions: Functions) -> Self {
        self.functions = functions;
        self
    }

    /// Sets who connects, and what the connection trusts. Default: no credentials, and the system's roots.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.access.credentials = credentials;
        self
    }

    /// Sets the name of the worker, which [`ClusterWorkerInfo::name`](crate::cluster::ClusterWorkerInfo::name), the
    /// errors of its tasks and the tools of the servers show: 1 to 200 bytes. Several workers may have the same one.
    /// Default: the host and the process id.
    ///
    /// ```no_run
    /// # use std::{sync::Arc, time::Duration};
    /// # use concurrent_futures::{ThreadPoolExecutor, functions};
    /// # use concurrent_futures::cluster::Worker;
    /// # async fn serve(pool: ThreadPoolExecutor) -> Result<(), Box<dyn std::error::Error>> {
    /// let worker = Worker::connect("nats://localhost").functions(functions![u64::pow]);
    /// let worker = worker.name("rack 7").timeout(Duration::from_secs(600)).build(Arc::new(pool)).await?;
    /// # Ok(()) }
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets how many tasks the worker runs at the same time. Default: the `max_workers` of the local executor. A chunk
    /// of a `map` is one task.
    ///
    /// If tasks take less than 2 ms, it claims some that wait for a slot: up to 8 for each slot, as many as start
    /// within 2 ms. A claim counts as a start: if the program is killed, claimed tasks without retries are lost.
    pub fn slots(mut self, count: usize) -> Self {
        self.slots = Some(count);
        self
    }

    /// Limits how long each task may run on this worker, and each item of a chunk. It applies to tasks that have no
    /// [`timeout`](crate::TaskOptions::timeout) of their own, or a longer one. Their error is
    /// [`is_timeout`](crate::TaskError::is_timeout). Default: no limit.
    ///
    /// Without it, the tasks of a client that sets no limit could take all slots for ever.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Sets how the servers keep the queue. The first program that uses the queue creates it. A program with other
    /// settings gets an error. Default: the settings of the queue, or those of [`QueueSettings::new`] if it is created.
    pub fn settings(mut self, settings: QueueSettings) -> Self {
        self.access.settings = settings;
        self
    }

    /// As [`QueueSettings::durability`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.access.settings = self.access.settings.durability(durability);
        self
    }

    /// Sets how long another worker may be silent before its tasks run again, or fail if they may not. A worker is
    /// silent if it is connected and does not answer, such as one whose program or machine is stopped. If it continues
    /// after that, its results are refused. Default: 10 s.
    ///
    /// A worker whose connection is closed, such as one that was killed, counts as lost at once.
    pub fn lost_after(mut self, time: Duration) -> Self {
        self.lost_after = time;
        self
    }

    /// Limits how long running tasks may take once the worker is asked to end. After that they are cancelled. A task
    /// with [`retries`](crate::TaskOptions::retries) left goes back to the queue; any other fails with
    /// [`is_worker_lost`](crate::TaskError::is_worker_lost). Default: no limit.
    pub fn drain_deadline(mut self, limit: Duration) -> Self {
        self.drain_deadline = Some(limit);
        self
    }

    /// Connects, and finds or creates the queue. The worker takes no task before [`Worker::run_until`].
    ///
    /// `executor` runs the functions: a thread pool or a process pool of this program.
    ///
    /// # Errors
    /// A setting is invalid, no server accepts the connection, or the queue exists with other settings or cannot be
    /// created.
    ///
    /// # Cancel safety
    /// Dropping it closes the connection.
    pub async fn build(self, executor: Arc<dyn Executor>) -> Result<Worker, ClusterError> {
        let invalid = |text: String| ClusterError::new(Problem::Invalid, text);
        let checked = self.functions.check();
        checked.map_err(|mistake| invalid(mistake.to_string()))?;
        let slots = self.slots.unwrap_or_else(|| executor.max_workers());
        let slots = u32::try_from(slots)
            .ok()
            .filter(|slots| (1..=MOST_SLOTS).contains(slots));
        let slots = slots.ok_or_else(|| {
            invalid(format!(
                "a worker has from 1 to {MOST_SLOTS} slots; change `slots`"
            ))
        })?;
        let timeout = (self.timeout.map(|limit| positive("timeout", limit))).transpose();
        let timeout = timeout.map_err(|mistake| invalid(mistake.to_string()))?;
        if let Some(name) = &self.name
            && !(1..=MOST_WORKER_NAME).contains(&name.len())
        {
            return Err(invalid(format!(
                "the name of the worker has {} bytes; use 1 to {MOST_WORKER_NAME}",
                name.len()
            )));
        }
        let shown = match &self.name {
            Some(name) => name.clone(),
            None => format!("worker of {}", self.access.queue),
        };
        let OpenQueue { names, nats, info } = self.access.open(QueueRole::Worker, shown).await?;
        let me = WorkerId {
            id: unique_id(),
            host: host_name(),
            pid: std::process::id(),
            name: self.name,
        };
        let tally = WorkerTally::new(names.queue());
        Ok(Worker(Arc::new(WorkerCore {
            nats,
            names,
            functions: self.functions,
            executor,
            me,
            times: Times {
                ack_wait: info.ack_wait,
                lost_after: self.lost_after,
                result_ttl: info.result_ttl,
                claim_age: record_age(info.result_ttl) / 2,
                drain_deadline: self.drain_deadline,
                longest_run: timeout,
            },
            slots: Slots::new(slots),
            lane_wait: LaneWait::default(),
            tasks: TaskTable::default(),
            tally,
            claims: AtomicU64::new(0),
            executor_closed: Notify::new(),
            reconnected: Mutex::new(None),
        })))
    }
}

/// The most tasks that a worker claims at the same time.
const MOST_SLOTS: u32 = 1 << 16;

impl fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerBuilder")
            .field("queue", &self.access.queue)
            .field("functions", &self.functions)
            .finish_non_exhaustive()
    }
}

/// The name of this machine, for display.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| std::env::var("HOSTNAME").ok());
    let name = name.or_else(|| std::env::var("COMPUTERNAME").ok());
    let name: String = name.unwrap_or_default().trim().chars().take(64).collect();
    match name.is_empty() {
        true => "unknown".to_owned(),
        false => name,
    }
}
