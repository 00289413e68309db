//! How a [`ProcessPoolExecutor`] is configured.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::limits::Limits;
use super::output::{Outlets, Output};
use super::pool::{Pool, ProcessPoolConfig};
use super::start::{ForkServer, Opening, Recipe, Starter, Surroundings};
use super::supervisor;
use super::{ProcessPoolExecutor, workers_allowed};
use crate::executor::data::Arguments;
use crate::executor::encoded::encode_initializer;
use crate::executor::error::{BuildError, BuildFailure};
use crate::executor::options::TaskOptions;
use crate::executor::settings;
use crate::executor::task::{Initialized, Task};
use crate::function::assert_stateless;
use crate::wire::frame;

const MAX_FRAME_LENGTH: usize = 1 << 30;
const SPAWN_TIMEOUT: Duration = Duration::from_secs(30);

/// How a worker process is made.
///
/// ```
/// use concurrent_futures::StartMethod;
///
/// assert_eq!(StartMethod::default(), StartMethod::ForkServer);
/// assert!(StartMethod::available().any(|method| method == StartMethod::Spawn));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StartMethod {
    /// The executable is started anew for each worker, which shares nothing with any other.
    Spawn,
    /// The executable is started anew once, as a process with one thread that does nothing but fork
    /// the workers. What it loads first, by [`preload`](ProcessPoolBuilder::preload), all workers
    /// have, and share as long as nobody writes to it. Should that process die, another takes its
    /// place.
    #[default]
    ForkServer,
    /// [`build`](ProcessPoolBuilder::build) forks the calling process, and that fork forks the
    /// workers: they find all that the program has set up by then, open files included.
    ///
    /// The process must have one thread, for what other threads hold locked would stay so for ever in
    /// a fork: build the pool before the runtime. (Built within a `current_thread` runtime, its workers
    /// have that runtime's files open and believe to be within it: a task that starts a runtime of its
    /// own has to do so on another thread.) Await the [`shutdown`](crate::ExecutorExt::shutdown) of one
    /// such pool before the next is built: a dropped one has a thread that waits for its end. Should the
    /// process that forks the workers die, there can be no other: the pool runs on with the workers it
    /// has.
    Fork,
}

impl StartMethod {
    /// The methods that work on this platform.
    pub fn available() -> impl Iterator<Item = Self> {
        [Self::ForkServer, Self::Spawn, Self::Fork].into_iter()
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
    min_workers: usize,
    idle_timeout: Option<Duration>,
    queue_capacity: Option<usize>,
    task_options: TaskOptions,
    start_method: StartMethod,
    initializer: Option<EncodeOpening>,
    preload: Option<EncodeOpening>,
    max_tasks_per_child: Option<u64>,
    max_age_per_child: Option<Duration>,
    max_memory_per_child: Option<u64>,
    max_frame_length: Option<usize>,
    spawn_timeout: Option<Duration>,
    env: Vec<(OsString, OsString)>,
    env_clear: bool,
    current_dir: Option<PathBuf>,
    limits: Limits,
    stdout: Option<Output>,
    stderr: Option<Output>,
}

/// Encodes the call of an initializer, or of what is preloaded, within a limit of bytes.
type EncodeOpening = Box<dyn FnOnce(usize) -> Result<Opening, String> + Send>;

impl ProcessPoolBuilder {
    /// What the pool is called in its `Debug` text, and where it is measured.
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

    /// So many workers are kept, also when there is nothing to do: they start as soon as the pool has
    /// a runtime (when it is built in one, or else with its first task), and are replaced when
    /// they are lost. Must not be more than [`max_workers`](Self::max_workers). Default: 0.
    ///
    /// If none of them can be started, the next task, or a
    /// [`warm_up`](ProcessPoolExecutor::warm_up), tries again.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use concurrent_futures::ProcessPoolExecutor;
    /// # fn main() -> Result<(), concurrent_futures::BuildError> {
    /// let pool = ProcessPoolExecutor::builder()
    ///     .max_workers(8)
    ///     .min_workers(2)
    ///     .idle_timeout(Duration::from_secs(60))
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    pub fn min_workers(mut self, workers: usize) -> Self {
        self.min_workers = workers;
        self
    }

    /// A worker that has had nothing to do for so long is dismissed, as long as more than
    /// [`min_workers`](Self::min_workers) remain. Default: never.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.idle_timeout = Some(limit);
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

    /// Called once in the process that forks the workers, before the first of them, with the same rules
    /// for function and arguments as for a task: what it loads into memory (a model, a large table)
    /// all workers have without loading it, and share as long as nobody writes to it. Keep it in a
    /// `static`, such as a [`OnceLock`](std::sync::OnceLock).
    ///
    /// It must leave no thread running. An error or a panic fails the start, as that of an
    /// [`initializer`](Self::initializer) does. It prints to this process's stderr.
    ///
    /// ```no_run
    /// use std::sync::OnceLock;
    /// use concurrent_futures::ProcessPoolExecutor;
    ///
    /// static WORDS: OnceLock<Vec<String>> = OnceLock::new();
    ///
    /// fn load(path: String) -> std::io::Result<()> {
    ///     let text = std::fs::read_to_string(path)?;
    ///     WORDS.get_or_init(|| text.lines().map(str::to_owned).collect());
    ///     Ok(())
    /// }
    ///
    /// fn main() -> Result<(), concurrent_futures::BuildError> {
    ///     concurrent_futures::init();
    ///     let pool = ProcessPoolExecutor::builder()
    ///         .preload(load, "/usr/share/dict/words".to_owned())
    ///         .build()?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// With [`StartMethod::Spawn`], whose workers share nothing, `build` refuses it.
    pub fn preload<F, A, M>(mut self, function: F, args: A) -> Self
    where
        F: Task<A, M> + Copy + Send + Sync + 'static,
        F::Output: Initialized,
        A: Arguments<M>,
        M: 'static,
    {
        const { assert_stateless::<F>() };
        self.preload = Some(Box::new(move |limit| {
            encode_initializer(function, args, limit)
        }));
        self
    }

