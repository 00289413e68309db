//! What others are told of tasks and workers: a [`trace`] of each task (feature `tracing`), and the
//! events that it writes in another process, which come by a [`relay`]; and for each executor a
//! [`meter`] (feature `metrics`). Without the features all of it is nothing, and costs nothing.

#[cfg(feature = "metrics")]
mod meter;
#[cfg(not(feature = "metrics"))]
#[path = "no_meter.rs"]
mod meter;

#[cfg(feature = "tracing")]
pub(crate) mod relay;
#[cfg(feature = "tracing")]
mod trace;
#[cfg(not(feature = "tracing"))]
#[path = "no_trace.rs"]
mod trace;

pub(crate) use meter::{Meter, Raised};
pub(crate) use trace::Trace;
#[cfg(feature = "tracing")]
pub use trace::set_trace_propagator;

/// The least urgent level of events that anybody here listens to, as a worker is told it: from 1, errors,
/// to 5, all; 0 for none.
pub(crate) fn level_of_events() -> u8 {
    #[cfg(feature = "tracing")]
    return relay::level();
    #[cfg(not(feature = "tracing"))]
    return 0;
}
