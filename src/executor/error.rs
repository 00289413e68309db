//! Why a task has no result: one opaque error with predicates. Only this crate makes one.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::escaped::Escaped;
use super::options::TaskName;
use crate::panic::{Location, PanicReport};

/// Why a task gave no result.
///
/// The predicates tell the cause; `Display` says what happened, to which task, and what to do. It escapes control
/// characters, because the text may come from the task. Cheap to clone.
///
/// ```
/// use concurrent_futures::ThreadPoolExecutor;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ThreadPoolExecutor::new()?;
/// let error = pool.submit(|| -> u32 { panic!("out of cheese") }, ()).await.unwrap_err();
/// assert!(error.is_panic() && error.was_started());
/// assert_eq!(error.panic_message(), Some("out of cheese"));
/// # Ok(()) }
/// ```
///
/// # As data
///
/// With the feature `serde` an error can be written and read again, and keeps all its predicates, texts
/// and fields. So it can be the result of a task, or a record in a log.
///
#[cfg_attr(feature = "process", doc = "```")]
#[cfg_attr(not(feature = "process"), doc = "```text")]
/// use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor, TaskError, ThreadPoolExecutor};
///
/// /// Runs in a worker, which has a pool of its own.
/// #[tokio::main(flavor = "current_thread")]
/// async fn divide_100_by(numbers: Vec<u32>) -> Result<Vec<u32>, TaskError> {
///     let pool = ThreadPoolExecutor::with_workers(2).expect("2 is more than 0");
///     let calls = numbers.into_iter().map(|n| pool.submit(|n| 100 / n, n));
///     futures::future::try_join_all(calls).await
/// }
///
/// # fn main() { concurrent_futures::init(); service().unwrap() }
/// # #[tokio::main] async fn service() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ProcessPoolExecutor::with_workers(1)?;
/// assert_eq!(pool.submit(divide_100_by, vec![1, 2]).await??, [100, 50]);
/// let error = pool.submit(divide_100_by, vec![1, 0]).await?.unwrap_err();
/// assert_eq!(error.panic_message(), Some("attempt to divide by zero"));
/// # Ok(()) }
/// ```
///
/// The names of the fields are stable. Those that a `kind` does not need are null; a reader ignores the ones
/// that it does not know, and refuses a `kind` that it does not know.
///
/// | field | holds |
/// |---|---|
/// | `task`, `started` | [`task_name`](Self::task_name) and [`was_started`](Self::was_started) |
/// | `attempts` | [`attempts`](Self::attempts) |
/// | `host`, `worker`, `worker_name` | [`host`](Self::host), [`remote_worker`](Self::remote_worker), and its name |
/// | `kind` | `cancelled`, `panicked`, `worker_lost`, `timed_out`, `rejected`, `shutdown`, `codec` or `init_failed` |
/// | `index` | [`index`](Self::index) |
/// | `limit` | the time limit of `timed_out` and of the refusal `waited_too_long`: `secs` and `nanos` |
/// | `refusal` | why it is `rejected`: `queue_full`, `stream_full`, `waited_too_long`, `other_process` or `invalid_setting` |
/// | `capacity` | the places of the queue that is full |
/// | `reason` | the text of `codec`, `init_failed`, `invalid_setting` and `stream_full` |
/// | `panic` | `message`, `location` (`file`, `line`, `column`) and `backtrace` of `panicked`, or of an initializer |
/// | `death` | of `worker_lost`, or of a worker that never became ready: `pid`, `exit_code`, `signal`, `exit_discarded` (whether neither is known because the program ignores SIGCHLD), `stderr_tail`, `out_of_memory`, `runs`, and `protocol`, the rule that it broke if the pool ended it for that |
/// | `broken` | whether the pool has stopped starting workers |
/// | `ready`, `wanted` | of `init_failed` of a `warm_up`: how many workers are ready, if any, and how many it wanted |
#[derive(Clone)]
pub struct TaskError(Arc<TaskErrorInner>);

#[derive(Clone)]
struct TaskErrorInner {
    task: TaskName,
    /// Which item of a map it belongs to.
    index: Option<usize>,
    started: bool,
    /// How many times the task was attempted.
    attempts: u32,
    /// Where the last attempt ran, if not on this machine.
    origin: Option<Arc<ErrorOrigin>>,
    cause: Cause,
}

