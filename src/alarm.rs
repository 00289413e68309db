//! Something to be done later, unless it is dropped first. Tokio's timer does the waiting.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

/// Dropping it calls the alarm off.
#[derive(Debug)]
pub(crate) struct Alarm(tokio::task::AbortHandle);

impl Alarm {
    /// Does `action` on the runtime after `delay`, counted from now.
    pub(crate) fn set(
        runtime: &Handle,
        delay: Duration,
        action: impl FnOnce() + Send + 'static,
    ) -> Self {
        let end = Instant::now().checked_add(delay);
        let task = runtime.spawn(async move {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await, // Further off than the clock can tell.
            }
            action();
        });
        Self(task.abort_handle())
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.abort();
    }
}
