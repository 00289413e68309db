//! What a task can learn about itself while it runs.

// The rest of this module runs only in a worker process. Reading order: `serve` (from the first
// line of `main` to the last frame), `desk` (one call, item by item), `outbox` (what goes back),
// `marks` (whose output it is).
#[cfg(target_os = "linux")]
mod desk;
#[cfg(target_os = "linux")]
mod marks;
#[cfg(target_os = "linux")]
mod outbox;
#[cfg(target_os = "linux")]
mod serve;

pub use crate::executor::context::{Context, current};
#[cfg(target_os = "linux")]
pub(crate) use serve::serve_if_worker;
