//! How a [`ThreadPoolExecutor`] is configured.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ThreadPoolExecutor;
use crate::executor::error::BuildError;
use crate::executor::options::TaskOptions;
use crate::executor::settings;
use crate::executor::task::{Initialized, Task};

/// Configures a [`ThreadPoolExecutor`].
///
/// ```
/// use concurrent_futures::ThreadPoolExecutor;
///
/// # fn main() -> Result<(), concurrent_futures::BuildError> {
/// let pool = ThreadPoolExecutor::builder()
///     .max_workers(4)
///     .queue_capacity(1000)
///     .thread_name_prefix("hash")
///     .build()?;
/// # Ok(()) }
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct ThreadPoolBuilder {
    max_workers: Option<usize>,
    queue_capacity: Option<usize>,
    task_options: TaskOptions,
    initializer: Option<Initializer>,
    thread_name_prefix: Option<String>,
    name: Option<String>,
}

/// What the executor keeps of it.
pub(super) struct ThreadPoolConfig {
    /// Tells this executor from all others, also from those that are gone.
    pub(super) id: u64,
    pub(super) max_workers: usize,
    pub(super) queue_capacity: Option<usize>,
    pub(super) task_options: TaskOptions,
    pub(super) initializer: Option<Initializer>,
    pub(super) thread_name_prefix: Option<String>,
    pub(super) name: Option<String>,
}

/// Runs once on each thread; an error's text says why it failed.
pub(super) struct Initializer(pub(super) Box<dyn Fn() -> Option<String> + Send + Sync>);

impl fmt::Debug for Initializer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Initializer")
    }
}

impl ThreadPoolBuilder {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// What the executor is called where it is measured.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many tasks may run at the same time. Default: the CPUs this process may use.
    #[doc(alias = "cpu_count")]
    pub fn max_workers(mut self, workers: usize) -> Self {
        self.max_workers = Some(workers);
        self
    }

    /// How many tasks may wait; more are refused. Default: no bound.
    pub fn queue_capacity(mut self, tasks: usize) -> Self {
        self.queue_capacity = Some(tasks);
        self
    }

    /// Options for every task, where a task has none of its own.
    pub fn task_options(mut self, options: TaskOptions) -> Self {
        self.task_options = options;
        self
    }

    /// Called on each thread before its first task of this executor. If it returns an error or
    /// panics, the tasks that wait fail with that; the next task tries again.
    pub fn initializer<F, A, M>(mut self, function: F, args: A) -> Self
    where
        F: Task<A, M> + Clone + Send + Sync + 'static,
        F::Output: Initialized,
        A: Clone + Send + Sync + 'static,
    {
        self.initializer = Some(Initializer(Box::new(move || {
            function.clone().call(args.clone()).into_error()
        })));
        self
    }

    /// What the operating system calls a thread while it works for this executor: the prefix, a
    /// dash and the worker's number, cut to the 15 bytes Linux allows. Tokio names its threads
    /// once and for all, so [`std::thread::Thread::name`] goes on to tell tokio's.
    ///
    /// # Platform
    /// Linux only; elsewhere it does nothing.
    pub fn thread_name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.thread_name_prefix = Some(prefix.into());
        self
    }

    /// Makes the executor. Within a tokio runtime, that one also runs what is later submitted from
    /// outside of any.
    ///
    /// # Errors
    /// `is_invalid_setting()` if a number of workers or a capacity is 0.
    pub fn build(self) -> Result<ThreadPoolExecutor, BuildError> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let config = ThreadPoolConfig {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            max_workers: settings::workers(self.max_workers)?,
            queue_capacity: settings::queue_capacity(self.queue_capacity)?,
            task_options: self.task_options,
            initializer: self.initializer,
            thread_name_prefix: self.thread_name_prefix,
            name: self.name,
        };
        Ok(ThreadPoolExecutor::from_config(config))
    }
}
