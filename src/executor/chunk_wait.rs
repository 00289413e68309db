//! How long a stream waits for a whole chunk. After that it requests each outcome as soon as it is available.

use std::pin::Pin;
use std::task::{self, Poll, ready};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, Id};
use tokio::time::Sleep;

use crate::home::has_real_clock;
use crate::panic;

/// The longest wait. A chunk of quick items takes less.
const LIMIT: Duration = Duration::from_millis(2);

/// The waits of a stream for whole chunks.
#[derive(Debug, Default)]
pub(crate) struct ChunkWait {
    /// When the current wait began.
    since: Option<Instant>,
    /// With the id of its runtime. It is kept from one wait to the next, because creating a timer costs more than a
    /// wait.
    timer: Option<(Id, Pin<Box<Sleep>>)>,
}

impl ChunkWait {
    /// Starts a new wait, since an outcome has arrived.
    pub(crate) fn renew(&mut self) {
        self.since = None;
    }

    /// Ready once the current wait is long, or if the task that waits has no timers.
    pub(crate) fn poll_over(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        let left = (since + LIMIT).saturating_duration_since(now);
        let here = Handle::try_current().map(|runtime| runtime.id());
        let (Ok(here), false) = (here, left.is_zero()) else {
            return Poll::Ready(());
        };
        // Tokio panics if the runtime has no timers, or has ended while its handle still drives a `block_on`.
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
        // The timer is set for an earlier wait.
        timer.as_mut().reset(tokio::time::Instant::now() + left);
        timer.as_mut().poll(cx)
    }
}
