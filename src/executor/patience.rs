//! How long a stream waits for a chunk as a whole. After that it asks for each outcome as soon as it is there.

use std::pin::Pin;
use std::task::{self, Poll, ready};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, Id};
use tokio::time::Sleep;

use crate::home::has_real_clock;
use crate::panic;

/// Longer than a chunk of quick items takes.
const PATIENCE: Duration = Duration::from_millis(2);

/// The waits of a stream.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// When the current wait began.
    since: Option<Instant>,
    /// With its runtime. It stays from one wait to the next: to set a timer costs more than a wait.
    timer: Option<(Id, Pin<Box<Sleep>>)>,
}

impl Patience {
    /// Something has arrived.
    pub(crate) fn renew(&mut self) {
        self.since = None;
    }

    /// Ready once the current wait is long, or if the task that waits has no timers.
    pub(crate) fn poll_over(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        let left = (since + PATIENCE).saturating_duration_since(now);
        let here = Handle::try_current().map(|runtime| runtime.id());
        let (Ok(here), false) = (here, left.is_zero()) else {
            return Poll::Ready(());
        };
        // Tokio panics if the runtime has no timers, or has ended: its handle still drives a `block_on`.
        panic::quietly(|| self.poll_timer(cx, here, left)).unwrap_or_else(|_| {
            self.timer = None;
            Poll::Ready(())
        })
    }

    /// Ready after `left`, or if the runtime's clock is not the real one.
    fn poll_timer(&mut self, cx: &mut task::Context<'_>, here: Id, left: Duration) -> Poll<()> {
        let timer = match &mut self.timer {
            Some((runtime, timer)) if *runtime == here => timer,
            none => {
                *none = None;
                if !has_real_clock() {
                    return Poll::Ready(());
                }
                &mut none.insert((here, Box::pin(tokio::time::sleep(left)))).1
            }
        };
        ready!(timer.as_mut().poll(cx));
        // It was set for an earlier wait.
        timer.as_mut().reset(tokio::time::Instant::now() + left);
        timer.as_mut().poll(cx)
    }
}
