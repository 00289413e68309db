//! The trace of a task without the feature `tracing`.

use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Trace;

impl Trace {
    pub(crate) fn begin(_id: u64, _name: &str) -> Self {
        Self
    }

    pub(crate) fn propagated(&self) -> Option<Arc<str>> {
        None
    }

    pub(crate) fn is_open(&self) -> bool {
        false
    }

    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }

    pub(crate) fn ran(&self, _worker: u64, _time: Duration) {}

    #[cfg(feature = "cluster")]
    pub(crate) fn known_as(&self, _key: impl std::fmt::Display) {}

    #[cfg(feature = "cluster")]
    pub(crate) fn ran_on(&self, _host: &str) {}

    #[cfg(feature = "process")]
    pub(crate) fn attempted_again(&self, _attempt: u32) {}

    pub(crate) fn end(&self, _outcome: &str) {}
}
