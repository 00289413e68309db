//! The configuration and start of a [`Process`].

use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter};
use std::marker::PhantomData;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::error::SpawnError;
use super::stdio::Stdio;
use super::{Process, active};
use crate::executor::data::{Arguments, Data};
use crate::executor::encoded::{encode_initializer, encode_process_setup};
use crate::executor::error::BuildError;
use crate::executor::options::TaskOptions;
use crate::executor::promise::Ticket;
use crate::executor::task::{Initialized, Task};
use crate::function::assert_stateless;
use crate::home::{anywhere, build_runtime};
use crate::multiprocessing::waiting::driver::may_block;
#[cfg(feature = "isolation")]
use crate::process::Isolation;
use crate::process::runner::{Opening, Refusal, StartOrder, StartedProcess};
use crate::process::{Limits, StartMethod, Surroundings, check_functions};
use crate::sys::{self, AsRawFd};
use crate::wire::confinement::Confinement;

const SPAWN_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_RESULT_LENGTH: usize = 1 << 30;
const MAX_PRELOAD_LENGTH: usize = 1 << 30;

/// Configures a [`Process`]. Created by [`Process::builder`].
///
/// ```
/// use concurrent_futures::multiprocessing::{Process, Stdio};
/// use concurrent_futures::{Limits, StartMethod};
/// # concurrent_futures::init_before_main!();
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let process = Process::builder()
///     .name("thumbnails")
///     .start_method(StartMethod::Spawn)
///     .daemon(true)
///     .stderr(Stdio::null())
///     .current_dir("/")
///     .limits(Limits::new().nice(10))
///     .spawn(u64::pow, (2, 8))
///     .await?;
/// assert_eq!(process.join().await?, 256);
/// # Ok(()) }
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until `spawn`"]
pub struct ProcessBuilder {
    name: Option<Arc<str>>,
    daemon: bool,
    dumpable: bool,
    kill_on_drop: bool,
    start_method: StartMethod,
    preload: Option<Result<Opening, String>>,
    stdin: Option<Stdio>,
    stdout: Option<Stdio>,
    stderr: Option<Stdio>,
    surroundings: Surroundings,
    limits: Limits,
    #[cfg(feature = "isolation")]
    isolation: Option<Isolation>,
    spawn_timeout: Option<Duration>,
    max_result_length: Option<usize>,
}

impl Process<()> {
    /// Returns a builder to configure a process.
    ///
    /// ```
    /// use concurrent_futures::multiprocessing::Process;
    /// # concurrent_futures::init_before_main!();
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let process = Process::builder()
    ///     .name("greeter")
    ///     .daemon(true)
    ///     .env("GREETING", "hello")
    ///     .spawn(|| std::env::var("GREETING").unwrap(), ())
    ///     .await?;
    /// assert_eq!(process.join().await?, "hello");
    /// # Ok(()) }
    /// ```
    pub fn builder() -> ProcessBuilder {
        ProcessBuilder::default()
    }
}

