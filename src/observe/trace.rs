//! The span of a task, from its submission to its outcome.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::Span;
use tracing::field::Empty;

/// Open until the task has its outcome. A child of the span in which the task was submitted.
pub(crate) struct Trace(Mutex<Option<Open>>);

struct Open {
    span: Span,
    submitted: Instant,
}

impl Trace {
    /// A task is being submitted, here and now.
    pub(crate) fn begin(id: u64, name: &str) -> Self {
        let span = tracing::info_span!(
            "task",
            task.id = id,
            task.name = name,
            task.worker = Empty,
            task.queue_wait_us = Empty,
            task.run_time_us = Empty,
            task.outcome = Empty,
        );
        let open = (!span.is_disabled()).then(|| Open {
            span,
            submitted: Instant::now(),
        });
        Self(Mutex::new(open))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Option<Open>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The span, as long as it is open.
    pub(super) fn span(&self) -> Option<Span> {
        self.with(|open| open.as_ref().map(|open| open.span.clone()))
    }

    /// Runs the task here: what it writes belongs to its span.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        match self.span() {
            Some(span) => span.in_scope(work),
            None => work(),
        }
    }

    /// The task has run for so long, until now.
    pub(crate) fn ran(&self, worker: u64, time: Duration) {
        self.with(|open| {
            if let Some(Open { span, submitted }) = open {
                let wait = submitted.elapsed().saturating_sub(time);
                span.record("task.worker", worker);
                span.record("task.queue_wait_us", micros(wait));
                span.record("task.run_time_us", micros(time));
            }
        });
    }

    /// The task has its outcome.
    pub(crate) fn end(&self, outcome: &str) {
        // Taken out first: closing a span is a subscriber's code.
        if let Some(Open { span, .. }) = self.with(Option::take) {
            span.record("task.outcome", outcome);
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
