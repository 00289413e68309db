//! The settings that a thread pool keeps.

use std::fmt;

use crate::executor::options::TaskOptions;

pub(super) struct ThreadPoolConfig {
    /// Differs from the id of every other executor of this process, ended ones too.
    pub(super) id: u64,
    pub(super) max_workers: usize,
    pub(super) queue_capacity: Option<usize>,
    pub(super) task_options: TaskOptions,
    pub(super) initializer: Option<Initializer>,
    pub(super) thread_name_prefix: Option<String>,
    pub(super) name: Option<String>,
}

/// Runs once on each thread. An error's text says why it failed.
pub(super) struct Initializer(pub(super) Box<dyn Fn() -> Option<String> + Send + Sync>);

impl fmt::Debug for Initializer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Initializer")
    }
}
