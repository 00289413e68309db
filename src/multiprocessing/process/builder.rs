//! How a [`Process`] is configured and started.

use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter};
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::error::SpawnError;
use super::stdio::Stdio;
use super::{Process, active};
use crate::executor::data::{Arguments, Data};
use crate::executor::encoded::encode_process_setup;
use crate::executor::error::BuildError;
use crate::executor::options::TaskOptions;
use crate::executor::promise::Ticket;
use crate::executor::task::Task;
use crate::function::assert_stateless;
use crate::multiprocessing::waiter::may_block;
use crate::process::runner::{Opening, Refusal, RunningProcess, StartOrder};
use crate::process::{Limits, StartMethod, Surroundings};
use crate::sys;

const SPAWN_TIMEOUT: Duration = Duration::from_secs(30);

/// Configures a [`Process`]; made by [`Process::builder`].
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
    kill_on_drop: bool,
    start_method: StartMethod,
    stdin: Option<Stdio>,
    stdout: Option<Stdio>,
    stderr: Option<Stdio>,
    env: Vec<(OsString, OsString)>,
    env_clear: bool,
    current_dir: Option<PathBuf>,
    limits: Limits,
    spawn_timeout: Option<Duration>,
}

impl ProcessBuilder {
    /// What the process is called, in errors and by [`active_children`](super::active_children). Default:
    /// the path of its function.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into().into());
        self
    }

    /// Whether the process ends with this one: however this one ends, also by SIGKILL, the process and all of
    /// its process group are killed at once. [`join_all`](super::join_all) does not wait for it. It has a second
    /// thread, which watches for that, so it cannot use [`StartMethod::Fork`] itself. Default: no.
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = daemon;
        self
    }

    /// Whether the drop of the handle kills the process and all of its process group. Default: no.
    pub fn kill_on_drop(mut self, kill: bool) -> Self {
        self.kill_on_drop = kill;
        self
    }

    /// How the process is made. Default: [`StartMethod::default`].
    ///
    /// - [`ForkServer`](StartMethod::ForkServer): all such processes of the program are forked from one, which
    ///   is started with the first of them and stays as long as the program.
    /// - [`Spawn`](StartMethod::Spawn): the executable is started anew.
    /// - [`Fork`](StartMethod::Fork): this process is forked as it is, at this call. It must have one thread,
    ///   also none of a runtime's. The other then has open whatever this one has: among that our ends of
    ///   pipes to others, which so come to their end later. A process whose handle was dropped outside of a
    ///   runtime costs a thread that waits for its end. Its function believes to be within the runtime that
    ///   the start was awaited in, and [`blocking_spawn`](Self::blocking_spawn) makes one for that too: it can
    ///   start a runtime of its own on another thread only, and cannot use `Fork` itself. What this process has
    ///   read ahead from its stdin, the other finds in its own.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.start_method = method;
        self
    }

    /// What the process reads as its stdin. Default: [`Stdio::null`].
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = Some(stdin.into());
        self
    }

    /// Where its stdout goes. Default: [`Stdio::inherit`].
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdout = Some(stdout.into());
        self
    }

    /// Where its stderr goes. Default: [`Stdio::inherit`].
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stderr = Some(stderr.into());
        self
    }

    /// Sets a variable in the process's environment, which otherwise is what this process's is when it is
    /// started.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Gives the process only the variables that are set by [`env`](Self::env).
    pub fn env_clear(mut self) -> Self {
        self.env_clear = true;
        self
    }

    /// Where the process runs. Default: where this process is when it is started.
    pub fn current_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.current_dir = Some(folder.into());
        self
    }

    /// What the process may use: memory, processor time, descriptors. Default: what this process may; with
    /// [`StartMethod::ForkServer`], what it might when the first such process was started.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How long the process may take to get ready before it is killed. Default: 30 seconds.
    ///
    /// With [`StartMethod::ForkServer`] that goes for the fork server's answer, and again for the process that
    /// it has forked. A fork server that has given no answer by then, and has said nothing to anybody for a
    /// second, is killed, and the start is tried once more, with another. The processes that it has forked run
    /// on, but how they end is unknown. If it has said something, this start alone fails.
    pub fn spawn_timeout(mut self, limit: Duration) -> Self {
        self.spawn_timeout = Some(limit);
        self
    }

    /// Starts the process, and waits until it is about to call the function.
    ///
    /// # Errors
    /// As [`Process::spawn`]; `is_invalid_setting()` for what cannot be meant; `is_unsupported()` for
    /// [`StartMethod::Fork`] in a process with more than one thread.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without an I/O driver and a timer (`enable_all`).
    ///
    /// # Cancel safety
    /// As `Process::spawn`.
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
        match order.start().await {
            Ok(runner) => Ok(rest.complete(runner, ticket)),
            Err(refusal) => Err(SpawnError::refused(ticket.name(), refusal)),
        }
    }

    /// As [`spawn`](Self::spawn), for synchronous code.
    ///
    /// # Errors
    /// As `spawn`.
    ///
    /// # Panics
    /// In an asynchronous task, where waiting would stop a thread of its runtime.
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
            Ok(runner) => Ok(rest.complete(runner, ticket)),
            Err(refusal) => Err(SpawnError::refused(ticket.name(), refusal)),
        }
    }

    fn prepare<F, A, M>(self, function: F, args: A) -> Result<Prepared, SpawnError>
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
        let ticket = Ticket::new(std::any::type_name::<F>(), Some(Arc::new(options)));
        self.check()
            .map_err(|error| SpawnError::invalid(ticket.name(), error))?;
        let call = encode_process_setup(function, args)
            .map_err(|reason| SpawnError::codec(ticket.name(), reason))?;
        let opened = self.into_order(call);
        let opened = opened.map_err(Refusal::system("open its standard streams"));
        let (order, rest) =
            opened.map_err(|refusal| SpawnError::refused(ticket.name(), refusal))?;
        Ok(Prepared {
            order,
            ticket,
            rest,
        })
    }

    fn into_order(self, call: Opening) -> io::Result<(StartOrder, ParentSide)> {
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
            call,
            start_method: self.start_method,
            surroundings: Surroundings {
                env: self.env,
                env_clear: self.env_clear,
                current_dir: self.current_dir,
            },
            is_daemon: self.daemon,
            limits: self.limits,
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

    fn check(&self) -> Result<(), BuildError> {
        for (name, value) in &self.env {
            if !sys::is_variable(name) || value.as_bytes().contains(&0) {
                return Err(BuildError::invalid(format!(
                    "{name:?}={value:?} can be no variable of an environment"
                )));
            }
        }
        if self.spawn_timeout.is_some_and(|limit| limit.is_zero()) {
            return Err(BuildError::invalid("spawn_timeout is 0"));
        }
        Ok(())
    }
}

/// All that there is before the process.
struct Prepared {
    order: StartOrder,
    ticket: Ticket,
    rest: ParentSide,
}

/// What stays here.
struct ParentSide {
    daemon: bool,
    kill_on_drop: bool,
    stdin: Option<PipeWriter>,
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
}

impl ParentSide {
    fn complete<R>(self, runner: Arc<RunningProcess>, ticket: Ticket) -> Process<R> {
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

/// Starts a process in a runtime for a moment, which has no thread of its own, but for an executed process.
fn start_now(order: StartOrder) -> Result<Arc<RunningProcess>, Refusal> {
    let start = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build();
        let runtime = runtime.map_err(Refusal::system("make a runtime"))?;
        runtime.block_on(order.start())
    };
    if sys::generation() == 0 || Handle::try_current().is_err() {
        return start();
    }
    // A fork still believes to be in the runtime that it was forked in, and lets this thread have no other.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, start);
        let thread = thread.map_err(Refusal::system("start a thread"))?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}
