//! The builder of a [`ThreadPoolExecutor`].

use std::sync::atomic::{AtomicU64, Ordering};

use super::config::{Initializer, ThreadPoolConfig};
use super::pool::ThreadPoolExecutor;
use crate::executor::error::BuildError;
use crate::executor::options::TaskOptions;
use crate::executor::settings;
use crate::executor::task::{Initialized, Task};
use crate::panic::Contained;

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

impl ThreadPoolExecutor {
    /// Makes an executor with one worker for each CPU that the process may use.
    ///
    /// # Errors
    /// None with these settings; the builder checks others.
    pub fn new() -> Result<Self, BuildError> {
        Self::builder().build()
    }

    /// Makes an executor with `max_workers` workers.
    ///
    /// # Errors
    /// `is_invalid_setting()` if `max_workers` is 0.
    pub fn with_workers(max_workers: usize) -> Result<Self, BuildError> {
        Self::builder().max_workers(max_workers).build()
    }

    /// Starts to configure an executor.
    pub fn builder() -> ThreadPoolBuilder {
        ThreadPoolBuilder::default()
    }
}

impl ThreadPoolBuilder {
    /// The executor's name in metrics. Default: `threads`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many tasks may run at the same time. Default: the number of CPUs this process may use.
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

    /// Options for every task; a task's own options take precedence.
    pub fn task_options(mut self, options: TaskOptions) -> Self {
        self.task_options = options;
        self
    }

    /// Sets a function that each thread calls before its first task of this executor. If it returns
    /// an error or panics, the waiting tasks fail with that; the next task tries again.
    pub fn initializer<F, A, M>(mut self, function: F, args: A) -> Self
    where
        F: Task<A, M> + Clone + Send + Sync + 'static,
        F::Output: Initialized,
        A: Clone + Send + Sync + 'static,
    {
        let (function, args) = (Contained::new(function), Contained::new(args));
        self.initializer = Some(Initializer(Box::new(move || {
            function.get().clone().call(args.get().clone()).into_error()
        })));
        self
    }

    /// The operating system's name of a thread while it works for this executor: the prefix, a dash
    /// and the worker's number, cut to the 15 bytes that Linux allows.
    /// [`std::thread::Thread::name`] still returns tokio's name, or `cf-thread`.
    ///
    /// # Platform
    /// Linux with `/proc`; elsewhere it does nothing.
    pub fn thread_name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.thread_name_prefix = Some(prefix.into());
        self
    }

    /// Makes the executor. It needs no runtime.
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
