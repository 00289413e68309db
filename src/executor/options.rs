//! What a caller may ask of one task, of all tasks of a pool, and of a shutdown.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// How one task is to be run. What is not set is taken from the pool's own options.
///
/// ```
/// use std::time::Duration;
/// use concurrent_futures::TaskOptions;
///
/// let options = TaskOptions::new()
///     .name("thumbnail")
///     .timeout(Duration::from_secs(5))
///     .grace_period(Duration::from_secs(1))
///     .queue_timeout(Duration::from_millis(500))
///     .priority(10);
/// ```
#[derive(Clone, Debug, Default)]
pub struct TaskOptions {
    pub(crate) timeout: Option<Duration>,
    pub(crate) grace_period: Option<Duration>,
    pub(crate) retries: Option<u32>,
    pub(crate) queue_timeout: Option<Duration>,
    pub(crate) priority: Option<i32>,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) traceparent: Option<Arc<str>>,
}

impl TaskOptions {
    /// Options that ask for nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long the function may run, counted from its start. A process that runs longer is killed,
    /// after its [grace period](Self::grace_period), and replaced; a thread cannot be killed, so its place stays taken until the function
    /// returns, and [`worker::Context::is_cancelled`](crate::worker::Context::is_cancelled) tells it.
    /// Default: no limit.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// How long a worker process may go on with the task after the task was aborted or ran out of its
    /// `timeout`. The caller has its error at once, whatever the period is. In the task
    /// [`worker::Context::is_cancelled`](crate::worker::Context::is_cancelled) becomes true; if it
    /// returns in time, its worker stays and goes on with other work. After the period the worker
    /// and all of its process group get SIGTERM, after as long again SIGKILL; then it is replaced.
    ///
    /// Before the deadline of a shutdown, a running task is told twice the period ahead, and gets
    /// SIGTERM one period ahead; what it returns until then still counts.
    ///
    /// It has no effect on threads, which nobody can kill. Default: zero, SIGKILL at once.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::{TaskOptions, worker};
    ///
    /// fn count() -> u64 {
    ///     let mut sum = 0;
    ///     while !worker::current().is_some_and(|task| task.is_cancelled()) {
    ///         sum += 1; // One step of many.
    /// #       break;
    ///     }
    ///     sum
    /// }
    ///
    /// let options = TaskOptions::new()
    ///     .timeout(Duration::from_secs(10))
    ///     .grace_period(Duration::from_millis(500));
    /// # count(); let _ = options;
    /// ```
    #[must_use]
    pub fn grace_period(mut self, period: Duration) -> Self {
        self.grace_period = Some(period);
        self
    }

    /// How often the task is run again, in another worker process, when the one that ran it was lost
    /// by no doing of the pool: it crashed, was killed from outside or for lack of memory. Only for
    /// tasks that may run more than once; each item of a `map` counts for itself. If all runs are
    /// lost, the error is that of the last.
    ///
    /// A panic, a time-out, a cancel and a shutdown are never followed by another run. It has no
    /// effect on threads. Default: 0, a task runs at most once.
    ///
    /// ```
    /// use concurrent_futures::TaskOptions;
    ///
    /// let idempotent = TaskOptions::new().retries(2); // At most three runs.
    /// ```
    #[must_use]
    pub fn retries(mut self, times: u32) -> Self {
        self.retries = Some(times);
        self
    }

    /// How long the task may wait for a worker before it is refused. Default: no limit.
    #[must_use]
    pub fn queue_timeout(mut self, limit: Duration) -> Self {
        self.queue_timeout = Some(limit);
        self
    }

    /// The trace that the task belongs to, in the form of the `traceparent` header of
    /// [W3C Trace Context](https://www.w3.org/TR/trace-context/). The task finds it in
    /// [`worker::Context::traceparent`](crate::worker::Context::traceparent), also in another process, and
    /// can go on with the trace there. It is passed on as it is. Default: what the function gives that
    /// was passed to `set_trace_propagator`, or none.
    ///
    /// ```
    /// use concurrent_futures::{ThreadPoolExecutor, TaskOptions, worker};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = ThreadPoolExecutor::new()?;
    /// let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    /// let options = TaskOptions::new().traceparent(header);
    /// let told = || worker::current().and_then(|task| task.traceparent().map(str::to_owned));
    /// assert_eq!(pool.submit_with(&options, told, ()).await?.as_deref(), Some(header));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn traceparent(mut self, header: impl Into<Arc<str>>) -> Self {
        self.traceparent = Some(header.into());
        self
    }

    /// Tasks of a higher priority start first; among equals, the one submitted first. Default: 0.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = Some(priority);
        self
    }

    /// What errors call the task. Default: the path of its function.
    #[must_use]
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }
}

/// What a task is called in errors.
#[derive(Clone)]
pub(crate) enum TaskName {
    Function(&'static str),
    Given(Arc<str>),
}

impl TaskName {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Function(path) => path,
            Self::Given(name) => name,
        }
    }
}

impl fmt::Debug for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// How an executor is to end. By default it finishes all that it accepted, however long that takes.
///
/// ```
/// use std::time::Duration;
/// use concurrent_futures::{Executor as _, Shutdown, ThreadPoolExecutor};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ThreadPoolExecutor::new()?;
/// let how = Shutdown::new().cancel_pending(true).deadline(Duration::from_secs(10));
/// let report = pool.shutdown_with(how).await;
/// assert_eq!(report.killed, 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Shutdown {
    pub(crate) cancel_pending: bool,
    pub(crate) deadline: Option<Duration>,
}

impl Shutdown {
    /// Finish everything, with no deadline.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether tasks that have not started are cancelled rather than run.
    #[doc(alias = "cancel_futures")]
    #[must_use]
    pub fn cancel_pending(mut self, cancel: bool) -> Self {
        self.cancel_pending = cancel;
        self
    }

    /// When to stop waiting, counted from the call: what has not started by then is cancelled, and
    /// worker processes that still run a task are killed. Tasks with a
    /// [grace period](TaskOptions::grace_period) are told before.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

impl Shutdown {
    /// When to stop waiting, from now on. A deadline further off than the clock can tell is none.
    pub(crate) fn ends_at(self) -> Option<Instant> {
        Instant::now().checked_add(self.deadline?)
    }
}

/// What a shutdown found to do, counted in tasks from the moment it was called.
///
/// With the feature `serde` it can be written and read, as [`Stats`](crate::Stats) can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Tasks that ended by themselves, with a result or an error of their own.
    pub finished: usize,
    /// Tasks that were cancelled before they started.
    pub cancelled: usize,
    /// Tasks that were still running at the deadline: killed in a process, left behind on a thread.
    pub killed: usize,
}

#[cfg(feature = "serde")]
crate::record::record!(ShutdownReport as "ShutdownReport" {
    finished = 0,
    cancelled = 0,
    killed = 0,
});
