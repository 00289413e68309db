//! Executors as [tower](https://docs.rs/tower) services and layers (feature `tower`).
//!
//! - `TaskService`: an executor with a function; a request is the function's arguments (needs the
//!   feature `process` too).
//! - [`OffloadLayer`]: runs any service on a pool of threads.
//!
//! Both wait for room in the executor's queue in `poll_ready`. So load shedding, time-outs, buffers and
//! concurrency limits compose with them as with any other service.

mod entrance;
mod offload;
#[cfg(feature = "process")]
mod task;

pub use offload::{Offload, OffloadFuture, OffloadLayer};
#[cfg(feature = "process")]
pub use task::TaskService;
