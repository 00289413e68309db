//! What a task can learn about itself while it runs.

// The rest of this module runs only in a worker process. Reading order: `serve` (from the first line of
// `main` to the last frame), `inlet` (what comes in), `bulk` (the large parts of it), `desk` (one call,
// item by item), `log` and `outbox` (what goes back), `marks` (whose output it is), `relay` (what it
// logs), `memory` and `limits` (how much is held, and may be), `forkserver` (where workers are forked),
// `run_process` (a process that runs one function).
#[cfg(feature = "process")]
mod bulk;
#[cfg(feature = "process")]
mod desk;
#[cfg(feature = "process")]
mod forkserver;
#[cfg(feature = "process")]
mod inlet;
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
#[cfg(all(feature = "tracing", feature = "process"))]
mod relay;
#[cfg(feature = "process")]
mod run_process;
#[cfg(feature = "process")]
mod serve;

pub use crate::executor::context::{Context, current};
#[cfg(feature = "process")]
pub(crate) use serve::{serve_forked, serve_if_child};
