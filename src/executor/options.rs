//! The options of one task, of all tasks of a pool, and of a shutdown.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::token::CallerToken;

/// How one task runs. An option that is not set has the value of the pool's own options.
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
#[derive(Clone, Debug)]
pub struct TaskOptions {
    pub(crate) timeout: Option<Duration>,
    pub(crate) grace_period: Option<Duration>,
    pub(crate) retries: Option<u32>,
    pub(crate) queue_timeout: Option<Duration>,
    pub(crate) priority: Option<i32>,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) traceparent: Option<Arc<str>>,
    pub(crate) cancel_token: Option<CallerToken>,
    pub(crate) deduplication_id: Option<Arc<str>>,
}

impl Default for TaskOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl TaskOptions {
    /// No options set; the pool's defaults apply.
    pub const fn new() -> Self {
        Self {
            timeout: None,
            grace_period: None,
            retries: None,
            queue_timeout: None,
            priority: None,
            name: None,
            traceparent: None,
            cancel_token: None,
            deduplication_id: None,
        }
    }

    /// Limits how long the function may run, counted from its start. A process that runs longer is killed, after its
    /// [grace period](Self::grace_period), and replaced. A thread cannot be killed: it is occupied until the function
    /// returns. The function can check [`worker::Context::is_cancelled`](crate::worker::Context::is_cancelled). If the
    /// timeout made that true, a result does not count. An [async](crate::Async) task is dropped at its next `.await`.
    /// Default: no limit.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Sets how long a worker process may continue the task after an abort or the `timeout`. The caller
    /// gets its error at once, whatever the period is. In the task,
    /// [`worker::Context::is_cancelled`](crate::worker::Context::is_cancelled) becomes true; if the task
    /// returns in time, its worker continues with other work. After the period, the worker and its
    /// process group get SIGTERM, and after a second period SIGKILL; then the worker is replaced.
    ///
    /// At a shutdown with a deadline, `is_cancelled` becomes true two periods before the deadline, and
    /// the worker gets SIGTERM one period before it. A result returned until then still counts.
    ///
    /// No effect on threads, which cannot be killed. Default: zero, SIGKILL at once; one second for an async task
    /// ([`Async`](crate::Async)), whose future is dropped at the cancel.
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

    /// Sets how often the task runs again, in another worker process, after its worker was lost: it crashed, was killed
    /// from outside, or was killed for lack of memory. Use it only for tasks that may run more than once. Each item of
    /// a `map` counts separately. If all runs are lost, the error is that of the last.
    ///
    /// A panic, a timeout, a cancel and a shutdown cause no other run. No effect on threads. To attempt a task again
    /// for other reasons, after a pause, or on threads: [`retry`](crate::retry()). Default: 0, a task runs at most
    /// once.
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

    /// Limits how long the task may wait for a worker before it is refused. Default: no limit.
    #[must_use]
    pub fn queue_timeout(mut self, limit: Duration) -> Self {
        self.queue_timeout = Some(limit);
        self
    }

