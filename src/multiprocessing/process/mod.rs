//! [`Process`]: one function in a process of its own. Reading order:
//!
//! - this file: the handle; [`builder`]: its configuration and start;
//! - [`stdio`]: the standard streams; [`error`]: the errors of a start;
//! - [`active`]: the running processes of this program; [`current`]: what a process knows about itself and its parent.
//!
//! The system's side is in [`runner`](crate::process::runner).

mod active;
mod builder;
mod current;
mod error;
mod stdio;

use std::fmt;
use std::io::{PipeReader, PipeWriter};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

pub use self::active::{ActiveChild, active_children, blocking_join_all, join_all};
pub use self::builder::ProcessBuilder;
pub use self::current::{CurrentProcess, ParentProcess, current_process, parent_process};
pub use self::error::SpawnError;
pub use self::stdio::Stdio;
use crate::executor::data::{Arguments, Data};
use crate::executor::error::{Death, TaskError};
use crate::executor::options::TaskName;
use crate::executor::promise::Ticket;
use crate::executor::served::decode_result;
use crate::executor::task::Task;
use crate::home::{anywhere, timeout, unblock};
use crate::multiprocessing::waiting::driver::{end_of, may_block};
use crate::process::runner::{ProcessOutcome, RunningProcess};

/// Runs a function in a process of its own, which ends when the function returns.
///
/// The function and its arguments follow the rules of [`ExecutorExt::submit`](crate::ExecutorExt::submit). The
/// process runs this executable, started by its [`StartMethod`](crate::StartMethod). By default it writes to
/// the same stdout and stderr as this process, its stdin is empty, and it starts with this process's current
/// environment and working directory.
///
/// ```
/// use concurrent_futures::multiprocessing::Process;
/// # concurrent_futures::init_before_main!();
///
/// fn count(text: String) -> usize {
///     println!("{text}"); // On the stdout of this process.
///     text.len()
/// }
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let process = Process::spawn(count, "text".to_owned()).await?;
/// assert_eq!(process.join().await?, 4);
/// assert_eq!(process.exit_code(), Some(0));
/// # Ok(()) }
/// ```
///
/// # Exit
/// The process exits by itself, with the code of an ordinary program: 0 if the function returned, 101 if it
/// panicked, or the argument of [`std::process::exit`]. It is 1 if the arguments cannot be decoded or the
/// result cannot be encoded. Or a signal ends it. As in any program, other threads do not delay the exit.
///
/// It leads a process group of its own, in the background of the terminal. So a read from the terminal is an
/// error there, and an interrupt (Ctrl-C) reaches only this process, not the new one.
/// [`terminate`](Self::terminate) and [`kill`](Self::kill) also reach the processes that it has
/// started. If it exits by itself, those run on.
///
/// # Signals
/// With every start method, the process starts with no signal blocked and with the default action for each signal,
/// whatever this process blocks or handles. A signal that this process ignores (SIGHUP, if `nohup` has started it)
/// stays ignored, as in any program that another one starts. Exceptions are SIGINT and SIGCHLD, which get the default
/// action, and SIGPIPE, SIGTTIN and SIGTTOU, which are ignored: a failed write or read is an error of the function.
///
/// # Drop, and the end of the program
/// Dropping the handle does not end the process, unless [`kill_on_drop`](ProcessBuilder::kill_on_drop) is set.
/// Neither does the end of the runtime. If the handle is dropped in a runtime, a background task waits for the
/// end of the process. Elsewhere a thread waits.
///
/// When this process ends, in any way, a [daemon](ProcessBuilder::daemon) is killed at once. Every other
/// process runs on, and this process does not wait for it. Python joins its processes at exit; here, call
/// [`join_all`] at the end of `main`.
///
/// A process that has ended stays a zombie until its handle is dropped or queried ([`is_alive`](Self::is_alive),
/// [`exit_code`](Self::exit_code), a join), until [`active_children`] or [`join_all`] is called, or until another
/// process is started. With [`StartMethod::ForkServer`](crate::StartMethod::ForkServer) it is not a zombie of this
/// process: the fork server takes its exit status at once.
///
/// # Platform
/// Linux.
pub struct Process<R> {
    runner: Arc<RunningProcess>,
    ticket: Arc<Ticket>,
    name: TaskName,
    stdin: Option<PipeWriter>,
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
    kill_on_drop: bool,
    result: PhantomData<fn() -> R>,
}

impl<R: Data> Process<R> {
    /// Starts a process, and waits until it is about to call the function.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Process;
    /// # concurrent_futures::init_before_main!();
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let process = Process::spawn(u64::pow, (2, 8)).await?;
    /// assert_eq!(process.join().await?, 256);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `is_not_initialized()` if [`init`](crate::init) was not called; `is_codec()` if an argument cannot be
    /// encoded; otherwise the system refused the start, or the process ended before it was ready.
    ///
    /// # Cancel safety
    /// If the future is dropped, the process is killed. It may already have started to run the function.
    pub async fn spawn<F, A, M>(function: F, args: A) -> Result<Self, SpawnError>
    where
        F: Task<A, M, Output = R> + Copy + Send + Sync + 'static,
        A: Arguments<M>,
        M: 'static,
    {
        Process::builder().spawn(function, args).await
    }

