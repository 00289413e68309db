//! The span of a task that a program on another machine submitted. The local executor's span of the task is a child of
//! it.

use std::fmt;
use std::sync::OnceLock;

use tracing::Span;
use tracing::field::Empty;

use super::remote_task::RemoteTask;
use super::trace::propagates;

type Continuer = Box<dyn Fn(&Span, &str) + Send + Sync>;

static CONTINUER: OnceLock<Continuer> = OnceLock::new();

/// Sets the function that makes a span part of a trace of another program (features `tracing` and `cluster`). It
/// receives the span of a task, `cluster task`, and the `traceparent` header of [W3C Trace
/// Context](https://www.w3.org/TR/trace-context/) that came with the task.
///
/// A worker of a cluster calls it before the task runs, if the subscriber has enabled the span. With this and
/// [`set_trace_propagator`](crate::set_trace_propagator), one trace contains the request, the task, and the events of
/// the function, on whatever machines they happen. The first call sets the function and returns true. Later calls
/// change nothing and return false.
///
/// With `tracing-opentelemetry`, the function reads the header with a `TraceContextPropagator`, and sets the span's
/// parent (`OpenTelemetrySpanExt::set_parent`).
///
/// ```
/// concurrent_futures::set_trace_continuer(|span, traceparent| {
///     let _ = (span.id(), traceparent);
/// });
/// ```
pub fn set_trace_continuer(continuer: impl Fn(&Span, &str) + Send + Sync + 'static) -> bool {
    CONTINUER.set(Box::new(continuer)).is_ok()
}

/// The span of the task. It is open until this is dropped.
pub(crate) struct RemoteTrace {
    span: Span,
    is_continued: bool,
}

impl RemoteTrace {
    pub(crate) fn begin(task: RemoteTask<'_>) -> Self {
        let traceparent = task.traceparent;
        let span = tracing::info_span!(
            parent: None,
            "cluster task",
            task.id = task.id,
            task.key = %task.key,
            task.function = task.function,
            task.attempt = task.attempt,
            task.queue = task.queue,
            task.worker = task.worker,
            task.host = task.host,
            traceparent,
            task.outcome = Empty,
        );
        let mut is_continued = false;
        if let (false, Some(continuer), Some(traceparent)) =
            (span.is_disabled(), CONTINUER.get(), traceparent)
        {
            continuer(&span, traceparent);
            is_continued = propagates();
        }
        Self { span, is_continued }
    }

    /// Whether the local spans belong to the trace of the other program, so that the function's own calls should
    /// continue the local spans.
    pub(crate) fn is_continued(&self) -> bool {
        self.is_continued
    }

    /// Runs `work` inside the span.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        self.span.in_scope(work)
    }

    /// Records the number of the next attempt, since a local worker was lost with the one before.
    pub(crate) fn attempted_again(&self, attempt: u32) {
        self.span.record("task.attempt", attempt);
    }

    pub(crate) fn end(&self, outcome: &str) {
        self.span.record("task.outcome", outcome);
    }
}

impl fmt::Debug for RemoteTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteTrace").finish_non_exhaustive()
    }
}
