//! Reports tasks and workers to the program's subscriber and recorder: a [`trace`] for each task (feature
//! `tracing`), a [`relay`] for the events that tasks write in worker processes, and a [`meter`] for each
//! executor (feature `metrics`). Without a feature, its types are empty and cost nothing.

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

/// The most verbose level of events that this process listens to, as workers receive it: 1 is errors only,
/// 5 is all, 0 is none.
pub(crate) fn level_of_events() -> u8 {
    #[cfg(feature = "tracing")]
    return relay::level();
    #[cfg(not(feature = "tracing"))]
    return 0;
}