/// The worker on another machine that reported an error.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(feature = "serde"),
    allow(dead_code, reason = "an error from elsewhere arrives as data")
)]
pub(crate) struct ErrorOrigin {
    pub(crate) host: String,
    pub(crate) worker: String,
    /// Set if its user named it.
    pub(crate) name: Option<String>,
}

/// What happened, with its details.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(feature = "process"),
    allow(dead_code, reason = "some causes need worker processes")
)]
pub(crate) enum Cause {
    Cancelled,
    Panic(PanicReport),
    WorkerLost(Death),
    TimedOut { limit: Duration },
    Rejected(Rejection),
    Shutdown,
    Codec(Cow<'static, str>),
    InitFailed(InitFailure),
}

/// Why a task was refused before it was queued, or while it waited.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(feature = "process"),
    allow(dead_code, reason = "some reasons need worker processes")
)]
pub(crate) enum Rejection {
    QueueFull {
        capacity: usize,
    },
    /// The servers' stream has reached a limit; this is the servers' message.
    #[cfg(feature = "cluster")]
    StreamFull(Cow<'static, str>),
    WaitedTooLong {
        limit: Duration,
    },
    OtherProcess,
    InvalidSetting(Cow<'static, str>),
}

/// The end of a worker process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Death {
    pub(crate) pid: u32,
    pub(crate) exit_code: Option<i32>,
    pub(crate) signal: Option<i32>,
    /// The exit code and the signal are unknown, because this program ignores SIGCHLD.
    pub(crate) exit_discarded: bool,
    pub(crate) stderr_tail: String,
    pub(crate) out_of_memory: bool,
    /// How many times the task ran; each run lost its worker.
    pub(crate) runs: u32,
    /// Set if the pool killed the worker because it broke the protocol.
    pub(crate) protocol: Option<String>,
}

/// Why no worker could be made ready.
#[derive(Debug, Clone, Default)]
pub(crate) struct InitFailure {
    pub(crate) reason: String,
    pub(crate) panic: Option<PanicReport>,
    pub(crate) death: Option<Death>,
    /// The pool starts no workers until `warm_up` is called.
    pub(crate) broken: bool,
    /// Set if other workers are ready, but fewer than a `warm_up` needs.
    pub(crate) shortfall: Option<Shortfall>,
}

/// Too few workers are ready.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shortfall {
    pub(crate) ready: usize,
    pub(crate) wanted: usize,
}

impl TaskError {
    pub(crate) fn new(task: TaskName, started: bool, cause: Cause) -> Self {
        Self(Arc::new(TaskErrorInner {
            task,
            index: None,
            started,
            attempts: 1,
            origin: None,
            cause,
        }))
    }

    /// The same error, for the item at `index` of a map.
    pub(crate) fn at(mut self, index: usize) -> Self {
        Arc::make_mut(&mut self.0).index = Some(index);
        self
    }

