//! What a task can learn about itself while it runs: [`current`] returns its [`Context`].

// The rest of this module runs only in child processes. Reading order: `serve` (from the first line of
// `main` to the last frame), `inlet` (input from the parent), `bulk` (large parts of the input), `desk`
// (one call, item by item), `log` and `outbox` (outcomes to the parent), `marks` (whose output it is),
// `relay` (log events), `memory` and `limits` (how much the process uses, and may use), `forkserver` (forks
// workers), `run_process` (runs one function).
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
