//! What a program can observe of tasks and workers: a [`trace`] of each task (feature `tracing`), the
//! events that it writes in another process (`relay`), and a [`meter`] for each executor (feature
//! `metrics`). Without the features all of this is empty and costs nothing.

#[cfg(feature = "metrics")]
mod meter;
#[cfg(not(feature = "metrics"))]
#[path = "no_meter.rs"]
mod meter;

#[cfg(all(feature = "tracing", feature = "process"))]
pub(crate) mod relay;
#[cfg(feature = "tracing")]
mod trace;
#[cfg(not(feature = "tracing"))]
#[path = "no_trace.rs"]
mod trace;

pub(crate) use meter::{Meter, RunningCount, SubmitTime};
#[cfg(feature = "tracing")]
pub use trace::set_trace_propagator;
pub(crate) use trace::{Trace, as_attempt};

#[cfg(feature = "process")]
use crate::wire::level::EventLevel;

/// The most verbose level of events that this process listens to. `None` if it listens to none.
#[cfg(feature = "process")]
pub(crate) fn level_of_events() -> Option<EventLevel> {
    #[cfg(feature = "tracing")]
    return relay::level();
    #[cfg(not(feature = "tracing"))]
    return None;
}