    /// The same error, of a task on another machine.
    #[cfg_attr(
        not(feature = "serde"),
        allow(dead_code, reason = "an error from elsewhere arrives as data")
    )]
    pub(crate) fn of_worker(mut self, origin: Arc<ErrorOrigin>) -> Self {
        Arc::make_mut(&mut self.0).origin = Some(origin);
        self
    }

    /// The same error, of an item that lost `losses` workers before.
    pub(crate) fn of_rerun(self, losses: u32) -> Self {
        match self.0.attempts > losses {
            true => self,
            false => self.after(losses, true),
        }
    }

    /// The same error, after `earlier` other attempts. `started`: the function began in one of them.
    pub(crate) fn after(mut self, earlier: u32, started: bool) -> Self {
        if earlier > 0 {
            let inner = Arc::make_mut(&mut self.0);
            inner.attempts = inner.attempts.saturating_add(earlier);
            inner.started |= started;
        }
        self
    }

    /// Whether it is a clone of the other error.
    #[cfg(feature = "cluster")]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Turns the error of a task that its caller had cancelled into `is_cancelled`. A shutdown does not say whether the
    /// task started. The task then counts as started, so that no caller runs it a second time by mistake.
    pub(super) fn into_cancelled(mut self) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        inner.started |= matches!(inner.cause, Cause::Shutdown);
        inner.cause = Cause::Cancelled;
        self
    }

    /// The same error, of a task that its caller knows by this name.
    #[cfg(feature = "cluster")]
    pub(crate) fn of_task(mut self, task: TaskName) -> Self {
        Arc::make_mut(&mut self.0).task = task;
        self
    }

    /// The same error, for another task.
    pub(crate) fn renamed(&self, task: TaskName) -> Self {
        Self::new(task, self.0.started, self.0.cause.clone())
    }

    /// Returns whether the task was cancelled: by [`abort`](crate::JoinHandle::abort), by a dropped
    /// [`abort_on_drop`](crate::JoinHandle::abort_on_drop) handle or stream, or by
    /// [`Shutdown::cancel_pending`](crate::Shutdown::cancel_pending).
    #[doc(alias = "CancelledError")]
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0.cause, Cause::Cancelled)
    }

    /// Returns whether the task's function panicked. Its worker keeps running.
    pub fn is_panic(&self) -> bool {
        matches!(self.0.cause, Cause::Panic(_))
    }

    /// Returns whether the worker process ended before the task had a result, and the pool did not end
    /// it.
    #[doc(alias("BrokenExecutor", "BrokenProcessPool"))]
    pub fn is_worker_lost(&self) -> bool {
        matches!(self.0.cause, Cause::WorkerLost(_))
    }

    /// Returns whether the task exceeded its [`timeout`](crate::TaskOptions::timeout), or a stream or a
    /// wait exceeded its own.
    #[doc(alias = "TimeoutError")]
    pub fn is_timeout(&self) -> bool {
        matches!(self.0.cause, Cause::TimedOut { .. })
    }

    /// Returns whether the task was refused before it ran: the queue was full, the task exceeded its
    /// [`queue_timeout`](crate::TaskOptions::queue_timeout), there was no tokio runtime, the executor
    /// belongs to the process that this one was forked from, or a setting was invalid.
    pub fn is_rejected(&self) -> bool {
        matches!(self.0.cause, Cause::Rejected(_))
    }

    /// Returns whether it was refused because the queue is too long.
    pub(crate) fn is_busy(&self) -> bool {
        #[cfg(feature = "cluster")]
        if let Cause::Rejected(Rejection::StreamFull(_)) = self.0.cause {
            return true;
        }
        matches!(
            self.0.cause,
            Cause::Rejected(Rejection::QueueFull { .. } | Rejection::WaitedTooLong { .. })
        )
    }

    /// Returns whether the executor was shut down or dropped, or its runtime ended, before the task
    /// ended.
    pub fn is_shutdown(&self) -> bool {
        matches!(self.0.cause, Cause::Shutdown)
    }

    /// Returns whether an argument or the result could not be encoded or decoded, or exceeded the
    /// frame limit.
    pub fn is_codec(&self) -> bool {
        matches!(self.0.cause, Cause::Codec(_))
    }

    /// Returns whether no worker became ready: the initializer failed, or a process could not start or
    /// was not ready in time.
    pub fn is_init_failed(&self) -> bool {
        matches!(self.0.cause, Cause::InitFailed(_))
    }

    /// Returns whether the worker ran out of memory: its allocator failed, or the kernel killed it for
    /// its memory use.
    pub fn is_out_of_memory(&self) -> bool {
        self.death().is_some_and(|death| death.out_of_memory)
    }

    /// The name of the outcome in metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self.0.cause {
            Cause::Cancelled => "cancelled",
            Cause::Panic(_) => "panicked",
            Cause::WorkerLost(_) => "worker_lost",
            Cause::TimedOut { .. } => "timed_out",
            Cause::Rejected(_) => "rejected",
            Cause::Shutdown => "shutdown",
            Cause::Codec(_) => "codec",
            Cause::InitFailed(_) => "init_failed",
        }
    }

    /// Returns whether the function of the task began to run.
    pub fn was_started(&self) -> bool {
        self.0.started
    }

    /// Returns the task's [`name`](crate::TaskOptions::name), or else the path of its function.
    pub fn task_name(&self) -> &str {
        self.0.task.as_str()
    }

    /// Returns which item of a `map` failed, counted from 0 in the order of the source. `None` for a task that is no
    /// item, and for an error of the stream itself.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    /// use futures::StreamExt as _;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let inputs = [3_u32, 0, 4];
    /// let mut quotients = pool.map(|n| 12 / n, inputs).unordered();
    /// while let Some(quotient) = quotients.next().await {
    ///     if let Some(index) = quotient.err().and_then(|error| error.index()) {
    ///         assert_eq!(inputs[index], 0);
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn index(&self) -> Option<usize> {
        self.0.index
    }

    /// Returns how many times the task was attempted: by [`retry`](crate::retry()), and by its executor for
    /// [`TaskOptions::retries`](crate::TaskOptions::retries). 1 without retries.
    ///
    /// ```
    /// use concurrent_futures::{Retry, ThreadPoolExecutor, retry};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let policy = Retry::new(1).on_panic();
    /// let error = retry(policy, || pool.submit(|| panic!("no"), ())).await.unwrap_err();
    /// assert_eq!(error.attempts(), 2);
    /// assert!(error.to_string().contains("(attempt 2)"));
    /// # Ok(()) }
    /// ```
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Returns the name of the host that ran the last attempt, if that is another machine.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let error = pool.submit(|| panic!("no"), ()).await.unwrap_err();
    /// assert_eq!(error.host(), None); // A thread pool runs its tasks in this process.
    /// # Ok(()) }
    /// ```
    pub fn host(&self) -> Option<&str> {
        self.0.origin.as_ref().map(|origin| &*origin.host)
    }

    /// Returns the id of the worker that ran the last attempt, if it is on another [`host`](Self::host). The worker's
    /// log has the same id.
    pub fn remote_worker(&self) -> Option<&str> {
        self.0.origin.as_ref().map(|origin| &*origin.worker)
    }

    /// Where it is from, if that is another machine.
    #[cfg(feature = "serde")]
    pub(super) fn origin(&self) -> Option<&ErrorOrigin> {
        self.0.origin.as_deref()
    }

    /// Returns the message of the panic, if it was a string.
    pub fn panic_message(&self) -> Option<&str> {
        self.panic_report().map(|panic| panic.message.as_str())
    }

    /// Returns where the panic happened.
    pub fn panic_location(&self) -> Option<&Location> {
        self.panic_report()?.location.as_ref()
    }

    /// Returns the backtrace of the panic, unless `RUST_LIB_BACKTRACE` or `RUST_BACKTRACE` is `0`.
    pub fn panic_backtrace(&self) -> Option<&str> {
        self.panic_report()?.backtrace.as_deref()
    }

    /// Returns the exit code of the worker, if it exited.
    pub fn exit_code(&self) -> Option<i32> {
        self.death()?.exit_code
    }

    /// Returns the signal that killed the worker, if one did.
    pub fn signal(&self) -> Option<i32> {
        self.death()?.signal
    }

    /// Returns the process id of the lost worker.
    pub fn worker_pid(&self) -> Option<u32> {
        self.death().map(|death| death.pid)
    }

    /// Returns the last lines that the lost worker wrote to stderr since the task began, at most 16 KiB. For an item of
    /// a `map`, they may start with those of earlier items that travelled with it. They are not escaped: a terminal
    /// interprets the control characters in them.
    pub fn stderr_tail(&self) -> Option<&str> {
        self.death().map(|death| death.stderr_tail.as_str())
    }

    /// What happened.
    #[cfg(feature = "serde")]
    pub(super) fn cause(&self) -> &Cause {
        &self.0.cause
    }

    fn panic_report(&self) -> Option<&PanicReport> {
        match &self.0.cause {
            Cause::Panic(panic) => Some(panic),
            Cause::InitFailed(failure) => failure.panic.as_ref(),
            _ => None,
        }
    }

    fn death(&self) -> Option<&Death> {
        match &self.0.cause {
            Cause::WorkerLost(death) => Some(death),
            Cause::InitFailed(failure) => failure.death.as_ref(),
            _ => None,
        }
    }
}

