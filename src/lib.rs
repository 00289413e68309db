//! Python's `concurrent.futures` for tokio.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod alarm;
mod backlog;
mod executor;
mod function;
mod panic;
#[cfg(target_os = "linux")]
mod process;
mod sys;
mod thread;
mod wire;
pub mod worker;

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
#[cfg(target_os = "linux")]
pub use crate::process::{
    ProcessPoolBuilder, ProcessPoolExecutor, StartMethod, WorkerInfo, WorkerState,
};
pub use crate::thread::{ThreadPoolBuilder, ThreadPoolExecutor};

/// Makes this process able to have worker processes, and a worker process serve.
///
/// Call it first in `main`. In a worker, which is this same executable started again, it never
/// returns: the worker ends here when its parent has no more work for it.
///
/// ```no_run
/// fn main() {
///     concurrent_futures::init();
///     service();
/// }
///
/// #[tokio::main]
/// async fn service() {
///     // Everything else.
/// }
/// ```
#[cfg(target_os = "linux")]
pub fn init() {
    process::allow_workers(); // A task may build a pool, too.
    worker::serve_if_worker();
}

/// Calls [`init`] before `main` runs: for test files, and for libraries, which do not own `main`.
///
/// A worker then serves before `main` and never reaches it.
///
/// ```
/// concurrent_futures::init_before_main!();
/// ```
#[cfg(target_os = "linux")]
#[macro_export]
macro_rules! init_before_main {
    () => {
        $crate::__private::ctor::declarative::ctor! {
            #[ctor(unsafe)]
            fn __concurrent_futures_init() {
                $crate::init();
            }
        }
    };
}

#[doc(hidden)]
#[cfg(target_os = "linux")]
pub mod __private {
    pub use ctor;
}

/// The README's examples, compiled and run with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
