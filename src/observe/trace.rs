//! The span of a task, from its submission to its outcome.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing::Span;
use tracing::field::Empty;

use super::attempt::attempt;

/// The span of a task, open until the task has its outcome. Its parent is the span in which the task was
/// submitted.
pub(crate) struct Trace(Option<Box<Mutex<Option<Arc<OpenSpan>>>>>); // One pointer while nothing traces.

struct OpenSpan {
    span: Span,
    submitted: Instant,
    traceparent: Option<Arc<str>>,
}

type Propagator = Box<dyn Fn(&Span) -> Option<String> + Send + Sync>;

static PROPAGATOR: OnceLock<Propagator> = OnceLock::new();

/// Sets the function that returns the trace context of a task's span, in the form of the `traceparent`
/// header of [W3C Trace Context](https://www.w3.org/TR/trace-context/) (feature `tracing`).
///
/// The function is called when a task, or a chunk of a `map`, is submitted, if the subscriber has enabled
/// its span. The task reads the returned value by
/// [`worker::Context::traceparent`](crate::worker::Context::traceparent), in a worker process too. The
/// first call sets the function and returns true. Later calls change nothing and return false.
///
/// With `tracing-opentelemetry`, the function takes the span's context (`OpenTelemetrySpanExt::context`)
/// and writes it with a `TraceContextPropagator`.
///
/// ```
/// concurrent_futures::set_trace_propagator(|span| {
///     let _ = span.id()?;
///     Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned())
/// });
/// ```
pub fn set_trace_propagator(
    propagator: impl Fn(&Span) -> Option<String> + Send + Sync + 'static,
) -> bool {
    PROPAGATOR.set(Box::new(propagator)).is_ok()
}

/// Whether the program passes traces on.
#[cfg(feature = "cluster")]
pub(super) fn propagates() -> bool {
    PROPAGATOR.get().is_some()
}

impl Trace {
    /// Opens the span of a task. The caller submits the task: the current span becomes the parent.
    pub(crate) fn begin(id: u64, name: &str) -> Self {
        let span = tracing::info_span!(
            "task",
            task.id = id,
            task.name = name,
            task.attempt = attempt(),
            task.key = Empty,
            task.host = Empty,
            task.worker = Empty,
            task.queue_wait_us = Empty,
            task.run_time_us = Empty,
            task.outcome = Empty,
        );
        if span.is_disabled() {
            return Self(None);
        }
        let propagated = PROPAGATOR.get().and_then(|propagate| propagate(&span));
        let open = OpenSpan {
            traceparent: propagated.map(Into::into),
            span,
            submitted: Instant::now(),
        };
        Self(Some(Box::new(Mutex::new(Some(Arc::new(open))))))
    }

    fn lock(&self) -> Option<MutexGuard<'_, Option<Arc<OpenSpan>>>> {
        let open = self.0.as_deref()?;
        Some(open.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The span is used without the lock: a subscriber is code of another crate.
    fn open(&self) -> Option<Arc<OpenSpan>> {
        self.lock()?.clone()
    }

    /// The span, while it is open.
    pub(super) fn span(&self) -> Option<Span> {
        Some(self.open()?.span.clone())
    }

    /// What the propagator returned for the span.
    pub(crate) fn propagated(&self) -> Option<Arc<str>> {
        self.open()?.traceparent.clone()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.lock().is_some_and(|open| open.is_some())
    }

    /// Runs the task, or one of its items, inside the span.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        match self.span() {
            Some(span) => span.in_scope(work),
            None => work(),
        }
    }

    /// Records that the task ran for `time`, until now, and waited before that.
    pub(crate) fn ran(&self, worker: u64, time: Duration) {
        if let Some(open) = self.open() {
            let wait = open.submitted.elapsed().saturating_sub(time);
            open.span.record("task.worker", worker);
            open.span.record("task.queue_wait_us", micros(wait));
            open.span.record("task.run_time_us", micros(time));
        }
    }

    /// Records the name of the task's record on a cluster.
    #[cfg(feature = "cluster")]
    pub(crate) fn known_as(&self, key: impl fmt::Display) {
        if let Some(open) = self.open() {
            open.span.record("task.key", tracing::field::display(key));
        }
    }

    /// Records the machine that ran the task.
    #[cfg(feature = "cluster")]
    pub(crate) fn ran_on(&self, host: &str) {
        if let Some(open) = self.open() {
            open.span.record("task.host", host);
        }
    }

    /// Records the number of the next attempt, since a worker was lost with the one before.
    #[cfg(feature = "process")]
    pub(crate) fn attempted_again(&self, attempt: u32) {
        if let Some(open) = self.open() {
            open.span.record("task.attempt", attempt);
        }
    }

    /// Records the outcome and closes the span.
    pub(crate) fn end(&self, outcome: &str) {
        let open = self.lock().and_then(|mut open| open.take());
        if let Some(open) = open {
            open.span.record("task.outcome", outcome);
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").finish_non_exhaustive()
    }
}
