//! What Python's `concurrent.futures` is to Python, native to tokio: run work off the async threads,
//! on a pool of threads or of worker processes, and `.await` it.
//!
#![cfg_attr(feature = "process", doc = "```no_run")]
#![cfg_attr(not(feature = "process"), doc = "```text")]
//! use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
//! use futures::StreamExt as _;
//!
//! fn is_prime(n: u64) -> bool {
//!     n > 1 && (2..=n.isqrt()).all(|divisor| n % divisor != 0)
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     concurrent_futures::init(); // First line: a worker process starts here too.
//!     service()
//! }
//!
//! #[tokio::main]
//! async fn service() -> Result<(), Box<dyn std::error::Error>> {
//!     let pool = ProcessPoolExecutor::new()?;
//!     assert!(pool.submit(is_prime, 97).await?);
//!     let mut results = pool.map(is_prime, [97, 98, 99]);
//!     while let Some(result) = results.next().await {
//!         println!("{}", result?);
//!     }
//!     pool.shutdown().await;
//!     Ok(())
//! }
//! ```
//!
//! # The parts
//!
//! - [`ProcessPoolExecutor`] runs tasks in processes, each this executable started again. A task may
//!   crash, hang or leak there without harm to others: its death is its own error, and cancelling it
//!   or a time-out truly ends it. Tasks are functions, or closures that capture nothing; arguments and
//!   results are what serde can write and read (see [`Data`]).
//! - [`ThreadPoolExecutor`] runs tasks on tokio's blocking threads, a bounded number at a time. Its
//!   own `submit`, `map` and `reserve` take closures that capture, and need nothing of serde.
//! - Both are an [`Executor`]; an `Arc<dyn Executor>` lets configuration choose. [`ExecutorExt`] has the
//!   methods that work on either: `submit`, `map`, `reserve`, `shutdown`.
//! - [`JoinHandle`] awaits one task, follows its progress and can abort it; [`wait`] and [`as_completed`] await many;
//!   [`Map`] is a stream of results with back-pressure.
//! - [`TaskError`] says why there is no result: ask its predicates, print it for people.
//! - [`multiprocessing`] has processes of one's own, each of which runs one function and ends, and what processes
//!   share (queues, locks, memory), to be passed to tasks and to processes.
//! - [`sync`] has locks, events, queues and timers for the tasks of one process; deadlocks of its locks are told.
//! - [`worker::current`] tells a running task who it is, and whether it is still wanted.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `process` | yes | `ProcessPoolExecutor`; `submit`, `map` and `reserve` on any [`Executor`] |
//! | `multiprocessing` | yes | the module `multiprocessing`; needs `process` |
//! | `sync` | yes | the module `sync` |
//! | `serde` | yes | reports that can be serialized; part of `process` |
//! | `axum` | no | [`TaskError`] as a response |
//! | `tower` | no | the module `tower`; with `process`, its `TaskService` too |
//! | `tracing` | no | a span for each task; with `process`, the events that a worker process logs |
//! | `metrics` | no | metrics of executors |
//!
//! Features only add: no feature changes what compiles without it. Without any, there is
//! [`ThreadPoolExecutor`] with its handles, [`wait`] and [`as_completed`], and the crate depends on
//! tokio, futures and async-trait alone:
//!
//! ```toml
//! concurrent-futures = { version = "0.1", default-features = false }
//! ```
//!
//! # Runtimes
//!
//! Pools may be built, used and dropped inside and outside of a tokio runtime; what they do happens
//! on the runtime that last submitted, or else the one they were built in. It needs its I/O and time
//! drivers (`enable_all`). When a runtime ends, the workers that it drove end too; the next
//! submit from another runtime starts new ones.
//!
//! # Platforms
//!
//! Process pools run on Linux. Thread pools use tokio only.

#![cfg_attr(
    not(all(feature = "multiprocessing", feature = "sync")),
    allow(
        rustdoc::broken_intra_doc_links,
        reason = "the documentation is built with all features"
    )
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod alarm;
#[cfg(feature = "axum")]
mod axum;
mod backlog;
mod executor;
#[cfg(feature = "process")]
mod function;
#[cfg(feature = "multiprocessing")]
pub mod multiprocessing;
mod observe;
mod panic;
#[cfg(feature = "process")]
mod process;
#[cfg(feature = "sync")]
pub mod sync;
mod sys;
mod thread;
#[cfg(feature = "tower")]
pub mod tower;
#[cfg(feature = "process")]
mod wire;
pub mod worker;

#[cfg(feature = "process")]
pub use crate::executor::Permit;
#[cfg(feature = "process")]
pub use crate::executor::data::{Arguments, Data};
#[cfg(feature = "process")]
pub use crate::executor::encoded::Job;
pub use crate::executor::error::{BuildError, TaskError, TrySubmitError};
pub use crate::executor::handle::{AbortHandle, JoinHandle};
pub use crate::executor::map::Map;
pub use crate::executor::options::{Shutdown, ShutdownReport, TaskOptions};
pub use crate::executor::progress::{Progress, ProgressStream};
pub use crate::executor::room::Room;
pub use crate::executor::task::{Initialized, MapTask, Task};
pub use crate::executor::wait::{AsCompleted, ReturnWhen, Wait, Waited, as_completed, wait};
pub use crate::executor::{Executor, ExecutorExt, Restarts, Stats};
#[cfg(feature = "tracing")]
pub use crate::observe::set_trace_propagator;
pub use crate::panic::Location;
#[cfg(feature = "process")]
pub use crate::process::{
    Limits, Output, OutputLine, OutputStream, ProcessPoolBuilder, ProcessPoolExecutor, StartMethod,
    WorkerInfo, WorkerState,
};
pub use crate::thread::{ThreadPermit, ThreadPoolBuilder, ThreadPoolExecutor};

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
#[cfg(feature = "process")]
pub fn init() {
    process::allow_workers(worker::serve_forked); // A task may build a pool, too.
    worker::serve_if_child();
}

/// Calls [`init`] before `main` runs: for test files, and for libraries, which do not own `main`.
///
/// A worker then serves before `main` and never reaches it.
///
/// ```
/// concurrent_futures::init_before_main!();
/// ```
#[cfg(feature = "process")]
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
#[cfg(feature = "process")]
pub mod __private {
    pub use ctor;
}

/// The README's examples, compiled and run with the others.
#[cfg(all(
    doctest,
    feature = "tower",
    feature = "multiprocessing",
    feature = "sync"
))] // Some need them.
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
