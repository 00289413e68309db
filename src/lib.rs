//! Python's `concurrent.futures` for tokio: run functions on a pool of threads or of worker processes, and
//! `.await` the results.
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
//!     concurrent_futures::init(); // The first line: a worker process starts here too.
//!     service()
//! }
//!
//! #[tokio::main]
//! async fn service() -> Result<(), Box<dyn std::error::Error>> {
//!     let pool = ProcessPoolExecutor::new()?; // One worker for each CPU.
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
//! The [`guide`] has a page for each thing you want to do: [`calls`](guide::calls), [`maps`](guide::maps),
//! [`timeouts`](guide::timeouts), [`crashes`](guide::crashes), [`shutdown`](guide::shutdown), [`web`](guide::web),
//! [`cluster`](guide::cluster), [`sharing`](guide::sharing), [`errors`](guide::errors), [`debugging`](guide::debugging)
//! and, with a table of all names, [`from_python`](guide::from_python).
//!
//! # The parts
//!
//! - [`ProcessPoolExecutor`] runs tasks in worker processes. A worker is this executable, started again. A task
//!   there may crash, hang or leak: its death is its own error, and a timeout or an abort ends it. A task is
//!   a function, or a closure that captures nothing. Its arguments and its result are types that serde can
//!   write and read (see [`Data`]).
//! - [`ThreadPoolExecutor`] runs tasks on tokio's blocking threads, a bounded number at a time. Its own methods
//!   accept closures that capture and arguments of any `Send` type.
//! - Both implement [`Executor`]. [`ExecutorExt`] has the calls: `submit`, `map`, `reserve`, `shutdown`. An
//!   `Arc<dyn Executor>` lets configuration choose.
//! - [`JoinHandle`] awaits one task, follows its progress and aborts it. [`wait`] and [`as_completed`] await
//!   many handles. A [`TaskGroup`] ends its tasks together. [`Map`] is a stream of results with back-pressure.
//! - [`TaskError`] says why a task has no result: ask its predicates, or print it.
//! - [`multiprocessing`] has processes of your own ([`Process`](multiprocessing::Process)), and the queues,
//!   pipes, locks and memory that processes share.
//! - [`sync`] has locks, events, queues and timers for the tasks of one process. It reports deadlocks.
//! - [`submit_async`](ExecutorExt::submit_async) runs an async function in a worker, and [`Async`] passes one to every
//!   other method. A cancel drops its future.
//! - [`worker::current`] describes the running task to itself, and says whether its result is still wanted.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `process` | yes | `ProcessPoolExecutor`; `submit`, `map` and `reserve` on any [`Executor`] |
//! | `multiprocessing` | yes | the module `multiprocessing`; needs `process` |
//! | `sync` | yes | the module `sync` |
//! | `isolation` | no | [`Isolation`], a sandbox around worker processes; needs `process` |
//! | `serde` | yes | reports that can be serialized; part of `process` |
//! | `cluster` | no | the module `cluster`: executors and workers on many machines, over NATS; needs `process` |
//! | `axum` | no | [`TaskError`] as a response |
//! | `tower` | no | the module `tower`; with `process`, its `TaskService` too |
//! | `tracing` | no | a span for each task; with `process`, the events that a worker process logs |
//! | `metrics` | no | metrics of executors |
//!
//! Features only add: no feature changes what compiles without it. Without any, there is
//! [`ThreadPoolExecutor`] with its handles, [`wait`] and [`as_completed`], and the crate depends on
//! tokio, tokio-util, futures and async-trait alone:
//!
//! ```toml
//! concurrent-futures = { version = "0.1", default-features = false }
//! ```
//!
//! # Runtimes
//!
//! A pool works with any number of tokio runtimes, and with none. A task depends on no runtime but that of its caller.
//! See [the guide](guide::calls#runtimes).
//!
//! # Platforms
//!
//! Worker processes run on Linux. The crate compiles, with the same public items, on macOS, Windows and FreeBSD, where
//! threads and [`sync`] work. The constructors of process pools, and of what processes share, return an error there
//! that says what to use instead. A [`std::io::Error`] has the kind [`Unsupported`](std::io::ErrorKind::Unsupported);
//! any other error is `is_unsupported()`. So a portable program needs no `#[cfg]`:
//!
#![cfg_attr(feature = "process", doc = "```no_run")]
#![cfg_attr(not(feature = "process"), doc = "```text")]
//! use std::sync::Arc;
//! use concurrent_futures::{BuildError, Executor, ProcessPoolExecutor, ThreadPoolExecutor};
//!
//! fn executor() -> Result<Arc<dyn Executor>, BuildError> {
//!     match ProcessPoolExecutor::new() {
//!         Ok(processes) => Ok(Arc::new(processes)),
//!         Err(error) if error.is_unsupported() => Ok(Arc::new(ThreadPoolExecutor::new()?)),
//!         Err(error) => Err(error),
//!     }
//! }
//! ```

