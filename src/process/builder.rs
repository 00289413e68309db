//! The configuration of a [`ProcessPoolExecutor`].

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::first_init::workers_allowed;
#[cfg(feature = "isolation")]
use super::isolation::Isolation;
use super::limits::Limits;
use super::output::{Outlets, Output};
use super::place;
use super::pool::{Pool, ProcessPoolConfig};
use super::start::{ForkServer, Opening, Recipe, Starter, Surroundings};
use super::{ProcessPoolExecutor, check_functions};
use crate::executor::data::Arguments;
use crate::executor::encoded::encode_initializer;
use crate::executor::error::BuildError;
use crate::executor::options::TaskOptions;
use crate::executor::settings::{self, positive};
use crate::executor::task::{Initialized, Task};
use crate::function::assert_stateless;
use crate::sys;
use crate::wire::frame;

const MAX_FRAME_LENGTH: usize = 1 << 30;
const SPAWN_TIMEOUT: Duration = Duration::from_secs(30);

/// How a worker process, or a [`Process`](crate::multiprocessing::Process), is created.
///
/// ```
/// use concurrent_futures::StartMethod;
///
/// assert_eq!(StartMethod::default(), StartMethod::ForkServer);
/// assert!(StartMethod::available().any(|method| method == StartMethod::Spawn));
/// ```
#[doc(alias("get_context", "get_start_method"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StartMethod {
    /// The executable is started again for each worker. Workers share nothing. This works even if a library starts
    /// threads before `main`.
    Spawn,
    /// The executable is started once more, as a fork server: a process with one thread that only forks the workers.
    /// Whatever it loads first, by [`preload`](ProcessPoolBuilder::preload), is in all workers, which share that memory
    /// until one writes to it. If the fork server dies, another one replaces it.
    ///
    /// If a library starts threads before `main`, the fork server has them too. It can fork beside the background
    /// thread of jemalloc, which handles forks. For any other thread, the start fails with an error that names the
    /// thread.
    ForkServer,
    /// [`build`](ProcessPoolBuilder::build) forks the calling process, and that fork forks the workers. They have
    /// everything that the program has set up before, including open files.
    ///
    /// The process must have only one thread: a lock that another thread holds would stay locked in the fork forever.
    /// So build the pool before the runtime. If it is built within a `current_thread` runtime, its workers have the
    /// files of that runtime open. Tasks do not run on the thread that built the pool, so they are outside any runtime,
    /// and a random number generator that belongs to a thread starts anew. A generator in a `static` has the same state
    /// in all workers: see [`preload`](ProcessPoolBuilder::preload). Await the
    /// [`shutdown`](crate::ExecutorExt::shutdown) of one such pool before you build the next: a dropped pool has a
    /// thread that waits for its end. If the process that forks the workers dies, it cannot be replaced: the pool
    /// continues with the workers that it has.
    Fork,
}

/// What `set_default` has set.
static DEFAULT_START_METHOD: OnceLock<StartMethod> = OnceLock::new();

/// What [`set_default`](StartMethod::set_default) has set, or else [`ForkServer`](StartMethod::ForkServer).
impl Default for StartMethod {
    fn default() -> Self {
        let set = DEFAULT_START_METHOD.get();
        set.copied().unwrap_or(Self::ForkServer)
    }
}

impl StartMethod {
    /// Sets the start method of all pools and processes of this program whose builder is created later and sets none.
    /// Only the first call has an effect: call it at the beginning of `main`, after [`init`](crate::init). A library
    /// should set the method of its own builders instead.
    ///
    /// Workers and processes do not inherit this setting. A task that builds a pool of its own uses the crate's
    /// default, or sets a method.
    ///
    /// ```no_run
    /// use concurrent_futures::StartMethod;
    ///
    /// fn main() -> Result<(), concurrent_futures::BuildError> {
    ///     concurrent_futures::init();
    ///     StartMethod::set_default(StartMethod::Spawn)?;
    ///     assert_eq!(StartMethod::default(), StartMethod::Spawn);
    ///     // Everything else.
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// `is_invalid_setting()` if another method was set before.
    #[doc(alias = "set_start_method")]
    pub fn set_default(method: Self) -> Result<(), BuildError> {
        let set = *DEFAULT_START_METHOD.get_or_init(|| method);
        if set == method {
            return Ok(());
        }
        Err(BuildError::invalid(format!(
            "the default start method is {set:?} already, and cannot become {method:?}; set it once, at the beginning \
             of `main`"
        )))
    }

