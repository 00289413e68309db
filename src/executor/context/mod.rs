//! What a task knows about itself while it runs, on a thread or in a process.

#[cfg(feature = "process")]
pub(crate) mod process;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

/// Returns the task that runs on this thread; `None` outside a task.
///
/// ```
/// use concurrent_futures::{ThreadPoolExecutor, worker};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ThreadPoolExecutor::new()?;
/// let handle = pool.submit(|| worker::current().map(|context| context.task_id()), ());
/// let id = handle.id();
/// assert_eq!(handle.await?, Some(id));
/// assert!(worker::current().is_none());
/// # Ok(()) }
/// ```
#[doc(alias = "current_task")]
pub fn current() -> Option<Context> {
    let mut current = CURRENT.with_borrow(Option::clone)?;
    current.key = KEY.get();
    Some(current)
}

/// What a running task knows about itself. Cheap to clone; helper threads may hold a clone.
#[derive(Clone)]
pub struct Context {
    pub(crate) task_id: u64,
    pub(crate) worker_id: u64,
    pub(crate) attempt: u32,
    pub(crate) deadline: Option<Instant>,
    pub(crate) wanted: Arc<dyn Wanted>,
    /// The key that `wanted` is called with.
    pub(crate) key: u64,
    pub(crate) traceparent: Option<Arc<str>>,
}

/// Tells whether the result that `key` stands for is still wanted.
pub(crate) trait Wanted: Send + Sync {
    /// Whether the result is wanted.
    fn is_wanted(&self, key: u64) -> bool;

    /// Reports its progress.
    fn report(&self, key: u64, done: u64, total: u64);

    /// Wakes `waker` when the result is no longer wanted, and perhaps earlier. It replaces the waker before; `None`
    /// removes it. The caller calls `is_wanted` after this.
    fn wake_if_unwanted(&self, _key: u64, _waker: Option<Waker>) {}
}

impl Context {
    /// Returns the number of the task: its handle's [`id`](crate::JoinHandle::id).
    pub fn task_id(&self) -> u64 {
        self.task_id
    }

    /// Returns the number of the worker that runs the task, counted from 1 in each pool.
    pub fn worker_id(&self) -> u64 {
        self.worker_id
    }

    /// Returns the number of this attempt: 1 for the first. Each run counts, after a lost worker
    /// ([`TaskOptions::retries`](crate::TaskOptions::retries)) and by [`retry`](crate::retry()).
    ///
    /// ```
    /// use concurrent_futures::{Retry, ThreadPoolExecutor, retry, worker};
    ///
    /// fn third_time_lucky() -> u32 {
    ///     let attempt = worker::current().expect("a task runs").attempt();
    ///     assert!(attempt >= 3, "not yet");
    ///     attempt
    /// }
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let attempts = retry(Retry::new(5).on_panic(), || pool.submit(third_time_lucky, ()));
    /// assert_eq!(attempts.await?, 3);
    /// # Ok(()) }
    /// ```
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns whether the task should end: it was cancelled, exceeded its timeout, or its pool is about to end it. A
    /// long function should check this from time to time and return if so: on a thread, which cannot be killed, and in
    /// a process if it has a [grace period](crate::TaskOptions::grace_period).
    pub fn is_cancelled(&self) -> bool {
        !self.wanted.is_wanted(self.key)
    }

    /// Reports the task's progress to its handle: `done` of `total`, which is 0 if it is unknown. The
    /// task chooses what the numbers count. The handle's [`progress`](crate::JoinHandle::progress)
    /// yields the latest report.
    ///
    /// Reports are cheap: in a process, one that is replaced before it is read costs two writes to shared memory. After
    /// the task's end, and for an item of a `map`, a report does nothing.
    ///
    /// ```
    /// use concurrent_futures::{ThreadPoolExecutor, worker};
    /// use futures::StreamExt as _;
    ///
    /// fn sum(numbers: Vec<u64>) -> u64 {
    ///     let total = numbers.len() as u64;
    ///     let mut sum = 0;
    ///     for (done, number) in (1..).zip(numbers) {
    ///         sum += number;
    ///         if let Some(context) = worker::current() {
    ///             context.report_progress(done, total);
    ///         }
    ///     }
    ///     sum
    /// }
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let handle = pool.submit(sum, vec![1, 2, 3]);
    /// let last = handle.progress().fold(0, |_, progress| async move { progress.done });
    /// assert_eq!(last.await, 3);
    /// assert_eq!(handle.await?, 6);
    /// # Ok(()) }
    /// ```
    pub fn report_progress(&self, done: u64, total: u64) {
        self.wanted.report(self.key, done, total);
    }

    /// Returns the trace that the task belongs to, as a `traceparent` header of
    /// [W3C Trace Context](https://www.w3.org/TR/trace-context/). It comes from
    /// [`TaskOptions::traceparent`](crate::TaskOptions::traceparent) or from the function passed to
    /// `set_trace_propagator`.
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// Returns the end of the task's timeout, if it has one. A grace period starts there.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("task_id", &self.task_id)
            .field("worker_id", &self.worker_id)
            .field("attempt", &self.attempt)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Context>> = const { RefCell::new(None) };
    /// The key of the current context; each item has its own.
    static KEY: Cell<u64> = const { Cell::new(0) };
}

/// Makes `context` the current one of this thread.
#[inline]
pub(crate) fn enter(context: Context) {
    KEY.set(context.key);
    CURRENT.with_borrow_mut(|current| *current = Some(context));
}

/// Moves the current context to the next item of its call.
#[inline]
pub(crate) fn next_item(key: u64) {
    KEY.set(key);
}

/// Removes the current context when its task is over.
#[inline]
pub(crate) fn leave() {
    drop(CURRENT.take());
}
