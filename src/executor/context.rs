//! What a task can learn about itself while it runs, on a thread or in a process.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// The task that is running on this thread, or nothing outside a task.
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
#[doc(alias = "current_process")]
pub fn current() -> Option<Context> {
    let mut current = CURRENT.with_borrow(Option::clone)?;
    current.key = KEY.get();
    Some(current)
}

/// What a running task knows of itself. Cheap to clone; a clone may go to helper threads.
#[derive(Clone)]
pub struct Context {
    pub(crate) task_id: u64,
    pub(crate) worker_id: u64,
    pub(crate) deadline: Option<Instant>,
    pub(crate) wanted: Arc<dyn Wanted>,
    /// What `wanted` is to be asked and told about.
    pub(crate) key: u64,
    pub(crate) traceparent: Option<Arc<str>>,
}

/// Whoever waits for what `key` stands for.
pub(crate) trait Wanted: Send + Sync {
    /// Whether somebody still does.
    fn is_wanted(&self, key: u64) -> bool;

    /// Tells how far it is.
    fn report(&self, key: u64, done: u64, total: u64);
}

impl Context {
    /// The number of the task, the same as its handle's [`id`](crate::JoinHandle::id).
    pub fn task_id(&self) -> u64 {
        self.task_id
    }

    /// The number of the worker that runs the task, counted from 1 in each pool.
    pub fn worker_id(&self) -> u64 {
        self.worker_id
    }

    /// Whether the task should end: it was cancelled, ran longer than its time-out, or its pool is
    /// about to end it. A long function should ask now and then and return: on a thread, where
    /// nobody can kill it, and in a process if it has a
    /// [grace period](crate::TaskOptions::grace_period).
    pub fn is_cancelled(&self) -> bool {
        !self.wanted.is_wanted(self.key)
    }

    /// Tells the task's handle how far the task is: so much of `total`, which is 0 if it is not known.
    /// What the numbers count is up to the task. The handle's
    /// [`progress`](crate::JoinHandle::progress) gives the latest.
    ///
    /// It is cheap, so a task may report as often as it likes: from a process, what comes faster
    /// than it is read costs two numbers in shared memory. After the task's end, and for an item of
    /// a `map`, which has no handle, it does nothing.
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

    /// The trace that the task belongs to, in the form of the `traceparent` header of
    /// [W3C Trace Context](https://www.w3.org/TR/trace-context/), if it was submitted with one: by
    /// [`TaskOptions::traceparent`](crate::TaskOptions::traceparent), or by what was given to
    /// `set_trace_propagator`.
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// When the task's time-out is up, if it has one; a grace period comes on top.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("task_id", &self.task_id)
            .field("worker_id", &self.worker_id)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Context>> = const { RefCell::new(None) };
    /// The key of the current one, which changes with each item.
    static KEY: Cell<u64> = const { Cell::new(0) };
}

/// Makes `context` the current one of this thread.
pub(crate) fn enter(context: Context) {
    KEY.set(context.key);
    CURRENT.replace(Some(context));
}

/// The next item of the call that entered is about to run.
pub(crate) fn go_on(key: u64) {
    KEY.set(key);
}

/// The task that entered is over.
pub(crate) fn leave() -> Option<Context> {
    CURRENT.take()
}
