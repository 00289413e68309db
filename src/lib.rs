//! Python's `concurrent.futures` for tokio.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod alarm;
mod backlog;
mod executor;
mod function;
mod panic;
mod sys;
mod thread;
mod wire;

pub use crate::executor::error::{BuildError, TaskError, TrySubmitError};
pub use crate::executor::handle::{AbortHandle, JoinHandle};
pub use crate::executor::job::Job;
pub use crate::executor::map::Map;
pub use crate::executor::options::{Shutdown, ShutdownReport, TaskOptions};
pub use crate::executor::room::Room;
pub use crate::executor::task::{Arguments, Data, Initialized, Task};
pub use crate::executor::wait::{AsCompleted, ReturnWhen, Wait, Waited, as_completed, wait};
pub use crate::executor::{Executor, ExecutorExt, Permit, Restarts, Stats};
pub use crate::panic::Location;
pub use crate::thread::{ThreadPoolBuilder, ThreadPoolExecutor};

/// What a task can learn about itself while it runs.
pub mod worker {
    pub use crate::executor::context::{Context, current};
}

/// The README's examples, compiled and run with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
