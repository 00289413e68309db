//! What a program can observe of tasks and workers: a [`trace`] of each task (feature `tracing`), the
//! events that it writes in another process (`relay`), a span on the machine that runs it (`remote`), and a [`meter`] for
//! each executor and each worker of a cluster (feature `metrics`). Without the features these are empty and cost nothing.
//! `attempt` is always there.

mod attempt;
#[cfg(feature = "metrics")]
mod meter;
#[cfg(not(feature = "metrics"))]
#[path = "no_meter.rs"]
mod meter;

#[cfg(all(feature = "tracing", feature = "process"))]
pub(crate) mod relay;
#[cfg(all(feature = "tracing", feature = "cluster"))]
mod remote;
#[cfg(all(not(feature = "tracing"), feature = "cluster"))]
#[path = "no_remote.rs"]
mod remote;
#[cfg(feature = "cluster")]
mod remote_task;
#[cfg(feature = "tracing")]
mod trace;
#[cfg(not(feature = "tracing"))]
#[path = "no_trace.rs"]
mod trace;
#[cfg(all(feature = "metrics", feature = "cluster"))]
mod worker_meter;
#[cfg(all(not(feature = "metrics"), feature = "cluster"))]
#[path = "no_worker_meter.rs"]
mod worker_meter;

pub(crate) use attempt::{as_attempt, attempt};
pub(crate) use meter::{Meter, RunningCount, SubmitTime};
#[cfg(feature = "cluster")]
pub(crate) use remote::RemoteTrace;
#[cfg(all(feature = "tracing", feature = "cluster"))]
pub use remote::set_trace_continuer;
#[cfg(feature = "cluster")]
pub(crate) use remote_task::RemoteTask;
pub(crate) use trace::Trace;
#[cfg(feature = "tracing")]
pub use trace::set_trace_propagator;
#[cfg(feature = "cluster")]
pub(crate) use worker_meter::WorkerMeter;

#[cfg(feature = "process")]
use crate::wire::level::EventLevel;

/// The most verbose level of events that this process's subscriber accepts. `None` if it accepts none.
#[cfg(feature = "process")]
pub(crate) fn level_of_events() -> Option<EventLevel> {
    #[cfg(feature = "tracing")]
    return relay::level();
    #[cfg(not(feature = "tracing"))]
    return None;
}
