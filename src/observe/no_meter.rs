//! The meter of an executor without the feature `metrics`.

use std::time::Duration;

#[derive(Clone, Debug)]
pub(crate) struct Meter;

impl Meter {
    pub(crate) fn new(_executor: &str) -> Self {
        Self
    }

    pub(crate) const COUNTS_QUEUED: bool = false;

    pub(crate) fn enter_queue(&self) {}

    pub(crate) fn leave_queue(&self) {}

    pub(crate) fn running(&self) -> RunningCount {
        RunningCount(())
    }

    pub(crate) fn ran(&self, _items: u32, _wait: Duration, _time: Duration) {}

    pub(crate) fn ended(&self, _outcome: &'static str, _count: usize) {}

    #[cfg(feature = "process")]
    pub(crate) fn worker_started(&self) {}

    #[cfg(feature = "cluster")]
    pub(crate) fn workers_are(&self, _count: usize) {}

    #[cfg(feature = "cluster")]
    pub(crate) fn reconnected(&self) {}

    #[cfg(feature = "process")]
    pub(crate) fn worker_ended(&self, _cause: &'static str) {}
}

#[derive(Debug, Default)]
pub(crate) struct RunningCount(());

#[derive(Clone, Copy, Debug)]
pub(crate) struct SubmitTime;

impl SubmitTime {
    pub(crate) fn now() -> Self {
        Self
    }

    pub(crate) fn elapsed(self) -> Duration {
        Duration::ZERO
    }
}
