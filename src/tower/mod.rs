//! Executors as [tower](https://docs.rs/tower) services and layers (feature `tower`).
//!
//! - `TaskService`: calls one function on an executor. A request holds the function's arguments (needs the
//!   feature `process` too).
//! - [`OffloadLayer`]: runs the futures of any service on a thread pool.
//!
//! Both wait in `poll_ready` for room in the executor's queue. So load shedding, timeouts, buffers and
//! concurrency limits compose with them as with any other service.

mod entrance;
mod offload;
#[cfg(feature = "process")]
mod task;

pub use offload::{Offload, OffloadFuture, OffloadLayer};
#[cfg(feature = "process")]
pub use task::TaskService;
