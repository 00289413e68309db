//! What a task can learn about itself while it runs.

// The rest of this module runs only in a worker process. Reading order: `serve` (from the first line of
// `main` to the last frame), `inlet` (what comes in), `bulk` (the large parts of it), `desk` (one call,
// item by item), `log` and `outbox` (what goes back), `marks` (whose output it is), `relay` (what it
// logs), `memory` and `limits` (how much is held, and may be), `forkserver` (where workers are forked),
// `run_process` (a process that runs one function).
mod bulk;
mod desk;
mod forkserver;
mod inlet;
mod limits;
mod log;
mod marks;
mod memory;
mod outbox;
#[cfg(feature = "tracing")]
mod relay;
mod run_process;
mod serve;

pub use crate::executor::context::{Context, current};
pub(crate) use serve::{serve_forked, serve_if_child};
