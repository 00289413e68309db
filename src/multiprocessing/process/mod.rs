//! [`Process`]: one function in a process of its own. Reading order:
//!
//! - this file: what a user holds; [`builder`]: how it is configured and started;
//! - [`stdio`]: its standard streams; [`error`]: why there is none;
//! - [`active`]: which processes of this program are running.
//!
//! What happens in the system is in [`runner`](crate::process::runner).

mod active;
mod builder;
mod error;
mod stdio;

use std::fmt;
use std::io::{PipeReader, PipeWriter};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

pub use self::active::{ActiveChild, active_children, blocking_join_all, join_all};
pub use self::builder::ProcessBuilder;
pub use self::error::SpawnError;
pub use self::stdio::Stdio;
use crate::executor::data::{Arguments, Data};
use crate::executor::decoded::decode_result;
use crate::executor::error::{Cause, TaskError};
use crate::executor::options::TaskName;
use crate::executor::promise::Ticket;
use crate::executor::task::Task;
use crate::multiprocessing::wait::end_of;
use crate::multiprocessing::waiter::may_block;
use crate::process::runner::{ProcessOutcome, RunningProcess};

/// A function that runs in a process of its own, which ends when the function returns.
///
/// The function and its arguments follow the rules of [`ExecutorExt::submit`](crate::ExecutorExt::submit). The
/// process is this executable, started as its [`StartMethod`](crate::StartMethod) says; unless told otherwise
/// it prints to the same stdout and stderr as this process, its stdin is empty, and its environment and
/// folder are what this process's are when it is started.
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
/// # How it ends
/// By itself, with the code that a program would exit with: 0 if the function has returned, 101 if it has
/// panicked, the code that it gives to [`std::process::exit`]; or by a signal. (It is 1 if its arguments
/// cannot be decoded, or its result cannot be encoded.) Other threads of it do not hold it up, as those of a
/// program do not.
///
/// It leads a process group of its own. So an interrupt at the terminal (Ctrl-C) reaches this process alone,
/// [`terminate`](Self::terminate) and [`kill`](Self::kill) reach what the process has started too, and its
/// end by itself leaves that alone.
///
/// # Drop, and the end of the program
/// Dropping the handle leaves the process alone, unless
/// [`kill_on_drop`](ProcessBuilder::kill_on_drop) was asked for, and so does the end of the runtime. Within a
/// runtime, the drop leaves a task there that waits for the end of the process. In one without an I/O driver
/// and a timer (`enable_all`) that task panics, and a thread waits in its stead.
///
/// When this process ends, whichever way, a [daemon](ProcessBuilder::daemon) is killed at once. Any other runs
/// on to its end, as a process that nobody waits for. The end of this process waits for none: where Python
/// joins its processes at exit, call [`join_all`] at the end of `main`.
///
/// A process that has ended is a zombie only until its handle is dropped or asked
/// ([`is_alive`](Self::is_alive), [`exit_code`](Self::exit_code), a join), or somebody calls
/// [`active_children`] or [`join_all`], or starts another. With
/// [`StartMethod::ForkServer`](crate::StartMethod::ForkServer) it is none of this process's: the fork server
/// takes its exit status at once.
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

impl Process<()> {
    /// Starts to configure a process.
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

impl<R: Data> Process<R> {
    /// Starts a process, and waits until it is about to call the function.
    ///
    /// # Errors
    /// `is_not_initialized()` if [`init`](crate::init) was not called; `is_codec()` if an argument cannot be
    /// encoded; otherwise the system did not let it start, or it has ended before it was ready.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without an I/O driver and a timer (`enable_all`).
    ///
    /// # Cancel safety
    /// A process whose start is given up is killed. It may have begun to run the function by then.
    pub async fn spawn<F, A, M>(function: F, args: A) -> Result<Self, SpawnError>
    where
        F: Task<A, M, Output = R> + Copy + Send + Sync + 'static,
        A: Arguments<M>,
        M: 'static,
    {
        Process::builder().spawn(function, args).await
    }

