//! What a task can learn about itself while it runs: [`current`] returns its [`Context`].

// The rest of this module runs only in child processes. Reading order: `serve` (from the first line of
// `main` to the last frame), `inlet` (input from the parent), `bulk` (large parts of the input), `desk`
// (one call, item by item), `log` and `outbox` (outcomes to the parent), `marks` (whose output it is),
// `relay` (log events), `memory` and `limits` (how much the process uses, and may use), `forkserver` (forks
// workers), `run_process` (runs one function).
#[cfg(target_os = "linux")]
mod bulk;
#[cfg(target_os = "linux")]
mod desk;
#[cfg(target_os = "linux")]
mod forkserver;
#[cfg(target_os = "linux")]
mod inlet;
#[cfg(target_os = "linux")]
mod limits;
#[cfg(target_os = "linux")]
mod log;
#[cfg(target_os = "linux")]
mod marks;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod outbox;
#[cfg(all(feature = "tracing", target_os = "linux"))]
mod relay;
#[cfg(target_os = "linux")]
mod run_process;
#[cfg(target_os = "linux")]
mod serve;

pub use crate::executor::context::{Context, current};
#[cfg(target_os = "linux")]
pub(crate) use serve::{serve_forked, serve_if_child};