    /// After how many tasks a worker is replaced, for code that leaks. A chunk of a `map` counts as
    /// one. Its successor is started when it is given its last task, so for a moment there may be
    /// more processes than [`max_workers`](Self::max_workers). Default: never.
    pub fn max_tasks_per_child(mut self, tasks: u64) -> Self {
        self.max_tasks_per_child = Some(tasks);
        self
    }

    /// How long after its start a worker is replaced. It works on until its successor is ready, so no
    /// task is held up, and for a moment there may be more processes than
    /// [`max_workers`](Self::max_workers); if the successor cannot be started, it stays, and that
    /// is tried again later. A worker that idles and is not needed is only dismissed.
    /// Default: never.
    pub fn max_age_per_child(mut self, age: Duration) -> Self {
        self.max_age_per_child = Some(age);
        self
    }

    /// With how many bytes of resident memory, shared pages included, a worker is replaced, as for
    /// its [age](Self::max_age_per_child). It looks after a task, at most every 10 ms; nothing keeps
    /// a task from taking more. Default: no limit.
    pub fn max_memory_per_child(mut self, bytes: u64) -> Self {
        self.max_memory_per_child = Some(bytes);
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
    /// outside of any. No process is started yet, but for [`min_workers`](Self::min_workers) and
    /// [`StartMethod::Fork`].
    ///
    /// # Errors
    /// `is_not_initialized()` if [`init`](crate::init) was not called; `is_invalid_setting()` for a
    /// number that cannot be, an initializer or a preload whose arguments cannot be encoded, or a
    /// preload without a process that forks; `is_unsupported()` for [`StartMethod::Fork`] in a process
    /// with more than one thread, or one that cannot be forked.
    pub fn build(self) -> Result<ProcessPoolExecutor, BuildError> {
        let Some(serve_forked) = workers_allowed() else {
            return Err(BuildError(BuildFailure::NotInitialized));
        };
        let max_frame_length =
            check_frame_length(self.max_frame_length.unwrap_or(MAX_FRAME_LENGTH))?;
        let encode = |what, opening: Option<EncodeOpening>| {
            let encoded = opening.map(|encode| encode(max_frame_length)).transpose();
            encoded.map_err(|reason| BuildError::invalid(format!("the {what} {reason}")))
        };
        if self.preload.is_some() && self.start_method == StartMethod::Spawn {
            return Err(BuildError::invalid(
                "preload needs workers that are forked: use StartMethod::ForkServer, or an initializer, \
                 which runs in each worker",
            ));
        }
        let recipe = Arc::new(Recipe {
            surroundings: Surroundings {
                env: self.env,
                env_clear: self.env_clear,
                current_dir: self.current_dir,
            },
            preload: encode("preload", self.preload)?,
            initializer: encode("initializer", self.initializer)?,
            limits: self.limits.check()?,
            outlets: Outlets::new(self.stdout, self.stderr),
            max_frame_length,
            spawn_timeout: positive("spawn_timeout", self.spawn_timeout.unwrap_or(SPAWN_TIMEOUT))?,
        });
        if self.max_tasks_per_child == Some(0) {
            return Err(BuildError::invalid(
                "max_tasks_per_child is 0; a worker needs at least one task",
            ));
        }
        if self.max_memory_per_child == Some(0) {
            return Err(BuildError::invalid(
                "max_memory_per_child is 0; a worker needs some memory",
            ));
        }
        let max_age = self.max_age_per_child;
        let max_workers = settings::workers(self.max_workers)?;
        if self.min_workers > max_workers {
            return Err(BuildError::invalid(format!(
                "min_workers is {}, and max_workers {max_workers}",
                self.min_workers
            )));
        }
        let idle_timeout = self.idle_timeout;
        let config = ProcessPoolConfig {
            name: self.name,
            max_workers,
            min_workers: self.min_workers,
            idle_timeout: idle_timeout
                .map(|limit| positive("idle_timeout", limit))
                .transpose()?,
            queue_capacity: settings::queue_capacity(self.queue_capacity)?,
            task_options: self.task_options,
            max_tasks_per_child: self.max_tasks_per_child,
            max_age_per_child: max_age
                .map(|age| positive("max_age_per_child", age))
                .transpose()?,
            max_memory_per_child: self.max_memory_per_child,
            // Last: what comes before may fail, and a fork is a process.
            starter: match self.start_method {
                StartMethod::Spawn => Starter::Spawn,
                StartMethod::ForkServer => Starter::Fork(ForkServer::executed()),
                StartMethod::Fork => {
                    let server = ForkServer::forked(&recipe, serve_forked);
                    Starter::Fork(server.map_err(|error| refused_fork(&error))?)
                }
            },
            recipe,
        };
        let pool = Pool::new(config, supervisor::start);
        pool.start_kept();
        Ok(ProcessPoolExecutor { pool })
    }
}

fn refused_fork(error: &io::Error) -> BuildError {
    let what = format!(
        "StartMethod::Fork cannot be used here: {error}; build the pool before the runtime and all other \
         threads, or use StartMethod::ForkServer"
    );
    BuildError(BuildFailure::Unsupported(what.into()))
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