    /// Like [`spawn`](Self::spawn), for a thread that may block.
    ///
    /// ```
    /// use concurrent_futures::multiprocessing::Process;
    /// # concurrent_futures::init_before_main!();
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let process = Process::blocking_spawn(u64::pow, (2, 8))?;
    /// assert_eq!(process.blocking_join()?, 256);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Like `spawn`.
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_spawn<F, A, M>(function: F, args: A) -> Result<Self, SpawnError>
    where
        F: Task<A, M, Output = R> + Copy + Send + Sync + 'static,
        A: Arguments<M>,
        M: 'static,
    {
        Process::builder().blocking_spawn(function, args)
    }

    /// Waits until the process has ended, and returns the result of the function. It may be called again: each
    /// call decodes the result again.
    ///
    /// ```
    /// use concurrent_futures::multiprocessing::Process;
    /// # concurrent_futures::init_before_main!();
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let process = Process::spawn(|| -> u32 { std::process::exit(7) }, ()).await?;
    /// let error = process.join().await.unwrap_err();
    /// assert!(error.is_worker_lost());
    /// assert_eq!(error.exit_code(), Some(7));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `is_panic()` if the function panicked; `is_worker_lost()`, with the exit code or the signal, if the
    /// process ended without a result; `is_codec()` if the arguments or the result could not be encoded or
    /// decoded. The error has no stderr output.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn join(&self) -> Result<R, TaskError> {
        let runner = self.runner.clone();
        let death = anywhere(async move { runner.ended().await }).await;
        self.outcome(death).await
    }

    /// Like [`join`](Self::join), but returns `None` if the process has not ended within `limit`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::multiprocessing::Process;
    /// # concurrent_futures::init_before_main!();
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let process = Process::spawn(std::thread::park, ()).await?;
    /// if process.join_timeout(Duration::from_millis(10)).await.is_none() {
    ///     process.kill();
    /// }
    /// assert_eq!(process.join().await.unwrap_err().signal(), Some(9));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Like `join`.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn join_timeout(&self, limit: Duration) -> Option<Result<R, TaskError>> {
        let runner = self.runner.clone();
        let ended = anywhere(async move { timeout(limit, runner.ended()).await }).await;
        Some(self.outcome(ended?).await)
    }

    async fn outcome(&self, death: Death) -> Result<R, TaskError> {
        active::forget(&self.runner);
        let outcome = self.runner.outcome(death);
        if !outcome.may_stall() {
            return decode(&self.ticket, outcome);
        }
        let ticket = self.ticket.clone();
        unblock(move || decode(&ticket, outcome)).await
    }

    /// Like [`join`](Self::join), for a thread that may block.
    ///
    /// # Errors
    /// Like `join`.
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_join(&self) -> Result<R, TaskError> {
        self.blocking_join_within(None)
            .expect("a wait without a timeout always has a result")
    }

    /// Like [`join_timeout`](Self::join_timeout), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Process;
    /// # concurrent_futures::init_before_main!();
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// let process = Process::blocking_spawn(std::thread::park, ())?;
    /// assert!(process.blocking_join_timeout(Duration::from_millis(1)).is_none());
    /// process.kill();
    /// # let _ = process.blocking_join();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Like `join`.
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_join_timeout(&self, limit: Duration) -> Option<Result<R, TaskError>> {
        self.blocking_join_within(Some(limit))
    }

    fn blocking_join_within(&self, limit: Option<Duration>) -> Option<Result<R, TaskError>> {
        may_block();
        let death = self.runner.blocking_ended(end_of(limit))?;
        active::forget(&self.runner);
        Some(decode(&self.ticket, self.runner.outcome(death)))
    }
}

fn decode<R: Data>(ticket: &Ticket, outcome: ProcessOutcome) -> Result<R, TaskError> {
    decode_result(ticket, &mut outcome.read(ticket)?)
}

impl<R> Process<R> {
    /// The process id. The system may reuse it once the process is no longer alive.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Process;
    /// # concurrent_futures::init_before_main!();
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let process = Process::spawn(std::process::id, ()).await?;
    /// assert_eq!(process.join().await?, process.pid());
    /// # Ok(()) }
    /// ```
    pub fn pid(&self) -> u32 {
        self.runner.id()
    }

    /// The [name](ProcessBuilder::name), or the path of the function if none is set.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Whether the process is alive. A process whose exit status is still in transit counts as alive.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Process;
    /// # concurrent_futures::init_before_main!();
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let process = Process::spawn(std::thread::park, ()).await?;
    /// assert!(process.is_alive());
    /// process.kill();
    /// let _ = process.join().await;
    /// assert!(!process.is_alive());
    /// # Ok(()) }
    /// ```
    pub fn is_alive(&self) -> bool {
        self.runner.try_end().is_none()
    }