impl ProcessBuilder {
    /// The name of the process: in errors, in [`active_children`](super::active_children), and inside the process, by
    /// [`current_process`](super::current_process). Default: the path of its function.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into().into());
        self
    }

    /// Whether the process ends with this one. When this process ends, in any way, also by SIGKILL, the daemon
    /// and its process group are killed at once. [`join_all`](super::join_all) does not wait for it. A second
    /// thread in the daemon watches for the end of this process, so the daemon cannot use [`StartMethod::Fork`]
    /// itself. Default: false.
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = daemon;
        self
    }

    /// Whether dropping the handle kills the process and its process group. Default: false.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::{Process, join_all};
    /// # concurrent_futures::init_before_main!();
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = Process::builder().kill_on_drop(true);
    /// drop(builder.spawn(std::thread::park, ()).await?);
    /// join_all().await; // Returns, though the function never does.
    /// # Ok(()) }
    /// ```
    pub fn kill_on_drop(mut self, kill: bool) -> Self {
        self.kill_on_drop = kill;
        self
    }

    /// How the process is created. Default: [`StartMethod::default`], which [`StartMethod::set_default`] sets for the
    /// program.
    ///
    /// - [`ForkServer`](StartMethod::ForkServer): one fork server forks all these processes of the program, except
    ///   those with a [`preload`](Self::preload) or with [`env_clear`](Self::env_clear). It starts with the first of
    ///   them and stays until the program ends.
    /// - [`Spawn`](StartMethod::Spawn): the executable is started again.
    /// - [`Fork`](StartMethod::Fork): this process is forked as it is when the start is awaited. It must have only one
    ///   thread, counting those of a runtime. The new process inherits every open descriptor, including this process's
    ///   ends of pipes to other processes, which then report their end later. If the handle is dropped outside a
    ///   runtime, a thread waits for the end of the process. The function seems to run within the runtime that awaited
    ///   the start; [`blocking_spawn`](Self::blocking_spawn) creates one for that too. So it can start a runtime of its
    ///   own only on another thread, and cannot use `Fork` itself. Input that this process has buffered from its stdin
    ///   is in the stdin of the new process too. A random number generator that was used in this process draws the same
    ///   numbers in each new one: give it a new seed at the beginning of the function.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.start_method = method;
        self
    }

    /// Sets a function that the fork server calls once, before it forks the first of these processes. The rules for
    /// function and arguments are those for a task, but the arguments must not contain objects that processes share.
    /// All processes with the same preload (the same function and equal arguments) share what it loads into memory, for
    /// example a model or a large table, until one writes to it. Keep it in a `static`, for example a
    /// [`OnceLock`](std::sync::OnceLock).
    ///
    /// ```
    /// use std::sync::OnceLock;
    /// use concurrent_futures::multiprocessing::Process;
    /// # concurrent_futures::init_before_main!();
    ///
    /// static SQUARES: OnceLock<Vec<u64>> = OnceLock::new();
    ///
    /// fn load(count: u64) {
    ///     SQUARES.get_or_init(|| (0..count).map(|n| n * n).collect());
    /// }
    ///
    /// fn square(n: usize) -> Option<u64> {
    ///     SQUARES.get()?.get(n).copied()
    /// }
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// for n in [7, 8] {
    ///     let process = Process::builder().preload(load, 1000).spawn(square, n).await?;
    ///     assert_eq!(process.join().await?, Some((n * n) as u64));
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// Each different preload has a fork server of its own, which stays until the program ends. A program can have 32
    /// of them. If one dies, the next start runs the preload again. It counts towards the
    /// [`spawn_timeout`](Self::spawn_timeout) of the start that waits for it.
    ///
    /// The preload must leave no thread running. Its output goes to the stderr that this process has at the first
    /// start. A random number generator that it has used draws the same numbers in each process: give it a new seed at
    /// the beginning of the function.
    ///
    /// # Errors
    /// A start fails if the preload returns an error or panics: the error's text contains the reason. With a start
    /// method other than [`StartMethod::ForkServer`], for which there is no fork server, and for arguments that cannot
    /// be used, the error is `is_invalid_setting()`.
    #[doc(alias = "set_forkserver_preload")]
    pub fn preload<F, A, M>(mut self, function: F, args: A) -> Self
    where
        F: Task<A, M> + Copy + Send + Sync + 'static,
        F::Output: Initialized,
        A: Arguments<M>,
        M: 'static,
    {
        const { assert_stateless::<F>() };
        self.preload = Some(encode_initializer(function, args, MAX_PRELOAD_LENGTH));
        self
    }

    /// The stdin of the process. Default: [`Stdio::null`].
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = Some(stdin.into());
        self
    }

    /// The stdout of the process. Default: [`Stdio::inherit`].
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdout = Some(stdout.into());
        self
    }

    /// The stderr of the process. Default: [`Stdio::inherit`].
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stderr = Some(stderr.into());
        self
    }

    /// Sets a variable in the environment of the process. The other variables are those of this process at the
    /// start.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Process;
    /// # concurrent_futures::init_before_main!();
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = Process::builder().env("GREETING", "hello");
    /// let process = builder.spawn(|| std::env::var("GREETING").ok(), ()).await?;
    /// assert_eq!(process.join().await?.as_deref(), Some("hello"));
    /// # Ok(()) }
    /// ```
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.surroundings.env.push((name.into(), value.into()));
        self
    }

    /// Clears the environment of the process, except for variables set by [`env`](Self::env).
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Process;
    /// # concurrent_futures::init_before_main!();
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = Process::builder().env_clear().env("ONLY", "this");
    /// let process = builder.spawn(|| std::env::vars().count(), ()).await?;
    /// assert_eq!(process.join().await?, 1);
    /// # Ok(()) }
    /// ```
    pub fn env_clear(mut self) -> Self {
        self.surroundings.env_clear = true;
        self
    }

    /// The working directory of the process. Default: that of this process at the start.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Process;
    /// # concurrent_futures::init_before_main!();
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = Process::builder().current_dir("/");
    /// let process = builder.spawn(|| std::env::current_dir().ok(), ()).await?;
    /// assert_eq!(process.join().await?.as_deref(), Some("/".as_ref()));
    /// # Ok(()) }
    /// ```
    pub fn current_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.surroundings.current_dir = Some(folder.into());
        self
    }

    /// Limits for the process: memory, processor time, descriptors. Default: the limits of this process; with
    /// [`StartMethod::ForkServer`], the limits at the start of the first of these processes.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Whether other processes of the same user may attach to the process as debuggers and read its memory, as
    /// [`ProcessPoolBuilder::dumpable`](crate::ProcessPoolBuilder::dumpable) says. Default: false.
    pub fn dumpable(mut self, dumpable: bool) -> Self {
        self.dumpable = dumpable;
        self
    }

    /// A sandbox around the process. Default: none.
    ///
    /// ```no_run
    /// use concurrent_futures::Isolation;
    /// use concurrent_futures::multiprocessing::Process;
    ///
    /// # async fn parse() -> Result<(), Box<dyn std::error::Error>> {
    /// let process = Process::builder().isolation(Isolation::new()).spawn(u64::pow, (2, 8)).await?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "isolation")]
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = Some(isolation);
        self
    }

    /// The time within which the process must become ready. After that, the process is killed. Default: 30 seconds.
    /// Must not be 0.
    ///
    /// With [`StartMethod::ForkServer`] the limit applies to the answer of the fork server, and again to the
    /// process that it forked. A fork server that has not answered within the limit, and has answered no other
    /// start for a second, is killed, and the start is tried once more with a new one. The processes that the
    /// old one forked run on, but their exit status is unknown. If the fork server has answered another start,
    /// only this start fails.
    pub fn spawn_timeout(mut self, limit: Duration) -> Self {
        self.spawn_timeout = Some(limit);
        self
    }

    /// The maximal size in bytes of the encoded result. A larger one is an error: `is_codec()` of the join. Must
    /// not be 0. Default: 1 GiB.
    ///
    /// ```
    /// use concurrent_futures::multiprocessing::Process;
    /// # concurrent_futures::init_before_main!();
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = Process::builder().max_result_length(1000);
    /// let process = builder.spawn(|| "long".repeat(1000), ()).await?;
    /// assert!(process.join().await.unwrap_err().is_codec());
    /// # Ok(()) }
    /// ```
    pub fn max_result_length(mut self, bytes: usize) -> Self {
        self.max_result_length = Some(bytes);
        self
    }

    /// Starts the process, and waits until it is about to call the function.
    ///
    /// # Errors
    /// Like [`Process::spawn`]; `is_invalid_setting()` if a setting is invalid; `is_unsupported()` for
    /// [`StartMethod::Fork`] in a process with more than one thread.
    ///
    /// # Cancel safety
    /// Like `Process::spawn`.
    pub async fn spawn<F, A, M>(
        self,
        function: F,
        args: A,
    ) -> Result<Process<F::Output>, SpawnError>
    where
        F: Task<A, M> + Copy + Send + Sync + 'static,
        F::Output: Data,
        A: Arguments<M>,
        M: 'static,
    {
        let Prepared {
            order,
            ticket,
            rest,
        } = self.prepare(function, args)?;
        let has_runtime = Handle::try_current().is_ok();
        let started = match order.start_method {
            // In a program with one thread, another thread would prevent the fork.
            StartMethod::Fork if !has_runtime => start_now(order),
            _ => anywhere(order.start(false)).await,
        };
        match started {
            Ok(started) => Ok(rest.complete(started, ticket)),
            Err(refusal) => Err(SpawnError::refused(ticket.name(), refusal)),
        }
    }

    /// Like [`spawn`](Self::spawn), for a thread that may block.
    ///
    /// # Errors
    /// Like `spawn`.
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_spawn<F, A, M>(
        self,
        function: F,
        args: A,
    ) -> Result<Process<F::Output>, SpawnError>
    where
        F: Task<A, M> + Copy + Send + Sync + 'static,
        F::Output: Data,
        A: Arguments<M>,
        M: 'static,
    {
        may_block();
        let Prepared {
            order,
            ticket,
            rest,
        } = self.prepare(function, args)?;
        match start_now(order) {
            Ok(started) => Ok(rest.complete(started, ticket)),
            Err(refusal) => Err(SpawnError::refused(ticket.name(), refusal)),
        }
    }

    fn prepare<F, A, M>(mut self, function: F, args: A) -> Result<Prepared, SpawnError>
    where
        F: Task<A, M> + Copy + Send + Sync + 'static,
        F::Output: Data,
        A: Arguments<M>,
    {
        const { assert_stateless::<F>() };
        let options = TaskOptions {
            name: self.name.clone(),
            ..TaskOptions::new()
        };
        let ticket = Ticket::new(F::path(), Some(Arc::new(options)));
        let checked = self.check();
        let preload = checked.map_err(|error| SpawnError::invalid(ticket.name(), error))?;
        #[cfg(feature = "isolation")]
        let confinement = self.isolation.as_ref().map(Isolation::check).transpose();
        #[cfg(not(feature = "isolation"))]
        let confinement = Ok(None);
        let confinement = confinement.map_err(|error| SpawnError::invalid(ticket.name(), error))?;
        let call = encode_process_setup(function, args)
            .map_err(|reason| SpawnError::codec(ticket.name(), reason))?;
        let name = ticket.name().as_str().to_owned();
        let opened = self.into_order(name, call, preload, confinement);
        let opened = opened.map_err(Refusal::system("open its standard streams"));
        let (order, rest) =
            opened.map_err(|refusal| SpawnError::refused(ticket.name(), refusal))?;
        Ok(Prepared {
            order,
            ticket,
            rest,
        })
    }

    fn into_order(
        self,
        name: String,
        call: Opening,
        preload: Option<Opening>,
        confinement: Option<Confinement>,
    ) -> io::Result<(StartOrder, ParentSide)> {
        let stdin = self.stdin.unwrap_or_else(Stdio::null);
        let (stdin, our_stdin) = stdin.open_input()?;
        let stdout = self.stdout.unwrap_or_else(Stdio::inherit);
        let (stdout, our_stdout) = stdout.open_output(&io::stdout())?;
        let stderr = self.stderr.unwrap_or_else(Stdio::inherit);
        let (stderr, our_stderr) = stderr.open_output(&io::stderr())?;
        let ours = [
            our_stdin.as_ref().map(AsRawFd::as_raw_fd),
            our_stdout.as_ref().map(AsRawFd::as_raw_fd),
            our_stderr.as_ref().map(AsRawFd::as_raw_fd),
        ];
        let order = StartOrder {
            name,
            call,
            preload,
            start_method: self.start_method,
            surroundings: self.surroundings,
            is_daemon: self.daemon,
            is_dumpable: self.dumpable,
            limits: self.limits,
            max_result: self.max_result_length.unwrap_or(MAX_RESULT_LENGTH) as u64,
            confinement,
            spawn_timeout: self.spawn_timeout.unwrap_or(SPAWN_TIMEOUT),
            stdin,
            stdout,
            stderr,
            ours: ours.into_iter().flatten().collect(),
        };
        let rest = ParentSide {
            daemon: self.daemon,
            kill_on_drop: self.kill_on_drop,
            stdin: our_stdin,
            stdout: our_stdout,
            stderr: our_stderr,
        };
        Ok((order, rest))
    }

    /// Checks the settings, and takes the preload.
    fn check(&mut self) -> Result<Option<Opening>, BuildError> {
        sys::check_processes().map_err(|error| BuildError::unsupported(error.to_string()))?;
        check_functions()?;
        self.surroundings.check()?;
        if self.spawn_timeout.is_some_and(|limit| limit.is_zero()) {
            return Err(BuildError::invalid(
                "`spawn_timeout` is 0; it must be longer",
            ));
        }
        if self.max_result_length == Some(0) {
            return Err(BuildError::invalid(
                "`max_result_length` is 0; it must be at least 1",
            ));
        }
        self.preload
            .take()
            .map(|preload| check_preload(preload, self.start_method))
            .transpose()
    }
}

