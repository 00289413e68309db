//! The timeout of a stream or a wait.

use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Counts from its creation. The first poll makes the timer, so everything else works outside a
/// runtime.
#[derive(Debug)]
pub(crate) struct Deadline {
    since: Instant,
    limit: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Starts to count, without a limit.
    pub(crate) fn from_now() -> Self {
        Self {
            since: Instant::now(),
            limit: None,
            timer: None,
        }
    }

    pub(crate) fn set(&mut self, limit: Duration) {
        self.limit = Some(limit);
        self.timer = None;
    }

    pub(crate) fn is_set(&self) -> bool {
        self.limit.is_some()
    }

    /// Ready with the limit from the deadline on.
    pub(crate) fn poll_passed(&mut self, cx: &mut task::Context<'_>) -> Poll<Duration> {
        let Some(limit) = self.limit else {
            return Poll::Pending;
        };
        // An end that the clock cannot represent never comes.
        let Some(end) = self.since.checked_add(limit) else {
            return Poll::Pending;
        };
        let timer = match &mut self.timer {
            Some(timer) => timer,
            // A timer that is due fires only at the runtime's next turn.
            None if end <= Instant::now() => return Poll::Ready(limit),
            none => none.insert(Box::pin(sleep_until(end))),
        };
        timer.as_mut().poll(cx).map(|()| limit)
    }
}
