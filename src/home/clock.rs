//! Timers by the real clock. Workers run in real time, so their deadlines do not depend on the clock of a runtime,
//! which a test may have paused. A timer that finds such a clock moves its task to another runtime.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
#[cfg(feature = "process")]
use std::time::Duration;
use std::time::Instant;

use tokio::time::Sleep;

use super::current::{current_runner, leave_runtime};

/// Whether the clock of the current runtime shows the real time.
pub(crate) fn is_real() -> bool {
    let before = Instant::now();
    let theirs = tokio::time::Instant::now().into_std();
    (before..=Instant::now()).contains(&theirs)
}

/// Waits for one instant after another.
#[derive(Debug, Default)]
pub(crate) struct DeadlineTimer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// The instant for which `sleep` is set.
    armed: Option<Instant>,
    /// The runner whose runtime drives `sleep`.
    runner: u64,
    /// The waker that `sleep` wakes.
    waker: Option<Waker>,
}

impl DeadlineTimer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Ready from `moment` on.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, moment: Instant) -> Poll<()> {
        let runner = current_runner();
        if self.still_waits(cx, moment, runner) {
            return Poll::Pending;
        }
        let sleep = match &mut self.sleep {
            Some(sleep) if self.runner == runner => {
                if self.armed != Some(moment) {
                    self.armed = Some(moment);
                    sleep.as_mut().reset(moment.into());
                }
                sleep
            }
            stale => {
                *stale = None;
                if !is_real() && leave_runtime() {
                    return Poll::Pending;
                }
                (self.runner, self.armed) = (runner, Some(moment));
                stale.insert(Box::pin(tokio::time::sleep_until(moment.into())))
            }
        };
        while sleep.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if now >= moment {
                self.armed = None;
                return Poll::Ready(());
            }
            // The runtime's clock has jumped.
            if leave_runtime() {
                self.sleep = None;
                return Poll::Pending;
            }
            sleep
                .as_mut()
                .reset(tokio::time::Instant::now() + (moment - now));
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether an earlier poll did everything that this one must do. This makes a poll cheap: a supervisor polls the
    /// timer with each result.
    fn still_waits(&self, cx: &Context<'_>, moment: Instant, runner: u64) -> bool {
        let wakes = |waker: &Waker| waker.will_wake(cx.waker());
        self.armed == Some(moment)
            && self.runner == runner
            && self.waker.as_ref().is_some_and(wakes)
            && self.sleep.as_ref().is_some_and(|sleep| !sleep.is_elapsed())
    }
}

/// Waits until `end`. If `end` is `None`, the clock cannot represent it and this waits forever.
pub(super) async fn sleep_until(end: Option<Instant>) {
    let Some(end) = end else {
        return std::future::pending().await;
    };
    let mut timer = DeadlineTimer::new();
    poll_fn(|cx| timer.poll(cx, end)).await;
}

/// Waits for `span`.
#[cfg(feature = "process")]
pub(crate) async fn sleep(span: Duration) {
    sleep_until(Instant::now().checked_add(span)).await;
}

/// Awaits `future` for at most `limit`. `None` after that.
#[cfg(feature = "process")]
pub(crate) async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = sleep(limit) => None,
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A timer that was polled by another task before wakes the task that polls it now, even if the moment is the same.
    #[tokio::test]
    async fn a_timer_wakes_the_task_that_polled_it_last() {
        for later in [Duration::ZERO, Duration::from_secs(3600)] {
            let mut timer = DeadlineTimer::new();
            let moment = Instant::now() + Duration::from_millis(20);
            let mut other = Context::from_waker(Waker::noop());
            for _ in 0..2 {
                assert!(timer.poll(&mut other, moment + later).is_pending());
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(Duration::from_secs(60)) => panic!("nothing woke this task"),
                () = poll_fn(|cx| timer.poll(cx, moment)) => assert!(Instant::now() >= moment),
            }
        }
    }
}
