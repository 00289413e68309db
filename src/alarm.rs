//! An action that runs later, unless it is dropped first. Tokio's timer waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

/// Dropping it cancels the action.
#[derive(Debug)]
pub(crate) struct Alarm {
    task: tokio::task::AbortHandle,
    #[cfg_attr(
        not(feature = "process"),
        allow(dead_code, reason = "only process pools ask")
    )]
    fired: Arc<AtomicBool>,
}

impl Alarm {
    /// Runs `action` on the runtime after `delay`, counted from now.
    pub(crate) fn set(
        runtime: &Handle,
        delay: Duration,
        action: impl FnOnce() + Send + 'static,
    ) -> Self {
        let end = Instant::now().checked_add(delay);
        let fired = Arc::new(AtomicBool::new(false));
        let ring = fired.clone();
        let task = runtime.spawn(async move {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await, // The clock cannot represent the end.
            }
            ring.store(true, Ordering::Release);
            action();
        });
        Self {
            task: task.abort_handle(),
            fired,
        }
    }

    /// Whether its time has come: the action has run, runs, or is about to run.
    #[cfg(feature = "process")]
    pub(crate) fn has_fired(&self) -> bool {
        self.fired.load(Ordering::Acquire)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.task.abort();
    }
}