    /// Lists the methods that work on this platform.
    ///
    /// # Platform
    /// Only Linux has any yet.
    pub fn available() -> impl Iterator<Item = Self> {
        let all = [Self::ForkServer, Self::Spawn, Self::Fork];
        all.into_iter().filter(|_| sys::check_processes().is_ok())
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
    is_dumpable: bool,
    #[cfg(feature = "isolation")]
    isolation: Option<Isolation>,
    stdout: Option<Output>,
    stderr: Option<Output>,
}

/// Encodes the call of an initializer or a preload, within a limit of bytes.
type EncodeOpening = Box<dyn FnOnce(usize) -> Result<Opening, String> + Send>;

impl ProcessPoolExecutor {
    /// Starts to configure a pool.
    pub fn builder() -> ProcessPoolBuilder {
        ProcessPoolBuilder::default()
    }
}

impl ProcessPoolBuilder {
    /// The name of the pool, in its `Debug` text and in metrics.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The maximal number of workers. Default: the number of CPUs that this process may use, as limited by its
    /// affinity and the CPU quota of its container.
    #[doc(alias = "cpu_count")]
    pub fn max_workers(mut self, workers: usize) -> Self {
        self.max_workers = Some(workers);
        self
    }

    /// The number of workers that are kept even when they have no work. They start as soon as the pool has a runtime
    /// (when it is built in one, otherwise with its first task), and are replaced when they are lost. Must not exceed
    /// [`max_workers`](Self::max_workers). Default: 0.
    ///
    /// If none of them can be started, the next task, or [`warm_up`](ProcessPoolExecutor::warm_up), tries
    /// again.
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

    /// The time after which an idle worker is dismissed, while more than [`min_workers`](Self::min_workers)
    /// remain. Must not be 0. Default: never.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.idle_timeout = Some(limit);
        self
    }

    /// The maximal number of waiting tasks; more are refused. Must not be 0. Default: no limit.
    pub fn queue_capacity(mut self, tasks: usize) -> Self {
        self.queue_capacity = Some(tasks);
        self
    }

    /// Options for every task. A task's own options take precedence.
    pub fn task_options(mut self, options: TaskOptions) -> Self {
        self.task_options = options;
        self
    }

