//! What others are told of tasks and workers: a [`trace`] of each task (feature `tracing`), and the
//! events that it writes in another process, which come by a [`relay`]. Without the feature all of it
//! is nothing, and costs nothing.

#[cfg(all(feature = "tracing", target_os = "linux"))]
pub(crate) mod relay;
#[cfg(feature = "tracing")]
mod trace;
#[cfg(not(feature = "tracing"))]
#[path = "no_trace.rs"]
mod trace;

pub(crate) use trace::Trace;