    /// Sets the trace that the task belongs to, as a `traceparent` header of
    /// [W3C Trace Context](https://www.w3.org/TR/trace-context/). The task finds it unchanged in
    /// [`worker::Context::traceparent`](crate::worker::Context::traceparent), also in another process, and
    /// can continue the trace there. Default: the result of the function passed to
    /// `set_trace_propagator`, or none.
    ///
    /// ```
    /// use concurrent_futures::{ThreadPoolExecutor, TaskOptions, worker};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = ThreadPoolExecutor::new()?;
    /// let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    /// let options = TaskOptions::new().traceparent(header);
    /// let seen = || worker::current().and_then(|task| task.traceparent().map(str::to_owned));
    /// assert_eq!(pool.submit_with(&options, seen, ()).await?.as_deref(), Some(header));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn traceparent(mut self, header: impl Into<Arc<str>>) -> Self {
        self.traceparent = Some(header.into());
        self
    }

    /// Cancels the task when `token` is cancelled, as [`abort`](crate::JoinHandle::abort) does: in the task,
    /// [`worker::Context::is_cancelled`](crate::worker::Context::is_cancelled) becomes true, on a thread and in a
    /// process. It works while no code polls the handle, and after a drop of the handle. Once `cancel` is called, no
    /// task of the token starts, and none that is submitted later. A worker process may still begin what was sent to it
    /// a moment before; that ends like a running task.
    ///
    /// A [`map`](crate::Map) with a token yields one error when the token is cancelled, `is_cancelled()`, and ends.
    /// As an option of a whole pool, it cancels each task and item by itself.
    ///
    /// ```
    /// use concurrent_futures::{CancellationToken, TaskOptions, ThreadPoolExecutor};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let (release, gate) = std::sync::mpsc::channel::<()>();
    /// let token = CancellationToken::new();
    /// let options = TaskOptions::new().cancel_token(token.clone());
    /// let handle = pool.submit_with(&options, move || drop(gate.recv()), ());
    /// token.cancel();
    /// assert!(handle.await.unwrap_err().is_cancelled());
    /// # drop(release);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn cancel_token(mut self, token: CancellationToken) -> Self {
        self.cancel_token = Some(CallerToken(token));
        self
    }

    /// Sets an id that names the task among all tasks that any program submits to the same queue of a
    /// `ClusterExecutor`. Of the tasks with the same id, only one runs, and each handle receives its outcome. The id is
    /// kept for the queue's `duplicate_window`, and after that as long as the servers keep the outcome. So a client
    /// that does not know whether its submit succeeded can submit again.
    ///
    /// All tasks with one id must call the same function. A cancel of one cancels all. An item of a `map` cannot have
    /// an id. No effect on threads and on processes of this machine. Default: none.
    ///
    /// ```
    /// use concurrent_futures::TaskOptions;
    ///
    /// let once = TaskOptions::new().deduplication_id("invoice-4711");
    /// ```
    #[must_use]
    pub fn deduplication_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.deduplication_id = Some(id.into());
        self
    }

    /// Sets the priority. Tasks of a higher priority start first; among equals, the first submitted.
    /// Default: 0.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Sets the name of the task in errors. Default: the path of its function.
    #[must_use]
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }
}

/// What applies to one task: its own options, and those of its pool where it sets none. An option that is missing here,
/// or that no code reads from here, is a compile error.
#[deny(dead_code)]
#[derive(Clone, Copy)]
pub(crate) struct OptionsInForce<'a> {
    pub(crate) timeout: Option<Duration>,
    #[cfg_attr(
        not(feature = "process"),
        expect(dead_code, reason = "no effect on threads")
    )]
    pub(crate) grace_period: Duration,
    #[cfg_attr(
        not(feature = "process"),
        expect(dead_code, reason = "no effect on threads")
    )]
    pub(crate) retries: u32,
    pub(crate) queue_timeout: Option<Duration>,
    pub(crate) priority: i32,
    pub(crate) name: Option<&'a Arc<str>>,
    pub(crate) traceparent: Option<&'a Arc<str>>,
    pub(crate) cancel_token: Option<&'a CallerToken>,
    #[cfg_attr(
        not(feature = "cluster"),
        expect(dead_code, reason = "no effect on this machine")
    )]
    pub(crate) deduplication_id: Option<&'a Arc<str>>,
}

/// The grace period of an async task if neither its options nor its pool's set one: long enough for the destructors of
/// its future.
const GRACE_OF_ASYNC: Duration = Duration::from_secs(1);