/// Escapes control characters, because parts of the text come from a worker.
impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe(&mut Escaped(f))
    }
}

impl TaskError {
    fn describe(&self, f: &mut impl fmt::Write) -> fmt::Result {
        let when = if self.0.started {
            "while it ran"
        } else {
            "before it started"
        };
        let name = self.task_name();
        // A timeout of the task counts from its start. So a timeout without a start is that of a stream of results.
        if let (false, Cause::TimedOut { limit }) = (self.0.started, &self.0.cause) {
            return write!(
                f,
                "`{name}`: the stream of results did not end within its timeout of {limit:?}; raise the `timeout` \
                 of the stream if it needs longer"
            );
        }
        write!(f, "task `{name}` ")?;
        if let Some(index) = self.0.index {
            write!(f, "(item {index}) ")?;
        }
        if self.0.attempts > 1 {
            write!(f, "(attempt {}) ", self.0.attempts)?;
        }
        if let Some(origin) = &self.0.origin {
            write!(f, "(host {}, worker ", origin.host)?;
            match &origin.name {
                Some(name) => write!(f, "{name}, id {}) ", origin.worker)?,
                None => write!(f, "{}) ", origin.worker)?,
            }
        }
        match &self.0.cause {
            Cause::Cancelled => write!(f, "was cancelled {when}"),
            Cause::Panic(panic) => write!(f, "{panic}"),
            Cause::WorkerLost(death) if death.runs > 1 => {
                write!(f, "lost its worker in each of {} runs, in the last: {death}", death.runs)
            }
            Cause::WorkerLost(death) => write!(f, "lost its worker: {death}"),
            Cause::TimedOut { limit } => {
                write!(f, "gave no result within its timeout of {limit:?}; raise `timeout` if it needs longer")
            }
            Cause::Rejected(rejection) => write!(f, "was refused: {rejection}"),
            Cause::Shutdown if self.0.started => {
                f.write_str("was ended by the shutdown of its executor; give the shutdown a longer deadline if the task must finish")
            }
            Cause::Shutdown => f.write_str("was not run: its executor has been shut down; submit before the shutdown"),
            Cause::Codec(reason) => f.write_str(reason),
            Cause::InitFailed(failure) if failure.shortfall.is_some() => {
                write!(f, "did not succeed: {failure}")
            }
            Cause::InitFailed(failure) => write!(f, "was not run: {failure}"),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QueueFull { capacity } => write!(
                f,
                "the queue is full ({capacity} waiting); wait for room with `reserve`, or raise `queue_capacity`"
            ),
            #[cfg(feature = "cluster")]
            Self::StreamFull(limit) => write!(
                f,
                "the queue's stream is full ({limit}); submit later, start more workers, or raise its limits"
            ),
            Self::WaitedTooLong { limit } => write!(
                f,
                "it waited longer than its queue timeout of {limit:?}; add workers, or raise `queue_timeout`"
            ),
            Self::OtherProcess => f.write_str(
                "its executor belongs to the process that this one was forked from; build another one here",
            ),
            Self::InvalidSetting(setting) => f.write_str(setting),
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ", self.pid)?;
        match (&self.protocol, self.signal, self.exit_code) {
            (Some(protocol), ..) => write!(f, "was ended by the pool, for {protocol}")?,
            (None, Some(signal), _) => write!(f, "was killed by {}", SignalName(signal))?,
            (None, None, Some(code)) => write!(f, "exited with code {code}")?,
            (None, None, None) if self.exit_discarded => f.write_str(
                "ended, its exit status unknown: this program ignores SIGCHLD, so the system discards the exit statuses \
                 of its children; set the default action (SIG_DFL), or use StartMethod::ForkServer",
            )?,
            (None, None, None) => f.write_str("ended, its exit status unknown")?,
        }
        if self.out_of_memory {
            f.write_str(" (out of memory)")?;
        }
        match self.stderr_tail.trim() {
            "" => Ok(()),
            tail => write!(f, "; its stderr ended with:\n{tail}"),
        }
    }
}

impl fmt::Display for InitFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shortfall {
            Some(Shortfall { ready, wanted }) => write!(
                f,
                "{ready} of {wanted} workers are ready, and another could not be made ready"
            )?,
            None => f.write_str("no worker could be made ready")?,
        }
        write!(f, ": {}", self.reason)?;
        if let Some(panic) = &self.panic {
            write!(f, " {panic}")?;
        }
        if let Some(death) = &self.death {
            write!(f, ": {death}")?;
        }
        if self.broken {
            f.write_str(
                "; the pool is broken and starts no more workers until `warm_up` is called",
            )?;
        }
        Ok(())
    }
}