fn check_preload(
    preload: Result<Opening, String>,
    start_method: StartMethod,
) -> Result<Opening, BuildError> {
    let (function, args) =
        preload.map_err(|reason| BuildError::invalid(format!("the preload {reason}")))?;
    if start_method != StartMethod::ForkServer {
        return Err(BuildError::invalid(
            "`preload` needs a fork server; use StartMethod::ForkServer, or load at the beginning of the function",
        ));
    }
    // Two objects are never equal arguments, so each start would have a fork server of its own.
    if !args.descriptors().is_empty() {
        return Err(BuildError::invalid(
            "the preload has arguments that processes share; pass them to the function",
        ));
    }
    Ok((function, args))
}

/// Everything that is opened before the process exists.
struct Prepared {
    order: StartOrder,
    ticket: Ticket,
    rest: ParentSide,
}

/// The parts that stay in this process.
struct ParentSide {
    daemon: bool,
    kill_on_drop: bool,
    stdin: Option<PipeWriter>,
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
}

impl ParentSide {
    fn complete<R>(self, started: StartedProcess, ticket: Ticket) -> Process<R> {
        let runner = started.keep();
        let name = ticket.name();
        active::add(&runner, name.as_str(), self.daemon);
        Process {
            runner,
            ticket: Arc::new(ticket),
            name,
            stdin: self.stdin,
            stdout: self.stdout,
            stderr: self.stderr,
            kill_on_drop: self.kill_on_drop,
            result: PhantomData,
        }
    }
}

/// Starts a process in a temporary runtime, which has no thread of its own (`Spawn` uses a blocking one).
fn start_now(order: StartOrder) -> Result<StartedProcess, Refusal> {
    let start = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = build_runtime(runtime.enable_all());
        let runtime = runtime.map_err(Refusal::system("make a runtime"))?;
        runtime.block_on(order.start(true))
    };
    if sys::generation() == 0 || Handle::try_current().is_err() {
        return start();
    }
    // In a fork, this thread still seems to be in its parent's runtime, which forbids another runtime on this thread.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, start);
        let thread = thread.map_err(sys::no_thread);
        let thread = thread.map_err(Refusal::system("start a thread"))?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}