impl<'a> OptionsInForce<'a> {
    #[inline]
    pub(crate) fn of(
        task: Option<&'a TaskOptions>,
        pool: Option<&'a TaskOptions>,
        is_async: bool,
    ) -> Self {
        static UNSET: TaskOptions = TaskOptions::new();

        let pool = pool.unwrap_or(&UNSET);
        // Without `..`, so that a new option must be handled here.
        let TaskOptions {
            timeout,
            grace_period,
            retries,
            queue_timeout,
            priority,
            name,
            traceparent,
            cancel_token,
            deduplication_id,
        } = task.unwrap_or(&UNSET);
        Self {
            timeout: timeout.or(pool.timeout),
            grace_period: grace_period
                .or(pool.grace_period)
                .unwrap_or(match is_async {
                    true => GRACE_OF_ASYNC,
                    false => Duration::ZERO,
                }),
            retries: retries.or(pool.retries).unwrap_or(0),
            queue_timeout: queue_timeout.or(pool.queue_timeout),
            priority: priority.or(pool.priority).unwrap_or(0),
            name: name.as_ref().or(pool.name.as_ref()),
            traceparent: traceparent.as_ref().or(pool.traceparent.as_ref()),
            cancel_token: cancel_token.as_ref().or(pool.cancel_token.as_ref()),
            deduplication_id: deduplication_id.as_ref(), // An id among the pool's options would name all its tasks.
        }
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn an_async_task_has_a_grace_period_unless_it_or_its_pool_sets_one() {
        let set = |millis| TaskOptions::new().grace_period(Duration::from_millis(millis));
        let grace = |task: Option<&TaskOptions>, pool: Option<&TaskOptions>, is_async| {
            OptionsInForce::of(task, pool, is_async).grace_period
        };
        assert_eq!(grace(None, None, true), GRACE_OF_ASYNC);
        assert_eq!(grace(None, None, false), Duration::ZERO);
        for is_async in [true, false] {
            let of_pool = grace(Some(&TaskOptions::new()), Some(&set(7)), is_async);
            assert_eq!(of_pool, Duration::from_millis(7));
            assert_eq!(
                grace(Some(&set(0)), Some(&set(7)), is_async),
                Duration::ZERO
            );
        }
    }
}

/// The name of a task in errors.
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

/// How an executor ends. By default it finishes all accepted tasks, however long they take.
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
///
/// # A thread that never returns
/// No thread can be killed. A task that still runs on a thread at the [deadline](Self::deadline) runs on, and keeps the
/// program alive: a runtime that is dropped waits for its blocking threads, also at the end of `#[tokio::main]`. To end
/// the program in any case, end the runtime by [`shutdown_background`](tokio::runtime::Runtime::shutdown_background) or
/// [`shutdown_timeout`](tokio::runtime::Runtime::shutdown_timeout). Work that may not return belongs in a process.
///
/// ```
/// use std::time::Duration;
/// use concurrent_futures::{Executor as _, Shutdown, ThreadPoolExecutor};
///
/// fn never_return() {
///     loop {
///         std::thread::park();
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = tokio::runtime::Runtime::new()?;
/// let report = runtime.block_on(async {
///     let pool = ThreadPoolExecutor::new()?;
///     let _handle = pool.submit(never_return, ());
///     # while pool.stats().running == 0 { tokio::task::yield_now().await }
///     let how = Shutdown::new().deadline(Duration::from_millis(10));
///     Ok::<_, Box<dyn std::error::Error>>(pool.shutdown_with(how).await)
/// })?;
/// assert_eq!(report.killed, 1);
/// runtime.shutdown_background(); // Does not wait for the thread.
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Shutdown {
    pub(crate) cancel_pending: bool,
    pub(crate) deadline: Option<Duration>,
}

impl Shutdown {
    /// Finishes everything, with no deadline.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether tasks that have not started are cancelled.
    #[doc(alias = "cancel_futures")]
    #[must_use]
    pub fn cancel_pending(mut self, cancel: bool) -> Self {
        self.cancel_pending = cancel;
        self
    }

    /// Sets when to stop waiting, counted from the call. At the deadline, tasks that have not started are cancelled,
    /// and worker processes that run a task are killed. Tasks with a [grace period](TaskOptions::grace_period) see the
    /// cancel before that. Threads [run on](Self#a-thread-that-never-returns).
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

impl Shutdown {
    /// The end of the wait, counted from now. `None` if the clock cannot represent it.
    pub(crate) fn ends_at(self) -> Option<Instant> {
        Instant::now().checked_add(self.deadline?)
    }
}

/// How the tasks of an executor ended, from the call of a shutdown to its end. Each task counts once.
///
/// With the feature `serde` it can be serialized, as [`Stats`](crate::Stats) can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Tasks that ended in any other way: with a result, or with an error such as a panic, a crash of their worker, a
    /// timeout, an abort while they ran, or a worker that could not start.
    pub finished: usize,
    /// Tasks that were cancelled before they started.
    pub cancelled: usize,
    /// Tasks that still ran at the deadline: killed in a process; on a thread left running, or dropped if
    /// [async](crate::Async).
    pub killed: usize,
}

#[cfg(feature = "serde")]
crate::record::record!(ShutdownReport as "ShutdownReport" {
    finished = 0,
    cancelled = 0,
    killed = 0,
});
