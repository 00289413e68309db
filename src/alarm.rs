//! Something to be done later, unless it is dropped first. Tokio's timer does the waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

/// Dropping it calls the alarm off.
#[derive(Debug)]
pub(crate) struct Alarm {
    task: tokio::task::AbortHandle,
    fired: Arc<AtomicBool>,
}

impl Alarm {
    /// Does `action` on the runtime after `delay`, counted from now.
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
                None => std::future::pending().await, // Further off than the clock can tell.
            }
            ring.store(true, Ordering::Release);
            action();
        });
        Self {
            task: task.abort_handle(),
            fired,
        }
    }

    /// Whether its time has come: its action was done, is being done, or is about to be.
    pub(crate) fn has_fired(&self) -> bool {
        self.fired.load(Ordering::Acquire)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.task.abort();
    }
}
