//! The settings of a pool.

use std::sync::Arc;
use std::time::Duration;

use crate::executor::options::TaskOptions;
use crate::process::start::{Recipe, Starter};

/// How many workers a pool creates at the same time, at most. Each uses about ten descriptors during that time, and
/// four afterwards. Under a low limit, forty at once would leave too few for each of them.
pub(super) const MOST_CREATED_AT_ONCE: usize = 4;

/// A pool's settings, checked by its builder.
pub(in crate::process) struct ProcessPoolConfig {
    pub(in crate::process) name: Option<String>,
    pub(in crate::process) max_workers: usize,
    pub(in crate::process) queue_capacity: Option<usize>,
    pub(in crate::process) task_options: TaskOptions,
    /// The number of workers that are kept even when there is nothing to do.
    pub(in crate::process) min_workers: usize,
    pub(in crate::process) idle_timeout: Option<Duration>,
    pub(in crate::process) max_tasks_per_child: Option<u64>,
    pub(in crate::process) max_age_per_child: Option<Duration>,
    pub(in crate::process) max_memory_per_child: Option<u64>,
    pub(in crate::process) recipe: Arc<Recipe>,
    pub(in crate::process) starter: Starter,
}

impl ProcessPoolConfig {
    /// The settings of a test.
    #[cfg(all(test, target_os = "linux"))]
    pub(in crate::process) fn example(recipe: Recipe, max_workers: usize) -> Self {
        Self {
            name: None,
            max_workers,
            queue_capacity: None,
            task_options: TaskOptions::new(),
            min_workers: 0,
            idle_timeout: None,
            max_tasks_per_child: None,
            max_age_per_child: None,
            max_memory_per_child: None,
            recipe: Arc::new(recipe),
            starter: Starter::Spawn,
        }
    }

    /// Whether a worker can have a successor while it still serves.
    pub(super) fn has_retirements(&self) -> bool {
        self.max_tasks_per_child.is_some()
            || self.max_age_per_child.is_some()
            || self.max_memory_per_child.is_some()
    }
}