    /// The exit code. `None` while the process is alive, if a [signal](Self::signal) ended it, or if the code is
    /// unknown: because the fork server was killed meanwhile, or, before Linux 6.15, because another part of the
    /// program has reaped the process, or the program ignores SIGCHLD. The text of the error of [`join`](Self::join)
    /// names SIGCHLD then.
    ///
    /// ```
    /// use concurrent_futures::multiprocessing::Process;
    /// # concurrent_futures::init_before_main!();
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let process = Process::spawn(|| -> u32 { panic!("out of cheese") }, ()).await?;
    /// assert!(process.join().await.unwrap_err().is_panic());
    /// assert_eq!((process.exit_code(), process.signal()), (Some(101), None));
    /// # Ok(()) }
    /// ```
    #[doc(alias = "exitcode")]
    pub fn exit_code(&self) -> Option<i32> {
        self.runner.try_end()?.exit_code
    }

    /// The signal that ended the process, if one did.
    pub fn signal(&self) -> Option<i32> {
        self.runner.try_end()?.signal
    }

    /// Sends SIGTERM to the process and its process group, which they may handle or ignore. Does nothing if the process
    /// has ended. A new process does not block SIGTERM, but ignores it if this process does: see
    /// [signals](Self#signals).
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Process;
    /// # concurrent_futures::init_before_main!();
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let process = Process::spawn(std::thread::park, ()).await?;
    /// process.terminate();
    /// assert_eq!(process.join().await.unwrap_err().signal(), Some(15));
    /// # Ok(()) }
    /// ```
    pub fn terminate(&self) {
        self.runner.terminate();
    }

    /// Sends SIGKILL to the process and its process group. Does nothing if the process has ended. It does not
    /// wait for the end; [`join`](Self::join) does.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Process;
    /// # concurrent_futures::init_before_main!();
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let process = Process::spawn(std::thread::park, ()).await?;
    /// process.kill();
    /// assert_eq!(process.join().await.unwrap_err().signal(), Some(9));
    /// assert_eq!(process.signal(), Some(9));
    /// # Ok(()) }
    /// ```
    pub fn kill(&self) {
        self.runner.kill();
    }

    /// Takes the write end of its stdin, if that is [piped](Stdio::piped). The second call returns `None`. Dropping the
    /// end is the end of the input.
    ///
    /// It is the standard library's type, which blocks; for tokio's, pass it to
    /// [`pipe::Sender::from_owned_fd`](tokio::net::unix::pipe::Sender::from_owned_fd).
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::{Process, Stdio};
    /// # concurrent_futures::init_before_main!();
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::io::Write as _;
    /// let builder = Process::builder().stdin(Stdio::piped());
    /// let read = || std::io::read_to_string(std::io::stdin()).expect("text");
    /// let mut process = builder.spawn(read, ()).await?;
    /// process.take_stdin().expect("it is piped").write_all(b"text")?;
    /// assert_eq!(process.join().await?, "text");
    /// # Ok(()) }
    /// ```
    pub fn take_stdin(&mut self) -> Option<PipeWriter> {
        self.stdin.take()
    }

    /// Takes the read end of its stdout, if that is [piped](Stdio::piped). The second call returns `None`. The output
    /// ends once the process, and every process that inherited its stdout, has ended. If the end is not read, a process
    /// that writes much blocks.
    ///
    /// It is the standard library's type, which blocks; for tokio's, pass it to
    /// [`pipe::Receiver::from_owned_fd`](tokio::net::unix::pipe::Receiver::from_owned_fd).
    ///
    /// ```
    /// use concurrent_futures::multiprocessing::{Process, Stdio};
    /// use tokio::io::AsyncReadExt as _;
    /// use tokio::net::unix::pipe;
    /// # concurrent_futures::init_before_main!();
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = Process::builder().stdout(Stdio::piped());
    /// let mut process = builder.spawn(|| println!("text"), ()).await?;
    /// let stdout = process.take_stdout().expect("it is piped");
    /// let mut text = String::new();
    /// pipe::Receiver::from_owned_fd(stdout.into())?.read_to_string(&mut text).await?;
    /// assert_eq!(text, "text\n");
    /// process.join().await?;
    /// # Ok(()) }
    /// ```
    pub fn take_stdout(&mut self) -> Option<PipeReader> {
        self.stdout.take()
    }

    /// Like [`take_stdout`](Self::take_stdout), for its stderr.
    pub fn take_stderr(&mut self) -> Option<PipeReader> {
        self.stderr.take()
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name())
            .field("pid", &self.pid())
            .field("alive", &self.is_alive())
            .finish_non_exhaustive()
    }
}

impl<R> Drop for Process<R> {
    fn drop(&mut self) {
        if self.kill_on_drop {
            self.runner.kill();
        }
        self.runner.clone().reap_in_background(active::forget);
    }
}
