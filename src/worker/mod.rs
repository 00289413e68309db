//! What a task can learn about itself while it runs: [`current`] returns its [`Context`].

// The rest of this module runs only in child processes. Reading order: `serve` (from the first line of
// `main` to the last frame), `inlet` (input from the parent), `desk` (one call, item by item), `stop` (what wakes an
// async task), `log` and `outbox` (outcomes to the parent), `marks` and `output_count` (whose output it is), `relay`
// (log events), `closed` (what ends a worker without descriptors), `memory` and `limits` (how much the process uses,
// and may use), `isolate` (what it gives up), `forkserver` (forks workers), `run_process` (runs one function).
#[cfg(feature = "process")]
mod closed;
#[cfg(feature = "process")]
mod desk;
#[cfg(feature = "process")]
mod forkserver;
#[cfg(feature = "process")]
mod inlet;
#[cfg(feature = "process")]
mod isolate;
#[cfg(feature = "process")]
mod limits;
#[cfg(feature = "process")]
mod log;
#[cfg(feature = "process")]
mod marks;
#[cfg(feature = "process")]
mod memory;
#[cfg(feature = "process")]
mod outbox;
#[cfg(feature = "process")]
mod output_count;
#[cfg(all(feature = "tracing", feature = "process"))]
mod relay;
#[cfg(feature = "process")]
mod run_process;
#[cfg(feature = "process")]
mod serve;
#[cfg(feature = "process")]
mod stdout_flush;
#[cfg(feature = "process")]
mod stop;

pub use crate::executor::context::{Context, current};
#[cfg(feature = "process")]
pub(crate) use serve::{serve_forked, serve_if_child};
