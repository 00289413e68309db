//! An action that runs later, unless it is dropped first.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::{Either, select};
use tokio::sync::oneshot;

use super::clock::sleep_until;
use super::place::{Home, TaskGuard};

/// Runs an action later. Dropping this cancels the action.
#[derive(Debug)]
pub(crate) struct Alarm {
    _task: TaskGuard,
    #[cfg_attr(
        not(feature = "process"),
        allow(dead_code, reason = "only process pools ask")
    )]
    fired: Arc<AtomicBool>,
}

impl Alarm {
    /// Runs `action` after `delay`, counted from now by the real clock.
    pub(crate) fn set(
        home: &Home,
        delay: Duration,
        action: impl FnOnce() + Send + 'static,
    ) -> Self {
        let end = Instant::now().checked_add(delay);
        let fired = Arc::new(AtomicBool::new(false));
        let ring = fired.clone();
        let task = home.spawn_guarded(async move {
            sleep_until(end).await;
            ring.store(true, Ordering::Release);
            action();
        });
        Self { _task: task, fired }
    }

    /// An alarm that sends when it fires. The channel is closed without a value if no runtime can be created for the
    /// alarm.
    pub(crate) fn channel(home: &Home, delay: Duration) -> (Self, oneshot::Receiver<()>) {
        let (ring, rung) = oneshot::channel();
        let alarm = Self::set(home, delay, move || ring.send(()).unwrap_or_default());
        (alarm, rung)
    }

    /// Whether it has fired: the action has run, runs, or is about to run.
    #[cfg(feature = "process")]
    pub(crate) fn has_fired(&self) -> bool {
        self.fired.load(Ordering::Acquire)
    }
}

/// Awaits `future` until `end` by the real clock. `None` after that. The caller needs no runtime.
pub(crate) async fn within<F: Future>(home: &Home, end: Instant, future: F) -> Option<F::Output> {
    let span = end.saturating_duration_since(Instant::now());
    let (_alarm, rung) = Alarm::channel(home, span);
    match select(pin!(future), rung).await {
        Either::Left((output, _)) => Some(output),
        Either::Right((Ok(()), _)) => None,
        Either::Right((Err(_), future)) => Some(future.await), // There is no runtime that could wait for `end`.
    }
}