/// Displays a signal as its number and its name.
struct SignalName(i32);

impl fmt::Display for SignalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signal {}", self.0)?;
        match crate::sys::signal_name(self.0) {
            Some("SIGSYS") => {
                f.write_str(" (SIGSYS): a filter (seccomp) denies a system call that it made")
            }
            Some(name) => write!(f, " ({name})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskError")
            .field("task", &self.task_name())
            .field("index", &self.0.index)
            .field("started", &self.0.started)
            .field("attempts", &self.0.attempts)
            .field("origin", &self.0.origin)
            .field("cause", &self.0.cause)
            .finish()
    }
}

impl Error for TaskError {}

/// A refused task with its arguments; see [`try_submit`](crate::ThreadPoolExecutor::try_submit).
pub struct TrySubmitError<A> {
    error: TaskError,
    args: A,
}

impl<A> TrySubmitError<A> {
    pub(crate) fn new(error: TaskError, args: A) -> Self {
        Self { error, args }
    }

    /// Returns why the task was refused.
    pub fn error(&self) -> &TaskError {
        &self.error
    }

    /// Returns the arguments, to try again.
    pub fn into_args(self) -> A {
        self.args
    }

    /// Returns the reason alone.
    pub fn into_error(self) -> TaskError {
        self.error
    }
}