    /// How workers are created. Default: [`StartMethod::default`], which [`StartMethod::set_default`] sets for the
    /// program.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.start_method = method;
        self
    }

    /// Sets a function that each worker calls before its first task. The rules for function and arguments are
    /// those for a task.
    ///
    /// If it returns an error or panics, or its process ends, the start is tried again, three times in all with
    /// growing pauses. Then the waiting tasks fail with that error, and the pool is broken until
    /// [`warm_up`](ProcessPoolExecutor::warm_up). While another worker is ready, it runs the tasks instead.
    ///
    /// It may install a filter of system calls (seccomp) for its thread. On Linux with glibc, a ready worker calls
    /// recvmsg, read, write, writev, pread64, poll, ppoll, ioctl, fcntl, close, futex, mmap, munmap, mremap, mprotect,
    /// madvise, brk, newfstatat, gettid, getpid, sigaltstack, rt_sigprocmask, rt_sigreturn and exit_group; a backtrace,
    /// and a task, may call more. To receive a shared object, a worker also calls fstat, fstatfs, statx, getsockopt and
    /// openat. The feature `isolation` has a filter that denies only what no task needs.
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

    /// Sets a function that the fork server calls once, before it forks the first worker. The rules for function and
    /// arguments are those for a task. All workers have what it loads into memory (a model, a large table), and share
    /// that memory until one writes to it. Keep it in a `static`, such as a [`OnceLock`](std::sync::OnceLock).
    ///
    /// Tasks run on another thread than the preload: in a worker, a `thread_local!` starts anew. So each worker draws
    /// different numbers from a generator that belongs to a thread, such as `rand::rng()`, although the preload has
    /// used it. A generator in a `static` has the same state in all workers, as does one of a C library (`rand`, or one
    /// that does not notice a fork). Give it a new seed in an [`initializer`](Self::initializer), which runs in each
    /// worker:
    ///
    /// ```no_run
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use concurrent_futures::ProcessPoolExecutor;
    ///
    /// static STATE: AtomicU64 = AtomicU64::new(0); // Of a generator.
    ///
    /// fn warm_up() {
    ///     STATE.store(42, Ordering::Relaxed); // All workers begin with this state ...
    /// }
    ///
    /// fn seed() {
    ///     let seed = u64::from(std::process::id()); // ... unless each changes it. Better: bytes from the system.
    ///     STATE.fetch_xor(seed, Ordering::Relaxed);
    /// }
    ///
    /// # fn main() -> Result<(), concurrent_futures::BuildError> {
    /// let pool = ProcessPoolExecutor::builder()
    ///     .preload(warm_up, ())
    ///     .initializer(seed, ())
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    ///
    /// It must leave no thread running. An error or a panic fails the start, like that of an
    /// [`initializer`](Self::initializer). Its output goes to this process's stderr.
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
    /// With [`StartMethod::Spawn`], whose workers share nothing, `build` fails with `is_invalid_setting()`.
    #[doc(alias = "set_forkserver_preload")]
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

    /// The number of tasks after which a worker is replaced, for code that leaks. A chunk of a `map` counts as
    /// one task. The successor starts when the worker gets its last task, so for a moment there may be more
    /// processes than [`max_workers`](Self::max_workers). Must not be 0. Default: never.
    #[doc(alias = "maxtasksperchild")]
    pub fn max_tasks_per_child(mut self, tasks: u64) -> Self {
        self.max_tasks_per_child = Some(tasks);
        self
    }

    /// The age at which a worker is replaced. It continues to work until its successor is ready, so no task is delayed,
    /// and for a moment there may be more processes than [`max_workers`](Self::max_workers). If the successor cannot be
    /// started, the worker stays, and the pool tries again later. An idle worker that is not needed is only dismissed.
    /// Must not be 0. Default: never.
    pub fn max_age_per_child(mut self, age: Duration) -> Self {
        self.max_age_per_child = Some(age);
        self
    }

    /// The resident memory in bytes, shared pages included, at which a worker is replaced, in the same way as
    /// for its [age](Self::max_age_per_child). The worker checks after a task, at most every 10 ms, so a task
    /// can exceed it. Must not be 0. Default: no limit.
    pub fn max_memory_per_child(mut self, bytes: u64) -> Self {
        self.max_memory_per_child = Some(bytes);
        self
    }

    /// The maximal size in bytes of a task's encoded arguments, and of its encoded result. Default: 1 GiB.
    pub fn max_frame_length(mut self, bytes: usize) -> Self {
        self.max_frame_length = Some(bytes);
        self
    }

    /// The time within which a process must become a worker, its initializer included. After that, the process is
    /// killed. Must not be 0. Default: 30 seconds.
    pub fn spawn_timeout(mut self, limit: Duration) -> Self {
        self.spawn_timeout = Some(limit);
        self
    }

    /// Sets a variable in the environment of the workers. The other variables are those that this process has
    /// when a worker starts. A variable that a [`preload`](Self::preload) sets stays, unless this process
    /// changes the same variable later.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Clears the environment of the workers, except for variables set by [`env`](Self::env).
    pub fn env_clear(mut self) -> Self {
        self.env_clear = true;
        self
    }

    /// The working directory of the workers. A relative path is relative to the working directory that this process has
    /// when a worker starts. Default: that directory itself. A directory that a [`preload`](Self::preload) enters
    /// stays, unless this process enters another one later.
    pub fn current_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.current_dir = Some(folder.into());
        self
    }

    /// Limits for each worker: memory, processor time, descriptors. Default: the limits that this process has
    /// when it starts the worker, or the fork server of the pool.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Whether other processes of the same user may attach to the workers and the fork server as debuggers, and read
    /// their memory. This includes one worker attaching to another. A [`core_size`](Limits::core_size) above 0 implies
    /// it. Default: false.
    ///
    /// A process that is not dumpable leaves no core dump, and root owns its files in `/proc`: a task of another user
    /// cannot open its own `/proc/self/environ` or `/proc/self/mem`. Programs that a task starts are not affected. An
    /// executed worker is not dumpable from its [`init`](crate::init) on.
    ///
    /// ```no_run
    /// # use concurrent_futures::ProcessPoolExecutor;
    /// # fn main() -> Result<(), concurrent_futures::BuildError> {
    /// let pool = ProcessPoolExecutor::builder()
    ///     .dumpable(cfg!(debug_assertions)) // For a debugger.
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    pub fn dumpable(mut self, dumpable: bool) -> Self {
        self.is_dumpable = dumpable;
        self
    }

    /// A sandbox around each worker. Default: none, so a worker may do whatever this process may do.
    ///
    /// ```no_run
    /// use concurrent_futures::{Isolation, ProcessPoolExecutor};
    ///
    /// # fn main() -> Result<(), concurrent_futures::BuildError> {
    /// let pool = ProcessPoolExecutor::builder().isolation(Isolation::new()).build()?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "isolation")]
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = Some(isolation);
        self
    }

    /// Where the stdout of the workers goes. Default: to the same place as their stderr.
    pub fn stdout(mut self, output: Output) -> Self {
        self.stdout = Some(output);
        self
    }

    /// Where the stderr of the workers goes. Default: [`Output::relay`].
    pub fn stderr(mut self, output: Output) -> Self {
        self.stderr = Some(output);
        self
    }

    /// Creates the pool. If it is built within a tokio runtime, that runtime also drives tasks that are
    /// submitted outside of any runtime. No process starts yet, except for [`min_workers`](Self::min_workers)
    /// and [`StartMethod::Fork`].
    ///
    /// # Errors
    /// `is_not_initialized()` if [`init`](crate::init) was not called, or too late; `is_invalid_setting()` if a number is
    /// out of range, if a variable or the working directory cannot be one, if the arguments of an initializer or a
    /// preload cannot be encoded, or for a preload with [`StartMethod::Spawn`]; `is_unsupported()` for
    /// [`StartMethod::Fork`] in a process that has more than one thread or cannot be forked, if this crate is
    /// part of a shared library, such as an extension module of another language, and where the system lacks what
    /// processes need: the text says what, and what to do.
    ///
    /// # Platform
    /// Only Linux has worker processes yet. Elsewhere the error is `is_unsupported()` and says what to use
    /// instead: a [`ThreadPoolExecutor`](crate::ThreadPoolExecutor).
    pub fn build(self) -> Result<ProcessPoolExecutor, BuildError> {
        sys::check_processes().map_err(|error| BuildError::unsupported(error.to_string()))?;
        check_functions()?;
        let serve_forked = workers_allowed(self.start_method == StartMethod::Fork)?;
        let max_frame_length =
            check_frame_length(self.max_frame_length.unwrap_or(MAX_FRAME_LENGTH))?;
        let encode = |what, opening: Option<EncodeOpening>| {
            let encoded = opening.map(|encode| encode(max_frame_length)).transpose();
            encoded.map_err(|reason| BuildError::invalid(format!("the {what} {reason}")))
        };
        if self.preload.is_some() && self.start_method == StartMethod::Spawn {
            return Err(BuildError::invalid(
                "`preload` needs forked workers; use StartMethod::ForkServer, or an `initializer`, \
                 which runs in each worker",
            ));
        }
        let surroundings = Surroundings {
            env: self.env,
            env_clear: self.env_clear,
            current_dir: self.current_dir,
        };
        surroundings.check()?;
        #[cfg(feature = "isolation")]
        let confinement = self.isolation.as_ref().map(Isolation::check).transpose()?;
        #[cfg(not(feature = "isolation"))]
        let confinement = None;
        let recipe = Arc::new(Recipe {
            surroundings,
            preload: encode("preload", self.preload)?,
            initializer: encode("initializer", self.initializer)?,
            is_dumpable: self.is_dumpable || self.limits.dump_memory(),
            limits: self.limits.check()?,
            confinement,
            outlets: Outlets::new(self.stdout, self.stderr),
            max_frame_length,
            spawn_timeout: positive("spawn_timeout", self.spawn_timeout.unwrap_or(SPAWN_TIMEOUT))?,
            may_block: false,
        });
        if self.max_tasks_per_child == Some(0) {
            return Err(BuildError::invalid(
                "`max_tasks_per_child` is 0; it must be at least 1",
            ));
        }
        if self.max_memory_per_child == Some(0) {
            return Err(BuildError::invalid(
                "`max_memory_per_child` is 0; it must be at least 1",
            ));
        }
        let max_age = self.max_age_per_child;
        let max_workers = settings::workers(self.max_workers)?;
        if self.min_workers > max_workers {
            return Err(BuildError::invalid(format!(
                "`min_workers` is {}, but `max_workers` is {max_workers}; lower one or raise the other",
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
            // Last, because a fork creates a process and the earlier steps may fail.
            starter: match self.start_method {
                StartMethod::Spawn => Starter::Spawn,
                StartMethod::ForkServer => Starter::Fork(Arc::new(ForkServer::executed())),
                StartMethod::Fork => {
                    let server = ForkServer::forked(&recipe, serve_forked);
                    Starter::Fork(Arc::new(server.map_err(|error| refused_fork(&error))?))
                }
            },
            recipe,
        };
        let pool = Pool::new(config, place::start);
        pool.start_kept();
        Ok(ProcessPoolExecutor::from_pool(pool))
    }
}

fn refused_fork(error: &io::Error) -> BuildError {
    let advice = match error.kind() {
        io::ErrorKind::ResourceBusy => {
            "; build the pool before the runtime and all other threads, or use StartMethod::ForkServer; if a library \
             starts them before main, use StartMethod::Spawn"
        }
        _ => "", // The system refused, not because of another thread.
    };
    BuildError::unsupported(format!(
        "StartMethod::Fork cannot be used here: {error}{advice}"
    ))
}

fn check_frame_length(bytes: usize) -> Result<usize, BuildError> {
    match bytes {
        0 => Err(BuildError::invalid(
            "`max_frame_length` is 0; it must be at least 1",
        )),
        bytes if bytes > frame::LARGEST / 2 => Err(BuildError::invalid(format!(
            "`max_frame_length` is {bytes}; it must be at most {}",
            frame::LARGEST / 2
        ))),
        bytes => Ok(bytes),
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
