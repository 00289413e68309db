//! The configuration of a [`ClusterExecutor`].

use std::fmt;
use std::time::Duration;

use super::ClusterExecutor;
use super::core::{ClientConfig, ClientCore};
use super::listener::{self, ClientSubscriptions};
use super::table::TableTerms;
use super::{clock, publisher};
use crate::cluster::access::{OpenQueue, QueueAccess};
use crate::cluster::credentials::Credentials;
use crate::cluster::error::{ClusterError, Problem};
use crate::cluster::functions::Functions;
use crate::cluster::permissions::QueueRole;
use crate::cluster::settings::{Durability, QueueSettings};
use crate::executor::error::BuildError;
use crate::executor::options::TaskOptions;
use crate::executor::settings;

/// The most bytes of an encoded item or result.
const MOST_PAYLOAD: usize = 1 << 30;

/// Configures a [`ClusterExecutor`]; made by [`ClusterExecutor::connect`].
///
/// ```no_run
/// use std::time::Duration;
/// use concurrent_futures::cluster::{ClusterExecutor, Credentials, Durability};
/// use concurrent_futures::{TaskOptions, functions};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = ClusterExecutor::connect("nats://a,nats://b")
///     .queue("primes")
///     .functions(functions![u64::isqrt])
///     .credentials(Credentials::new().user("web", std::env::var("NATS_PASSWORD")?))
///     .durability(Durability::replicas(3))
///     .queue_capacity(10_000)
///     .task_options(TaskOptions::new().timeout(Duration::from_secs(30)))
///     .build()
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct ClusterBuilder {
    access: QueueAccess,
    name: Option<String>,
    functions: Functions,
    queue_capacity: Option<usize>,
    task_options: TaskOptions,
    lost_after: Duration,
}

impl ClusterExecutor {
    /// Starts to configure a client of these servers: `nats://host:4222`, or `tls://host:4222`, with commas between
    /// several. An address may have a user: `tls://user:password@host`.
    pub fn connect(servers: impl Into<String>) -> ClusterBuilder {
        ClusterBuilder::new(servers.into())
    }
}

impl ClusterBuilder {
    fn new(servers: String) -> Self {
        Self {
            access: QueueAccess::new(servers),
            name: None,
            functions: Functions::new(),
            queue_capacity: None,
            task_options: TaskOptions::new(),
            lost_after: Duration::from_secs(30),
        }
    }

    /// The queue that tasks go to: 1 to 32 ASCII letters, digits, `_` or `-`. Default: `default`.
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.access.queue = name.into();
        self
    }

    /// The name of the executor, in its `Debug` text, in metrics, and in the tools of the servers.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The functions that can be submitted. Workers have the same list, or one of the same names.
    pub fn functions(mut self, functions: Functions) -> Self {
        self.functions = functions;
        self
    }

    /// Who connects, and what the connection trusts. Default: no credentials, and the system's roots.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.access.credentials = credentials;
        self
    }

    /// The settings of a new queue. An existing queue must have the settings that are set here.
    pub fn settings(mut self, settings: QueueSettings) -> Self {
        self.access.settings = settings;
        self
    }

    /// As [`QueueSettings::durability`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.access.settings = self.access.settings.durability(durability);
        self
    }

    /// As [`QueueSettings::result_ttl`].
    pub fn result_ttl(mut self, ttl: Duration) -> Self {
        self.access.settings = self.access.settings.result_ttl(ttl);
        self
    }

    /// The most tasks of this client that no worker has claimed; more are refused. Must not be 0. A
    /// limit of the whole queue is [`QueueSettings::max_tasks`]. Default: no limit.
    pub fn queue_capacity(mut self, tasks: usize) -> Self {
        self.queue_capacity = Some(tasks);
        self
    }

    /// Options for every task, for those that the task itself does not set.
    pub fn task_options(mut self, options: TaskOptions) -> Self {
        self.task_options = options;
        self
    }

    /// How long a connected worker may be silent before its tasks fail. Its program may be stopped, or the network may
    /// fail. If it continues after that, its results are refused. Default: 30 s.
    ///
    /// A worker whose connection is closed counts as lost after some seconds.
    pub fn lost_after(mut self, time: Duration) -> Self {
        self.lost_after = time;
        self
    }

    /// The time limit of the connection, and then of the set-up of the queue. Default: 10 s.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.access.limit = limit;
        self
    }

    /// Connects, and finds or creates the queue. Works in any runtime, or in none.
    ///
    /// # Errors
    /// A setting is invalid, no server accepts the connection, or the queue exists with other settings or cannot be
    /// created. The predicates of [`ClusterError`] tell these apart.
    ///
    /// # Cancel safety
    /// Dropping it closes the connection.
    pub async fn build(self) -> Result<ClusterExecutor, ClusterError> {
        let invalid = |error: BuildError| ClusterError::new(Problem::Invalid, error.to_string());
        self.functions.check().map_err(invalid)?;
        let queue_capacity = settings::queue_capacity(self.queue_capacity).map_err(invalid)?;
        let shown = self.name.as_deref().unwrap_or("concurrent-futures client");
        let no_stream = self.access.limit;
        let OpenQueue { names, nats, info } = self
            .access
            .open(QueueRole::Client, shown.to_owned())
            .await?;
        let config = ClientConfig {
            name: self.name,
            functions: self.functions,
            queue_capacity,
            task_options: self.task_options,
            terms: TableTerms {
                duplicate_window: info.duplicate_window,
                no_stream,
                lost_after: self.lost_after,
                result_ttl: info.result_ttl,
            },
            most_payload: MOST_PAYLOAD,
        };
        let core = ClientCore::new(config, names, nats.clone());
        let executor = ClusterExecutor::from_core(core.clone());
        let started = nats.run(async move {
            let subscriptions = ClientSubscriptions::open(&core).await?;
            core.nats
                .spawn(listener::listen(core.clone(), subscriptions));
            core.nats.spawn(publisher::publish(core.clone()));
            core.nats.spawn(clock::watch(core.clone()));
            let _ = core.gather_workers().await; // For `max_workers`. It is repeated.
            Ok(())
        });
        started
            .await
            .unwrap_or_else(|| Err(ClusterError::closed()))?;
        Ok(executor)
    }
}

impl fmt::Debug for ClusterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterBuilder")
            .field("queue", &self.access.queue)
            .field("functions", &self.functions)
            .finish_non_exhaustive()
    }
}
