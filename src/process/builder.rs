//! How a [`ProcessPoolExecutor`] is configured.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::limits::Limits;
use super::output::{Outlets, Output};
use super::pool::{Config, Pool};
use super::start::Recipe;
use super::supervisor;
use super::{ProcessPoolExecutor, workers_allowed};
use crate::executor::error::{BuildError, BuildFailure};
use crate::executor::job::encode_initializer;
use crate::executor::options::TaskOptions;
use crate::executor::settings;
use crate::executor::task::{Arguments, Initialized, Task};
use crate::function::{FunctionOffset, assert_stateless};
use crate::wire::Chain;
use crate::wire::frame;

const MAX_FRAME_LENGTH: usize = 1 << 30;
const SPAWN_TIMEOUT: Duration = Duration::from_secs(30);

/// How a worker process is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StartMethod {
    /// The executable is started anew.
    #[default]
    Spawn,
    /// A process that was started for it forks each worker. Not in this release.
    ForkServer,
    /// A fork of the calling process. Not in this release.
    Fork,
}

impl StartMethod {
    /// The methods that work here.
    pub fn available() -> impl Iterator<Item = Self> {
        [Self::Spawn].into_iter()
    }
}

/// Configures a [`ProcessPoolExecutor`].
///
/// ```no_run
/// use std::time::Duration;
/// use concurrent_futures::{ProcessPoolExecutor, TaskOptions};
///
/// # fn main() -> Result<(), concurrent_futures::BuildError> {
/// let pool = ProcessPoolExecutor::builder()
///     .max_workers(4)
///     .queue_capacity(1000)
///     .max_tasks_per_child(10_000)
///     .task_options(TaskOptions::new().timeout(Duration::from_secs(30)))
///     .build()?;
/// # Ok(()) }
/// ```
#[derive(Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct ProcessPoolBuilder {
    name: Option<String>,
    max_workers: Option<usize>,
    queue_capacity: Option<usize>,
    task_options: TaskOptions,
    start_method: StartMethod,
    initializer: Option<EncodeInitializer>,
    max_tasks_per_child: Option<u64>,
    max_frame_length: Option<usize>,
    spawn_timeout: Option<Duration>,
    env: Vec<(OsString, OsString)>,
    env_clear: bool,
    current_dir: Option<PathBuf>,
    limits: Limits,
    stdout: Option<Output>,
    stderr: Option<Output>,
}

/// Encodes the initializer's call, within a limit of bytes.
type EncodeInitializer = Box<dyn FnOnce(usize) -> Result<(FunctionOffset, Chain), String> + Send>;

impl ProcessPoolBuilder {
    /// What the pool is called in its `Debug` text.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many workers there may be. Default: the CPUs this process may use, which its
    /// affinity and its container's CPU quota may make fewer than the machine has.
    pub fn max_workers(mut self, workers: usize) -> Self {
        self.max_workers = Some(workers);
        self
    }

    /// How many tasks may wait; more are refused. Default: no bound.
    pub fn queue_capacity(mut self, tasks: usize) -> Self {
        self.queue_capacity = Some(tasks);
        self
    }

    /// Options for every task, where a task has none of its own.
    pub fn task_options(mut self, options: TaskOptions) -> Self {
        self.task_options = options;
        self
    }