impl<A> fmt::Debug for TrySubmitError<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrySubmitError")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<A> fmt::Display for TrySubmitError<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<A> Error for TrySubmitError<A> {}

/// Why an executor could not be built.
///
/// ```
/// let error = concurrent_futures::ThreadPoolExecutor::with_workers(0).unwrap_err();
/// assert!(error.is_invalid_setting());
/// assert_eq!(error.to_string(), "max_workers is 0; an executor needs at least one worker");
/// ```
///
/// `Debug` prints the same text, because a `main` that returns the error prints it by `Debug`.
#[derive(Clone)]
pub struct BuildError(pub(crate) BuildFailure);

#[derive(Clone)]
#[cfg_attr(
    not(feature = "process"),
    allow(dead_code, reason = "some failures need worker processes")
)]
pub(crate) enum BuildFailure {
    InvalidSetting(Cow<'static, str>),
    Unsupported(Cow<'static, str>),
    NotInitialized,
    InitializedLate,
}

impl BuildError {
    pub(crate) fn invalid(setting: impl Into<Cow<'static, str>>) -> Self {
        Self(BuildFailure::InvalidSetting(setting.into()))
    }

    #[cfg(feature = "process")]
    pub(crate) fn unsupported(what: impl Into<Cow<'static, str>>) -> Self {
        Self(BuildFailure::Unsupported(what.into()))
    }

    /// Returns whether a setting has an invalid value.
    pub fn is_invalid_setting(&self) -> bool {
        matches!(self.0, BuildFailure::InvalidSetting(_))
    }

    /// Returns whether the platform, or this release, does not support a setting.
    ///
    /// # Platform
    /// True of every error of [`ProcessPoolBuilder::build`](crate::ProcessPoolBuilder::build) where there are no
    /// worker processes: on every platform but Linux.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.0, BuildFailure::Unsupported(_))
    }

    /// Returns whether `init` was not called first in `main`, so no worker can start.
    pub fn is_not_initialized(&self) -> bool {
        matches!(
            self.0,
            BuildFailure::NotInitialized | BuildFailure::InitializedLate
        )
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            BuildFailure::InvalidSetting(what) | BuildFailure::Unsupported(what) => {
                f.write_str(what)
            }
            BuildFailure::NotInitialized => f.write_str(
                "concurrent_futures::init() was not called; make it the first line of main, \
                 or put concurrent_futures::init_before_main!() in a test file",
            ),
            BuildFailure::InitializedLate => f.write_str(
                "concurrent_futures::init() was called when other threads ran already, as within #[tokio::main]; \
                 make it the first line of a main without that attribute, which then calls the async function, \
                 or put concurrent_futures::init_before_main!() beside main",
            ),
        }
    }
}

impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuildError({self})")
    }
}

impl Error for BuildError {}
