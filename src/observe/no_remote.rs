//! The trace of another program's task without the feature `tracing`.

use super::remote_task::RemoteTask;

#[derive(Debug)]
pub(crate) struct RemoteTrace;

impl RemoteTrace {
    pub(crate) fn begin(_task: RemoteTask<'_>) -> Self {
        Self
    }

    pub(crate) fn is_continued(&self) -> bool {
        false
    }

    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }

    pub(crate) fn attempted_again(&self, _attempt: u32) {}

    pub(crate) fn end(&self, _outcome: &str) {}
}