    /// How workers are made. Default: [`StartMethod::default`].
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.start_method = method;
        self
    }

    /// Called in each worker before its first task, with the same rules for function and arguments
    /// as for a task. If it returns an error or panics, or its process ends, the start is tried
    /// again, three times in all with growing pauses; then the waiting tasks fail with that
    /// error, and the pool is broken until [`warm_up`](ProcessPoolExecutor::warm_up). As long as
    /// another worker is ready, it does the work instead.
    pub fn initializer<F, A, M>(mut self, function: F, args: A) -> Self
    where
        F: Task<A, M> + Copy + Send + Sync + 'static,
        F::Output: Initialized,
        A: Arguments<M>,
        M: 'static,
    {
        const { assert_stateless::<F>() };
        self.initializer = Some(Box::new(move |limit| {
            encode_initializer(function, args, limit)
        }));
        self
    }

    /// After how many tasks a worker is replaced, for code that leaks. A chunk of a `map` counts as
    /// one. Default: never.
    pub fn max_tasks_per_child(mut self, tasks: u64) -> Self {
        self.max_tasks_per_child = Some(tasks);
        self
    }

    /// The most bytes that the encoded arguments of a task, or its encoded result, may have.
    /// Default: 1 GiB.
    pub fn max_frame_length(mut self, bytes: usize) -> Self {
        self.max_frame_length = Some(bytes);
        self
    }

    /// How long a process may take to become a worker, its initializer included, before it is
    /// killed. Default: 30 seconds.
    pub fn spawn_timeout(mut self, limit: Duration) -> Self {
        self.spawn_timeout = Some(limit);
        self
    }

    /// Sets a variable in the workers' environment, which otherwise is this process's own.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Gives the workers only the variables that are set by [`env`](Self::env).
    pub fn env_clear(mut self) -> Self {
        self.env_clear = true;
        self
    }

    /// Where the workers run. Default: where this process is when a worker starts.
    pub fn current_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.current_dir = Some(folder.into());
        self
    }

    /// What each worker may use: memory, processor time, descriptors. Default: what this process may.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What becomes of what workers write to stdout. Default: it goes where their stderr goes.
    pub fn stdout(mut self, output: Output) -> Self {
        self.stdout = Some(output);
        self
    }

    /// What becomes of what workers write to stderr. Default: [`Output::relay`].
    pub fn stderr(mut self, output: Output) -> Self {
        self.stderr = Some(output);
        self
    }

    /// Makes the pool. Within a tokio runtime, that one also drives what is later submitted from
    /// outside of any. No process is started yet.
    ///
    /// # Errors
    /// `is_not_initialized()` if [`init`](crate::init) was not called; `is_invalid_setting()` for a
    /// number that cannot be, or an initializer whose arguments cannot be encoded;
    /// `is_unsupported()` for a start method that is not [available](StartMethod::available).
    pub fn build(self) -> Result<ProcessPoolExecutor, BuildError> {
        if !workers_allowed() {
            return Err(BuildError(BuildFailure::NotInitialized));
        }
        if !StartMethod::available().any(|method| method == self.start_method) {
            return Err(BuildError(BuildFailure::Unsupported(
                format!(
                    "start_method {:?} is not available here; use {:?}",
                    self.start_method,
                    StartMethod::default()
                )
                .into(),
            )));
        }
        let max_frame_length =
            check_frame_length(self.max_frame_length.unwrap_or(MAX_FRAME_LENGTH))?;
        let encoded = self
            .initializer
            .map(|encode| encode(max_frame_length))
            .transpose();
        let recipe = Recipe {
            env: self.env,
            env_clear: self.env_clear,
            current_dir: self.current_dir,
            initializer: encoded
                .map_err(|reason| BuildError::invalid(format!("the initializer {reason}")))?,
            limits: self.limits.check()?,
            outlets: Outlets::new(self.stdout, self.stderr),
            max_frame_length,
            spawn_timeout: positive("spawn_timeout", self.spawn_timeout.unwrap_or(SPAWN_TIMEOUT))?,
        };
        if self.max_tasks_per_child == Some(0) {
            return Err(BuildError::invalid(
                "max_tasks_per_child is 0; a worker needs at least one task",
            ));
        }
        let config = Config {
            name: self.name,
            max_workers: settings::workers(self.max_workers)?,
            queue_capacity: settings::queue_capacity(self.queue_capacity)?,
            task_options: Arc::new(self.task_options),
            max_tasks_per_child: self.max_tasks_per_child,
            recipe,
        };
        Ok(ProcessPoolExecutor {
            pool: Pool::new(config, supervisor::start),
        })
    }
}

fn check_frame_length(bytes: usize) -> Result<usize, BuildError> {
    match bytes {
        0 => Err(BuildError::invalid(
            "max_frame_length is 0; a frame needs room for something",
        )),
        bytes if bytes > frame::LARGEST / 2 => Err(BuildError::invalid(format!(
            "max_frame_length is {bytes}; a frame can have at most {} bytes",
            frame::LARGEST / 2
        ))),
        bytes => Ok(bytes),
    }
}

fn positive(setting: &str, value: Duration) -> Result<Duration, BuildError> {
    if value.is_zero() {
        Err(BuildError::invalid(format!("{setting} is 0")))
    } else {
        Ok(value)
    }
}

impl fmt::Debug for ProcessPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPoolBuilder")
            .field("name", &self.name)
            .field("max_workers", &self.max_workers)
            .field("queue_capacity", &self.queue_capacity)
            .field("start_method", &self.start_method)
            .finish_non_exhaustive()
    }
}