    /// As [`spawn`](Self::spawn), for synchronous code.
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
    /// As `spawn`.
    ///
    /// # Panics
    /// In an asynchronous task, where waiting would stop a thread of its runtime.
    pub fn blocking_spawn<F, A, M>(function: F, args: A) -> Result<Self, SpawnError>
    where
        F: Task<A, M, Output = R> + Copy + Send + Sync + 'static,
        A: Arguments<M>,
        M: 'static,
    {
        Process::builder().blocking_spawn(function, args)
    }

    /// Waits until the process has ended, and gives what the function has returned. It may be called again:
    /// then the result is decoded anew.
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
    /// process ended without a result; `is_codec()` if the arguments, or the result, could not be
    /// encoded or decoded. Of what it wrote to stderr nothing is kept.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without an I/O driver and a timer (`enable_all`).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn join(&self) -> Result<R, TaskError> {
        let death = self.runner.ended().await;
        active::forget(&self.runner);
        let outcome = self.runner.outcome(death);
        if !outcome.may_stall() {
            return decode(&self.ticket, outcome);
        }
        let ticket = self.ticket.clone();
        let decoded = tokio::task::spawn_blocking(move || decode(&ticket, outcome)).await;
        // The task fails only if the runtime is ending.
        decoded.unwrap_or_else(|_| Err(self.ticket.error(true, Cause::Shutdown)))
    }

    /// As [`join`](Self::join); nothing if the process takes longer than `limit` to end.
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
    /// As `join`.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without an I/O driver and a timer (`enable_all`).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn join_timeout(&self, limit: Duration) -> Option<Result<R, TaskError>> {
        tokio::time::timeout(limit, self.join()).await.ok()
    }

    /// As [`join`](Self::join), for synchronous code.
    ///
    /// # Errors
    /// As `join`.
    ///
    /// # Panics
    /// In an asynchronous task, where waiting would stop a thread of its runtime.
    pub fn blocking_join(&self) -> Result<R, TaskError> {
        self.blocking_join_within(None)
            .expect("it waits for as long as it takes")
    }

    /// As [`join_timeout`](Self::join_timeout), for synchronous code.
    ///
    /// # Errors
    /// As `join`.
    ///
    /// # Panics
    /// In an asynchronous task, where waiting would stop a thread of its runtime.
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
    /// The process id. It may be another process's as soon as this one is no more alive.
    pub fn pid(&self) -> u32 {
        self.runner.id()
    }

    /// The [name](ProcessBuilder::name), or else the path of the function.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Whether the process has not ended yet. (One whose exit status is on its way still counts as alive.)
    pub fn is_alive(&self) -> bool {
        self.runner.try_end().is_none()
    }

    /// With what code the process has exited. Nothing while it is alive, if a [signal](Self::signal) has
    /// ended it, or if that is unknown: if another part of the program has waited for it, or the fork
    /// server has been killed meanwhile.
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
    pub fn exit_code(&self) -> Option<i32> {
        self.runner.try_end()?.exit_code
    }

    /// The signal that has ended the process, if one has.
    pub fn signal(&self) -> Option<i32> {
        self.runner.try_end()?.signal
    }

    /// Asks the process, and all of its process group, to end: by SIGTERM, which it may handle or ignore.
    /// Does nothing if the process has ended.
    pub fn terminate(&self) {
        self.runner.terminate();
    }

    /// Kills the process, and all of its process group, by SIGKILL. Does nothing if the process has ended.
    /// It waits for nothing; [`join`](Self::join) does.
    pub fn kill(&self) {
        self.runner.kill();
    }

    /// Our end of its stdin, if that is [piped](Stdio::piped) and nobody has taken it yet. Dropping it is the
    /// end of the input.
    ///
    /// It is the standard library's, which blocks; for tokio's, give it to
    /// [`pipe::Sender::from_owned_fd`](tokio::net::unix::pipe::Sender::from_owned_fd).
    pub fn take_stdin(&mut self) -> Option<PipeWriter> {
        self.stdin.take()
    }

    /// Our end of its stdout, if that is [piped](Stdio::piped) and nobody has taken it yet. It comes to its
    /// end when the process, and whatever it has passed its stdout on to, has ended. While nobody reads, a
    /// process that writes much has to wait.
    ///
    /// It is the standard library's, which blocks; for tokio's, give it to
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

    /// As [`take_stdout`](Self::take_stdout), of its stderr.
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