#![cfg_attr(
    not(all(feature = "multiprocessing", feature = "sync")),
    allow(
        rustdoc::broken_intra_doc_links,
        reason = "the documentation is built with all features"
    )
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "axum")]
mod axum;
mod backlog;
mod block;
#[cfg(feature = "cluster")]
pub mod cluster;
mod disposal;
mod executor;
#[cfg(feature = "process")]
mod function;
// A plain build does not contain the guide.
#[cfg(all(any(doc, doctest), feature = "multiprocessing", feature = "sync"))]
pub mod guide;
mod home;
#[doc(alias = "Manager")]
#[cfg(feature = "multiprocessing")]
pub mod multiprocessing;
mod observe;
mod panic;
#[cfg(feature = "process")]
mod process;
#[cfg(feature = "serde")]
mod record;
#[cfg(feature = "sync")]
pub mod sync;
mod sys;
mod thread;
#[cfg(feature = "tower")]
pub mod tower;
#[cfg(feature = "process")]
mod wire;
pub mod worker;

#[cfg(all(test, properties))]
#[path = "../tests/properties/common.rs"]
mod common;

#[cfg(feature = "process")]
pub use crate::executor::Permit;
pub use crate::executor::as_completed::{AsCompleted, as_completed};
pub use crate::executor::async_task::Async;
pub use crate::executor::blocking::BlockingIter;
#[cfg(feature = "process")]
pub use crate::executor::data::{Arguments, Data};
pub use crate::executor::error::{BuildError, TaskError, TrySubmitError};
pub use crate::executor::group::{GroupMember, TaskGroup};
pub use crate::executor::handle::{AbortHandle, JoinHandle};
pub use crate::executor::keyed::Keyed;
pub use crate::executor::keyed_map::KeyedMap;
pub use crate::executor::map::Map;
pub use crate::executor::options::{Shutdown, ShutdownReport, TaskOptions};
pub use crate::executor::progress::{Progress, ProgressStream};
pub use crate::executor::retry::{Retry, Retrying, retry};
#[cfg(feature = "process")]
pub use crate::executor::shared_arg::SharedArg;
pub use crate::executor::task::{Initialized, MapTask, Task};
pub use crate::executor::wait::{ReturnWhen, Wait, Waited, wait};
pub use crate::executor::waitable::{Outcome, Waitable};
pub use crate::executor::{Executor, ExecutorExt, Restarts, Stats, prelude};
#[cfg(all(feature = "tracing", feature = "cluster"))]
pub use crate::observe::set_trace_continuer;
#[cfg(feature = "tracing")]
pub use crate::observe::set_trace_propagator;
pub use crate::panic::Location;
#[cfg(feature = "isolation")]
pub use crate::process::Isolation;
#[cfg(feature = "process")]
pub use crate::process::{
    Limits, Output, OutputLine, OutputStream, ProcessPoolBuilder, ProcessPoolExecutor, StartMethod,
    WorkerInfo, WorkerState,
};
pub use crate::thread::{Scope, ScopedHandle, ThreadPermit, ThreadPoolBuilder, ThreadPoolExecutor};
#[doc(no_inline)]
pub use tokio_util::sync::CancellationToken;

/// Prepares this process for worker processes. Call it first in `main`.
///
/// A worker is this same executable, started again. There `init` runs the tasks and never returns: the worker
/// exits when its parent has no more work for it. In any other process it returns at once.
///
/// # Platform
/// Elsewhere than on Linux it does nothing.
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
#[doc(alias = "freeze_support")]
#[cfg(feature = "process")]
pub fn init() {
    process::allow_workers(worker::serve_forked); // A task may build a pool, too.
    worker::serve_if_child();
}

/// Calls [`init`] before `main` runs. For test files and libraries, which do not own `main`.
///
/// A worker then runs its tasks before `main`, and never reaches it.
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

#[cfg(all(test, feature = "cluster", target_os = "linux", not(properties)))]
#[path = "../tests/relay/mod.rs"]
mod relay_tests;

/// The README's examples, compiled with the others.
#[cfg(all(
    doctest,
    feature = "cluster",
    feature = "multiprocessing",
    feature = "sync"
))]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
