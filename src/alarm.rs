//! Something to be done later, unless it is dropped first. Tokio's timer does the waiting.

use std::time::Duration;

use tokio::runtime::Handle;

/// Dropping it calls the alarm off.
#[derive(Debug)]
pub(crate) struct Alarm(tokio::task::AbortHandle);

impl Alarm {
    /// Does `action` on the runtime after `delay`.
    pub(crate) fn set(
        runtime: &Handle,
        delay: Duration,
        action: impl FnOnce() + Send + 'static,
    ) -> Self {
        let task = runtime.spawn(async move {
            tokio::time::sleep(delay).await;
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
